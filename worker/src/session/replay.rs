//! Delivers what workers that are gone have left behind in their journals.

use mainspring_proto::worker::v1::{AttemptResult, ReportAttemptResultRequest, ResultDisposition};
use tonic::{Code, Status};

use super::{transport::Transport, unary::CALL_TIMEOUT};
use crate::{
    clock,
    config::Backoff,
    journal::Legacy,
    reconnect::{Loss, Policy, Verdict},
};

/// Delivers all of it, however long that takes. What is not delivered when this worker ends stays for the next.
pub(super) async fn deliver(legacies: Vec<Legacy>, transport: Transport, backoff: Backoff) {
    for legacy in legacies {
        for result in legacy.results.clone() {
            deliver_one(&transport, &legacy.namespace, result, backoff).await;
        }
        let count = legacy.results.len();
        tracing::info!("delivered {count} results that an earlier worker left in {}", legacy.path().display());
        // It has said what there is to say.
        let _ = tokio::task::spawn_blocking(move || legacy.remove()).await;
    }
}

async fn deliver_one(transport: &Transport, namespace: &str, result: AttemptResult, backoff: Backoff) {
    let mut policy = Policy::new(backoff);
    let attempt = result.attempt.clone().unwrap_or_default();
    let request = ReportAttemptResultRequest { namespace: namespace.into(), result: Some(result) };
    loop {
        let loss = match call(transport, request.clone()).await {
            Ok(disposition) => {
                let disposition = disposition.as_str_name();
                tracing::debug!(run_id = attempt.run_id, attempt = attempt.attempt, disposition, "delivered");
                return;
            }
            Err(loss) => loss,
        };
        if loss.condemns_the_request() {
            let (run_id, attempt) = (attempt.run_id, attempt.attempt);
            tracing::warn!(run_id, attempt, "the server takes no such result; it is given up: {}", loss.message);
            return;
        }
        // A refusal of the worker ends the worker, and this with it; until then there is nothing better to do.
        let delay = match policy.lost(&loss, clock::now(), rand::random()) {
            Verdict::Again(delay) => delay,
            Verdict::GiveUp(_) => backoff.most,
        };
        clock::sleep_until(clock::now() + delay).await;
    }
}

async fn call(transport: &Transport, request: ReportAttemptResultRequest) -> Result<ResultDisposition, Loss> {
    let mut client = transport.connect().await?;
    let call = client.report_attempt_result(transport.request(request));
    let response = clock::within(CALL_TIMEOUT, call).await;
    let response = response.unwrap_or_else(|| Err(Status::new(Code::DeadlineExceeded, "no answer in time")))?;
    Ok(response.into_inner().ack.unwrap_or_default().disposition())
}

//! Results by single calls, while no stream is to be had: behind a proxy that cannot stream, before a server that takes
//! no more sessions, or that takes none of this worker any more.

use std::{sync::Arc, time::Duration};

use mainspring_proto::worker::v1::ReportAttemptResultRequest;

use super::{shared::Shared, transport::Transport};
use crate::{clock, reconnect::Loss, state::Key};

pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Delivers the results that wait. One that the server refuses for good is not in the way of the others; anything else
/// ends it.
pub(super) async fn deliver(shared: Arc<Shared>, transport: Transport, namespace: String) {
    let Ok(mut client) = transport.connect().await else { return };
    for result in shared.consult(|machine, _| machine.unacked_results()) {
        let Some(attempt) = result.attempt.clone() else { continue };
        let key = Key { run_id: attempt.run_id.into(), attempt: attempt.attempt };
        let request = ReportAttemptResultRequest { namespace: namespace.clone(), result: Some((*result).clone()) };
        let call = client.report_attempt_result(transport.request(request));
        match clock::within(CALL_TIMEOUT, call).await {
            Some(Ok(response)) => {
                let ack = response.into_inner().ack.unwrap_or_default();
                shared.apply(|machine, _| machine.acked(&key, ack.disposition(), &ack.message));
            }
            Some(Err(status)) => {
                tracing::debug!(%status, "a result could not be delivered by a single call");
                if !Loss::from(status).is_final() {
                    return;
                }
            }
            None => return,
        }
    }
}

//! `WorkerService`: the stream of a worker, and results that come by themselves.
//!
//! The answer to a stream is given at once, and the handshake made inside it: clients do not see the stream before the
//! response's headers arrive, and some send Hello only then. After Welcome two halves run apart: `reading` turns what
//! the worker says into the engine's words and never waits for anything; `session` turns what the engine says into
//! messages, and at the end says why it ended.

mod reading;
mod session;

use mainspring_engine::ports::store::StoreError;
use mainspring_proto::worker::v1::{self as wire, worker_service_server::WorkerService};
use tonic::{Request, Status, Streaming};

use super::{
    Answer, Api, Call, answer,
    convert::{
        from_worker::{self, Heard},
        to_worker,
    },
    draining,
    status::Refusal,
};
use mainspring_engine::flow::stream::messages::Disposition;

#[tonic::async_trait]
impl WorkerService for Api {
    type WorkerStreamStream = session::Stream;

    async fn worker_stream(
        &self,
        request: Request<Streaming<wire::WorkerStreamRequest>>,
    ) -> Answer<Self::WorkerStreamStream> {
        let (call, requests) = Call::split(request);
        answer(async {
            if self.draining.is_cancelled() {
                return Err(draining());
            }
            Ok(session::open(self.clone(), call.caller()?.clone(), requests))
        })
        .await
    }

    async fn report_attempt_result(
        &self,
        request: Request<wire::ReportAttemptResultRequest>,
    ) -> Answer<wire::ReportAttemptResultResponse> {
        answer(report(self, request.into_inner())).await
    }
}

async fn report(
    api: &Api,
    request: wire::ReportAttemptResultRequest,
) -> Result<wire::ReportAttemptResultResponse, Refusal> {
    let wire::ReportAttemptResultRequest { namespace, result } = request;
    let (scope, result) = api
        .read(&namespace, |check, _| {
            let Some(result) = result else {
                check.refuse("result", "is required");
                return None;
            };
            // The stream reads a result by itself; here it is a field of the request, and is named as one.
            check.under("result", |check| check.attempt(result.attempt.as_ref()))?;
            Some(result)
        })
        .await?;
    let Heard { report, invalid } = from_worker::result(result, &scope, api.limits.max_inline_payload_bytes)?;
    let key = report.key;
    let disposition = match api.engine.report(report).await {
        Ok(answer) => Disposition::from(&answer),
        // As on the stream: a result that can never be applied is answered, or it would come for ever.
        Err(StoreError::Corrupt(_)) => Disposition::Invalid,
        Err(error) => return Err(error.into()),
    };
    let ack = match invalid {
        Some(why) => to_worker::invalid_ack(Some(to_worker::attempt(key)), why),
        None => to_worker::result_ack(key, disposition),
    };
    Ok(wire::ReportAttemptResultResponse { ack: Some(ack) })
}

/// What a worker stream says.
type Said = Result<wire::WorkerStreamResponse, Status>;

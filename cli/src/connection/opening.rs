//! How an answer begins: that of a stream in time, and any but with a refusal that says nothing.
//!
//! A deadline that travels with the call would end the stream, too: servers and proxies may hold it against all of the
//! call. So the time is taken here, and only until the headers of the answer are there. What HTTP itself refuses reaches a
//! stub as the number of a status alone; the one that is the caller's to mend is told apart here.

use std::task::{Context, Poll};

use tonic::{
    TimeoutExpired,
    body::Body,
    codegen::{
        BoxFuture, Service, StdError,
        http::{self, StatusCode},
    },
    transport::Channel,
};

use super::ANSWER_WITHIN;
use crate::{clock, output::contract};

/// HTTP's status 431, from the server or from what stands before it.
#[derive(Debug, thiserror::Error)]
#[error("the headers of the call are refused as too large, and only the credential is a long one")]
pub(crate) struct HeadersTooLarge;

/// A channel on which no stream takes longer to begin than an answer may take.
#[derive(Clone, Debug)]
pub(crate) struct Opening(Channel);

impl Opening {
    pub(super) fn of(channel: Channel) -> Self {
        Self(channel)
    }
}

impl Service<http::Request<Body>> for Opening {
    type Response = http::Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let is_stream = begins_a_stream(request.uri().path());
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = match is_stream {
                true => clock::within(ANSWER_WITHIN, answer).await.ok_or(TimeoutExpired(()))??,
                false => answer.await?,
            };
            if answer.status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
                return Err(HeadersTooLarge.into());
            }
            Ok(answer)
        })
    }
}

/// Whether the method of a path, `/package.Service/Method`, answers with a stream.
fn begins_a_stream(path: &str) -> bool {
    let Some((service, method)) = path.trim_start_matches('/').split_once('/') else { return false };
    let service = contract().get_service_by_name(service);
    service.is_some_and(|service| service.methods().any(|its| its.name() == method && its.is_server_streaming()))
}

#[cfg(test)]
mod tests {
    use super::begins_a_stream;

    #[test]
    fn streams_are_known_by_their_path() {
        for (path, is_stream) in [
            ("/mainspring.scheduler.v1.SchedulerService/WatchEvents", true),
            ("/mainspring.scheduler.v1.SchedulerService/TailLogs", true),
            ("/mainspring.scheduler.v1.AdminService/BackupDatabase", true),
            ("/mainspring.scheduler.v1.SchedulerService/WaitRun", false),
            ("/mainspring.scheduler.v1.SchedulerService/ListJobs", false),
            ("/mainspring.scheduler.v1.SchedulerService/Nothing", false),
            ("/healthz", false),
        ] {
            assert_eq!(begins_a_stream(path), is_stream, "{path}");
        }
    }
}

//! How the runs of the demo jobs end, a line each, so that the first command alone shows that jobs run.

use std::time::Duration;

use mainspring_proto::scheduler::v1::{
    EventTopic, GetRunRequest, Run, RunEvent, RunView, WatchEventsRequest, WatchEventsResponse, event::Detail,
};
use tonic::Streaming;

use super::is_demo;
use crate::{
    clock,
    connection::Server,
    failure::Failure,
    follow,
    output::Output,
    times::{self, from_proto},
};

/// Between two attempts to watch: the server is in this process, so this is for a stream that fell behind.
const PAUSE: Duration = Duration::from_secs(1);

/// The events of runs, from the moment this was made.
#[derive(Debug)]
pub(super) struct Ends {
    server: Server,
    events: Streaming<WatchEventsResponse>,
}

impl Ends {
    pub(super) async fn watch(server: Server) -> Result<Self, Failure> {
        let events = events(&server).await?;
        Ok(Self { server, events })
    }

    /// Tells every end. What happened while the stream was broken is not told: these lines are something to look at.
    pub(super) async fn show(&mut self, out: &Output) -> ! {
        loop {
            match self.events.message().await {
                Ok(Some(message)) => {
                    if let Some(Detail::Run(event)) = message.event.and_then(|event| event.detail)
                        && is_end(&event)
                        && let Some(run) = self.run(event.run_id).await
                    {
                        out.tell(&line(&run));
                    }
                }
                Ok(None) | Err(_) => {
                    clock::pause(PAUSE).await;
                    if let Ok(events) = events(&self.server).await {
                        self.events = events;
                    }
                }
            }
        }
    }

    async fn run(&self, run_id: String) -> Option<Run> {
        let request = GetRunRequest { namespace: String::new(), run_id, view: RunView::Basic.into() };
        self.server.scheduler().get_run(request).await.ok()?.into_inner().run
    }
}

async fn events(server: &Server) -> Result<Streaming<WatchEventsResponse>, Failure> {
    let request = WatchEventsRequest { topics: vec![EventTopic::Runs.into()], ..WatchEventsRequest::default() };
    Ok(server.scheduler().watch_events(request).await?.into_inner())
}

fn is_end(event: &RunEvent) -> bool {
    is_demo(&event.job) && follow::is_over(event.state())
}

fn line(run: &Run) -> String {
    let time = run.end_time.as_ref().and_then(from_proto).map(times::time_of_day).unwrap_or_default();
    format!("  {time}  {:<14} {:<22} run/{}", run.job, follow::outcome(run), run.run_id)
}

#[cfg(test)]
mod tests {
    use mainspring_proto::scheduler::v1::{Run, RunEvent, RunState};

    use super::{is_end, line};

    #[test]
    fn only_ends_of_demo_jobs_are_told() {
        let event =
            |job: &str, state: RunState| RunEvent { job: job.into(), state: state.into(), ..RunEvent::default() };
        assert!(is_end(&event("demo.hello", RunState::Failed)));
        assert!(!is_end(&event("demo.hello", RunState::Running)));
        assert!(!is_end(&event("nightly", RunState::Succeeded)));
        assert!(!is_end(&event("", RunState::Succeeded)));
    }

    #[test]
    fn a_line_says_what_ended_and_how() {
        let at = |nanos| Some(prost_types::Timestamp { seconds: 1_000, nanos });
        let state = RunState::Succeeded.into();
        let run = Run { run_id: "R".into(), job: "demo.hello".into(), state, ..Run::default() };
        let run = Run { due_time: at(0), end_time: at(330_000_000), ..run };
        let line = line(&run);
        assert!(line.contains(".330  demo.hello     succeeded in 0.33 s    run/R"), "{line}");
    }
}

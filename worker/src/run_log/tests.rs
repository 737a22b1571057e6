use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tracing::{Instrument as _, Level};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _};

use super::{RunLog, Within, within};
use crate::{
    ctx::{Ctx, Facts, LogLevel, Reports, Stop},
    extract::Run,
    job_error::JobError,
    perform::perform,
    service::{HandlerService, Output},
};

/// Not the SDK's own.
const USER: &str = "mailer::queue";

type Line = (LogLevel, String, BTreeMap<String, String>);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

impl Reports for Lines {
    fn log(&self, level: LogLevel, message: String, fields: BTreeMap<String, String>) {
        // What is said while a line is taken is no line.
        tracing::info!(target: USER, "about a line");
        self.0.lock().push((level, message, fields));
    }

    fn progress(&self, _: f64, _: String) {}

    fn occupy(&self) -> Box<dyn Send> {
        Box::new(())
    }
}

impl Lines {
    fn reports(&self) -> Arc<dyn Reports> {
        Arc::new(self.clone())
    }

    fn messages(&self) -> Vec<String> {
        self.0.lock().iter().map(|(_, message, _)| message.clone()).collect()
    }
}

fn listening(layer: RunLog) -> tracing::subscriber::DefaultGuard {
    tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
}

#[test]
fn events_of_a_run_are_its_lines_with_level_and_fields() {
    let _listening = listening(RunLog::new().with_max_level(Level::TRACE));
    let lines = Lines::default();
    tracing::error!(target: USER, "of nobody");
    within(&lines.reports(), || {
        tracing::error!(target: USER, code = 7, name = "a \"b\"", at = ?Some(1), "failed: {}", "x");
        tracing::warn!(target: USER, target = "mine", "w");
        tracing::info!(target: USER, "i");
        tracing::debug!(target: USER, "d");
        tracing::trace!(target: USER, "t");
        tracing::warn!("the SDK's own");
    });
    tracing::error!(target: USER, "of nobody");
    let said = lines.0.lock();
    let levels: Vec<_> = said.iter().map(|(level, message, _)| (*level, message.as_str())).collect();
    let expected = [
        (LogLevel::Error, "failed: x"),
        (LogLevel::Warn, "w"),
        (LogLevel::Info, "i"),
        (LogLevel::Debug, "d"),
        (LogLevel::Debug, "t"),
    ];
    assert_eq!(levels, expected);
    let fields: Vec<_> = said[0].2.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(fields, [("at", "Some(1)"), ("code", "7"), ("name", "a \"b\""), ("target", USER)]);
    assert_eq!(said[1].2["target"], "mine");
}

#[test]
fn only_what_was_asked_for_is_sent() {
    let _listening = listening(RunLog::new());
    let lines = Lines::default();
    within(&lines.reports(), || {
        tracing::debug!(target: USER, "d");
        tracing::info!(target: USER, "i");
    });
    assert_eq!(lines.messages(), ["i"]);
}

#[test]
fn a_value_without_an_end_is_cut() {
    let _listening = listening(RunLog::new());
    let lines = Lines::default();
    within(&lines.reports(), || tracing::info!(target: USER, big = "ß".repeat(1 << 20), "m"));
    assert_eq!(lines.0.lock()[0].2["big"].len(), 16 << 10);
}

#[tokio::test]
async fn runs_on_one_thread_do_not_mix() {
    let _listening = listening(RunLog::new());
    let (one, two) = (Lines::default(), Lines::default());
    let talk = |name: &'static str| async move {
        for step in 0..3 {
            tracing::info!(target: USER, "{name} {step}");
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(Within::new(one.reports(), talk("one")), Within::new(two.reports(), talk("two")));
    assert_eq!(one.messages(), ["one 0", "one 1", "one 2"]);
    assert_eq!(two.messages(), ["two 0", "two 1", "two 2"]);
}

/// What a handler says, and a task and a thread of its own.
async fn talk() -> Vec<String> {
    let lines = Lines::default();
    let ctx = Ctx::new(Facts::default(), Stop::default(), lines.reports());
    let service = HandlerService::new(|run: Run| {
        Box::pin(async move {
            // The test's subscriber is this thread's; that of a program is everywhere.
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            let task = async { tracing::info!(target: USER, "task") }.in_current_span();
            crate::tasks::spawn(&tokio::runtime::Handle::current(), "helper", task).await.map_err(JobError::from)?;
            let thread = move || {
                tracing::dispatcher::with_default(&dispatch, || tracing::info!(target: USER, "thread"));
            };
            run.ctx().spawn_blocking(thread).await?;
            tracing::info!(target: USER, "handler");
            run.ctx().info("ctx");
            Ok(Output(Vec::new()))
        })
    });
    let run = Run { ctx, ..Run::of_test("r1", "") };
    assert!(matches!(perform(&service, run).await, Ok(Ok(_))));
    lines.messages()
}

#[tokio::test]
async fn tasks_and_threads_of_a_run_are_part_of_it() {
    let _listening = listening(RunLog::new());
    assert_eq!(talk().await, ["task", "thread", "handler", "ctx"]);
}

#[tokio::test]
async fn a_filter_that_leaves_out_the_sdk_leaves_the_run_its_log() {
    let filter = Targets::new().with_target(USER, Level::INFO);
    let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(filter).with(RunLog::new()));
    // Without spans a task is nobody's; the rest still is.
    assert_eq!(talk().await, ["thread", "handler", "ctx"]);
}

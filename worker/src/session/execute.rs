//! One attempt on the caller's runtime: the last check, the handler, the end.

use std::{collections::BTreeMap, sync::Arc};

use mainspring_proto::{
    common::v1::payload,
    worker::v1::{Dispatch, LogEntry},
};

use super::shared::Shared;
use crate::{
    clock,
    ctx::{Ctx, Facts, LogLevel, Reports, Stop},
    extract::Run,
    job_error::{fatal_failure, panic_failure},
    observe::Observed,
    perform::perform,
    reason,
    state::{Begin, End, Key, Lane},
};

/// Runs an attempt, if it still may run at this moment.
pub(super) async fn attempt(shared: Arc<Shared>, key: Key) {
    let mut ending = Ending { shared: &shared, key: &key, told: false };
    let begin = shared.apply(|machine, now| machine.begin(&key, now, clock::wall()));
    let Begin::Go(dispatch, stop) = begin else {
        ending.told = true;
        return;
    };
    shared.observe(&Observed::Start { run_id: key.run_id.to_string(), attempt: key.attempt });
    // When this is over, the handler's future is gone.
    let end = tokio::select! {
        biased;
        end = call(&shared, &key, *dispatch, stop.clone()) => end,
        () = stop.killed() => End::Dropped,
    };
    ending.tell(end);
}

async fn call(shared: &Arc<Shared>, key: &Key, mut dispatch: Dispatch, stop: Stop) -> End {
    let Some(handler) = shared.handler(&Lane::of(&dispatch.queue, &dispatch.job_type)) else {
        return End::Failed(fatal_failure(reason::HANDLER_MISSING, "the handler is gone"));
    };
    let reports = Arc::new(ToSession { shared: shared.clone(), key: key.clone() });
    let input = dispatch.input.take().unwrap_or_default();
    let (payload, unreadable) = match input.data {
        None => (Vec::new(), None),
        Some(payload::Data::Inline(bytes)) => (bytes, None),
        Some(payload::Data::Reference(_)) => (Vec::new(), Some("it is stored outside the message")),
        Some(payload::Data::Json(_)) => (Vec::new(), Some("the server sent it unencoded")),
    };
    let ctx = Ctx::new(Facts::of(&mut dispatch), stop, reports);
    let run = Run { ctx, content_type: input.content_type, payload, unreadable, states: Arc::default() };
    match perform(&handler, run).await {
        Ok(Ok(output)) => End::Returned(output.0),
        Ok(Err(error)) => error.into_failure().map_or(End::Stopped, End::Failed),
        Err(panic) => {
            let (message, trace) = panic.into_parts();
            End::Failed(panic_failure(message, trace))
        }
    }
}

/// Sees to it that the end of an attempt's task is told, even if the runtime drops it or user code panics while it is
/// being dropped.
struct Ending<'a> {
    shared: &'a Arc<Shared>,
    key: &'a Key,
    told: bool,
}

impl Ending<'_> {
    fn tell(&mut self, end: End) {
        self.told = true;
        let key = self.key;
        let outcome = self.shared.apply(|machine, now| machine.conclude(key, end, now, clock::wall()));
        // First the observers, then the server: no acknowledgement is seen before the end it is about.
        self.shared.observe(&Observed::End { run_id: key.run_id.to_string(), attempt: key.attempt, outcome });
        self.shared.keep(key);
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.tell(End::Dropped);
        }
    }
}

/// What a handler says goes to the machine.
struct ToSession {
    shared: Arc<Shared>,
    key: Key,
}

impl Reports for ToSession {
    fn log(&self, level: LogLevel, message: String, fields: BTreeMap<String, String>) {
        let entry = LogEntry { log_time: Some(clock::wall().into()), message, fields, ..LogEntry::default() };
        self.shared.apply(|machine, now| machine.log(&self.key, level, entry, now));
    }

    fn progress(&self, fraction: f64, message: String) {
        self.shared.apply(|machine, now| machine.progressed(&self.key, fraction, message, now));
    }

    fn occupy(&self) -> Box<dyn Send> {
        self.shared.apply(|machine, _| machine.thread_began(&self.key));
        Box::new(Thread { shared: self.shared.clone(), key: self.key.clone() })
    }
}

struct Thread {
    shared: Arc<Shared>,
    key: Key,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.shared.apply(|machine, now| machine.thread_ended(&self.key, now));
    }
}

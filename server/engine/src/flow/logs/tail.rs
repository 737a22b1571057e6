//! A log read to its end: first what is stored, then what comes, until the run is over and nothing more can come.
//!
//! Attempts are read one after the other, so that a reader sees every line once and in order, and can go on from any of
//! them. The log of an attempt that is over is read until as many lines are there as its result told
//! ([`awaited_until`]), whatever comes later of the attempts after it: the next attempt may well write while the last lines
//! of this one are still on their way.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    domain::{
        attempt::AttemptKey,
        event::Detail,
        ids::RunId,
        instant::Instant,
        log::{Level, Position, Stored, awaited_until},
        names::Scope,
        run::Lifecycle,
    },
    flow::{Core, events::Watch},
    ports::{
        clock::Timer,
        store::{Page, RunView, StoreResult},
    },
};

/// Lines read in one step.
const CHUNK: usize = 500;
/// A reader looks at least so often, whatever it is told.
const LOOK: Duration = Duration::from_secs(2);

/// What a reader gets next.
#[derive(Debug)]
pub enum Tailed {
    /// Lines, in order; at least one.
    Lines(Vec<Stored>),
    /// The run is over, and so is its log.
    Over(Box<RunView>),
    /// There is no such run, or no longer.
    Gone,
}

/// One reader of one run's log.
#[derive(Debug)]
pub struct Tail {
    core: Arc<Core>,
    timer: Box<dyn Timer>,
    scope: Scope,
    run: RunId,
    level: Level,
    /// The last line that was read.
    after: Option<Position>,
    /// The attempt whose lines come next.
    attempt: i64,
    /// Attempts that are over, which never change: when, and how many lines they wrote.
    over: HashMap<i64, (Instant, Option<u64>)>,
    next: Next,
}

/// What is done before looking again.
#[derive(Debug)]
enum Next {
    /// Nothing.
    Look,
    /// Waiting for news that came after the last look, but not longer than until then.
    Wait(Option<Watch>, Instant),
    /// There is nothing more to look for.
    End(Box<RunView>),
}

/// Whether an attempt may still write.
enum Standing {
    /// It may.
    Open,
    /// It is over, and its last lines are waited for until then.
    Awaited(Instant),
    /// Every line that will ever come is there.
    Complete,
}

impl Tail {
    pub(crate) fn new(core: &Arc<Core>, scope: Scope, run: RunId, after: Option<Position>, level: Level) -> Self {
        let timer = core.clock.timer("tail");
        let attempt = after.map_or(1, |after| after.attempt);
        let over = HashMap::new();
        Self { core: core.clone(), timer, scope, run, level, after, attempt, over, next: Next::Look }
    }

    /// What comes next; waits for it.
    pub async fn next(&mut self) -> StoreResult<Tailed> {
        loop {
            match std::mem::replace(&mut self.next, Next::Look) {
                Next::Look => {}
                Next::Wait(watch, until) => self.wait(watch, until).await,
                Next::End(run) => return Ok(Tailed::Over(run)),
            }
            // Registered before looking, so that nothing comes in between unseen.
            let watch = self.core.news.ring().watch(None).ok();
            let Some(run) = self.core.store.run(&self.scope, self.run).await? else { return Ok(Tailed::Gone) };
            // Before reading: what was complete then is read whole.
            let standing = self.standing(&run.life).await?;
            let lines = self.read().await?;
            self.next = if lines.len() == CHUNK { Next::Look } else { self.after_all(standing, run, watch) };
            if !lines.is_empty() {
                return Ok(Tailed::Lines(lines));
            }
        }
    }

    /// Reads on.
    async fn read(&mut self) -> StoreResult<Vec<Stored>> {
        let attempt = Some(self.attempt);
        let lines = self.core.store.read(&self.scope, self.run, attempt, self.after, self.level, CHUNK).await?;
        self.after = lines.last().map(Stored::position).or(self.after);
        Ok(lines)
    }

    /// What to do once every stored line of the attempt was read.
    fn after_all(&mut self, standing: Standing, run: RunView, watch: Option<Watch>) -> Next {
        let soon = self.core.now().plus(LOOK);
        match standing {
            Standing::Awaited(until) => Next::Wait(watch, until.min(soon)),
            Standing::Complete if self.attempt < run.life.attempt => {
                self.attempt += 1;
                Next::Look
            }
            Standing::Complete if run.life.state.is_terminal() => Next::End(Box::new(run)),
            // It runs, or nothing does between two attempts.
            Standing::Open | Standing::Complete => Next::Wait(watch, soon),
        }
    }

    /// Whether the attempt that is read may still write.
    async fn standing(&mut self, run: &Lifecycle) -> StoreResult<Standing> {
        let begun = self.attempt <= run.attempt;
        if begun && run.open == Some(self.attempt) {
            return Ok(Standing::Open);
        }
        let end = if begun { self.end_of_attempt().await? } else { None };
        let Some((end, lines)) = end else {
            // It was not given out yet, and may never be.
            return Ok(if run.state.is_terminal() { Standing::Complete } else { Standing::Open });
        };
        let key = AttemptKey { run: self.run, attempt: self.attempt };
        let reach = self.core.store.reach(&self.scope, key).await?;
        let until = awaited_until(end, lines, reach, self.core.rules.lease_ttl);
        Ok(match until.filter(|until| *until > self.core.now()) {
            Some(until) => Standing::Awaited(until),
            None => Standing::Complete,
        })
    }

    /// When the attempt was over, and how many lines it wrote.
    async fn end_of_attempt(&mut self) -> StoreResult<Option<(Instant, Option<u64>)>> {
        if !self.over.contains_key(&self.attempt) {
            let found = self.core.store.attempts(&self.scope, self.run, Page::of_attempt(self.attempt)).await?;
            let view = found.into_iter().flat_map(|found| found.entries).find(|view| view.attempt == self.attempt);
            let Some(end_time) = view.as_ref().and_then(|view| view.end_time) else { return Ok(None) };
            self.over.insert(self.attempt, (end_time, view.and_then(|view| view.log_lines)));
        }
        Ok(self.over.get(&self.attempt).copied())
    }

    async fn wait(&mut self, mut watch: Option<Watch>, until: Instant) {
        tokio::select! {
            () = news_of(&mut watch, self.run) => {}
            () = self.timer.sleep_until(until) => {}
        }
    }
}

/// Returns once there may be something new of a run.
async fn news_of(news: &mut Option<Watch>, run: RunId) {
    let Some(watch) = news else { return std::future::pending().await };
    loop {
        match watch.next().await {
            Ok((_, event)) => match &event.detail {
                Detail::Logs { run: of } if *of == run => return,
                Detail::Run { run: of, .. } if *of == run => return,
                Detail::Logs { .. }
                | Detail::Run { .. }
                | Detail::Progress { .. }
                | Detail::Job { .. }
                | Detail::Schedule { .. }
                | Detail::Retimed { .. }
                | Detail::Sink { .. }
                | Detail::Clock { .. }
                | Detail::Worker { .. }
                | Detail::NeverFires { .. }
                | Detail::Queue { .. } => {}
            },
            // Too much happened to follow: look.
            Err(_) => return,
        }
    }
}

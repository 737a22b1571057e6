//! Outcome: attempts and runs end. Fifth stage of the way of a run.
//!
//! Results and all steps that are not on the hot path go through two batchers to the store, which applies them by the
//! transition table. A report is answered only after its commit; a worker keeps it until then.

use std::{sync::Arc, time::Duration};

use super::{Core, batch::Batcher, events::Watch};
use crate::{
    domain::{
        event::Detail,
        ids::RunId,
        names::Scope,
        run::RunState,
        transition::{Event, Refusal},
    },
    ports::store::{Applied, Apply, Moved, Report, ReportAnswer, RunView, StoreResult},
};

/// Callers that may wait for a commit at once; further ones wait to wait.
const WAITING: usize = 16_384;

/// Ends attempts and runs, in groups.
#[derive(Clone, Debug)]
pub struct Settler {
    reports: Batcher<Report, ReportAnswer>,
    steps: Batcher<Apply, Applied>,
}

impl Settler {
    pub(crate) fn start(core: &Arc<Core>) -> Self {
        let report = |core: Arc<Core>, reports: Vec<Report>| async move {
            let now = core.now();
            let began: Vec<_> = reports.iter().map(|report| report.start_time).collect();
            let answers = core.store.report(now, reports).await?;
            for (began, answer) in began.into_iter().zip(&answers) {
                if let (Some(began), ReportAnswer::Applied(moved)) = (began, answer) {
                    core.meter.reported(&moved.lane, now.since(began));
                }
            }
            core.news.moved(
                now,
                answers.iter().filter_map(|answer| match answer {
                    ReportAnswer::Applied(moved) => Some(&**moved),
                    ReportAnswer::Duplicate | ReportAnswer::Fenced => None,
                }),
            );
            Ok(answers)
        };
        let apply = |core: Arc<Core>, steps| async move {
            let now = core.now();
            let answers = core.store.apply(now, steps).await?;
            core.news.moved(now, answers.iter().filter_map(changed));
            Ok(answers)
        };
        Self {
            reports: Batcher::of(core, "report", WAITING, report),
            steps: Batcher::of(core, "apply", WAITING, apply),
        }
    }

    /// Applies one result.
    pub(crate) async fn report(&self, report: Report) -> StoreResult<ReportAnswer> {
        self.reports.one(report).await
    }

    /// Results, for callers that repeat what the store could not take.
    pub(crate) fn reports(&self) -> &Batcher<Report, ReportAnswer> {
        &self.reports
    }

    /// Events, for callers that repeat what the store could not take.
    pub(crate) fn steps(&self) -> &Batcher<Apply, Applied> {
        &self.steps
    }

    pub(crate) async fn cancel_many(
        &self,
        scope: &Scope,
        runs: &[RunId],
        reason: &str,
    ) -> StoreResult<Vec<Option<RunState>>> {
        let steps = runs.iter().map(|run| {
            let event = Event::Cancel { reason: reason.to_owned(), grace: None };
            Apply { run: *run, event, owner: None, scope: Some(scope.clone()) }
        });
        let answers = self.steps.many(steps.collect()).await?;
        Ok(answers.iter().map(|answer| changed(answer).map(|moved| moved.to)).collect())
    }

    pub(crate) async fn cancel(&self, scope: &Scope, run: RunId, reason: String) -> StoreResult<bool> {
        let step = Apply { run, event: Event::Cancel { reason, grace: None }, owner: None, scope: Some(scope.clone()) };
        Ok(match self.steps.one(step).await? {
            Applied::Changed(_) | Applied::Refused(Refusal::Over | Refusal::Stale | Refusal::Early) => true,
            Applied::OwnerGone | Applied::Missing => false,
        })
    }
}

fn changed(answer: &Applied) -> Option<&Moved> {
    match answer {
        Applied::Changed(moved) => Some(moved),
        Applied::Refused(_) | Applied::OwnerGone | Applied::Missing => None,
    }
}

/// Returns once the run is over, or `timeout` has passed. Only the last look reads more than where the run stands.
pub(crate) async fn wait(core: &Core, scope: &Scope, run: RunId, timeout: Duration) -> StoreResult<Option<RunView>> {
    let until = core.now().plus(timeout);
    let mut timer = core.clock.timer("wait");
    loop {
        // Registered before looking, so that no end comes in between unseen.
        let mut watch = core.news.ring().watch(None).ok();
        let life = core.store.lifecycle(scope, run).await?;
        let now = core.now();
        match life {
            Some(life) if !life.state.is_terminal() && now < until && !core.tasks.is_stopping() => {}
            Some(_) => return core.store.run(scope, run).await,
            None => return Ok(None),
        }
        tokio::select! {
            () = ended(&mut watch, run) => {}
            () = timer.sleep_until(until.min(now.plus(core.look))) => {}
            () = core.tasks.stopping() => {}
        }
    }
}

/// Returns when the ring tells of the run's end, or can tell no more.
async fn ended(watch: &mut Option<Watch>, wanted: RunId) {
    let Some(watch) = watch else { return std::future::pending().await };
    while let Ok((_, event)) = watch.next().await {
        if let Detail::Run { run, state, .. } = &event.detail
            && *run == wanted
            && state.is_terminal()
        {
            return;
        }
    }
}

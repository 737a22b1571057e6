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
        let stage = core.clone();
        let report = move |reports| {
            let core = stage.clone();
            Box::pin(async move {
                let now = core.now();
                let answers = core.store.report(now, reports).await?;
                core.news.moved(
                    now,
                    answers.iter().filter_map(|answer| match answer {
                        ReportAnswer::Applied(moved) => Some(&**moved),
                        ReportAnswer::Duplicate | ReportAnswer::Fenced => None,
                    }),
                );
                Ok(answers)
            }) as _
        };
        let stage = core.clone();
        let apply = move |steps| {
            let core = stage.clone();
            Box::pin(async move {
                let now = core.now();
                let answers = core.store.apply(now, steps).await?;
                core.news.moved(now, answers.iter().filter_map(changed));
                Ok(answers)
            }) as _
        };
        Self {
            reports: Batcher::start(&core.tasks, "report", WAITING, Box::new(report)),
            steps: Batcher::start(&core.tasks, "apply", WAITING, Box::new(apply)),
        }
    }

    /// Applies one result.
    pub(crate) async fn report(&self, report: Report) -> StoreResult<ReportAnswer> {
        self.reports.one(report).await
    }

    /// Applies results, one answer each, in order.
    pub(crate) async fn report_many(&self, reports: Vec<Report>) -> StoreResult<Vec<ReportAnswer>> {
        self.reports.many(reports).await
    }

    /// Applies events, one answer each, in order.
    pub(crate) async fn apply(&self, steps: Vec<Apply>) -> StoreResult<Vec<Applied>> {
        self.steps.many(steps).await
    }

    pub(crate) async fn cancel(&self, scope: &Scope, run: RunId, reason: String) -> StoreResult<bool> {
        let step = Apply { run, event: Event::Cancel { reason }, owner: None, scope: Some(scope.clone()) };
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

/// Returns once the run is over, or `timeout` has passed.
pub(crate) async fn wait(core: &Core, scope: &Scope, run: RunId, timeout: Duration) -> StoreResult<Option<RunView>> {
    let until = core.now().plus(timeout);
    let mut timer = core.clock.timer("wait");
    loop {
        // Registered before looking, so that no end comes in between unseen.
        let mut watch = core.news.ring().watch(None).ok();
        let view = core.store.run(scope, run).await?;
        let now = core.now();
        match &view {
            Some(found) if !found.life.state.is_terminal() && now < until && !core.tasks.is_stopping() => {}
            _ => return Ok(view),
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

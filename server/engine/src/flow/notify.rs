//! Notify: what sinks are to be told is sent, until it has arrived. Beside the way of a run, after whatever went wrong.
//!
//! Deliveries are rows, made by the steps that they are about; this stage only sends what is due and notes what came of it.
//! A few of each sink are under way at a time, each in a task of its own, so that a receiver that hangs holds up nobody but
//! itself. Nothing is noted before it was sent: where a server dies in between, the next one sends again, under the same id.
//! So may two servers; the receiver drops what it has had.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;

use super::Core;
use crate::{
    domain::{
        delivery::{Outcome, Outgoing, Verdict},
        event::SinkChange,
        ids::{NoticeId, SinkUid},
        instant::Instant,
        names::Scope,
    },
    ports::{
        courier::Letter,
        store::{Noted, StoreResult},
    },
};

/// Deliveries of one sink that are under way at a time.
const AT_A_TIME: usize = 4;
/// A receiver that has not answered by then has not had it.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// After the store failed.
const PAUSE: Duration = Duration::from_millis(250);

/// A delivery and what came of it.
#[derive(Debug)]
struct Ended {
    of: Outgoing,
    outcome: Outcome,
}

/// What is under way.
#[derive(Debug, Default)]
struct Flying {
    sinks: HashMap<SinkUid, HashSet<NoticeId>>,
}

impl Flying {
    /// Takes one along, unless it is under way already or enough of its sink are.
    fn take(&mut self, of: &Outgoing) -> bool {
        let there = self.sinks.entry(of.sink).or_default();
        there.len() < AT_A_TIME && there.insert(of.id)
    }

    fn land(&mut self, noted: &Noted) {
        if let Some(there) = self.sinks.get_mut(&noted.sink) {
            there.remove(&noted.id);
            if there.is_empty() {
                self.sinks.remove(&noted.sink);
            }
        }
    }
}

pub(crate) fn start(core: &Arc<Core>) {
    let core = core.clone();
    core.tasks.clone().spawn("notify", async move {
        let mut timer = core.clock.timer("notify");
        let (done, mut ends) = mpsc::unbounded_channel();
        let mut flying = Flying::default();
        let mut ended = Vec::new();
        while !core.tasks.is_stopping() {
            let until = match turn(&core, &mut flying, &mut ended, &done).await {
                Ok(until) => until,
                Err(error) => {
                    put_off!(error, "sinks cannot be told for now");
                    core.now().plus(PAUSE)
                }
            };
            tokio::select! {
                () = timer.sleep_until(until) => {}
                () = core.news.deliveries.notified() => {}
                Some(end) = ends.recv() => ended.push(end),
                () = core.tasks.stopping() => return,
            }
            while let Ok(end) = ends.try_recv() {
                ended.push(end);
            }
        }
    });
}

/// Notes what came back, and sends what is due; when to look again.
async fn turn(
    core: &Arc<Core>,
    flying: &mut Flying,
    ended: &mut Vec<Ended>,
    done: &mpsc::UnboundedSender<Ended>,
) -> StoreResult<Instant> {
    if !ended.is_empty() {
        note(core, flying, ended).await?;
    }
    let now = core.now();
    for of in core.store.due_deliveries(now, AT_A_TIME).await? {
        if flying.take(&of) {
            fly(core, of, done.clone());
        }
    }
    let look = now.plus(core.look);
    Ok(core.store.next_delivery(now).await?.map_or(look, |next| next.min(look)))
}

/// One attempt, in a task of its own.
fn fly(core: &Arc<Core>, of: Outgoing, done: mpsc::UnboundedSender<Ended>) {
    let core = core.clone();
    core.tasks.clone().spawn("deliver", async move {
        let letter = Letter {
            url: of.url.clone(),
            secret: of.secret.clone(),
            id: of.id,
            time: core.now(),
            body: of.body.clone(),
        };
        let outcome = tokio::select! {
            outcome = attempt(&core, letter) => outcome,
            () = core.tasks.stopping() => return,
        };
        // Nobody is left to note it where this fails; then it is sent again.
        let _ = done.send(Ended { of, outcome });
    });
}

/// Sends a letter, and waits no longer for an answer than anybody should.
pub(super) async fn attempt(core: &Core, letter: Letter) -> Outcome {
    let mut timer = core.clock.timer("deliver");
    tokio::select! {
        outcome = core.courier.send(letter) => outcome,
        () = timer.sleep_until(core.now().plus(TIMEOUT)) => {
            Outcome::Unanswered(format!("the receiver did not answer within {} s", TIMEOUT.as_secs()))
        }
    }
}

async fn note(core: &Core, flying: &mut Flying, ended: &mut Vec<Ended>) -> StoreResult<()> {
    let now = core.now();
    let judged = |Ended { of, outcome }: &Ended| {
        let attempts = of.attempts.saturating_add(1);
        let verdict = outcome.judge(of.id, attempts, now);
        Noted { sink: of.sink, id: of.id, attempts: of.attempts, outcome: outcome.clone(), verdict }
    };
    let noted: Vec<_> = ended.iter().map(judged).collect();
    // Where this fails they are noted the next time; until then they count as under way.
    let disabled = core.store.note_deliveries(now, noted.clone()).await?;
    for (Ended { of, outcome }, noted) in ended.drain(..).zip(&noted) {
        flying.land(noted);
        let (sink, scope, error) = (&of.name, Scope(of.namespace.clone()), outcome.error());
        let gone = disabled.iter().any(|(namespace, name)| (namespace, name) == (&of.namespace, &of.name));
        let change = match noted.verdict {
            Verdict::Delivered | Verdict::Again(_) => continue,
            Verdict::Gone if gone => SinkChange::Disabled,
            Verdict::Failed | Verdict::Gone => SinkChange::DeliveryFailed,
        };
        tracing::warn!(sink = %sink, delivery = %of.id, error, "a sink could not be told");
        core.news.sink(now, &scope, sink, change, (of.id, of.attempts.saturating_add(1), error));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{names::NamespaceName, sink::Sealed};

    fn outgoing(sink: SinkUid, id: NoticeId) -> Outgoing {
        Outgoing {
            sink,
            namespace: NamespaceName::default(),
            name: "ops".parse().unwrap(),
            url: String::new(),
            secret: Sealed(Vec::new()),
            id,
            attempts: 0,
            body: String::new(),
        }
    }

    #[test]
    fn a_few_of_each_sink_are_under_way_and_each_once() {
        let now = Instant::EPOCH;
        let (one, other) = (SinkUid::new(now), SinkUid::new(now));
        let mut flying = Flying::default();
        let first = outgoing(one, NoticeId::new(now));
        assert!(flying.take(&first) && !flying.take(&first));
        let more = (0..AT_A_TIME).filter(|_| flying.take(&outgoing(one, NoticeId::new(now)))).count();
        assert_eq!(more, AT_A_TIME - 1, "others of a sink that hangs wait");
        assert!(flying.take(&outgoing(other, NoticeId::new(now))), "other sinks do not");
        let outcome = Outcome::Unanswered(String::new());
        flying.land(&Noted { sink: one, id: first.id, attempts: 0, outcome, verdict: Verdict::Failed });
        assert!(flying.take(&first));
    }
}

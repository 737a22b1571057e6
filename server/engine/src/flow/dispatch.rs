//! Dispatch: queued runs are released to the broker, best first. Third stage of the way of a run.
//!
//! Only as many as connected workers can take soon, about twice their free slots: a backlog of a million stays in the
//! database, in order, and the broker stays shallow. What is released is memory of this stage ([`Board`]), not a column:
//! after a restart, or when a pointer was not leased for a while, it is simply released again, and the lease's guard drops
//! the double. A type that nobody handles is in no lane with demand, so it blocks nothing and costs nothing.
//!
//! A run that was queued by this server comes with its pointer; where nobody waits in front of it, it is released without
//! reading the store. Where many wait, more is read than is wanted, and what was read is believed for a moment
//! ([`Ahead`]): a better run that comes meanwhile is behind it for so long.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Core, stream::Hub};
use crate::{
    domain::{ids::RunId, instant::Instant, names::Lane},
    ports::{
        broker::{Broker, Pointer, PointerBatch},
        store::{Queued, StoreResult},
    },
};

/// A pointer that was not leased for so long is released again.
const FORGET: Duration = Duration::from_secs(30);
/// After the store or the broker failed.
const PAUSE: Duration = Duration::from_millis(250);
/// A run is held off at most so long, whatever a worker wishes: what it cannot take, another may.
const HOLD_OFF: Duration = Duration::from_secs(60);
/// Pointers of one lane that are remembered before the store is read instead.
const REMEMBER: usize = 4_096;
/// Pointers that travel together.
const MESSAGE: usize = 256;
/// What was read ahead is believed for so long.
const BELIEVE: Duration = Duration::from_millis(20);
/// Pointers of one lane that are read ahead, at least and at most.
const AHEAD: (usize, usize) = (16, 1_024);

/// What the dispatcher knows of queued and released runs.
#[derive(Debug, Default)]
pub(crate) struct Board {
    lanes: Mutex<HashMap<Lane, LaneBoard>>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct LaneBoard {
    /// Queued by this server since the lane was last looked at.
    offered: VecDeque<Pointer>,
    /// Read beyond what was wanted.
    ahead: Ahead,
    /// Released and neither leased nor stale so far, with the time of release.
    out: HashMap<RunId, (i64, Instant)>,
    /// Nobody waits in the store beside what is offered or out.
    clear: bool,
    /// When the store was last read.
    looked: Option<Instant>,
    /// Counts what made a reading of the store old, so that a reading under way is not believed too much.
    stale: u64,
    /// Its queue is paused; not looked at before.
    blocked: Option<Instant>,
    /// Handed back with the wish not to be offered again before this; with the pointer, once the run waits again.
    held_off: HashMap<RunId, (Instant, Option<Pointer>)>,
}

/// Pointers that wait in the store behind those that are out, best first, as they were a moment ago. How many are read
/// follows how fast they are wanted.
#[derive(Debug)]
struct Ahead {
    pointers: VecDeque<Pointer>,
    until: Instant,
    size: usize,
}

impl Default for Ahead {
    fn default() -> Self {
        Self { pointers: VecDeque::new(), until: Instant::EPOCH, size: AHEAD.0 }
    }
}

impl Ahead {
    fn take(&mut self, wanted: usize, now: Instant) -> Vec<Pointer> {
        if self.pointers.is_empty() {
            return Vec::new();
        }
        if self.until <= now {
            self.pointers.clear();
            self.size = (self.size / 2).max(AHEAD.0);
            return Vec::new();
        }
        if self.pointers.len() <= wanted {
            self.size = (self.size * 2).min(AHEAD.1);
        }
        self.pointers.drain(..wanted.min(self.pointers.len())).collect()
    }

    fn put(&mut self, pointers: impl IntoIterator<Item = Pointer>, now: Instant) {
        self.pointers = pointers.into_iter().collect();
        self.until = now.plus(BELIEVE);
    }
}

impl Board {
    /// A run was queued by this server.
    pub(crate) fn offer(&self, lane: &Lane, pointer: Pointer) {
        let mut lanes = self.lanes.lock();
        if !lanes.contains_key(lane) {
            lanes.insert(lane.clone(), LaneBoard::default());
        }
        if let Some(board) = lanes.get_mut(lane) {
            // A run that was out and came back is released again under its new stay in the queue.
            board.out.remove(&pointer.run);
            if !board.park(pointer) {
                board.put(pointer);
            }
        }
        drop(lanes);
        self.wake.notify_one();
    }

    /// Another server queued runs of this lane.
    pub(crate) fn look_at(&self, lane: &Lane) {
        if let Some(board) = self.lanes.lock().get_mut(lane) {
            board.look();
        }
        self.wake.notify_one();
    }

    /// Anything may have been queued, or may no longer be released.
    pub(crate) fn look_everywhere(&self) {
        for board in self.lanes.lock().values_mut() {
            board.ahead.pointers.clear();
            board.look();
        }
        self.wake.notify_one();
    }

    /// Pointers were dealt with: leased, or stale.
    pub(crate) fn done<'a>(&self, lane: &Lane, runs: impl IntoIterator<Item = &'a Pointer>) {
        if let Some(board) = self.lanes.lock().get_mut(lane) {
            for pointer in runs {
                if board.out.get(&pointer.run).is_some_and(|(generation, _)| *generation == pointer.generation) {
                    board.out.remove(&pointer.run);
                }
            }
        }
        self.wake.notify_one();
    }

    /// Pointers found no room in their queue: they wait in the store again.
    pub(crate) fn no_room(&self, lane: &Lane, runs: &[Pointer]) {
        if let Some(board) = self.lanes.lock().get_mut(lane) {
            board.forget(runs);
            board.ahead.pointers.clear();
            board.clear = false;
        }
    }

    /// A worker wishes that a run is not offered again for so long.
    pub(crate) fn hold_off(&self, lane: &Lane, run: RunId, now: Instant, delay: Duration) {
        let until = now.plus(delay.min(HOLD_OFF));
        let mut lanes = self.lanes.lock();
        let board = lanes.entry(lane.clone()).or_default();
        board.ahead.pointers.retain(|pointer| pointer.run != run);
        board.held_off.insert(run, (until, None));
    }

    /// Nobody serves a lane any more: what was released for it may be lost.
    pub(crate) fn forget_lane(&self, lane: &Lane) {
        self.lanes.lock().remove(lane);
    }

    /// Slots may have become free.
    pub(crate) fn demand_changed(&self) {
        self.wake.notify_one();
    }

    /// What may be released at once, and how many rows must be read to know the rest. A lane with demand is read every
    /// `look` at least, whatever was told.
    fn plan(&self, lane: &Lane, free: usize, now: Instant, look: Duration) -> Plan {
        let mut lanes = self.lanes.lock();
        let board = lanes.entry(lane.clone()).or_default();
        board.out.retain(|_, (_, released)| now.since(*released) < FORGET);
        board.offer_again(now);
        let wanted = (free * 2).saturating_sub(board.out.len());
        let looked = board.looked;
        let due_after = |length| looked.is_none_or(|looked| now.since(looked) >= length);
        if wanted == 0 || board.blocked.is_some_and(|until| until > now) {
            return Plan::Nothing;
        }
        if board.clear && !due_after(look * 2) {
            let taken: Vec<_> = board.offered.drain(..wanted.min(board.offered.len())).collect();
            board.release(&taken, now);
            // What was offered does not wait for a look that has become due: the look comes next, if nothing is offered.
            if !taken.is_empty() {
                if due_after(look) {
                    self.wake.notify_one();
                }
                return Plan::Release(taken);
            }
            if !due_after(look) {
                return Plan::Nothing;
            }
        }
        let taken = board.ahead.take(wanted, now);
        if !taken.is_empty() {
            board.release(&taken, now);
            return Plan::Release(taken);
        }
        let ahead = board.ahead.size;
        let limit = wanted + board.out.len() + board.held_off.len() + ahead + 1;
        Plan::Read(Reading { lane: lane.clone(), limit, wanted, ahead, stale: board.stale })
    }

    /// The queue of a lane is paused.
    fn block(&self, lane: &Lane, until: Instant) {
        if let Some(board) = self.lanes.lock().get_mut(lane) {
            board.blocked = Some(until);
        }
    }

    /// What the store answered to a [`Plan::Read`].
    fn take(&self, reading: &Reading, read: Vec<Pointer>, now: Instant) -> Vec<Pointer> {
        let Reading { lane, limit, wanted, ahead, stale } = reading;
        let mut lanes = self.lanes.lock();
        let board = lanes.entry(lane.clone()).or_default();
        let whole = read.len() < *limit && board.stale == *stale;
        let mut waiting: Vec<_> = read
            .into_iter()
            .filter(|pointer| board.out.get(&pointer.run).is_none_or(|(known, _)| *known != pointer.generation))
            .collect();
        waiting.retain(|pointer| !board.park(*pointer));
        board.clear = whole && waiting.len() <= *wanted;
        board.looked = (board.stale == *stale).then_some(now);
        // What was offered meanwhile is either among the rows or newer than they are.
        if board.clear {
            let known: Vec<_> = waiting.iter().map(|pointer| pointer.run).collect();
            let out = &board.out;
            board.offered.retain(|pointer| !known.contains(&pointer.run) && !out.contains_key(&pointer.run));
        } else {
            board.offered.clear();
        }
        let behind = waiting.split_off(waiting.len().min(*wanted));
        board.ahead.put(behind.into_iter().take(*ahead), now);
        board.release(&waiting, now);
        waiting
    }

    /// The broker did not take them.
    fn take_back(&self, batches: &[PointerBatch]) {
        let mut lanes = self.lanes.lock();
        for batch in batches {
            if let Some(board) = lanes.get_mut(&batch.lane) {
                board.forget(&batch.pointers);
                board.ahead.pointers.clear();
                board.clear = false;
            }
        }
    }

    /// Lanes nobody has demand for are not remembered.
    fn keep_only(&self, lanes: &HashMap<Lane, usize>) {
        self.lanes.lock().retain(|lane, _| lanes.contains_key(lane));
    }
}

impl LaneBoard {
    /// A run waits that is held off: it is offered when its time has come. `false` where it is not held off.
    fn park(&mut self, pointer: Pointer) -> bool {
        match self.held_off.get_mut(&pointer.run) {
            Some((_, parked)) => {
                *parked = Some(pointer);
                true
            }
            None => false,
        }
    }

    /// Offers what is held off no longer.
    fn offer_again(&mut self, now: Instant) {
        let mut ready: Vec<_> = self.held_off.extract_if(|_, (until, _)| *until <= now).collect();
        ready.sort_unstable_by_key(|(run, (until, _))| (*until, *run));
        for pointer in ready.into_iter().filter_map(|(_, (_, parked))| parked) {
            self.put(pointer);
        }
    }

    /// A run waits. It goes without a look at the store where nobody waits in front of it.
    fn put(&mut self, pointer: Pointer) {
        if self.clear && self.offered.len() < REMEMBER {
            self.offered.push_back(pointer);
        } else {
            self.look();
        }
    }

    fn look(&mut self) {
        self.clear = false;
        self.offered.clear();
        self.looked = None;
        self.blocked = None;
        self.stale += 1;
    }

    fn forget(&mut self, pointers: &[Pointer]) {
        for pointer in pointers {
            self.out.remove(&pointer.run);
        }
    }

    fn release(&mut self, pointers: &[Pointer], now: Instant) {
        self.out.extend(pointers.iter().map(|pointer| (pointer.run, (pointer.generation, now))));
    }
}

enum Plan {
    Nothing,
    Release(Vec<Pointer>),
    Read(Reading),
}

/// A look at the store.
struct Reading {
    lane: Lane,
    limit: usize,
    wanted: usize,
    /// What may be believed beyond that.
    ahead: usize,
    stale: u64,
}

pub(crate) fn start(core: &Arc<Core>, broker: Arc<dyn Broker>, hub: Hub) {
    let core = core.clone();
    core.tasks.clone().spawn("dispatch", async move {
        let mut timer = core.clock.timer("dispatch");
        while !core.tasks.is_stopping() {
            let until = match turn(&core, &*broker, &hub).await {
                Ok(()) => core.now().plus(core.look),
                Err(error) => {
                    put_off!(error, "queued runs cannot be released for now");
                    core.now().plus(PAUSE)
                }
            };
            tokio::select! {
                () = timer.sleep_until(until) => {}
                () = core.news.board.wake.notified() => {}
                () = core.tasks.stopping() => {}
            }
        }
    });
}

/// One look at every lane with demand.
async fn turn(core: &Core, broker: &dyn Broker, hub: &Hub) -> StoreResult<()> {
    let now = core.now();
    let board = &core.news.board;
    let mut demand = hub.demand();
    board.keep_only(&demand);
    demand.retain(|_, free| *free > 0);
    if demand.is_empty() {
        return Ok(());
    }
    let mut batches = Vec::new();
    let mut reads = Vec::new();
    for (lane, free) in &demand {
        match board.plan(lane, *free, now, core.look) {
            Plan::Nothing => {}
            Plan::Release(pointers) => batches.push((lane.clone(), pointers)),
            Plan::Read(reading) => reads.push(reading),
        }
    }
    // What needs no look goes first: it neither waits for the store nor is lost with it.
    publish(board, broker, std::mem::take(&mut batches)).await;
    if !reads.is_empty() {
        let restricted = core.store.restricted_queues().await?;
        reads.retain_mut(|reading| narrow(board, &restricted, reading, now.plus(core.look)));
        let asked: Vec<_> = reads.iter().map(|reading| (reading.lane.clone(), reading.limit)).collect();
        let answers = core.store.queued(&asked).await?;
        for (reading, answer) in reads.into_iter().zip(answers) {
            let pointers = board.take(&reading, answer, now);
            batches.push((reading.lane, pointers));
        }
    }
    publish(board, broker, batches).await;
    Ok(())
}

/// Narrows a look by what its queue allows; `false` where it allows nothing until `again`.
fn narrow(board: &Board, restricted: &[Queued], reading: &mut Reading, again: Instant) -> bool {
    let of_lane = |queue: &&Queued| queue.scope.0 == reading.lane.namespace && queue.queue == reading.lane.queue;
    match restricted.iter().find(of_lane) {
        Some(Queued { paused: true, .. }) => {
            board.block(&reading.lane, again);
            false
        }
        Some(Queued { room: Some(room), .. }) => {
            // Pointers that are out will want room as well; the lease decides, this only spares it the work.
            reading.wanted = reading.wanted.min(usize::try_from(*room).unwrap_or(usize::MAX));
            reading.ahead = 0;
            reading.wanted > 0
        }
        Some(Queued { room: None, .. }) | None => true,
    }
}

async fn publish(board: &Board, broker: &dyn Broker, released: Vec<(Lane, Vec<Pointer>)>) {
    let batches: Vec<_> = released
        .iter()
        .flat_map(|(lane, pointers)| {
            pointers.chunks(MESSAGE).map(|part| PointerBatch { lane: lane.clone(), pointers: part.to_vec() })
        })
        .collect();
    if batches.is_empty() {
        return;
    }
    let copy = batches.clone();
    match broker.publish(batches).await {
        Ok(refused) => board.take_back(&refused),
        Err(error) => {
            tracing::warn!(%error, "pointers could not be published");
            board.take_back(&copy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_secs(1);

    fn lane() -> Lane {
        Lane { namespace: Default::default(), queue: Default::default(), job_type: "t".parse().unwrap() }
    }

    fn pointers(count: usize) -> Vec<Pointer> {
        (0..count).map(|_| Pointer { run: RunId::new(Instant::EPOCH), generation: 1 }).collect()
    }

    /// What is read of so many that wait, and how many of them are released.
    fn read(board: &Board, free: usize, waiting: &[Pointer], now: Instant) -> usize {
        let Plan::Read(reading) = board.plan(&lane(), free, now, LOOK) else { panic!("not read") };
        let rows = waiting.iter().copied().take(reading.limit).collect();
        board.take(&reading, rows, now).len()
    }

    fn released(board: &Board, free: usize, now: Instant) -> Vec<Pointer> {
        match board.plan(&lane(), free, now, LOOK) {
            Plan::Release(pointers) => pointers,
            Plan::Nothing | Plan::Read(_) => Vec::new(),
        }
    }

    #[test]
    fn what_was_read_ahead_is_released_without_another_look_for_a_moment() {
        let (board, waiting, mut now) = (Board::default(), pointers(100), Instant::EPOCH);
        assert_eq!(read(&board, 5, &waiting, now), 10);
        board.done(&lane(), &waiting[..10]);
        // A run that comes meanwhile does not cost a look.
        board.offer(&lane(), pointers(1)[0]);
        assert_eq!(released(&board, 1, now), waiting[10..12]);
        now = now.plus(BELIEVE);
        assert_eq!(released(&board, 5, now), []);
        assert_eq!(read(&board, 5, &waiting[12..], now), 8);
    }

    #[test]
    fn what_may_not_be_released_is_not_taken_from_what_was_read() {
        let waiting = pointers(100);
        let changes: [fn(&Board, &[Pointer]); 4] = [
            |board, _| board.look_everywhere(),
            |board, waiting| board.no_room(&lane(), &waiting[..1]),
            |board, waiting| board.take_back(&[PointerBatch { lane: lane(), pointers: waiting[..1].to_vec() }]),
            |board, _| board.forget_lane(&lane()),
        ];
        for change in changes {
            let board = Board::default();
            assert_eq!(read(&board, 5, &waiting, Instant::EPOCH), 10);
            board.done(&lane(), &waiting[..10]);
            change(&board, &waiting);
            assert_eq!(released(&board, 5, Instant::EPOCH), []);
        }
        let board = Board::default();
        assert_eq!(read(&board, 5, &waiting, Instant::EPOCH), 10);
        board.done(&lane(), &waiting[..10]);
        board.hold_off(&lane(), waiting[10].run, Instant::EPOCH, LOOK);
        assert_eq!(released(&board, 1, Instant::EPOCH), waiting[11..13]);
    }

    #[test]
    fn what_is_offered_waits_for_a_look_only_where_none_was_had_for_long() {
        let (board, mut now) = (Board::default(), Instant::EPOCH);
        assert_eq!(read(&board, 5, &[], now), 0);
        now = now.plus(LOOK);
        let offered = pointers(2);
        board.offer(&lane(), offered[0]);
        assert_eq!(released(&board, 5, now), offered[..1]);
        assert!(matches!(board.plan(&lane(), 5, now, LOOK), Plan::Read(_)));
        board.offer(&lane(), offered[1]);
        assert!(matches!(board.plan(&lane(), 5, now.plus(LOOK), LOOK), Plan::Read(_)));
    }

    #[test]
    fn more_is_read_ahead_the_faster_it_is_wanted() {
        let mut ahead = Ahead::default();
        for wanted in [16, 32, 64] {
            ahead.put(pointers(ahead.size), Instant::EPOCH);
            assert_eq!(ahead.take(1_000, Instant::EPOCH).len(), wanted);
        }
        ahead.put(pointers(ahead.size), Instant::EPOCH);
        assert_eq!(ahead.take(1, Instant::EPOCH.plus(BELIEVE)), []);
        assert_eq!(ahead.size, 64);
    }
}

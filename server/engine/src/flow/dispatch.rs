//! Dispatch: queued runs are released to the broker, best first. Third stage of the way of a run.
//!
//! Only as many as connected workers can take soon, about twice their free slots: a backlog of a million stays in the
//! database, in order, and the broker stays shallow. What is released is memory of this stage ([`Board`]), not a column:
//! after a restart, or when a pointer was not leased for a while, it is simply released again, and the lease's guard drops
//! the double. A type that nobody handles is in no lane with demand, so it blocks nothing and costs nothing.
//!
//! A run that was queued by this server comes with its place, and is released without reading the store where it is known
//! who waits in front of it. Where many wait, more is read than is wanted, and what was read is believed for a moment.

use std::{sync::Arc, time::Duration};

mod board;
mod lane;
mod rates;
mod ring;
mod rooms;

pub(crate) use board::Board;
use lane::{Plan, Reading};

use super::{Core, stream::Hub};
use crate::{
    domain::{instant::Instant, names::Lane},
    ports::{
        broker::{Broker, Pointer, PointerBatch},
        store::{Look, Queued, StoreResult},
    },
};

/// After the store or the broker failed.
const PAUSE: Duration = Duration::from_millis(250);
/// Pointers that travel together.
const MESSAGE: usize = 256;

pub(crate) fn start(core: &Arc<Core>, broker: Arc<dyn Broker>, hub: Hub) {
    let core = core.clone();
    core.tasks.clone().spawn("dispatch", async move {
        let mut timer = core.clock.timer("dispatch");
        while !core.tasks.is_stopping() {
            let until = match turn(&core, &*broker, &hub).await {
                Ok(None) => core.now().plus(core.look),
                Ok(Some(next)) => next.min(core.now().plus(core.look)),
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

/// One look at every lane with demand; when the next run may go of one whose queue has gone as fast as it may.
async fn turn(core: &Core, broker: &dyn Broker, hub: &Hub) -> StoreResult<Option<Instant>> {
    let now = core.now();
    let board = &core.news.board;
    let mut demand = hub.demand();
    board.keep_only(&demand);
    demand.retain(|_, free| *free > 0);
    if demand.is_empty() {
        return Ok(None);
    }
    let mut batches = Vec::new();
    let mut reads = Vec::new();
    for (lane, free) in &demand {
        match board.plan(lane, *free, now, core.look) {
            Plan::Nothing => {}
            Plan::Release(pointers, _) => batches.push((lane.clone(), pointers)),
            Plan::Read(look, reading) => reads.push((look, reading)),
        }
    }
    // What needs no look goes first: it neither waits for the store nor is lost with it.
    publish(board, broker, std::mem::take(&mut batches)).await;
    if !reads.is_empty() {
        reads.iter().for_each(|(look, _)| board.watch_room(&look.lane));
        let restricted = core.store.restricted_queues().await?;
        let now = core.now();
        board.learn(&restricted, now);
        reads.retain_mut(|(look, reading)| narrow(board, &restricted, look, reading, now, now.plus(core.look)));
        let (looks, readings): (Vec<Look>, Vec<Reading>) = reads.into_iter().unzip();
        let heads = match core.store.queued(&looks).await {
            Ok(heads) => heads,
            Err(error) => {
                board.not_read(looks.iter().zip(&readings));
                return Err(error);
            }
        };
        // A look takes its time, and what it found is as old as its end.
        let now = core.now();
        for ((Look { lane, .. }, reading), head) in looks.into_iter().zip(&readings).zip(heads) {
            let pointers = board.take(&lane, reading, head, now);
            batches.push((lane, pointers));
        }
    }
    publish(board, broker, batches).await;
    Ok(board.next(demand.keys(), core.now()))
}

/// Narrows a look by what its queue allows; `false` where it allows nothing until `again`.
fn narrow(
    board: &Board,
    restricted: &[Queued],
    look: &Look,
    reading: &mut Reading,
    now: Instant,
    again: Instant,
) -> bool {
    let of_lane = |queue: &&Queued| queue.scope.0 == look.lane.namespace && queue.queue == look.lane.queue;
    let Some(Queued { paused, room, rate, scope: _, queue: _ }) = restricted.iter().find(of_lane) else {
        board.has_room(&look.lane);
        return true;
    };
    if room.is_none_or(|room| room > 0) {
        board.has_room(&look.lane);
    }
    if *paused {
        board.block(&look.lane, again);
        return false;
    }
    // Pointers that are out will want room as well; the lease decides, this only spares it the work.
    let has_room = room.is_none_or(|room| reading.narrow(usize::try_from(room).unwrap_or(usize::MAX)));
    has_room && (rate.is_none() || board.pace(&look.lane, reading, now))
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

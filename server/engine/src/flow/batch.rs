//! Group commit: concurrent callers share one call of a port.
//!
//! A bounded channel and one task that takes what is there, calls, answers, repeats. It flushes the moment the last flush
//! has returned, not on a timer, so a batch is one item when the system is idle and grows by itself under load. Nobody is
//! answered before the call returned.
//!
//! Items fail one by one: where something in a batch makes the whole fail for good, [`isolate`] finds it by halves, and the
//! callers that only shared the batch with it never know.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::Core;
use crate::{
    ports::store::{StoreError, StoreResult},
    tasks::Tasks,
};

/// Between two tries of [`Batcher::insist`].
const PAUSE: Duration = Duration::from_millis(250);
/// One call takes at most about so many items.
const MAX_ITEMS: usize = 1_000;

/// Collects items for a step: a function of a batch that answers each item, in order.
#[derive(Debug)]
pub struct Batcher<I, O> {
    queue: mpsc::Sender<Envelope<I, O>>,
}

impl<I, O> Clone for Batcher<I, O> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

/// An item that was not done, back in the hands of its caller.
#[derive(Debug)]
pub struct Undone<I> {
    /// The item.
    pub item: I,
    /// Why.
    pub error: StoreError,
}

/// What became of each item.
type Answers<I, O> = Vec<Result<O, Undone<I>>>;

struct Envelope<I, O> {
    items: Vec<I>,
    answer: oneshot::Sender<Answers<I, O>>,
}

impl<I: Clone + Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// Starts the task for a step of a stage. `waiting` bounds the callers that may wait; further ones wait to wait.
    pub(crate) fn of<F, S>(core: &Arc<Core>, name: &'static str, waiting: usize, step: S) -> Self
    where
        F: Future<Output = StoreResult<Vec<O>>> + Send,
        S: Fn(Arc<Core>, Vec<I>) -> F + Send + Sync + 'static,
    {
        let stage = core.clone();
        Self::start(&core.tasks, name, waiting, move |items| {
            stage.meter.step(name, items.len());
            step(stage.clone(), items)
        })
    }

    /// Starts the task.
    fn start<F, S>(tasks: &Tasks, name: &'static str, waiting: usize, step: S) -> Self
    where
        F: Future<Output = StoreResult<Vec<O>>> + Send,
        S: Fn(Vec<I>) -> F + Send + Sync + 'static,
    {
        let (queue, mut waiters) = mpsc::channel::<Envelope<I, O>>(waiting);
        tasks.spawn(name, async move {
            let mut held = None;
            while let Some(first) = match held.take() {
                Some(envelope) => Some(envelope),
                None => waiters.recv().await,
            } {
                let mut items = Vec::new();
                let mut callers = Vec::new();
                let mut next = Some(first);
                while let Some(Envelope { items: more, answer }) = next.take() {
                    callers.push((answer, more.len()));
                    items.extend(more);
                    match waiters.try_recv() {
                        Ok(envelope) if items.len() + envelope.items.len() <= MAX_ITEMS => next = Some(envelope),
                        Ok(envelope) => held = Some(envelope),
                        Err(_) => {}
                    }
                }
                let mut answers = isolate(name, items, &step).await.into_iter();
                for (caller, count) in callers {
                    // A caller that has gone away does not want its answer.
                    drop(caller.send(answers.by_ref().take(count).collect()));
                }
            }
        });
        Self { queue }
    }

    /// Does some items together with whoever else waits; one answer each, in order. Fails only when the server is stopping.
    pub async fn each(&self, items: Vec<I>) -> StoreResult<Vec<Result<O, Undone<I>>>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        let stopped = || StoreError::Unavailable("the server is stopping".into());
        self.queue.send(Envelope { items, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())
    }

    /// The same for callers that have no use for some answers without the others.
    pub async fn many(&self, items: Vec<I>) -> StoreResult<Vec<O>> {
        self.each(items).await?.into_iter().map(|answer| answer.map_err(|undone| undone.error)).collect()
    }

    /// Does some items, each as often as it takes until the store has taken or finally refused it; one answer each, in order.
    /// Any other error than [`StoreError::Corrupt`] says that the server is stopping.
    pub(crate) async fn insist(&self, core: &Core, items: Vec<I>) -> Vec<StoreResult<O>> {
        let mut timer = core.clock.timer("insist");
        let count = items.len();
        let mut done: Vec<(usize, StoreResult<O>)> = Vec::with_capacity(count);
        let mut places: Vec<usize> = (0..count).collect();
        let mut items = items;
        loop {
            let answers = match self.each(items).await {
                Ok(answers) => answers,
                Err(error) => {
                    done.extend(places.into_iter().map(|place| (place, Err(error.clone()))));
                    break;
                }
            };
            let mut again = (Vec::new(), Vec::new());
            for (place, answer) in places.into_iter().zip(answers) {
                match answer {
                    Ok(answer) => done.push((place, Ok(answer))),
                    Err(Undone { item: _, error: error @ StoreError::Corrupt(_) }) => done.push((place, Err(error))),
                    Err(Undone {
                        item,
                        error:
                            StoreError::Unavailable(_)
                            | StoreError::Unwritable { .. }
                            | StoreError::Conflict(_)
                            | StoreError::TooSlow,
                    }) => {
                        again.0.push(place);
                        again.1.push(item);
                    }
                }
            }
            (places, items) = again;
            if places.is_empty() {
                break;
            }
            tracing::debug!(items = items.len(), "a step is repeated");
            timer.sleep_until(core.now().plus(PAUSE)).await;
        }
        if done.len() > 1 {
            done.sort_unstable_by_key(|(place, _)| *place);
        }
        done.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Does one item together with whoever else waits.
    pub async fn one(&self, item: I) -> StoreResult<O> {
        let missing = || StoreError::Corrupt("no answer to one item".into());
        self.many(vec![item]).await?.pop().ok_or_else(missing)
    }
}

/// Does a step on a batch. Where it fails for good because of something in the batch, its halves are done instead, down to
/// the items that are to blame. Any other failure is everybody's.
pub(crate) async fn isolate<I, O, F>(name: &str, items: Vec<I>, step: impl Fn(Vec<I>) -> F) -> Vec<Result<O, Undone<I>>>
where
    I: Clone,
    F: Future<Output = StoreResult<Vec<O>>>,
{
    let mut answers = Vec::with_capacity(items.len());
    let mut left = vec![items];
    while let Some(mut part) = left.pop() {
        let error = match step(part.clone()).await {
            Ok(outputs) if outputs.len() == part.len() => {
                answers.extend(outputs.into_iter().map(Ok));
                continue;
            }
            Ok(outputs) => StoreError::Corrupt(format!("{name}: {} answers to {} items", outputs.len(), part.len())),
            Err(StoreError::Corrupt(_)) if part.len() > 1 => {
                let tail = part.split_off(part.len() / 2);
                left.extend([tail, part]);
                continue;
            }
            Err(error) => error,
        };
        if let StoreError::Corrupt(why) = &error {
            tracing::error!(why, step = name, "an item cannot be done; the others of its batch are");
        }
        answers.extend(part.into_iter().map(|item| Err(Undone { item, error: error.clone() })));
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;

    use super::{Batcher, StoreError, StoreResult, Tasks, isolate};

    #[tokio::test]
    async fn callers_share_a_call_and_each_gets_its_own_answers() {
        let tasks = Tasks::default();
        let gate = Arc::new(Semaphore::new(0));
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let (hold, seen) = (gate.clone(), sizes.clone());
        let double = Batcher::start(&tasks, "double", 16, move |items: Vec<u32>| {
            let (hold, seen) = (hold.clone(), seen.clone());
            async move {
                seen.lock().unwrap().push(items.len());
                hold.acquire().await.unwrap().forget();
                Ok(items.into_iter().map(|item| item * 2).collect())
            }
        });
        let calls = (0..5_u32).map(|call| {
            let double = double.clone();
            async move { double.many(vec![call, call + 100]).await }
        });
        let all = futures::future::join_all(calls);
        gate.add_permits(5);
        let answers: StoreResult<Vec<_>> = all.await.into_iter().collect();
        assert_eq!(answers.unwrap(), (0..5).map(|call| vec![call * 2, call * 2 + 200]).collect::<Vec<_>>());
        let sizes = sizes.lock().unwrap();
        assert_eq!(sizes.iter().sum::<usize>(), 10);
        assert!(sizes.len() < 5, "calls were not shared: {sizes:?}");
    }

    #[tokio::test]
    async fn a_call_that_failed_for_now_fails_everybody_in_it_and_gives_the_items_back() {
        let tasks = Tasks::default();
        let away: Batcher<u32, ()> =
            Batcher::start(&tasks, "away", 16, |_| async { Err(StoreError::Unavailable("gone".into())) });
        let undone = away.each(vec![7, 8]).await.unwrap();
        let items: Vec<_> = undone.into_iter().map(|answer| answer.unwrap_err().item).collect();
        assert_eq!(items, [7, 8]);
        assert!(matches!(away.one(1).await, Err(StoreError::Unavailable(_))));
    }

    #[tokio::test]
    async fn what_is_to_blame_is_found_and_everybody_else_is_done_once() {
        for guilty in [vec![], vec![0], vec![999], vec![17, 18, 600]] {
            let done = Mutex::new(Vec::new());
            let calls = Mutex::new(0);
            let step = async |items: Vec<u32>| {
                *calls.lock().unwrap() += 1;
                if items.iter().any(|item| guilty.contains(item)) {
                    return Err(StoreError::Corrupt("a row".into()));
                }
                done.lock().unwrap().extend(items.clone());
                Ok(items)
            };
            let answers = isolate("step", (0..1_000).collect(), step).await;
            for (item, answer) in (0..).zip(answers) {
                match answer {
                    Ok(answer) => assert_eq!(answer, item),
                    Err(undone) => assert!(undone.item == item && guilty.contains(&item)),
                }
            }
            assert_eq!(done.lock().unwrap().len(), 1_000 - guilty.len());
            assert!(*calls.lock().unwrap() <= 1 + 20 * guilty.len(), "{guilty:?}");
        }
    }
}

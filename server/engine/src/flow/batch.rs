//! Group commit: concurrent callers share one call of a port.
//!
//! A bounded channel and one task that takes what is there, calls, answers, repeats. It flushes the moment the last flush
//! has returned, not on a timer, so a batch is one item when the system is idle and grows by itself under load. Nobody is
//! answered before the call returned.

use std::{future::Future, pin::Pin};

use tokio::sync::{mpsc, oneshot};

use crate::{
    ports::store::{StoreError, StoreResult},
    tasks::Tasks,
};

/// One call takes at most about so many items.
const MAX_ITEMS: usize = 1_000;

/// A step on a batch: one answer per item, in order.
pub type Step<I, O> = Box<dyn Fn(Vec<I>) -> Pin<Box<dyn Future<Output = StoreResult<Vec<O>>> + Send>> + Send + Sync>;

/// Collects items for a step.
#[derive(Debug)]
pub struct Batcher<I, O> {
    queue: mpsc::Sender<Envelope<I, O>>,
}

impl<I, O> Clone for Batcher<I, O> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

struct Envelope<I, O> {
    items: Vec<I>,
    answer: oneshot::Sender<StoreResult<Vec<O>>>,
}

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// Starts the task. `waiting` bounds the callers that may wait; further ones wait to wait.
    pub fn start(tasks: &Tasks, name: &'static str, waiting: usize, step: Step<I, O>) -> Self {
        let (queue, mut waiters) = mpsc::channel::<Envelope<I, O>>(waiting);
        tasks.spawn(name, async move {
            let mut held = None;
            while let Some(first) = match held.take() {
                Some(envelope) => Some(envelope),
                None => waiters.recv().await,
            } {
                let mut items = Vec::new();
                let mut answers = Vec::new();
                let mut next = Some(first);
                while let Some(Envelope { items: more, answer }) = next.take() {
                    answers.push((answer, more.len()));
                    items.extend(more);
                    match waiters.try_recv() {
                        Ok(envelope) if items.len() + envelope.items.len() <= MAX_ITEMS => next = Some(envelope),
                        Ok(envelope) => held = Some(envelope),
                        Err(_) => {}
                    }
                }
                let count = items.len();
                match step(items).await {
                    Ok(mut outputs) if outputs.len() == count => {
                        for (answer, length) in answers {
                            let rest = outputs.split_off(length);
                            // A caller that has gone away does not want its answer.
                            drop(answer.send(Ok(std::mem::replace(&mut outputs, rest))));
                        }
                    }
                    Ok(outputs) => {
                        let error = StoreError::Corrupt(format!("{name}: {} answers to {count} items", outputs.len()));
                        fail(answers, &error);
                    }
                    Err(error) => fail(answers, &error),
                }
            }
        });
        Self { queue }
    }

    /// Does some items together with whoever else waits; one answer each, in order.
    pub async fn many(&self, items: Vec<I>) -> StoreResult<Vec<O>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        let stopped = || StoreError::Unavailable("the server is stopping".into());
        self.queue.send(Envelope { items, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Does one item together with whoever else waits.
    pub async fn one(&self, item: I) -> StoreResult<O> {
        let missing = || StoreError::Corrupt("no answer to one item".into());
        self.many(vec![item]).await?.pop().ok_or_else(missing)
    }
}

fn fail<O>(answers: Vec<(oneshot::Sender<StoreResult<Vec<O>>>, usize)>, error: &StoreError) {
    for (answer, _) in answers {
        drop(answer.send(Err(error.clone())));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;

    use super::{Batcher, StoreError, StoreResult, Tasks};

    #[tokio::test]
    async fn callers_share_a_call_and_each_gets_its_own_answers() {
        let tasks = Tasks::default();
        let gate = Arc::new(Semaphore::new(0));
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let (hold, seen) = (gate.clone(), sizes.clone());
        let double = Batcher::start(
            &tasks,
            "double",
            16,
            Box::new(move |items: Vec<u32>| {
                let (hold, seen) = (hold.clone(), seen.clone());
                Box::pin(async move {
                    seen.lock().unwrap().push(items.len());
                    hold.acquire().await.unwrap().forget();
                    Ok(items.into_iter().map(|item| item * 2).collect())
                })
            }),
        );
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
    async fn a_failed_call_fails_everybody_in_it() {
        let tasks = Tasks::default();
        let away: Batcher<(), ()> = Batcher::start(
            &tasks,
            "away",
            16,
            Box::new(|_| Box::pin(async { Err(StoreError::Unavailable("gone".into())) })),
        );
        assert!(matches!(away.one(()).await, Err(StoreError::Unavailable(_))));
    }
}

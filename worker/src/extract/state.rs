//! What handlers share: values that the worker is given once, found by their type.

use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    sync::Arc,
};

use super::{FromRun, Needs, Run};
use crate::{job_error::JobError, reason};

/// A value that was given to the worker by [`Worker::state`](crate::Worker::state): a connection pool, a client, settings.
///
/// All runs share the one value. A handler that takes a state the worker does not have is refused before the worker
/// connects.
///
/// ```
/// # use std::sync::atomic::{AtomicU64, Ordering};
/// # use mainspring_worker::{JobError, State};
/// struct Counter(AtomicU64);
///
/// async fn count(State(counter): State<Counter>) -> Result<u64, JobError> {
///     Ok(counter.0.fetch_add(1, Ordering::Relaxed))
/// }
/// ```
#[derive(Debug)]
pub struct State<T>(pub Arc<T>);

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + Sync + 'static> FromRun for State<T> {
    fn declare(needs: &mut Needs) {
        needs.state::<T>();
    }

    fn from_run(run: &Run) -> Result<Self, JobError> {
        // A worker looks before it connects, so this is for extractors that forget to declare what they need.
        run.states.get().map(Self).ok_or_else(|| {
            let message = format!("`{}` takes State<{}>, and there is none", run.ctx.job_type(), type_name::<T>());
            JobError::failed(reason::STATE_MISSING, message).do_not_retry()
        })
    }
}

/// The values, by their types.
#[derive(Clone, Default)]
pub(crate) struct States(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl States {
    /// Takes a value in; false if there was one of its type.
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> bool {
        self.0.insert(TypeId::of::<T>(), Arc::new(value)).is_none()
    }

    pub(crate) fn has(&self, id: TypeId) -> bool {
        self.0.contains_key(&id)
    }

    fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>())?.clone().downcast().ok()
    }
}

//! Names of jobs by uid. A job is never renamed, so a name that was read stays true; the memory is bounded.

use std::collections::{BTreeSet, HashMap};

use mainspring_engine::{
    domain::{ids::JobUid, names::JobName},
    ports::store::StoreResult,
};
use parking_lot::Mutex;
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::{
    rows::name,
    statement::{Cells, query_in},
};

/// So many names are remembered; then the memory starts anew.
const REMEMBERED: usize = 20_000;

/// Names of the jobs that runs were lately read of.
#[derive(Debug, Default)]
pub(super) struct JobNames {
    names: Mutex<HashMap<JobUid, JobName>>,
}

impl JobNames {
    /// The names of `jobs`, read where they are not remembered.
    pub(super) async fn resolve<C: ConnectionTrait>(
        &self,
        connection: &C,
        jobs: impl IntoIterator<Item = JobUid>,
    ) -> StoreResult<HashMap<JobUid, JobName>> {
        let mut found = HashMap::new();
        let mut missing = BTreeSet::new();
        {
            let names = self.names.lock();
            for job in jobs {
                match names.get(&job) {
                    Some(name) => drop(found.insert(job, name.clone())),
                    None => drop(missing.insert(job)),
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let keys: Vec<Uuid> = missing.into_iter().map(JobUid::uuid).collect();
        let mut read = Vec::with_capacity(keys.len());
        for row in query_in(connection, "SELECT uid, name FROM job WHERE uid IN", &keys, "").await? {
            let mut cells = Cells::of(&row);
            read.push((JobUid::from_uuid(cells.next()?), name::<JobName>(cells.next()?)?));
        }
        found.extend(read.iter().cloned());
        let mut names = self.names.lock();
        if names.len() + read.len() > REMEMBERED {
            names.clear();
        }
        names.extend(read);
        Ok(found)
    }
}

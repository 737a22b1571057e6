//! `BackupDatabase`: a copy that tells how far it is.
//!
//! The copy lives as long as somebody listens: a call that is dropped, a credential that is withdrawn and a server that goes
//! away all end it, and the store removes what was not finished.

use std::{path::PathBuf, pin::Pin, time::Duration};

use futures::{StreamExt as _, stream};
use mainspring_engine::ports::store::{BackupError, BackupProgress};
use mainspring_proto::scheduler::v1 as wire;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use wire::backup_database_response::Step;

use crate::grpc::{
    Api, Call,
    convert::read,
    draining,
    status::{Reason, Refusal},
};

/// Between two words about how far it is.
const TELL: Duration = Duration::from_secs(1);

type Said = Result<wire::BackupDatabaseResponse, Status>;
/// What the caller hears.
pub(super) type Stream = Pin<Box<dyn futures::Stream<Item = Said> + Send>>;

pub(super) async fn backup(api: &Api, call: &Call, request: wire::BackupDatabaseRequest) -> Result<Stream, Status> {
    let copy = begin(api, request)?;
    let (sender, mut told) = mpsc::channel(1);
    let mut standing = api.auth.stand(call.caller()?);
    let drain = api.draining.clone();
    api.engine.tasks().spawn("backup", async move {
        let end = tokio::select! {
            end = copy.run(&sender) => end,
            () = sender.closed() => return,
            denied = standing.ended() => Err(denied.into()),
            () = drain.cancelled() => Err(draining()),
        };
        if let Err(refusal) = end {
            // Nobody is left to tell where this fails.
            let _ = sender.send(Err(refusal.into())).await;
        }
    });
    // What cannot be begun is refused, rather than begun and broken off.
    let first = told.recv().await.ok_or_else(draining)??;
    Ok(Box::pin(stream::once(std::future::ready(Ok(first))).chain(ReceiverStream::new(told))))
}

fn begin(api: &Api, request: wire::BackupDatabaseRequest) -> Result<Copy, Refusal> {
    if api.draining.is_cancelled() {
        return Err(draining());
    }
    let wire::BackupDatabaseRequest { path } = request;
    let file = read(|check| {
        let file = PathBuf::from(&path);
        if path.contains('\0') || !file.is_absolute() || file.file_name().is_none() {
            check.refuse("path", "must be the absolute path of a file on the server's machine");
        }
        Some(file)
    })?;
    Ok(Copy { api: api.clone(), file, path })
}

struct Copy {
    api: Api,
    file: PathBuf,
    /// The file, as the caller wrote it.
    path: String,
}

impl Copy {
    async fn run(&self, sender: &mpsc::Sender<Said>) -> Result<(), Refusal> {
        let (far, mut seen) = watch::channel(BackupProgress::default());
        let tell = move |progress| {
            far.send_replace(progress);
        };
        let mut copying = self.api.store().backup(&self.file, &tell);
        let clock = self.api.engine.clock();
        let mut timer = clock.timer("backup");
        // The first word goes out at once.
        let mut again = clock.now();
        loop {
            let step = tokio::select! {
                size = &mut copying => Step::Result(wire::BackupResult {
                    path: self.path.clone(),
                    size_bytes: whole(size.map_err(|error| self.refused(error))?),
                }),
                Ok(()) = seen.changed(), if again <= clock.now() => {
                    again = clock.now().plus(TELL);
                    let BackupProgress { copied_pages, total_pages } = *seen.borrow_and_update();
                    let (copied_pages, total_pages) = (whole(copied_pages), whole(total_pages));
                    Step::Progress(wire::BackupProgress { copied_pages, total_pages })
                }
                () = timer.sleep_until(again), if again > clock.now() => continue,
            };
            let over = matches!(step, Step::Result(_));
            let said = sender.send(Ok(wire::BackupDatabaseResponse { step: Some(step) })).await;
            if over || said.is_err() {
                return Ok(());
            }
        }
    }

    fn refused(&self, error: BackupError) -> Refusal {
        let path = &self.path;
        match error {
            BackupError::Unsupported => Refusal::new(Reason::BackupUnsupported, error.to_string()),
            BackupError::FileExists => {
                Refusal::new(Reason::BackupFileExists, format!("{path} exists; a backup overwrites nothing"))
            }
            BackupError::File(why) => Refusal::new(
                Reason::BackupFailed,
                format!(
                    "the copy cannot be written: {why}; name a new file in a directory that is there, where the server's \
                     user may write and the disk has room"
                ),
            ),
            BackupError::Store(error) => error.into(),
        }
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

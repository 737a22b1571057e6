//! Copies of the database: complete or not there.

use std::{os::unix::fs::PermissionsExt as _, sync::Mutex};

use futures::FutureExt as _;
use mainspring_engine::ports::store::{BackupError, BackupProgress, NewRun};

use super::world::{World, page};

/// Enough for the copy to take more than a look.
async fn fill(w: &World) {
    for _ in 0..4 {
        let payload = mainspring_engine::domain::payload::Payload {
            content_type: "application/octet-stream".into(),
            data: vec![7; 100_000],
        };
        let runs = (0..50).map(|_| NewRun { payload: payload.clone(), ..w.new_run() });
        w.submit(runs.collect()).await;
    }
}

pub async fn a_copy_is_private_and_tells_how_far_it_is(w: World) {
    fill(&w).await;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("copy.db");
    let told: Mutex<Vec<BackupProgress>> = Mutex::default();
    let size = w.store.backup(&path, &|progress| told.lock().unwrap().push(progress)).await.unwrap();
    let file = std::fs::metadata(&path).unwrap();
    assert_eq!((file.len(), file.permissions().mode() & 0o777), (size, 0o600));
    let told = told.into_inner().unwrap();
    assert!(told.len() > 2, "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0].copied_pages <= pair[1].copied_pages), "{told:?}");
    assert!(told.iter().all(|told| told.total_pages > 4_000 && told.copied_pages <= told.total_pages), "{told:?}");
}

pub async fn a_copy_overwrites_nothing_and_says_why_it_cannot_be_written(w: World) {
    let home = tempfile::tempdir().unwrap();
    let there = home.path().join("there.db");
    std::fs::write(&there, "precious").unwrap();
    assert!(matches!(w.store.backup(&there, &|_| {}).await, Err(BackupError::FileExists)));
    assert_eq!(std::fs::read(&there).unwrap(), b"precious");
    let nowhere = home.path().join("nowhere").join("copy.db");
    let Err(BackupError::File(why)) = w.store.backup(&nowhere, &|_| {}).await else { panic!("written nowhere") };
    assert!(why.contains("No such file or directory") && why.contains("nowhere"), "{why}");
}

pub async fn a_copy_that_is_let_go_of_leaves_nothing(w: World) {
    fill(&w).await;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("copy.db");
    {
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let tell = move |_| begun.send(()).unwrap();
        let mut copying = w.store.backup(&path, &tell).fuse();
        tokio::select! {
            _ = &mut copying => panic!("it was over before it was let go of"),
            begun = begins.recv() => begun.unwrap(),
        }
        assert!(path.exists());
    }
    // The file goes when the copy has heard of it; the directory can be waited for by trying to use it again.
    let mut tries = 0;
    while path.exists() {
        tries += 1;
        assert!(tries < 10_000, "the unfinished file is still there");
        w.store
            .runs(&w.scope, &Default::default(), mainspring_engine::ports::store::Direction::Up, page(None, 1), false)
            .await
            .unwrap();
    }
    w.store.backup(&path, &|_| {}).await.unwrap();
}

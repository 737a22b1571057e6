//! Journals on a real disk. A worker that dies is one whose journal is dropped without being closed.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::PathBuf,
    sync::{Arc, mpsc},
};

use mainspring_proto::{
    common::v1::{Payload, payload},
    worker::v1::{AttemptResult, AttemptSucceeded, attempt_result::Outcome},
};
use tempfile::TempDir;

use super::{Journal, Legacy, open};
use crate::{context::Address, error::Error, state::Key};

fn key(run: &str) -> Key {
    Key { run_id: run.into(), attempt: 1 }
}

fn result(run: &str, bytes: usize) -> Arc<AttemptResult> {
    let output = Payload { data: Some(payload::Data::Inline(vec![b'1'; bytes])), ..Payload::default() };
    let outcome = Some(Outcome::Succeeded(AttemptSucceeded { output: Some(output) }));
    Arc::new(AttemptResult { attempt: Some(key(run).wire()), outcome, ..AttemptResult::default() })
}

/// A folder that several workers are given.
struct Shelf(TempDir);

impl Shelf {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("journals")
    }

    fn address(&self) -> Address {
        "127.0.0.1:7420".parse().unwrap()
    }

    /// A worker's journal, and what it finds.
    fn open(&self, worker: &str) -> (Journal, Vec<Legacy>) {
        let (writer, legacies) = open(&self.folder(), worker, &self.address(), "lab").unwrap_or_else(|e| panic!("{e}"));
        (Journal::start(writer, |trouble| panic!("{trouble:?}")).unwrap(), legacies)
    }

    /// The runs whose results the next worker finds.
    fn found(&self) -> Vec<String> {
        let (journal, legacies) = self.open("finder");
        journal.close();
        let runs = |legacy: &Legacy| {
            assert_eq!(legacy.namespace, "lab");
            legacy.results.iter().map(|result| result.attempt.clone().unwrap().run_id).collect::<Vec<_>>()
        };
        legacies.iter().flat_map(runs).collect()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.folder()).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }
}

impl Journal {
    /// Keeps a result, and waits until that is done; whether it is on the disk.
    fn kept(&self, run: &str, bytes: usize) -> bool {
        let (told, tell) = mpsc::channel();
        self.keep(key(run), result(run, bytes), move |on_disk| told.send(on_disk).unwrap());
        tell.recv().unwrap()
    }

    /// The end of the process, as far as files are concerned.
    fn die(self) {
        let Self { entries, thread, path: _ } = self;
        drop(entries);
        thread.into_inner().unwrap().join().unwrap();
    }
}

#[test]
fn what_was_not_struck_out_is_found_by_the_next_worker() {
    let shelf = Shelf::new();
    let (journal, found) = shelf.open("w1");
    assert!(found.is_empty());
    for run in ["r1", "r2", "r3"] {
        assert!(journal.kept(run, 10));
    }
    journal.strike(key("r2"));
    journal.die();
    assert_eq!(shelf.found(), ["r1", "r3"]);
    // It was not delivered, so it is still there.
    let (journal, legacies) = shelf.open("w2");
    assert_eq!(legacies[0].results, [(*result("r1", 10)).clone(), (*result("r3", 10)).clone()]);
    legacies.into_iter().for_each(Legacy::remove);
    journal.die();
    assert_eq!((shelf.found(), shelf.names()), (vec![], vec![]));
}

#[test]
fn a_worker_that_leaves_with_everything_acknowledged_leaves_nothing_behind() {
    let shelf = Shelf::new();
    let (journal, _) = shelf.open("w1");
    journal.kept("r1", 10);
    assert_eq!(shelf.names(), ["w1.journal", "w1.lock"]);
    journal.strike(key("r1"));
    journal.close();
    assert_eq!(shelf.names(), Vec::<String>::new());
}

#[test]
fn the_journal_of_a_worker_that_lives_is_its_own() {
    let shelf = Shelf::new();
    let (journal, _) = shelf.open("w1");
    journal.kept("r1", 10);
    assert_eq!(shelf.found(), Vec::<String>::new());
    // Nor has anybody else a file of this name.
    assert!(matches!(open(&shelf.folder(), "w1", &shelf.address(), "lab"), Err(Error::Journal { .. })));
    journal.die();
    let (_second, legacies) = shelf.open("w2");
    assert_eq!((legacies.len(), shelf.found()), (1, vec![]), "it is in one worker's hands");
}

#[cfg(unix)]
#[test]
fn it_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let shelf = Shelf::new();
    let (journal, _) = shelf.open("w1");
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(shelf.path("w1.journal")), mode(shelf.path("w1.lock")), mode(shelf.folder())),
        (0o600, 0o600, 0o700)
    );
    journal.die();
}

#[test]
fn a_torn_end_and_a_file_half_made_are_no_trouble() {
    let shelf = Shelf::new();
    let (journal, _) = shelf.open("w1");
    journal.kept("r1", 10);
    journal.die();
    let mut file = OpenOptions::new().append(true).open(shelf.path("w1.journal")).unwrap();
    file.write_all(&[9, 0, 0, 0, 1, 2]).unwrap();
    fs::write(shelf.path("w0.lock"), "").unwrap();
    fs::write(shelf.path("w0.new"), "mainspr").unwrap();
    assert_eq!(shelf.found(), ["r1"]);
    assert_eq!(shelf.names(), ["w1.journal", "w1.lock"]);
}

#[test]
fn what_is_meant_for_another_server_or_cannot_be_read_stays() {
    let shelf = Shelf::new();
    let (writer, _) =
        open(&shelf.folder(), "w1", &"other.example".parse().unwrap(), "lab").unwrap_or_else(|e| panic!("{e}"));
    let journal = Journal::start(writer, |_| ()).unwrap();
    journal.kept("r1", 10);
    journal.die();
    fs::write(shelf.path("w0.lock"), "").unwrap();
    fs::write(shelf.path("w0.journal"), "not ours").unwrap();
    assert_eq!(shelf.found(), Vec::<String>::new());
    assert_eq!(shelf.names(), ["w0.journal", "w0.lock", "w1.journal", "w1.lock"]);
}

#[test]
fn it_stays_small_however_much_goes_through_it() {
    let shelf = Shelf::new();
    let (journal, _) = shelf.open("w1");
    journal.kept("kept", 10);
    for number in 0..30 {
        let run = number.to_string();
        journal.kept(&run, 1 << 20);
        journal.strike(key(&run));
        assert!(fs::metadata(shelf.path("w1.journal")).unwrap().len() < 6 << 20, "at {run}");
    }
    journal.die();
    assert_eq!(shelf.found(), ["kept"]);
}

/// `/dev/full` takes nothing, as a full disk does.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_takes_no_more_holds_nothing_up_and_is_tried_again() {
    let shelf = Shelf::new();
    let (writer, _) = open(&shelf.folder(), "w1", &shelf.address(), "lab").unwrap_or_else(|e| panic!("{e}"));
    let full = File::options().append(true).open("/dev/full").unwrap();
    let (told, health) = mpsc::channel();
    let journal = Journal::start(writer.on(full), move |trouble| told.send(trouble.is_some()).unwrap()).unwrap();
    assert!(!journal.kept("r1", 10) && !journal.kept("r2", 10));
    assert!(health.recv().unwrap());
    journal.strike(key("r1"));
    // The last chance, on a disk that has room again.
    journal.close();
    assert!(!health.recv().unwrap());
    assert_eq!((health.recv().is_err(), shelf.found()), (true, vec!["r2".to_owned()]));
}

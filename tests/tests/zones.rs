//! Zone data from a folder: read at the start and on SIGHUP, by a real process.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{fs, path::Path, time::Duration};

use mainspring_proto::scheduler::v1::{
    Event, EventTopic, GetJobRequest, GetServerInfoRequest, Job, Overlap, Retiming, RunState, Schedule, ScheduleChange,
    event, schedule,
};
use mainspring_tests::harness::{
    client::{Client, Watch},
    host::{self, PATIENCE},
    server::{Server, Settings},
    terminal::{Terminal, text},
    zones,
};
use rustix::process::Signal;

const ZONE: &str = "Test/City";

async fn version(client: &Client) -> String {
    let info = client.admin().get_server_info(GetServerInfoRequest::default()).await.unwrap();
    info.into_inner().zone_data_version
}

async fn retimed(watch: &mut Watch) -> Retiming {
    loop {
        let Event { detail, .. } =
            host::within(PATIENCE, "a schedule to be retimed", watch.next()).await.unwrap().unwrap();
        if let Some(event::Detail::Schedule(told)) = detail {
            assert_eq!((told.job.as_str(), told.change()), ("nine", ScheduleChange::Retimed), "{told:?}");
            return told.retimed.unwrap();
        }
    }
}

async fn next_time(client: &Client) -> i64 {
    let request = GetJobRequest { job: "nine".into(), ..GetJobRequest::default() };
    let job = client.scheduler().get_job(request).await.unwrap().into_inner().job.unwrap();
    job.schedules[0].next_time.unwrap().seconds
}

fn job(name: &str, cron: &str) -> Job {
    let rule = Some(schedule::Rule::Cron(cron.into()));
    let schedules = vec![Schedule { rule, time_zone: ZONE.into(), ..Schedule::default() }];
    Job { job: name.into(), job_type: "t.noop".into(), schedules, ..Job::default() }
}

/// A server whose zone data are in this folder.
fn reading(folder: &Path) -> Settings {
    let more = vec![("MAINSPRING_ZONES__DIRECTORY".into(), folder.to_str().unwrap().into())];
    Settings { more, ..Settings::with_lease(Duration::from_secs(3)) }
}

/// Waits until the log says something; asks the server meanwhile whether it is there.
async fn says(server: &mut Server, client: &Client, what: &str) {
    let said = async {
        while !server.process().unwrap().stderr().unwrap().contains(what) {
            version(client).await;
        }
    };
    host::within(PATIENCE, &format!("the log to say `{what}`"), said).await.unwrap();
}

fn hours(before: &Retiming, place: usize) -> i64 {
    (before.after[place].seconds - before.before[place].seconds) / 3_600
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zone_data_come_from_a_folder_and_are_read_again_on_sighup() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("zones");
    zones::write(&folder, "2026x", &[(ZONE, 3)]).unwrap();
    let mut server = Server::start(reading(&folder)).await.unwrap();
    let client = server.client().unwrap();
    assert_eq!(version(&client).await, "2026x");
    let mut unknown = job("unknown", "0 9 * * *");
    unknown.schedules[0].time_zone = "Europe/Berlin".into();
    let refused = client.create_job(unknown).await.unwrap_err();
    assert!(
        format!("{refused:?}").contains("there is no such IANA zone"),
        "names are those of the folder: {refused:?}"
    );
    client.create_job(job("nine", "0 9 * * *")).await.unwrap();
    let mut runs = client.watch(&[EventTopic::Runs], "often", "").await.unwrap();
    let mut watch = client.watch(&[EventTopic::Schedules], "nine", "").await.unwrap();
    // Nobody takes its runs, and each instant makes one.
    client.create_job(Job { overlap: Overlap::Allow.into(), ..job("often", "* * * * * *") }).await.unwrap();
    let stamped = run_of(&client, &mut runs).await;
    assert_eq!(client.run(&stamped).await.unwrap().zone_data_version, "2026x");

    let before = next_time(&client).await;
    zones::write(&folder, "2026y", &[(ZONE, 2)]).unwrap();
    fs::write(folder.join("Test/Village"), b"no compiled zone").unwrap();
    server.signal(Signal::HUP).unwrap();
    let told = retimed(&mut watch).await;
    assert_eq!((told.from_zone_data_version.as_str(), told.to_zone_data_version.as_str()), ("2026x", "2026y"));
    assert_eq!((told.before.len(), told.after.len()), (5, 5));
    // An hour later, each of them; on the day of the change it may have come already.
    assert_eq!((told.before[0].seconds, hours(&told, 4)), (before, 1));
    assert_eq!(next_time(&client).await, told.after[0].seconds);
    assert_eq!(version(&client).await, "2026y");
    says(&mut server, &client, "zone data in force: 2026y").await;
    says(&mut server, &client, "Test/Village").await;
    let stamped = stamped_by(&client, &mut runs, "2026y").await;
    assert_eq!(client.run(&stamped).await.unwrap().state(), RunState::Queued);

    // A folder that is half written changes nothing, and the log says what to do.
    fs::write(folder.join(ZONE), b"TZif2").unwrap();
    server.signal(Signal::HUP).unwrap();
    says(&mut server, &client, "the zone data stay as they are").await;
    assert_eq!((version(&client).await.as_str(), next_time(&client).await), ("2026y", told.after[0].seconds));

    // Started with other data than before.
    server.kill().await.unwrap();
    zones::write(&folder, "2026z", &[(ZONE, 1)]).unwrap();
    server.restart().await.unwrap();
    assert_eq!(version(&client).await, "2026z");
    let moved = async {
        while next_time(&client).await != told.after[0].seconds + 3_600 {
            version(&client).await;
        }
    };
    host::within(PATIENCE, "the next time by the data of the start", moved).await.unwrap();
    server.terminate(PATIENCE).await.unwrap();
}

/// The next run that is made.
async fn run_of(client: &Client, runs: &mut Watch) -> String {
    loop {
        let next = host::within(PATIENCE, "a run to be made", runs.next()).await.unwrap();
        if let Some(event::Detail::Run(run)) = next.unwrap().detail {
            assert!(!run.run_id.is_empty() && client.run(&run.run_id).await.is_ok());
            return run.run_id;
        }
    }
}

/// The next run that these data named.
async fn stamped_by(client: &Client, runs: &mut Watch, version: &str) -> String {
    loop {
        let run = run_of(client, runs).await;
        if client.run(&run).await.unwrap().zone_data_version == version {
            return run;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_survives_its_terminal_reads_them_again_as_well() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("zones");
    zones::write(&folder, "2026x", &[(ZONE, 3)]).unwrap();
    let mut server = Server::start(Settings { nohup: true, ..reading(&folder) }).await.unwrap();
    let client = server.client().unwrap();
    assert_eq!(version(&client).await, "2026x");
    zones::write(&folder, "2026y", &[(ZONE, 2)]).unwrap();
    server.signal(Signal::HUP).unwrap();
    says(&mut server, &client, "zone data in force: 2026y").await;
    assert_eq!(version(&client).await, "2026y");
    server.terminate(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_holds_no_zones_starts_no_server() {
    let terminal = Terminal::open().unwrap();
    for (folder, why) in [("nothing", "cannot read"), (".", "there is no compiled zone")] {
        let mut command = terminal.mainspring(&["serve", "--listen", "127.0.0.1:0"]).unwrap();
        command.env("MAINSPRING_ZONES__DIRECTORY", Path::new(terminal.home()).join(folder));
        let output = command.output().await.unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("MAINSPRING_ZONES__DIRECTORY") && said.contains(why), "{said}");
    }
    assert!(!terminal.home().join("mainspring-data").exists(), "nothing was begun");
}

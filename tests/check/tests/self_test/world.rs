//! A small world in which everything went right: the schema of the server, rows and evidence made up by hand.
//!
//! Two jobs that fire every second and every five, twelve submissions, one attempt that failed and was tried again, one
//! whose worker was killed and that another worker took over, one run cancelled while it waited and one while it ran.
//! Every attempt that ended has written three lines.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use tempfile::TempDir;

/// The server's own schema, as text: should it change, the checker must follow.
const SCHEMA: &str = include_str!("../../../../migrations/src/initial.sql");
const LOGS: &str = include_str!("../../../../migrations/src/logs.sql");

const SECOND: i64 = 1_000_000;
/// A whole minute, so that both rhythms begin together.
pub(crate) const BEGIN: i64 = 29_500_000 * 60 * SECOND;
/// How long the world lasted, and when its last fault was over, in seconds.
pub(crate) const SECONDS: i64 = 40;
pub(crate) const HEALED: i64 = 30;
pub(crate) const SUBMISSIONS: i64 = 12;
/// The submissions with a story.
pub(crate) const FAILED_ONCE: i64 = 3;
pub(crate) const LOST_ONCE: i64 = 7;
pub(crate) const CANCELLED_WAITING: i64 = 9;
pub(crate) const CANCELLED_RUNNING: i64 = 10;
pub(crate) const JOBS: [(&str, &str, i64); 2] =
    [("every-second", "* * * * * *", 1), ("every-five", "*/5 * * * * *", 5)];
pub(crate) const WORKERS: [&str; 2] = ["a", "b"];

pub(crate) struct World {
    folder: TempDir,
    pub(crate) lines: Vec<(String, Value)>,
}

/// The id of the `number`-th thing of a kind.
pub(crate) fn id(kind: u8, number: i64) -> String {
    format!("00000000-0000-7000-80{kind:02x}-{number:012x}")
}

/// The same as an SQL literal.
pub(crate) fn blob(id: &str) -> String {
    format!("x'{}'", id.replace('-', ""))
}

pub(crate) fn submission(number: i64) -> String {
    id(1, number)
}

pub(crate) fn worker(name: &str) -> String {
    id(9, i64::from(name.as_bytes()[0]))
}

/// The run of a job for the instant `second` after the beginning.
pub(crate) fn fired(job: i64, second: i64) -> String {
    id(2, job * 1_000 + second)
}

impl World {
    pub(crate) async fn build() -> Self {
        let mut world = Self { folder: TempDir::new().unwrap(), lines: Vec::new() };
        fs::create_dir(world.folder.path().join("evidence")).unwrap();
        world.schema().await;
        world.note("nemesis.jsonl", json!({"e": "SETUP", "lease_ms": 3_000, "redispatch_grace_ms": 2_000}));
        for name in WORKERS {
            world.note_of(name, json!({"e": "UP", "t": 1, "worker": worker(name), "slots": 8}));
            world.note_of(name, json!({"e": "SESSION", "t": 2, "worker": worker(name), "up": true}));
        }
        let mut sql = String::new();
        world.submissions(&mut sql);
        world.jobs(&mut sql);
        world.sql(&sql).await;
        world.logs().await;
        world.note(
            "nemesis.jsonl",
            json!({"e": "FAULT", "t": at(LOST_ONCE, 500), "kind": "KILL", "target": "WORKER", "worker": worker("a")}),
        );
        let healed = json!({"e": "HEALED", "t": at(HEALED, 0), "wall": BEGIN + HEALED * SECOND, "allowed_ms": 6_000});
        world.note("nemesis.jsonl", healed);
        world
    }

    /// Another one, the same.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self { folder: TempDir::new().unwrap(), lines: self.lines.clone() };
        fs::create_dir(copy.folder.path().join("evidence")).unwrap();
        fs::copy(self.database(), copy.database()).unwrap();
        fs::copy(self.log_file(), copy.log_file()).unwrap();
        copy
    }

    async fn schema(&self) {
        let words = [("{id}", "BLOB"), ("{bytes}", "BLOB"), ("{serial}", "INTEGER"), ("{by_key}", "WITHOUT ROWID")];
        for (file, schema) in [(self.database(), SCHEMA), (self.log_file(), LOGS)] {
            fs::write(&file, "").unwrap();
            let schema = words.iter().fold(schema.to_owned(), |text, (word, meaning)| text.replace(word, meaning));
            execute(&file, &schema).await;
        }
        self.sql(
            "INSERT INTO namespace (id, name) VALUES (1, 'default'); INSERT INTO queue (id, namespace_id, name) VALUES (1, 1, 'default'); \
             INSERT INTO lane (id, namespace_id, queue_id, job_type, use_time) VALUES (1, 1, 1, 't.noop', 0);",
        )
        .await;
        let armed = Command::new(env!("CARGO_BIN_EXE_mainspring-check")).arg("arm").arg(self.database()).status();
        assert!(armed.unwrap().success());
    }

    fn submissions(&mut self, sql: &mut String) {
        for number in 0..SUBMISSIONS {
            let request = format!("request-{number}");
            let sent = json!({"e": "SENT", "t": at(number, 0), "request": request, "max_attempts": 3, "max_losses": 3});
            self.note("client.jsonl", sent);
            self.note(
                "client.jsonl",
                json!({"e": "ACKED", "t": at(number, 10), "request": request, "run": submission(number)}),
            );
            let (attempt, failures, losses, late) = match number {
                FAILED_ONCE => (2, 1, 0, 1),
                LOST_ONCE => (2, 0, 1, 4),
                _ => (1, 0, 0, 0),
            };
            let run = submission(number);
            let origin = format!("3, NULL, NULL, NULL, NULL, '{request}'");
            match number {
                CANCELLED_WAITING | CANCELLED_RUNNING => self.cancelled(sql, number, &origin),
                _ => *sql += &row(&run, BEGIN + number * SECOND, late, attempt, failures, losses, &origin),
            }
            match number {
                FAILED_ONCE => {
                    *sql += &ended(&run, 4, true);
                    self.ran(&run, 1, "a", at(number, 20), at(number, 30), "FAILED", Some("APPLIED"));
                    self.ran(&run, 2, "a", at(number + 1, 20), at(number + 1, 30), "SUCCEEDED", Some("APPLIED"));
                }
                LOST_ONCE => {
                    *sql += &ended(&run, 7, false);
                    self.note_of(
                        "a",
                        json!({"e": "START", "t": at(number, 20), "worker": worker("a"), "run": run, "attempt": 1}),
                    );
                    self.ran(&run, 2, "b", at(number + 4, 20), at(number + 4, 30), "SUCCEEDED", Some("APPLIED"));
                }
                CANCELLED_WAITING | CANCELLED_RUNNING => {}
                _ => self.ran(&run, 1, "b", at(number, 20), at(number, 30), "SUCCEEDED", Some("APPLIED")),
            }
        }
    }

    /// A run that somebody cancels half a second after it was made: at once where it waits, by its worker where it runs.
    fn cancelled(&mut self, sql: &mut String, number: i64, origin: &str) {
        let (run, due) = (submission(number), BEGIN + number * SECOND);
        let (asked, runs) = (due + SECOND / 2, number == CANCELLED_RUNNING);
        let answer = if runs { "RUNNING" } else { "CANCELLED" };
        self.note("client.jsonl", json!({"e": "CANCEL", "t": at(number, 490), "run": run}));
        self.note("client.jsonl", json!({"e": "CANCELLED", "t": at(number, 510), "run": run, "state": answer}));
        let (attempt, lease, end) = match runs {
            true => ("1, 1", (due + SECOND / 100).to_string(), asked + SECOND / 5),
            false => ("0, NULL", "NULL".into(), asked),
        };
        let key = blob(&run);
        *sql += &format!(
            "INSERT INTO run (id, lane_id, state, attempt, decided_token, generation, create_time, due_time, lease_time, \
             end_time, cancel_time, cancel_requested, priority, fairness_key, payload_type, origin, job_uid, job_version, \
             schedule, nominal_time, request_id) VALUES ({key}, 1, 8, {attempt}, 1, {due}, {due}, {lease}, {end}, {asked}, \
             {runs}, 0, '', '', {origin});"
        );
        if runs {
            *sql += &ended(&run, 5, true);
            self.note_of(
                "b",
                json!({"e": "TOLD", "t": at(number, 600), "worker": worker("b"), "run": run, "attempt": 1}),
            );
            self.ran(&run, 1, "b", at(number, 20), at(number, 620), "CANCELLED", Some("APPLIED"));
        }
    }

    /// The logs of all attempts that ended: three lines in two batches, of one attempt without the first.
    async fn logs(&self) {
        let mut sql = String::new();
        for (_, line) in self.lines.iter().filter(|(_, line)| line["e"] == "END") {
            let (run, attempt) = (line["run"].as_str().unwrap(), line["attempt"].as_i64().unwrap());
            let key = blob(run);
            let from = i64::from(run == submission(FAILED_ONCE) && attempt == 1);
            for (first, count, dropped) in [(from, 2 - from, from), (2, 1, 0)] {
                let lines: Vec<_> = (first..first + count).map(|offset| format!("{run} {attempt} {offset}")).collect();
                let packed = pack(&lines);
                sql += &format!(
                    "INSERT INTO log_batch VALUES ({key}, {attempt}, {first}, {count}, {dropped}, 1, {packed});"
                );
            }
            sql += &format!("INSERT INTO log_attempt VALUES ({key}, {attempt}, 3, 3, 90, NULL, NULL, 0, 0);");
        }
        self.sql_of_logs(&sql).await;
    }

    fn jobs(&mut self, sql: &mut String) {
        for (number, (name, rule, every)) in (0..).zip(JOBS) {
            let uid = id(5, number);
            self.note("client.jsonl", json!({"e": "JOB", "t": 1, "uid": uid, "job": name, "rule": rule}));
            let (key, cursor) = (blob(&uid), BEGIN + SECONDS * SECOND + 1);
            *sql += &format!(
                "INSERT INTO job (uid, namespace_id, name, version, revision, state, job_type, queue, owner, create_time, \
                 update_time) VALUES ({key}, 1, '{name}', 1, 1, 1, 't.noop', 'default', '', {}, 0);",
                BEGIN + 1
            );
            // Fired, then nobody was there, then fired again; the last range is open.
            let (gap, open) = (15, 20);
            for (first, last, fate) in [(every, gap - every, 1), (gap, gap, 4)] {
                let count = (last - first) / every + 1;
                let (first, last) = (BEGIN + first * SECOND, BEGIN + last * SECOND);
                *sql +=
                    &format!("INSERT INTO ledger VALUES ({key}, 'default', {first}, {last}, {count}, 1, {fate}, '');");
            }
            let between = format!(
                "INSERT INTO ledger VALUES ({key}, 'default', {}, {}, {}, 1, 1, '');",
                BEGIN + (gap + every) * SECOND,
                BEGIN + open * SECOND,
                (open - gap) / every
            );
            *sql += &between;
            *sql += &format!(
                "INSERT INTO schedule (job_uid, name, version, paused, cursor_time, open_version, open_first, open_last, \
                 open_count, open_fate, open_reason) VALUES ({key}, 'default', 1, FALSE, {cursor}, 1, {}, {}, {}, 1, '');",
                BEGIN + (open + every) * SECOND,
                BEGIN + SECONDS * SECOND,
                (SECONDS - open) / every
            );
            for second in (every..=SECONDS).step_by(every.unsigned_abs() as usize).filter(|second| *second != gap) {
                let run = fired(number, second);
                let nominal = BEGIN + second * SECOND;
                *sql += &row(&run, nominal, 0, 1, 0, 0, &format!("1, {key}, 1, 'default', {nominal}, NULL"));
                self.ran(&run, 1, "b", at(second, 120), at(second, 130), "SUCCEEDED", Some("APPLIED"));
            }
        }
    }

    /// Notes a whole attempt.
    #[expect(clippy::too_many_arguments, reason = "an attempt has that many sides")]
    fn ran(&mut self, run: &str, attempt: i64, name: &str, start: u64, end: u64, outcome: &str, ack: Option<&str>) {
        let id = worker(name);
        self.note_of(name, json!({"e": "START", "t": start, "worker": id, "run": run, "attempt": attempt}));
        self.note_of(
            name,
            json!({"e": "END", "t": end, "worker": id, "run": run, "attempt": attempt, "outcome": outcome, "lines": 3}),
        );
        if let Some(ack) = ack {
            let t = end + 1_000_000;
            self.note_of(
                name,
                json!({"e": "ACK", "t": t, "worker": id, "run": run, "attempt": attempt, "disposition": ack}),
            );
        }
    }

    pub(crate) fn note(&mut self, file: &str, line: Value) {
        self.lines.push((file.into(), line));
    }

    pub(crate) fn note_of(&mut self, name: &str, line: Value) {
        self.note(&format!("worker-{name}.jsonl"), line);
    }

    /// Takes away every line of a kind.
    pub(crate) fn forget(&mut self, kind: &str) {
        self.lines.retain(|(_, line)| line["e"] != kind);
    }

    /// The line of a kind about a run.
    pub(crate) fn line(&mut self, kind: &str, run: &str) -> &mut Value {
        let found = self.lines.iter_mut().find(|(_, line)| line["e"] == kind && line["run"] == run);
        &mut found.unwrap_or_else(|| panic!("a {kind} of {run}")).1
    }

    /// Adds bytes to a file as they are.
    pub(crate) fn append(&mut self, file: &str, text: &str) {
        self.note(file, Value::String(text.into()));
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("mainspring.db")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.folder.path().join("logs.db")
    }

    /// Changes the database, triggers and all; only the constraints look away.
    pub(crate) async fn sql(&self, sql: &str) {
        execute(&self.database(), sql).await;
    }

    /// Changes the logs.
    pub(crate) async fn sql_of_logs(&self, sql: &str) {
        execute(&self.log_file(), sql).await;
    }

    /// Changes the database without a witness.
    pub(crate) async fn sql_unseen(&self, sql: &str) {
        self.sql(&format!("{sql}; DELETE FROM check_witness")).await;
    }

    /// The exit code of the checker, and what it says.
    pub(crate) fn judge(&self) -> (Option<i32>, Value) {
        let evidence = self.folder.path().join("evidence");
        let mut files = std::collections::BTreeMap::<&str, String>::new();
        for (file, line) in &self.lines {
            let text = files.entry(file).or_default();
            match line {
                Value::String(raw) => *text += raw,
                line => *text += &format!("{line}\n"),
            }
        }
        for (file, text) in files {
            fs::write(evidence.join(file), text).unwrap();
        }
        let mut check = Command::new(env!("CARGO_BIN_EXE_mainspring-check"));
        check.args(["judge", "--json", "--database"]).arg(self.database()).arg("--evidence").arg(evidence);
        let output = check.output().unwrap();
        let verdict = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&output.stderr).into_owned()));
        (output.status.code(), verdict)
    }
}

async fn execute(file: &Path, sql: &str) {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .foreign_keys(false)
        .synchronous(SqliteSynchronous::Off)
        .pragma("ignore_check_constraints", "ON");
    let mut db = SqliteConnection::connect_with(&options).await.unwrap();
    db.execute(AssertSqlSafe(sql.to_owned())).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    db.close().await.unwrap();
}

/// Log lines as the column has them, as an SQL literal.
pub(crate) fn pack(messages: &[String]) -> String {
    let text: String = messages.iter().map(|message| format!("{}\n", json!({"message": message}))).collect();
    let packed = zstd::encode_all(text.as_bytes(), 0).unwrap();
    let hex: String = packed.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{hex}'")
}

/// A moment on the monotonic clock.
pub(crate) fn at(second: i64, millisecond: u64) -> u64 {
    (second.unsigned_abs() + 100) * 1_000_000_000 + millisecond * 1_000_000
}

/// A run that succeeded `took` seconds after it was due; `origin` is the columns from there to the request.
fn row(run: &str, due: i64, took: i64, attempt: i64, failures: i64, losses: i64, origin: &str) -> String {
    let end = due + took * SECOND + SECOND / 4;
    let run = blob(run);
    format!(
        "INSERT INTO run (id, lane_id, state, attempt, decided_token, generation, failures, losses, create_time, due_time, \
         end_time, priority, fairness_key, payload_type, origin, job_uid, job_version, schedule, nominal_time, request_id) \
         VALUES ({run}, 1, 6, {attempt}, {attempt}, 1, {failures}, {losses}, {due}, {due}, {end}, 0, '', '', {origin});"
    )
}

fn ended(run: &str, state: i64, reported: bool) -> String {
    let run = blob(run);
    format!(
        "INSERT INTO attempt_end (run_id, attempt, state, reported, cause, end_time) VALUES ({run}, 1, {state}, {reported}, '', 0);"
    )
}

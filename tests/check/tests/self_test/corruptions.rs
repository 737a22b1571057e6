//! What can go wrong, one thing at a time, each with the rule that must find it.

use std::{future::Future, pin::Pin};

use serde_json::json;

use crate::world::{
    BEGIN, CANCELLED_RUNNING, CANCELLED_WAITING, FAILED_ONCE, HEALED, LOST_ONCE, SECONDS, SUBMISSIONS, World, at, blob,
    fired, id, pack, submission, worker,
};

type Applied<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

pub(crate) struct Corruption {
    pub(crate) name: &'static str,
    /// The rule that is there for it.
    pub(crate) rule: &'static str,
    /// The word of the promise.
    pub(crate) word: &'static str,
    pub(crate) apply: for<'a> fn(&'a mut World, u64) -> Applied<'a>,
}

/// One entry of the list; `$n` is a number drawn from the seed.
macro_rules! corruption {
    ($name:literal, $word:literal, $rule:literal, |$world:ident, $n:ident| $body:expr) => {
        Corruption { name: $name, rule: $rule, word: $word, apply: |$world, $n| Box::pin(async move { $body }) }
    };
}

/// A submission without a story of its own.
fn plain(seed: u64) -> String {
    let told = [FAILED_ONCE, LOST_ONCE, CANCELLED_WAITING, CANCELLED_RUNNING];
    let others: Vec<_> = (0..SUBMISSIONS).filter(|number| !told.contains(number)).collect();
    submission(others[draw(seed, others.len())])
}

/// A second at which both jobs fired, in the first range of their ledgers.
fn second(seed: u64) -> i64 {
    [5, 10][draw(seed, 2)]
}

fn draw(seed: u64, below: usize) -> usize {
    (seed.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17) % below as u64) as usize
}

fn instant(second: i64) -> i64 {
    BEGIN + second * 1_000_000
}

/// A copy of a run under another id.
fn copy_of(run: &str) -> String {
    let (run, copy) = (blob(run), blob(&id(7, 1)));
    format!(
        "CREATE TEMP TABLE copy AS SELECT * FROM run WHERE id = {run}; UPDATE copy SET id = {copy}; \
         INSERT INTO run SELECT * FROM copy"
    )
}

pub(crate) const CORRUPTIONS: &[Corruption] = &[
    corruption!(
        "the row of an acknowledged submission is gone",
        "lost",
        "an acknowledged submission has its row",
        |w, n| {
            w.sql_unseen(&format!("DELETE FROM run WHERE id = {}", blob(&plain(n)))).await;
        }
    ),
    corruption!("it has another request's row", "lost", "an acknowledged submission has its row", |w, n| {
        w.sql_unseen(&format!("UPDATE run SET request_id = 'another' WHERE id = {}", blob(&plain(n)))).await;
    }),
    corruption!(
        "a request that was never stored was acknowledged",
        "lost",
        "an acknowledged submission has its row",
        |w, n| {
            w.note(
                "client.jsonl",
                json!({"e": "ACKED", "t": at(9, n), "request": format!("ghost-{n}"), "run": id(8, 1)}),
            );
        }
    ),
    corruption!("a row is deleted", "lost", "no row was deleted", |w, n| {
        w.sql(&format!("DELETE FROM run WHERE id = {}", blob(&plain(n)))).await;
    }),
    corruption!("a job is gone", "lost", "an acknowledged job has its row and its schedule", |w, n| {
        let job = blob(&id(5, i64::from(n % 2 == 0)));
        w.sql(&format!("DELETE FROM schedule WHERE job_uid = {job}; DELETE FROM job WHERE uid = {job}")).await;
    }),
    corruption!("a range of the ledger is gone", "lost", "a due instant has a fate", |w, n| {
        let job = blob(&id(5, i64::from(n % 2 == 0)));
        w.sql(&format!("DELETE FROM ledger WHERE job_uid = {job} AND fate = 4")).await;
    }),
    corruption!("a range begins too late", "lost", "a due instant has a fate", |w, n| {
        let from = instant(1 + second(n));
        w.sql(&format!("UPDATE ledger SET first_time = {from} WHERE first_time = {}", instant(1))).await;
    }),
    corruption!("a range holds fewer fates than instants", "lost", "a due instant has a fate", |w, n| {
        w.sql(&format!("UPDATE schedule SET open_count = open_count - {n} WHERE open_count > 5")).await;
    }),
    corruption!("the cursor runs ahead of the fates", "lost", "a due instant has a fate", |w, n| {
        w.sql(&format!("UPDATE schedule SET cursor_time = cursor_time + {}", (4 + n) * 1_000_000)).await;
    }),
    corruption!("the run of an instant is gone", "lost", "an instant that fired has its run", |w, n| {
        w.sql_unseen(&format!("DELETE FROM run WHERE id = {}", blob(&fired(0, second(n))))).await;
    }),
    corruption!("an instant has two runs", "doubled", "an instant became one run", |w, n| {
        w.sql(&format!("DROP INDEX run_instant; {}", copy_of(&fired(1, second(n))))).await;
    }),
    corruption!("a request has two runs", "doubled", "a request became one run", |w, n| {
        w.sql(&copy_of(&plain(n))).await;
    }),
    corruption!(
        "a request is answered twice, differently",
        "doubled",
        "a request was answered with one run",
        |w, n| {
            let run = plain(n);
            let request = w.line("ACKED", &run)["request"].clone();
            w.note(
                "client.jsonl",
                json!({"e": "ACKED", "t": at(9, 0), "request": request, "run": submission(LOST_ONCE)}),
            );
        }
    ),
    corruption!("two ranges overlap", "doubled", "an instant has one fate", |w, n| {
        let to = instant(20 + i64::from(n as u32));
        w.sql(&format!(
            "UPDATE ledger SET last_time = {to}, count = count + {n} WHERE last_time = {} AND fate = 1",
            instant(20)
        ))
        .await;
    }),
    corruption!("a range holds more fates than instants", "doubled", "an instant has one fate", |w, n| {
        w.sql(&format!("UPDATE ledger SET count = count + {n} WHERE fate = 4")).await;
    }),
    corruption!(
        "an instant that was passed over has a run",
        "doubled",
        "a run of a schedule has an instant that fired",
        |w, n| {
            let fate = [4, 5, 6][draw(n, 3)];
            w.sql(&format!("UPDATE ledger SET fate = {fate} WHERE first_time = {}", instant(1))).await;
        }
    ),
    corruption!(
        "a run has an instant between two seconds",
        "doubled",
        "a run of a schedule has an instant that fired",
        |w, n| {
            let run = blob(&fired(0, second(n)));
            w.sql_unseen(&format!("UPDATE run SET nominal_time = nominal_time + 500000 WHERE id = {run}")).await;
        }
    ),
    corruption!("a terminal row changes", "doubled", "a terminal row never changed", |w, n| {
        let state = [7, 8, 9][draw(n, 3)];
        w.sql(&format!("UPDATE run SET state = {state} WHERE id = {}", blob(&fired(0, second(n))))).await;
    }),
    corruption!("a terminal row changes and changes back", "doubled", "a terminal row never changed", |w, n| {
        let run = blob(&plain(n));
        w.sql(&format!("UPDATE run SET reason = 'X' WHERE id = {run}; UPDATE run SET reason = NULL WHERE id = {run}"))
            .await;
    }),
    corruption!(
        "an acknowledged success became a failure",
        "doubled",
        "an acknowledged success is the end of its run",
        |w, n| {
            w.sql_unseen(&format!("UPDATE run SET state = 7 WHERE id = {}", blob(&plain(n)))).await;
        }
    ),
    corruption!("another attempt decided", "doubled", "an acknowledged success is the end of its run", |w, _n| {
        w.sql_unseen(&format!("UPDATE run SET decided_token = 1 WHERE id = {}", blob(&submission(LOST_ONCE)))).await;
    }),
    corruption!(
        "a start after the acknowledged end",
        "after_ack",
        "no start after the acknowledged end of the run",
        |w, n| {
            let run = plain(n);
            let ack = w.line("ACK", &run)["t"].as_u64().unwrap();
            w.line("START", &run)["t"] = json!(ack + n);
        }
    ),
    corruption!(
        "a start of an attempt after the one that decided",
        "after_ack",
        "no start with a later number than the deciding attempt's",
        |w, n| {
            let run = plain(n);
            w.note_of("a", json!({"e": "START", "t": at(0, n), "worker": worker("a"), "run": run, "attempt": 2}));
        }
    ),
    corruption!("a run still waits", "stuck", "every run is over", |w, n| {
        let run = blob(&plain(n));
        w.sql_unseen(&format!("UPDATE run SET state = 2, end_time = NULL, ready_lane = 1 WHERE id = {run}")).await;
    }),
    corruption!("a run still runs", "stuck", "every run is over", |w, n| {
        let run = blob(&fired(1, second(n)));
        let set = "state = 4, end_time = NULL, open_token = attempt, worker_id = x'00'";
        w.sql_unseen(&format!("UPDATE run SET {set} WHERE id = {run}")).await;
    }),
    corruption!("a run was over late", "stuck", "every run was over in time after the last fault", |w, n| {
        let end = instant(HEALED + 6) + i64::from(n as u32);
        w.sql_unseen(&format!("UPDATE run SET end_time = {end} WHERE id = {}", blob(&plain(n)))).await;
    }),
    corruption!("a schedule fell behind", "stuck", "every schedule was evaluated past the last fault", |w, n| {
        let cursor = instant(HEALED - 1 - i64::from(n as u32));
        w.sql(&format!("UPDATE schedule SET cursor_time = {cursor}")).await;
    }),
    corruption!("a token leaps", "broken", "a token grew by one or not at all", |w, n| {
        let run = blob(&plain(n));
        w.sql(&format!("UPDATE run SET attempt = attempt + 2 WHERE id = {run}; UPDATE run SET attempt = attempt - 2 WHERE id = {run}")).await;
    }),
    corruption!(
        "a token is lower than what was started",
        "broken",
        "a started or ended attempt has a number its row has reached",
        |w, n| {
            let run = blob(&submission([FAILED_ONCE, LOST_ONCE][draw(n, 2)]));
            w.sql_unseen(&format!("UPDATE run SET attempt = 1, decided_token = 1 WHERE id = {run}")).await;
        }
    ),
    corruption!("one attempt starts at two workers", "broken", "an attempt started once, at one worker", |w, n| {
        let (run, t) = (plain(n), at(0, 1));
        w.note_of("a", json!({"e": "START", "t": t, "worker": worker("a"), "run": run, "attempt": 1}));
    }),
    corruption!(
        "the end of an attempt was not kept",
        "broken",
        "the ends of attempts add up to the counters of their run",
        |w, n| {
            let run = blob(&submission([FAILED_ONCE, LOST_ONCE][draw(n, 2)]));
            w.sql(&format!("DELETE FROM attempt_end WHERE run_id = {run}")).await;
        }
    ),
    corruption!(
        "a loss is charged as a failure",
        "broken",
        "the ends of attempts add up to the counters of their run",
        |w, _n| {
            w.sql("UPDATE attempt_end SET state = 4 WHERE state = 7").await;
        }
    ),
    corruption!(
        "more failures than the policy allows",
        "broken",
        "a submission's failures and losses are within its policy",
        |w, n| {
            let column = ["failures", "losses"][draw(n, 2)];
            w.sql_unseen(&format!("UPDATE run SET {column} = 4 WHERE id = {}", blob(&plain(n)))).await;
        }
    ),
    corruption!(
        "a worker runs more than it has slots",
        "broken",
        "a worker ran no more at once than it has slots",
        |w, n| {
            for number in 0..9 {
                let run = id(6, number);
                w.note_of(
                    "a",
                    json!({"e": "START", "t": at(SECONDS, n), "worker": worker("a"), "run": run, "attempt": 1}),
                );
            }
        }
    ),
    corruption!(
        "a killed worker's run waits too long",
        "broken",
        "a killed worker's run started elsewhere within a lease and the grace",
        |w, n| {
            let run = submission(LOST_ONCE);
            for (_, line) in &mut w.lines {
                if line["run"] == run.as_str() && line["attempt"] == 2 {
                    line["t"] = json!(line["t"].as_u64().unwrap() + (1 + n) * 1_000_000_000 + 500_000_000);
                }
            }
        }
    ),
    corruption!(
        "a run that was cancelled fails",
        "broken",
        "a run that was cancelled failed no more and was tried no more",
        |w, n| {
            let run = blob(&submission([CANCELLED_WAITING, CANCELLED_RUNNING][draw(n, 2)]));
            w.sql_unseen(&format!("UPDATE run SET state = 7 WHERE id = {run}")).await;
        }
    ),
    corruption!(
        "a run that was answered CANCELLED succeeds",
        "broken",
        "a run that was cancelled failed no more and was tried no more",
        |w, _n| {
            let run = blob(&submission(CANCELLED_WAITING));
            w.sql_unseen(&format!("UPDATE run SET state = 6 WHERE id = {run}")).await;
        }
    ),
    corruption!(
        "an acknowledged cancellation is forgotten",
        "broken",
        "a run that was cancelled failed no more and was tried no more",
        |w, n| {
            let run = submission([FAILED_ONCE, LOST_ONCE][draw(n, 2)]);
            let sent = w.line("START", &run)["t"].as_u64().unwrap();
            w.note("client.jsonl", json!({"e": "CANCEL", "t": sent, "run": run}));
            w.note("client.jsonl", json!({"e": "CANCELLED", "t": sent + 1_000_000, "run": run, "state": "RUNNING"}));
        }
    ),
    corruption!("a run is CANCELLED by nobody", "broken", "nothing is CANCELLED that nobody cancelled", |w, n| {
        w.sql_unseen(&format!("UPDATE run SET state = 8, cancel_time = end_time WHERE id = {}", blob(&plain(n)))).await;
    }),
    corruption!(
        "a cancelled run is leased",
        "broken",
        "no attempt was leased after the cancellation was acknowledged",
        |w, n| {
            let (run, later) = (blob(&submission(CANCELLED_RUNNING)), instant(CANCELLED_RUNNING) + 600_000);
            let sql = [
                format!("UPDATE run SET lease_time = {later} WHERE id = {run}"),
                format!("UPDATE attempt_end SET lease_time = {later} WHERE run_id = {run}"),
            ];
            w.sql_unseen(&sql[draw(n, 2)]).await;
        }
    ),
    corruption!("a run starts after it was CANCELLED", "broken", "no start once the run was CANCELLED", |w, n| {
        let run = submission(CANCELLED_WAITING);
        let t = at(CANCELLED_WAITING, 511 + n);
        w.note_of("b", json!({"e": "START", "t": t, "worker": worker("b"), "run": run, "attempt": 1}));
    }),
    corruption!("a run starts after its row was CANCELLED", "broken", "no start once the run was CANCELLED", |w, n| {
        let t = at(CANCELLED_RUNNING, 900 + n);
        w.line("START", &submission(CANCELLED_RUNNING))["t"] = json!(t);
    }),
    corruption!(
        "a running attempt is told late",
        "broken",
        "a running attempt was told of its cancellation within 2 s",
        |w, n| {
            let late = (2_000 + n) * 1_000_000;
            for (_, line) in &mut w.lines {
                if line["run"] == submission(CANCELLED_RUNNING).as_str()
                    && ["TOLD", "END", "ACK"].iter().any(|e| line["e"] == *e)
                {
                    line["t"] = json!(line["t"].as_u64().unwrap() + late);
                }
            }
        }
    ),
    corruption!(
        "a batch of lines is gone",
        "broken",
        "a log has no gap but what is counted, and no line twice",
        |w, n| {
            let (run, first) = (blob(&plain(n)), [0, 2][draw(n, 2)]);
            w.sql_of_logs(&format!("DELETE FROM log_batch WHERE run_id = {run} AND first_offset = {first}")).await;
        }
    ),
    corruption!(
        "a batch is there twice",
        "broken",
        "a log has no gap but what is counted, and no line twice",
        |w, n| {
            let run = blob(&plain(n));
            w.sql_of_logs(&format!(
                "INSERT INTO log_batch SELECT run_id, attempt, 1, count, dropped, max_level, lines FROM log_batch \
             WHERE run_id = {run} AND first_offset = 0"
            ))
            .await;
        }
    ),
    corruption!(
        "dropped lines are not counted",
        "broken",
        "a log has no gap but what is counted, and no line twice",
        |w, _n| {
            w.sql_of_logs("UPDATE log_batch SET dropped = 0").await;
        }
    ),
    corruption!("a line of another attempt", "broken", "a line of a log is the one its attempt wrote there", |w, n| {
        let (run, other) = (plain(n), submission(FAILED_ONCE));
        let lines = pack(&[format!("{other} 2 2")]);
        w.sql_of_logs(&format!(
            "UPDATE log_batch SET lines = {lines} WHERE run_id = {} AND first_offset = 2",
            blob(&run)
        ))
        .await;
    }),
    corruption!("two lines change places", "broken", "a line of a log is the one its attempt wrote there", |w, n| {
        let run = plain(n);
        let lines = pack(&[format!("{run} 1 1"), format!("{run} 1 0")]);
        w.sql_of_logs(&format!(
            "UPDATE log_batch SET lines = {lines} WHERE run_id = {} AND first_offset = 0",
            blob(&run)
        ))
        .await;
    }),
    corruption!("the last lines are missing", "broken", "a worker that lived delivered every line", |w, n| {
        let run = blob(&plain(n));
        w.sql_of_logs(&format!(
            "DELETE FROM log_batch WHERE run_id = {run} AND first_offset = 2; \
             UPDATE log_attempt SET next_offset = 2 WHERE run_id = {run}"
        ))
        .await;
    }),
    corruption!("a whole log is missing", "broken", "a worker that lived delivered every line", |w, n| {
        let run = blob(&plain(n));
        w.sql_of_logs(&format!(
            "DELETE FROM log_batch WHERE run_id = {run}; DELETE FROM log_attempt WHERE run_id = {run}"
        ))
        .await;
    }),
];

-- Times are microseconds since the epoch. State codes are those of the domain. JSON is text.

-- What a namespace says for all of its jobs and runs is JSON.
CREATE TABLE namespace (
    id {serial} PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    revision BIGINT NOT NULL DEFAULT 1,
    settings TEXT NOT NULL DEFAULT '{}'
)
;
-- A queue exists from the first run, job type or setting that names it. `in_flight` is kept only while there is a limit.
-- Its runs are released at most at a rate: `rate_count` in `rate_per` microseconds, `rate_burst` at once.
CREATE TABLE queue (
    id {serial} PRIMARY KEY,
    namespace_id INTEGER NOT NULL REFERENCES namespace (id),
    name TEXT NOT NULL,
    paused BOOLEAN NOT NULL DEFAULT FALSE,
    note TEXT NOT NULL DEFAULT '',
    concurrency_limit BIGINT NOT NULL DEFAULT 0 CHECK (concurrency_limit >= 0),
    in_flight BIGINT NOT NULL DEFAULT 0 CHECK (in_flight >= 0),
    rate_count BIGINT CHECK (rate_count > 0),
    rate_per BIGINT CHECK (rate_per > 0),
    rate_burst BIGINT CHECK (rate_burst > 0),
    revision BIGINT NOT NULL DEFAULT 1,
    UNIQUE (namespace_id, name),
    CHECK ((rate_count IS NULL) = (rate_per IS NULL) AND (rate_count IS NULL) = (rate_burst IS NULL))
)
;
CREATE INDEX queue_restricted ON queue (id) WHERE paused OR concurrency_limit > 0 OR rate_count IS NOT NULL
;
-- (namespace, queue, job type, required labels) as one number, so that rows and index entries of runs stay small.
-- `selector`: the labels as JSON, mostly none. `use_time`: when it was last named, or up to a day earlier.
CREATE TABLE lane (
    id {serial} PRIMARY KEY,
    namespace_id INTEGER NOT NULL REFERENCES namespace (id),
    queue_id INTEGER NOT NULL REFERENCES queue (id),
    job_type TEXT NOT NULL,
    selector TEXT NOT NULL DEFAULT '',
    use_time BIGINT NOT NULL,
    UNIQUE (queue_id, job_type, selector)
)
;
-- Concurrency keys, as numbers: at most `run_limit` runs of one have an attempt open, and `in_flight` have. Nobody has to say
-- a limit. They begin at most at a rate, as those of a queue do; its bucket held `rate_level` at `rate_time`. `go_time`: when
-- the next may go, where somebody waits whom only the rate keeps back. `look_time`: whether any run still names it is not
-- looked at before.
CREATE TABLE limit_key (
    id {serial} PRIMARY KEY,
    namespace_id INTEGER NOT NULL REFERENCES namespace (id),
    key TEXT NOT NULL,
    run_limit BIGINT CHECK (run_limit > 0),
    in_flight BIGINT NOT NULL DEFAULT 0 CHECK (in_flight >= 0),
    rate_count BIGINT CHECK (rate_count > 0),
    rate_per BIGINT CHECK (rate_per > 0),
    rate_burst BIGINT CHECK (rate_burst > 0),
    rate_level BIGINT,
    rate_time BIGINT,
    go_time BIGINT CHECK (go_time IS NULL OR rate_count IS NOT NULL),
    look_time BIGINT NOT NULL,
    UNIQUE (namespace_id, key),
    CHECK ((rate_count IS NULL) = (rate_per IS NULL) AND (rate_count IS NULL) = (rate_burst IS NULL)),
    CHECK ((rate_count IS NULL) = (rate_level IS NULL) AND (rate_count IS NULL) = (rate_time IS NULL))
)
;
CREATE INDEX limit_key_look ON limit_key (look_time)
;
-- Keys that somebody must look at when the next of them may go; few have a rate.
CREATE INDEX limit_key_go ON limit_key (go_time) WHERE go_time IS NOT NULL
;
-- `state` is the state apart from a pause; a job is paused while `pause_time` is set. `job_type`, `queue`, `owner` repeat
-- the definition for filters. `auto_disabled`: it was paused by itself, since its runs failed; those that ended up to
-- `resume_time` do not count. A deleted job keeps its row for the runs that point at it; `half_deleted` while some of them
-- may still wait; `delete_stop`: what is at workers is asked to stop, 1 by itself, 2 within a lease. `expire_time`: when a
-- job that is COMPLETED is to be deleted.
CREATE TABLE job (
    uid {id} NOT NULL PRIMARY KEY,
    namespace_id INTEGER NOT NULL REFERENCES namespace (id),
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    state SMALLINT NOT NULL CHECK (state IN (1, 3, 4)),
    pause_time BIGINT,
    pause_note TEXT,
    pause_actor TEXT,
    pause_until BIGINT,
    auto_disabled BOOLEAN NOT NULL DEFAULT FALSE,
    resume_time BIGINT,
    job_type TEXT NOT NULL,
    queue TEXT NOT NULL,
    owner TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    expire_time BIGINT CHECK (expire_time IS NULL OR state = 4),
    delete_time BIGINT,
    half_deleted BOOLEAN NOT NULL DEFAULT FALSE,
    delete_stop SMALLINT CHECK (delete_stop BETWEEN 1 AND 2),
    CHECK (NOT half_deleted OR delete_time IS NOT NULL),
    CHECK ((pause_time IS NULL) = (pause_note IS NULL) AND (pause_time IS NULL) = (pause_actor IS NULL)),
    CHECK (pause_until IS NULL OR pause_time IS NOT NULL),
    CHECK (NOT auto_disabled OR pause_time IS NOT NULL)
) {by_key}
;
CREATE UNIQUE INDEX job_name ON job (namespace_id, name) WHERE delete_time IS NULL
;
-- Runs are listed by the name their job has or had.
CREATE INDEX job_named ON job (namespace_id, name)
;
CREATE INDEX job_deleted ON job (delete_time) WHERE delete_time IS NOT NULL
;
CREATE INDEX job_pause_end ON job (pause_until) WHERE pause_until IS NOT NULL AND delete_time IS NULL
;
CREATE INDEX job_expiry ON job (expire_time) WHERE expire_time IS NOT NULL AND delete_time IS NULL
;
CREATE INDEX job_half_deleted ON job (delete_time) WHERE half_deleted
;
CREATE TABLE job_version (
    job_uid {id} NOT NULL REFERENCES job (uid) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    spec TEXT NOT NULL,
    payload_type TEXT NOT NULL,
    payload {bytes} NOT NULL,
    create_time BIGINT NOT NULL,
    PRIMARY KEY (job_uid, version)
) {by_key}
;
-- Runs that are made of instants that have passed, some at a time. `cursor_time`: instants up to it are dealt with; from it on,
-- where the newest come first. `is_through`: none is left. `cancel_workers`: what is at workers is asked to stop. The counts
-- of its runs are kept once all of them are over.
CREATE TABLE backfill (
    id {id} NOT NULL PRIMARY KEY,
    namespace_id INTEGER NOT NULL REFERENCES namespace (id),
    job_uid {id} NOT NULL REFERENCES job (uid) ON DELETE CASCADE,
    job_version BIGINT NOT NULL,
    spec TEXT NOT NULL,
    payload_type TEXT,
    payload {bytes},
    state SMALLINT NOT NULL CHECK (state BETWEEN 1 AND 4),
    cursor_time BIGINT NOT NULL,
    is_through BOOLEAN NOT NULL DEFAULT FALSE,
    made BIGINT NOT NULL DEFAULT 0 CHECK (made >= 0),
    skipped BIGINT NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    cancel_workers BOOLEAN NOT NULL DEFAULT FALSE,
    cancel_note TEXT,
    succeeded BIGINT CHECK (succeeded >= 0),
    failed BIGINT CHECK (failed >= 0),
    cancelled BIGINT CHECK (cancelled >= 0),
    create_time BIGINT NOT NULL,
    end_time BIGINT,
    CHECK ((state IN (2, 4)) = (end_time IS NOT NULL)),
    CHECK ((state IN (3, 4)) = (cancel_note IS NOT NULL)),
    CHECK ((end_time IS NULL) = (succeeded IS NULL) AND (end_time IS NULL) = (failed IS NULL)
        AND (end_time IS NULL) = (cancelled IS NULL)),
    CHECK ((payload_type IS NULL) = (payload IS NULL))
) {by_key}
;
CREATE INDEX backfill_open ON backfill (id) WHERE end_time IS NULL
;
CREATE INDEX backfill_job ON backfill (job_uid, id)
;
CREATE INDEX backfill_end ON backfill (end_time) WHERE end_time IS NOT NULL
;
-- A calendar that was deleted keeps its row for the versions of jobs that counted with it. `half_updated`: there may be jobs
-- that count with an older version of it than is in force.
CREATE TABLE calendar (
    uid {id} NOT NULL PRIMARY KEY,
    namespace_id INTEGER NOT NULL REFERENCES namespace (id),
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    delete_time BIGINT,
    half_updated BOOLEAN NOT NULL DEFAULT FALSE
) {by_key}
;
CREATE UNIQUE INDEX calendar_name ON calendar (namespace_id, name) WHERE delete_time IS NULL
;
CREATE INDEX calendar_half_updated ON calendar (uid) WHERE half_updated
;
CREATE TABLE calendar_version (
    calendar_uid {id} NOT NULL REFERENCES calendar (uid) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    spec TEXT NOT NULL,
    PRIMARY KEY (calendar_uid, version)
) {by_key}
;
-- The calendars that the definition in force of a job leaves out, and in which version.
CREATE TABLE calendar_use (
    calendar_uid {id} NOT NULL REFERENCES calendar (uid),
    job_uid {id} NOT NULL REFERENCES job (uid) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    PRIMARY KEY (calendar_uid, job_uid)
) {by_key}
;
CREATE INDEX calendar_use_job ON calendar_use (job_uid)
;
-- The versions of calendars that definitions of a job counted with: as long as there is one, its instants are named by them.
CREATE TABLE calendar_pin (
    calendar_uid {id} NOT NULL,
    version BIGINT NOT NULL,
    job_uid {id} NOT NULL REFERENCES job (uid) ON DELETE CASCADE,
    PRIMARY KEY (calendar_uid, version, job_uid),
    FOREIGN KEY (calendar_uid, version) REFERENCES calendar_version (calendar_uid, version)
) {by_key}
;
CREATE INDEX calendar_pin_job ON calendar_pin (job_uid)
;
-- Whom to tell what goes wrong. `kinds`: what of it, one bit each. `job`: of this one only. `secret` is sealed. `disabled`:
-- nothing is kept for it and nothing sent. `dropped`: what it was not told, since too much was open. A deleted sink keeps its
-- row as long as there are deliveries of it.
CREATE TABLE sink (
    uid {id} NOT NULL PRIMARY KEY,
    namespace_id INTEGER NOT NULL REFERENCES namespace (id),
    name TEXT NOT NULL,
    revision BIGINT NOT NULL,
    description TEXT NOT NULL,
    url TEXT NOT NULL,
    kinds INTEGER NOT NULL CHECK (kinds > 0),
    job TEXT,
    secret {bytes} NOT NULL,
    disabled SMALLINT CHECK (disabled BETWEEN 1 AND 2),
    dropped BIGINT NOT NULL DEFAULT 0,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    delete_time BIGINT
) {by_key}
;
CREATE UNIQUE INDEX sink_name ON sink (namespace_id, name) WHERE delete_time IS NULL
;
-- One notice on its way to one sink. `next_time`: when it is sent next; it has none once it is over. `end_time`: since when it
-- is. `attempts` and `state` guard what is noted of an attempt.
CREATE TABLE delivery (
    sink_uid {id} NOT NULL REFERENCES sink (uid),
    id {id} NOT NULL,
    kind SMALLINT NOT NULL,
    state SMALLINT NOT NULL CHECK (state BETWEEN 1 AND 3),
    attempts INTEGER NOT NULL DEFAULT 0,
    status SMALLINT,
    error TEXT NOT NULL DEFAULT '',
    next_time BIGINT,
    create_time BIGINT NOT NULL,
    end_time BIGINT,
    body TEXT NOT NULL,
    PRIMARY KEY (sink_uid, id),
    CHECK ((state = 1) = (next_time IS NOT NULL)),
    CHECK ((state = 1) = (end_time IS NULL))
)
;
CREATE INDEX delivery_due ON delivery (sink_uid, next_time) WHERE next_time IS NOT NULL
;
CREATE INDEX delivery_age ON delivery (end_time) WHERE end_time IS NOT NULL
;
-- Zone data that are or were in force: their version for people, and what tells two of one version apart.
CREATE TABLE zone_data (
    id {serial} PRIMARY KEY,
    version TEXT NOT NULL,
    print TEXT NOT NULL,
    UNIQUE (version, print)
)
;
-- The compiled files of the zones that definitions depend on, so that what was named by them is named by them for ever.
CREATE TABLE zone_file (
    zone_data_id INTEGER NOT NULL REFERENCES zone_data (id),
    name TEXT NOT NULL,
    file {bytes} NOT NULL,
    PRIMARY KEY (zone_data_id, name)
)
;
-- Where other zone data changed a schedule: what its ledger has up to an instant was named by the data before.
CREATE TABLE zone_change (
    job_uid {id} NOT NULL REFERENCES job (uid) ON DELETE CASCADE,
    schedule TEXT NOT NULL,
    until_time BIGINT NOT NULL,
    zone_data_id INTEGER NOT NULL REFERENCES zone_data (id),
    PRIMARY KEY (job_uid, schedule, until_time)
) {by_key}
;
CREATE INDEX zone_change_age ON zone_change (until_time)
;
-- Where the evaluation of a schedule stands. Cursor, version and pause are the guard of a firing, so all three are in
-- this row. The open ledger range is here too: firing once more costs no further write. `pause_until`: when the pause ends
-- by itself. `resume_until`: instants up to this passed in a pause, and are caught up with by `resume_mode`. `run_count`: how
-- many runs it has made, which may be all that it makes. `zone_data_id`: by which data its next instant was named; where others
-- are in force it follows them. `open_run`: its run that is not over, whose end it counts from; until
-- then nothing comes next.
CREATE TABLE schedule (
    job_uid {id} NOT NULL REFERENCES job (uid) ON DELETE CASCADE,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    paused BOOLEAN NOT NULL,
    cursor_time BIGINT NOT NULL,
    next_time BIGINT,
    pause_until BIGINT,
    resume_until BIGINT,
    resume_mode SMALLINT CHECK (resume_mode BETWEEN 1 AND 3),
    run_count BIGINT NOT NULL DEFAULT 0 CHECK (run_count >= 0),
    zone_data_id INTEGER REFERENCES zone_data (id),
    open_run {id},
    open_version BIGINT,
    open_first BIGINT,
    open_last BIGINT,
    open_count BIGINT,
    open_fate SMALLINT CHECK (open_fate BETWEEN 1 AND 11),
    open_reason TEXT,
    PRIMARY KEY (job_uid, name),
    CHECK ((open_first IS NULL) = (open_fate IS NULL)),
    CHECK (pause_until IS NULL OR paused),
    CHECK (open_run IS NULL OR next_time IS NULL),
    CHECK ((resume_until IS NULL) = (resume_mode IS NULL))
) {by_key}
;
CREATE INDEX schedule_next ON schedule (next_time) WHERE next_time IS NOT NULL
;
CREATE INDEX schedule_zone_data ON schedule (zone_data_id)
;
-- Closed ranges: `count` instants from first to last had one fate. An instant has one fate, so `first_time` is unique.
CREATE TABLE ledger (
    job_uid {id} NOT NULL,
    schedule TEXT NOT NULL,
    first_time BIGINT NOT NULL,
    last_time BIGINT NOT NULL,
    count BIGINT NOT NULL CHECK (count > 0),
    version BIGINT NOT NULL,
    fate SMALLINT NOT NULL CHECK (fate BETWEEN 1 AND 11),
    reason TEXT NOT NULL,
    PRIMARY KEY (job_uid, schedule, first_time),
    CHECK (last_time >= first_time)
) {by_key}
;
CREATE INDEX ledger_age ON ledger (last_time)
;
-- Times of the wall clock that a clock change removed, and that a rule would have named: they have no instant, so they are
-- kept by the change. The walls are as RFC 3339 writes a date and a time without a zone.
CREATE TABLE skipped_wall (
    job_uid {id} NOT NULL,
    schedule TEXT NOT NULL,
    change_time BIGINT NOT NULL,
    version BIGINT NOT NULL,
    first_wall TEXT NOT NULL,
    last_wall TEXT NOT NULL,
    count BIGINT NOT NULL CHECK (count > 0),
    PRIMARY KEY (job_uid, change_time, schedule)
) {by_key}
;
CREATE INDEX skipped_wall_age ON skipped_wall (change_time)
;
-- What edits and deletes took: schedules that were ended while they named instants, the rule of `version` from `first_time` on.
-- `to_version`: the version that replaced it; NULL where the job was deleted. `shown_time`: up to here its instants are told of one
-- by one, with those of the ledger. `end_time`: it took nothing after this.
CREATE TABLE lapsed (
    job_uid {id} NOT NULL REFERENCES job (uid) ON DELETE CASCADE,
    schedule TEXT NOT NULL,
    version BIGINT NOT NULL,
    to_version BIGINT CHECK (to_version > version),
    lapse_time BIGINT NOT NULL,
    actor TEXT NOT NULL,
    first_time BIGINT NOT NULL,
    shown_time BIGINT NOT NULL,
    end_time BIGINT,
    PRIMARY KEY (job_uid, lapse_time, schedule, version),
    CHECK (first_time > lapse_time),
    CHECK (shown_time >= first_time),
    CHECK (end_time >= shown_time)
) {by_key}
;
CREATE INDEX lapsed_age ON lapsed (shown_time)
;
-- Executions. Everything rare is NULL, so that a row is small. No index mentions `state`: the indexed columns are NULL
-- unless they matter. Input and output over a kilobyte are in run_data (`spilled`: 1 input, 2 output), since a row is
-- written again at every step. `plain_lease`: by its policy, a lease of it does nothing but lease (it may start again, no
-- time runs against it before it starts, and its worker is told nothing that few are). `plain_end`: its end does nothing but end it (its schedule does not count from
-- there). `retry_until`: no retry of it begins then or later, since its schedule is due again. `log_lines`: how many the attempt that succeeded wrote, if its worker said.
-- `buffer`: how it waits for runs of its job, or of the key `slot_key`, to be over; `apart`: it is none that others wait for. `key_id`: its
-- concurrency key; while that is full it waits in `parked_key` instead of `ready_lane`.
-- `backfill_id`: what made it, where a backfill did; no foreign key, since it is rare and known before. `zone_data_id`: the zone
-- data that named its instant; no foreign key, since those are never deleted.
-- `fingerprint`: what went wrong with one that is dead; `resolution` and what follows: what became of that.
-- `lane_id` is no foreign key: to let go of a lane, the database would read every run.
CREATE TABLE run (
    id {id} NOT NULL PRIMARY KEY,
    lane_id INTEGER NOT NULL,
    state SMALLINT NOT NULL CHECK (state BETWEEN 1 AND 9),
    attempt BIGINT NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    open_token BIGINT,
    decided_token BIGINT,
    worker_id {id},
    generation BIGINT NOT NULL,
    cancel_requested BOOLEAN NOT NULL DEFAULT FALSE,
    stop_timeout BOOLEAN NOT NULL DEFAULT FALSE,
    stop_deadline BIGINT,
    failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
    losses INTEGER NOT NULL DEFAULT 0 CHECK (losses >= 0),
    returns INTEGER NOT NULL DEFAULT 0 CHECK (returns >= 0),
    reason TEXT,
    create_time BIGINT NOT NULL,
    queue_time BIGINT,
    lease_time BIGINT,
    start_time BIGINT,
    end_time BIGINT,
    wake_time BIGINT,
    cancel_time BIGINT,
    cancel_reason TEXT,
    ready_lane INTEGER,
    key_id INTEGER,
    parked_key INTEGER,
    deadline_time BIGINT,
    dead_time BIGINT,
    fingerprint TEXT,
    resolution SMALLINT CHECK (resolution BETWEEN 1 AND 4),
    resolve_time BIGINT,
    resolve_note TEXT,
    resolve_actor TEXT,
    priority SMALLINT NOT NULL CHECK (priority BETWEEN 0 AND 9),
    fairness_key TEXT NOT NULL,
    due_time BIGINT NOT NULL,
    origin SMALLINT NOT NULL CHECK (origin BETWEEN 1 AND 6),
    job_uid {id},
    job_version BIGINT,
    schedule TEXT,
    nominal_time BIGINT,
    zone_data_id INTEGER,
    backfill_id {id},
    late BOOLEAN NOT NULL DEFAULT FALSE,
    parent_id {id},
    request_id TEXT,
    note TEXT,
    labels TEXT,
    headers TEXT,
    policy TEXT,
    plain_lease BOOLEAN NOT NULL DEFAULT TRUE,
    plain_end BOOLEAN NOT NULL DEFAULT TRUE,
    retry_until BIGINT,
    previous_success BIGINT CHECK (previous_success IS NULL OR NOT plain_lease),
    buffer SMALLINT CHECK (buffer BETWEEN 1 AND 4),
    slot_key INTEGER,
    apart BOOLEAN NOT NULL DEFAULT FALSE,
    unique_key TEXT,
    spilled SMALLINT NOT NULL DEFAULT 0 CHECK (spilled BETWEEN 0 AND 3),
    payload_type TEXT NOT NULL,
    payload {bytes},
    output_type TEXT,
    output {bytes},
    log_lines BIGINT CHECK (log_lines >= 0),
    CHECK (NOT (cancel_requested OR stop_timeout) OR state IN (3, 4, 6, 7, 8, 9)),
    CHECK (state NOT IN (3, 4) OR (open_token IS NOT NULL AND worker_id IS NOT NULL)),
    CHECK (open_token IS NULL OR open_token = attempt),
    CHECK ((state IN (6, 7, 8, 9)) = (end_time IS NOT NULL)),
    CHECK (end_time IS NULL OR open_token IS NULL),
    CHECK ((state IN (1, 5)) = (wake_time IS NOT NULL OR buffer IS NOT NULL)),
    CHECK (buffer IS NULL OR (state = 1 AND wake_time IS NULL AND job_uid IS NOT NULL)),
    CHECK (slot_key IS NULL OR slot_key = key_id),
    CHECK ((state = 2) = (ready_lane IS NOT NULL OR parked_key IS NOT NULL)),
    CHECK (parked_key IS NULL OR (parked_key = key_id AND ready_lane IS NULL AND open_token IS NULL)),
    CHECK (stop_deadline IS NULL OR state IN (3, 4)),
    CHECK ((state IN (7, 9)) = (dead_time IS NOT NULL)),
    CHECK ((dead_time IS NULL) = (fingerprint IS NULL) AND (dead_time IS NULL) = (resolution IS NULL)),
    CHECK ((resolve_time IS NULL) = (resolution IS NULL OR resolution = 1)),
    CHECK ((resolve_time IS NULL) = (resolve_note IS NULL) AND (resolve_time IS NULL) = (resolve_actor IS NULL)),
    CHECK (log_lines IS NULL OR state = 6),
    CHECK ((job_uid IS NULL) = (job_version IS NULL)),
    CHECK (origin NOT IN (1, 5) OR (job_uid IS NOT NULL AND schedule IS NOT NULL AND nominal_time IS NOT NULL)),
    CHECK ((origin = 5) = (backfill_id IS NOT NULL))
) {by_key}
;
-- What waits, best first: release reads the head of a lane.
-- Its pointers are in the index, so that they are read without their rows; and how long the oldest has waited.
CREATE INDEX run_ready ON run (ready_lane, priority DESC, fairness_key, due_time, id, queue_time, generation) WHERE ready_lane IS NOT NULL
;
-- Runs of a concurrency key, and those of them that wait in a lane.
CREATE INDEX run_key ON run (key_id, ready_lane, priority DESC) WHERE key_id IS NOT NULL
;
-- What waits for room under a key, best first: a lane gets the head of its own.
CREATE INDEX run_parked ON run (parked_key, lane_id, priority DESC, due_time, id, queue_time) WHERE parked_key IS NOT NULL
;
CREATE INDEX run_wake ON run (wake_time) WHERE wake_time IS NOT NULL
;
CREATE INDEX run_deadline ON run (deadline_time) WHERE deadline_time IS NOT NULL
;
-- Attempts that may still change their run, by worker: Hello and expiry read them.
CREATE INDEX run_open ON run (worker_id) WHERE open_token IS NOT NULL
;
-- Attempts that somebody wants stopped; few.
CREATE INDEX run_stop ON run (worker_id) WHERE stop_deadline IS NOT NULL
;
-- Runs of a job that are not over: overlap, idle checks, deleted jobs. The second column says nothing, but by two columns
-- the planner finds it better than the index of all runs of a job.
CREATE INDEX run_unfinished ON run (job_uid, end_time) WHERE end_time IS NULL AND job_uid IS NOT NULL
;
-- Runs that wait for the slot of their job, by turn.
CREATE INDEX run_buffered ON run (job_uid, due_time, id) WHERE buffer IS NOT NULL AND slot_key IS NULL
;
-- Runs that wait for the slot of their key, by turn.
CREATE INDEX run_buffered_key ON run (slot_key, due_time, id) WHERE buffer IS NOT NULL AND slot_key IS NOT NULL
;
-- Runs of a concurrency key that are not over: overlap by key.
CREATE INDEX run_key_unfinished ON run (key_id, end_time) WHERE end_time IS NULL AND key_id IS NOT NULL
;
-- Runs that failed or took too long: few, and what people look for among many.
CREATE INDEX run_dead ON run (id) WHERE dead_time IS NOT NULL
;
-- How often the runs of a job failed lately, but for those of backfills.
CREATE INDEX run_job_dead ON run (job_uid, end_time) WHERE dead_time IS NOT NULL AND job_uid IS NOT NULL AND backfill_id IS NULL
;
-- What failed alike: its groups are counted without a look at the rows.
CREATE INDEX run_fingerprint ON run (fingerprint, resolution, end_time, id) WHERE fingerprint IS NOT NULL
;
-- Why runs ended or wait; few have a reason.
CREATE INDEX run_reason ON run (reason, id) WHERE reason IS NOT NULL
;
CREATE INDEX run_job ON run (job_uid, id) WHERE job_uid IS NOT NULL
;
-- No schedule instant becomes two runs.
CREATE UNIQUE INDEX run_instant ON run (job_uid, nominal_time) WHERE origin = 1
;
-- No instant becomes two runs of one backfill.
CREATE UNIQUE INDEX run_backfill ON run (backfill_id, nominal_time) WHERE backfill_id IS NOT NULL
;
-- Runs of a backfill that are not over; by two columns the planner finds it.
CREATE INDEX run_backfill_open ON run (backfill_id, end_time) WHERE end_time IS NULL AND backfill_id IS NOT NULL
;
-- Keys that one run at a time holds: until it is over, and until `expire_time` in any case. `run_id` is no foreign key: a
-- claim outlives its run until then. `look_time`: whether it still stands is not looked at before.
CREATE TABLE unique_claim (
    namespace_id INTEGER NOT NULL REFERENCES namespace (id),
    key TEXT NOT NULL,
    run_id {id} NOT NULL,
    expire_time BIGINT NOT NULL,
    look_time BIGINT NOT NULL,
    PRIMARY KEY (namespace_id, key)
) {by_key}
;
CREATE INDEX unique_claim_look ON unique_claim (look_time)
;
CREATE TABLE run_data (
    run_id {id} NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    kind SMALLINT NOT NULL CHECK (kind IN (1, 2)),
    data {bytes} NOT NULL,
    PRIMARY KEY (run_id, kind)
)
;
-- Attempts that ended without success. `reported`: the worker said so, and a repeat of its report is a duplicate.
-- `previous_success`: the last instant that had succeeded, where the job asks for it. `log_lines`: how many it wrote, where that is known.
CREATE TABLE attempt_end (
    run_id {id} NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    attempt BIGINT NOT NULL CHECK (attempt > 0),
    state SMALLINT NOT NULL CHECK (state BETWEEN 4 AND 9),
    reported BOOLEAN NOT NULL,
    cause TEXT NOT NULL,
    failure TEXT,
    worker_id {id},
    lease_time BIGINT,
    start_time BIGINT,
    end_time BIGINT NOT NULL,
    log_lines BIGINT CHECK (log_lines >= 0),
    PRIMARY KEY (run_id, attempt)
) {by_key}
;
-- Worker processes, as leases need them. `judged`: 0 the leases live, 1 they are being judged over, 2 that is done.
-- `drain`: 0 nothing, 1 an operator asked it to take no more, 2 to leave.
CREATE TABLE worker (
    id {id} NOT NULL PRIMARY KEY,
    namespace_id INTEGER NOT NULL REFERENCES namespace (id),
    epoch BIGINT NOT NULL,
    status SMALLINT NOT NULL CHECK (status BETWEEN 1 AND 5),
    drain SMALLINT NOT NULL CHECK (drain BETWEEN 0 AND 2),
    judged SMALLINT NOT NULL CHECK (judged BETWEEN 0 AND 2),
    server_id {id} NOT NULL,
    session_id {id} NOT NULL,
    connect_time BIGINT NOT NULL,
    heartbeat_time BIGINT NOT NULL,
    lease_expire_time BIGINT NOT NULL
) {by_key}
;
CREATE INDEX worker_expiry ON worker (lease_expire_time) WHERE judged < 2
;
CREATE INDEX worker_status ON worker (status)
;
-- What a worker says of itself; apart from the row that every heartbeat writes.
CREATE TABLE worker_profile (
    worker_id {id} NOT NULL PRIMARY KEY REFERENCES worker (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    sdk TEXT NOT NULL,
    build_id TEXT NOT NULL,
    capacity TEXT NOT NULL
)
;
-- What a worker handles. `schemas` is a hash of both schemas: workers that differ in it have drifted apart.
CREATE TABLE worker_handler (
    worker_id {id} NOT NULL REFERENCES worker (id) ON DELETE CASCADE,
    lane_id INTEGER NOT NULL REFERENCES lane (id),
    schemas {bytes} NOT NULL,
    PRIMARY KEY (worker_id, lane_id)
) {by_key}
;
CREATE INDEX worker_handler_lane ON worker_handler (lane_id)
;
CREATE TABLE job_type (
    namespace_id INTEGER NOT NULL REFERENCES namespace (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    input_schema TEXT NOT NULL,
    output_schema TEXT NOT NULL,
    queues TEXT NOT NULL,
    announce_time BIGINT NOT NULL,
    PRIMARY KEY (namespace_id, name)
)
;
-- The schemas behind the hashes that rows of worker_handler name, each pair once, and since when somebody names it. They
-- go with their type.
CREATE TABLE announced (
    namespace_id INTEGER NOT NULL,
    job_type TEXT NOT NULL,
    schemas {bytes} NOT NULL,
    input_schema TEXT NOT NULL,
    output_schema TEXT NOT NULL,
    announce_time BIGINT NOT NULL,
    PRIMARY KEY (namespace_id, job_type, schemas),
    FOREIGN KEY (namespace_id, job_type) REFERENCES job_type (namespace_id, name) ON DELETE CASCADE
)
;
-- Protection against repeats: what a request made.
CREATE TABLE request (
    namespace_id INTEGER NOT NULL REFERENCES namespace (id),
    call TEXT NOT NULL,
    id TEXT NOT NULL,
    body {bytes} NOT NULL,
    target {id} NOT NULL,
    create_time BIGINT NOT NULL,
    PRIMARY KEY (namespace_id, call, id)
) {by_key}
;
CREATE INDEX request_age ON request (create_time)
;
-- The right to fire: one shard for now.
CREATE TABLE shard (
    id SMALLINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL
)
;
CREATE TABLE account (
    name TEXT NOT NULL PRIMARY KEY,
    password_hash TEXT NOT NULL,
    roles TEXT NOT NULL,
    must_change_password BOOLEAN NOT NULL
)
;
CREATE TABLE session (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account (name) ON DELETE CASCADE,
    client TEXT NOT NULL,
    refresh_hash {bytes} NOT NULL UNIQUE,
    create_time BIGINT NOT NULL,
    expire_time BIGINT NOT NULL,
    revoke_time BIGINT
)
;
CREATE INDEX session_account ON session (account)
;
CREATE INDEX session_expiry ON session (expire_time)
;
-- Refresh tokens that were replaced: whoever shows one has stolen it, or was stolen from.
CREATE TABLE used_refresh (
    refresh_hash {bytes} NOT NULL PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE
)
;
CREATE INDEX used_refresh_session ON used_refresh (session_id)
;
CREATE TABLE api_key (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    secret_hash {bytes} NOT NULL,
    creator TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    expire_time BIGINT,
    revoke_time BIGINT,
    last_use_time BIGINT
)
;
CREATE INDEX api_key_age ON api_key (create_time, id)
;

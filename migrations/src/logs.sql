-- Log lines of attempts. Times are microseconds since the epoch, ids sixteen bytes.

-- Where an attempt's log stands. `next_offset` is the end of what is complete; over the limits `marker_offset` is set
-- and further lines are only counted in `suppressed`.
CREATE TABLE log_attempt (
    run_id {id} NOT NULL,
    attempt BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    kept_lines BIGINT NOT NULL,
    kept_bytes BIGINT NOT NULL,
    marker_offset BIGINT,
    marker_time BIGINT,
    suppressed BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    PRIMARY KEY (run_id, attempt)
) {by_key}
;
-- One row per batch: `lines` is zstd-compressed JSON, one line each. `dropped` lines right before `first_offset` are
-- missing. `max_level` lets a reader who wants only errors leave the rest compressed.
CREATE TABLE log_batch (
    run_id {id} NOT NULL,
    attempt BIGINT NOT NULL,
    first_offset BIGINT NOT NULL,
    count BIGINT NOT NULL CHECK (count > 0),
    dropped BIGINT NOT NULL CHECK (dropped >= 0),
    max_level SMALLINT NOT NULL,
    lines {bytes} NOT NULL
)
;
CREATE UNIQUE INDEX log_batch_place ON log_batch (run_id, attempt, first_offset)
;
CREATE INDEX log_attempt_age ON log_attempt (update_time)
;

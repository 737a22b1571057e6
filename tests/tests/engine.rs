//! What follows from time, from lost hints and from a damaged database: an engine without a socket, on a clock that the
//! test moves.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

#[path = "engine/backfills.rs"]
mod backfills;
#[path = "engine/calendars.rs"]
mod calendars;
#[path = "engine/catch_up.rs"]
mod catch_up;
#[path = "engine/chain.rs"]
mod chain;
#[path = "engine/completed.rs"]
mod completed;
#[path = "engine/crew.rs"]
mod crew;
#[path = "engine/damage.rs"]
mod damage;
#[path = "engine/days.rs"]
mod days;
#[path = "engine/delays.rs"]
mod delays;
#[path = "engine/deletes.rs"]
mod deletes;
#[path = "engine/doubt.rs"]
mod doubt;
#[path = "engine/explain.rs"]
mod explain;
#[path = "engine/fairness.rs"]
mod fairness;
#[path = "engine/heartbeats.rs"]
mod heartbeats;
#[path = "engine/held.rs"]
mod held;
#[path = "engine/instants.rs"]
mod instants;
#[path = "engine/labels.rs"]
mod labels;
#[path = "engine/ledger.rs"]
mod ledger;
#[path = "engine/limits.rs"]
mod limits;
#[path = "engine/lives.rs"]
mod lives;
#[path = "engine/months.rs"]
mod months;
#[path = "engine/outages.rs"]
mod outages;
#[path = "engine/overlap.rs"]
mod overlap;
#[path = "engine/pauses.rs"]
mod pauses;
#[path = "engine/refusals.rs"]
mod refusals;
#[path = "engine/release.rs"]
mod release;
#[path = "engine/results.rs"]
mod results;
#[path = "engine/rules.rs"]
mod rules;
#[path = "engine/seed.rs"]
mod seed;
#[path = "engine/sinks.rs"]
mod sinks;
#[path = "engine/sleep.rs"]
mod sleep;
#[path = "engine/wall.rs"]
mod wall;
#[path = "engine/zones.rs"]
mod zones;

//! Decisions, without side effects.
//!
//! A concept has a type here only if the engine decides something with it. [`transition`] is the one place that changes
//! the state of a run; [`fire`] the one place that turns time rules into runs and ledger entries.

pub mod attempt;
pub mod auto_disable;
pub mod backfill;
pub mod budget;
pub mod calendar;
pub mod catch_up;
pub mod compare;
pub mod dead;
pub mod delivery;
pub mod event;
pub mod explain;
pub mod filter;
pub mod fire;
pub mod guard;
pub mod ids;
pub mod instant;
pub mod job;
pub mod keyed;
pub mod lapse;
pub mod ledger;
pub mod limit;
pub mod log;
pub mod names;
pub mod namespace;
pub mod notice;
pub mod overlap;
pub mod payload;
pub mod place;
pub mod policy;
pub mod rate;
pub mod retime;
pub mod rules;
pub mod run;
pub mod schedule;
pub mod selector;
pub mod sink;
pub mod stop;
pub mod supersede;
pub mod template;
pub mod transition;
pub mod unique;
pub mod worker;

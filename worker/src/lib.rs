//! The worker SDK of Mainspring: write handlers, run them as a worker.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use mainspring_worker::{Ctx, JobError, OrFatal, Payload, State, Worker};
//!
//! /// Send one e-mail.
//! #[derive(serde::Deserialize, schemars::JsonSchema)] // the doc comment and the schema are shown by `mainspring type list`
//! struct SendEmail {
//!     to: String,
//!     #[serde(default)]
//!     copies: u64,
//! }
//!
//! #[derive(serde::Serialize, schemars::JsonSchema)]
//! struct Sent {
//!     letters: u64,
//! }
//!
//! async fn send_email(
//!     ctx: Ctx,
//!     State(mailer): State<Mailer>,
//!     Payload(job): Payload<SendEmail>,
//! ) -> Result<Sent, JobError> {
//!     let to: std::net::IpAddr = job.to.parse().or_fatal()?; // never retried: the run ends FAILED
//!     ctx.info(format!("sending to {to}")); // the run's log: `mainspring logs -f`; `tracing` events too, see `RunLog`
//!     for copy in 0..job.copies {
//!         ctx.progress(copy + 1, job.copies, "copies")?; // an error once the run was cancelled
//!         mailer.send(to, ctx.idempotency_key()).await?; // any standard error: retried as the job's policy says
//!     }
//!     Ok(Sent { letters: job.copies })
//! }
//! # struct Mailer;
//! # impl Mailer {
//! #     async fn send(&self, _: std::net::IpAddr, _: &str) -> std::io::Result<()> { Ok(()) }
//! # }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), mainspring_worker::Error> {
//!     Worker::from_env()? // MAINSPRING_ADDRESS, MAINSPRING_API_KEY …, or the CLI's context
//!         .state(Mailer)
//!         .handle("email.send", send_email) // two handlers of a type, or a missing state, fail before connecting
//!         .slots(8)
//!         .drain_within(Duration::from_secs(30))
//!         .run_until_signal() // SIGTERM: take no more work, finish, leave
//!         .await
//! }
//! ```
//!
//! # What you can rely on
//!
//! **A run may be executed more than once.** Delivery is at least once: if a worker dies, or the server loses sight of
//! it for longer than its lease, the run is handed to another. Exactly one result decides the run. Two values help a
//! handler to be safe under that: [`Ctx::idempotency_key`] is the same for every attempt of a run, for systems that
//! can recognise a repeated request; [`Ctx::attempt`] grows with every attempt, for systems that can refuse a writer
//! whose number is lower than one they have seen (a *fencing token*). A job can ask for at most once instead; then a
//! lost worker ends the run.
//!
//! **A busy handler does not lose its lease.** The stream and its heartbeats live on a thread of their own. Handlers
//! run on your runtime; put long computations into [`Ctx::spawn_blocking`], or they hold up each other.
//!
//! **What a handler returns is what is reported.** A handler that was [told to stop](Ctx::cancelled) and finished
//! anyway has succeeded. One that stopped returns [`JobError::Cancelled`], most simply by `?` on [`Ctx::progress`]. One
//! that ignores it is dropped at its next `await` shortly before its grace is over. A panic is a failure like any other, with the
//! reason `PANIC`.
//!
//! **A lost connection is not your concern.** Handlers go on. Results are kept until the server has acknowledged them,
//! log lines up to 4 MiB; both are sent again after a reconnect, and no line twice. Where a stream cannot be had but
//! single calls can, results go that way. With a [journal](Worker::journal) they survive the worker itself.
//!
//! **Leaving costs nothing.** At SIGTERM the worker hands back what it has not started, lets handlers finish for
//! [`drain_within`](Worker::drain_within), then cancels them; their runs go back to the queue without using up an
//! attempt.
//!
//! Three programs to begin with are in the folder `examples`: `greet`, `email` (with tests) and `operated`.
//!
//! # Tests of handlers
//!
//! [`TestRun`] calls a handler as a worker would, without a server: payload, states, attempt and a cancel in; result, log
//! and progress out.
//!
//! # Errors in handlers
//!
//! A failure has a reason for programs; those that the SDK gives itself are in [`reason`].
//!
//! | the handler returns | the run |
//! |---|---|
//! | any standard error by `?`, [`JobError::retryable`] | is tried again as the job's policy says |
//! | [`JobError::fatal`], `.or_fatal()?`, a payload that does not match | ends FAILED, without another attempt |
//! | [`JobError::retry_after`] | is tried again after that delay, if the policy allows another attempt |
//! | [`JobError::Cancelled`] | ends CANCELLED if that was asked for; goes back to the queue at shutdown |

#![warn(missing_docs)]

mod clock;
mod config;
pub mod context;
mod ctx;
mod error;
mod extract;
mod handler;
mod job_error;
mod journal;
mod observe;
mod panic;
mod perform;
pub mod reason;
mod reconnect;
mod run_log;
mod schema;
mod service;
mod session;
mod signal;
mod state;
mod tasks;
mod test_run;
mod worker;

pub use config::Backoff;
pub use ctx::{CancelReason, Ctx, LogLevel};
pub use error::{Error, Refusal, Undelivered};
pub use extract::{FromRun, Needs, Payload, RawPayload, Run, State};
pub use handler::Handler;
pub use job_error::{Cancelled, JobError, JobFailure, OrFatal};
pub use observe::{Disposition, Observed, Outcome};
pub use run_log::RunLog;
/// The crate whose `JsonSchema` payloads and outputs derive, in the version that fits.
pub use schemars;
pub use service::{HandlerError, HandlerService, Output};
pub use test_run::{TestLine, TestOutcome, TestProgress, TestRun};
pub use worker::Worker;

//! Whether and when to connect again. Pure: time and chance come in as arguments.
//!
//! Only the server itself can end a worker for good, by a status that carries its own `ErrorInfo`. What stands between
//! (a proxy, a load balancer, another program on the port) answers in HTTP, which gRPC maps to codes: 404 becomes
//! `UNIMPLEMENTED`, 403 `PERMISSION_DENIED`, 401 `UNAUTHENTICATED`. Such an answer during somebody's deployment must not end
//! every worker there is, so without our domain a loss is a loss like any other.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{clock::Instant, config::Backoff, error::Refusal};

/// Refusals of the credential in a row that end a worker which had a session: about five minutes. Its handlers may be
/// worth hours, and a key that is being rotated comes back. A worker that never had one has nothing to lose, and somebody
/// who waits in front of it: the first refusal is told, and ends it.
const MAX_REFUSALS: u32 = 20;
/// Whose reasons are ours.
const DOMAIN: &str = "mainspring.dev";
/// No wish to be left alone counts for longer.
const LONGEST_WISH: Duration = Duration::from_secs(300);

/// Why a stream ended, or never came to be.
#[derive(Debug, Default)]
pub(crate) struct Loss {
    /// The server's status, if it ended the stream with one.
    pub(crate) code: Option<Code>,
    /// The machine-readable reason beside it; empty unless a Mainspring server gave it.
    pub(crate) reason: String,
    /// A sentence for people.
    pub(crate) message: String,
    /// How long the server wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl Loss {
    /// An end without a status.
    pub(crate) fn of(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    fn is_superseded(&self) -> bool {
        self.code == Some(Code::Aborted) && self.reason == "SESSION_SUPERSEDED"
    }

    /// Nothing this worker can do would make the server take it.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            (self.code, self.reason.as_str()),
            (Some(Code::Unimplemented), "METHOD_UNKNOWN" | "COMPRESSION_UNSUPPORTED")
                | (Some(Code::InvalidArgument), "FIELD_INVALID" | "HELLO_REQUIRED")
                | (
                    Some(Code::PermissionDenied),
                    "PERMISSION_MISSING"
                        | "PASSWORD_CHANGE_REQUIRED"
                        | "QUEUE_NOT_ALLOWED"
                        | "JOB_TYPE_NOT_ALLOWED"
                        | "WORKER_ID_MISMATCH"
                )
                | (Some(Code::FailedPrecondition), "PROTOCOL_VERSION_UNSUPPORTED")
        )
    }

    /// The server cannot take what was sent, whoever sends it and however often.
    pub(crate) fn condemns_the_request(&self) -> bool {
        matches!(self.code, Some(Code::InvalidArgument | Code::NotFound)) && !self.reason.is_empty()
    }

    /// The server does not know the credential.
    pub(crate) fn is_unauthenticated(&self) -> bool {
        self.code == Some(Code::Unauthenticated) && !self.reason.is_empty()
    }

    /// The server does not know the credential, or does not let its owner do this.
    fn refuses_the_caller(&self) -> bool {
        self.is_unauthenticated() || (self.code == Some(Code::PermissionDenied) && !self.reason.is_empty())
    }

    fn refusal(&self) -> Refusal {
        Refusal { code: self.code.unwrap_or(Code::Unknown), reason: self.reason.clone(), message: self.message.clone() }
    }
}

impl From<Status> for Loss {
    fn from(status: Status) -> Self {
        let ours = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
        let said = if status.message().is_empty() { status.code().to_string() } else { status.message().to_owned() };
        let looks_foreign = matches!(
            status.code(),
            Code::Unimplemented | Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated
        );
        Self {
            code: Some(status.code()),
            message: match &ours {
                None if looks_foreign => format!("{said} (not the answer of a Mainspring server: a proxy's?)"),
                None | Some(_) => said,
            },
            reason: ours.map(|info| info.reason).unwrap_or_default(),
            retry_after: status.get_details_retry_info().and_then(|info| info.retry_delay),
        }
    }
}

/// What to do about a loss.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Connect again after this long.
    Again(Duration),
    /// Do not.
    GiveUp(Refusal),
}

/// How it went so far.
pub(crate) struct Policy {
    backoff: Backoff,
    failures: u32,
    refusals: u32,
    had_session: bool,
    session_since: Option<Instant>,
}

impl Policy {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0, refusals: 0, had_session: false, session_since: None }
    }

    /// A session began.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.had_session = true;
        self.refusals = 0;
        self.session_since = Some(now);
    }

    /// Tries that failed since the last session that lasted.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The newest stream was lost, or could not be had. `chance` is drawn evenly from zero to one.
    pub(crate) fn lost(&mut self, loss: &Loss, now: Instant, chance: f64) -> Verdict {
        if loss.is_final() || (!self.had_session && loss.refuses_the_caller()) {
            return Verdict::GiveUp(loss.refusal());
        }
        if loss.is_unauthenticated() {
            self.refusals += 1;
            if self.refusals >= MAX_REFUSALS {
                return Verdict::GiveUp(loss.refusal());
            }
        } else {
            self.refusals = 0;
        }
        let mut bound = self.backoff.first;
        match self.session_since.take() {
            Some(since) if now.since(since) >= self.backoff.healthy_after => self.failures = 0,
            Some(_) => bound = bound.max(self.bound()),
            None => bound = self.bound(),
        }
        self.failures = self.failures.saturating_add(1);
        // Another process with this worker's id (a cloned container) must not be fought over the session.
        let least = if loss.is_superseded() { self.backoff.most } else { Duration::ZERO };
        let wish = loss.retry_after.unwrap_or_default().min(LONGEST_WISH);
        Verdict::Again(least.max(wish) + bound.mul_f64(chance))
    }

    fn bound(&self) -> Duration {
        self.backoff.most.min(self.backoff.least.saturating_mul(2u32.saturating_pow(self.failures)))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::{Loss, Policy, Verdict};
    use crate::{clock::Instant, config::Backoff};

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn at(second: u64) -> Instant {
        Instant::at(Duration::from_secs(second))
    }

    fn again(policy: &mut Policy, loss: &Loss, now: Instant) -> Duration {
        match policy.lost(loss, now, 1.0) {
            Verdict::Again(delay) => delay,
            Verdict::GiveUp(refusal) => panic!("gave up: {refusal:?}"),
        }
    }

    fn status(code: Code, reason: &str) -> Loss {
        Loss { code: Some(code), reason: reason.into(), ..Loss::default() }
    }

    #[test]
    fn bounds_grow_to_the_cap_and_chance_spreads_below_them() {
        let mut policy = Policy::new(Backoff::default());
        let loss = Loss::of("refused");
        let delays: Vec<_> = (0..9).map(|_| again(&mut policy, &loss, at(0)).as_millis()).collect();
        assert_eq!(delays, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert!(matches!(policy.lost(&loss, at(0), 0.0), Verdict::Again(Duration::ZERO)));
        for _ in 0..100 {
            again(&mut policy, &loss, at(0));
        }
    }

    #[test]
    fn a_session_that_lasted_starts_afresh_and_one_that_did_not_goes_on() {
        let mut policy = Policy::new(Backoff::default());
        let loss = status(Code::Unavailable, "SERVER_DRAINING");
        for _ in 0..5 {
            again(&mut policy, &loss, at(0));
        }
        policy.connected(at(0));
        assert_eq!(again(&mut policy, &loss, at(29)), MS(16_000));
        policy.connected(at(100));
        assert_eq!(again(&mut policy, &loss, at(130)), MS(3_000));
        assert_eq!(again(&mut policy, &loss, at(131)), MS(1_000));
    }

    #[test]
    fn the_servers_wish_comes_on_top() {
        let mut policy = Policy::new(Backoff::between(MS(50), MS(200)));
        let loss = Loss { retry_after: Some(MS(5_000)), ..status(Code::ResourceExhausted, "RATE_LIMITED") };
        assert_eq!(again(&mut policy, &loss, at(0)), MS(5_050));
        let superseded = status(Code::Aborted, "SESSION_SUPERSEDED");
        assert_eq!(again(&mut policy, &superseded, at(0)), MS(300));
    }

    #[test]
    fn some_answers_are_final() {
        for loss in [
            status(Code::Unimplemented, "METHOD_UNKNOWN"),
            status(Code::InvalidArgument, "FIELD_INVALID"),
            status(Code::PermissionDenied, "PERMISSION_MISSING"),
            status(Code::PermissionDenied, "WORKER_ID_MISMATCH"),
            status(Code::FailedPrecondition, "PROTOCOL_VERSION_UNSUPPORTED"),
        ] {
            let verdict = Policy::new(Backoff::default()).lost(&loss, at(0), 0.5);
            assert!(matches!(verdict, Verdict::GiveUp(refusal) if refusal.reason == loss.reason));
        }
        again(&mut Policy::new(Backoff::default()), &status(Code::FailedPrecondition, "OTHER"), at(0));
    }

    #[test]
    fn nothing_in_between_can_end_a_worker() {
        let foreign = |code| {
            let info = ErrorDetails::with_error_info("PERMISSION_MISSING", "proxy.example", HashMap::new());
            [Status::new(code, "no"), Status::with_error_details(code, "no", info)]
        };
        for code in [Code::Unimplemented, Code::InvalidArgument, Code::PermissionDenied, Code::Unauthenticated] {
            for status in foreign(code) {
                let mut policy = Policy::new(Backoff::default());
                let loss = Loss::from(status);
                assert!(loss.message.contains("not the answer of a Mainspring server"), "{}", loss.message);
                for _ in 0..100 {
                    again(&mut policy, &loss, at(0));
                }
            }
        }
        let ours = ErrorDetails::with_error_info("PERMISSION_MISSING", "mainspring.dev", HashMap::new());
        let loss = Loss::from(Status::with_error_details(Code::PermissionDenied, "no", ours));
        assert_eq!(loss.message, "no");
        assert!(matches!(Policy::new(Backoff::default()).lost(&loss, at(0), 0.5), Verdict::GiveUp(_)));
    }

    #[test]
    fn a_wish_of_years_is_not_granted() {
        let loss = Loss { retry_after: Some(Duration::MAX), ..status(Code::Unavailable, "") };
        assert_eq!(again(&mut Policy::new(Backoff::default()), &loss, at(0)), MS(300_500));
    }

    #[test]
    fn a_refused_credential_ends_it_at_once_at_first_and_late_afterwards() {
        let tries = |policy: &mut Policy, loss: &Loss| {
            (1..).find(|_| matches!(policy.lost(loss, at(0), 0.5), Verdict::GiveUp(_))).unwrap_or(0)
        };
        for (code, reason) in [
            (Code::Unauthenticated, "TOKEN_INVALID"),
            (Code::Unauthenticated, "WHAT_A_NEWER_SERVER_SAYS"),
            (Code::PermissionDenied, "PERMISSION_MISSING"),
            (Code::PermissionDenied, "WHAT_A_NEWER_SERVER_SAYS"),
        ] {
            assert_eq!(tries(&mut Policy::new(Backoff::default()), &status(code, reason)), 1, "{reason}");
        }
        // Whatever came before it: a server that was away, a proxy in front of it.
        let mut policy = Policy::new(Backoff::default());
        for _ in 0..30 {
            again(&mut policy, &status(Code::Unauthenticated, ""), at(0));
        }
        assert_eq!(tries(&mut policy, &status(Code::Unauthenticated, "TOKEN_INVALID")), 1);
        let mut policy = Policy::new(Backoff::default());
        policy.connected(at(0));
        assert_eq!(tries(&mut policy, &status(Code::Unauthenticated, "TOKEN_INVALID")), 20);
    }
}

//! Deliveries: one notice on its way to one sink, until it has arrived or was tried for days.

use std::time::Duration;

use super::{
    ids::{NoticeId, SinkUid},
    instant::Instant,
    names::{NamespaceName, SinkName},
    notice::Kind,
    policy::spread,
    sink::Sealed,
};

/// Between two attempts: soon at first, since most receivers are only restarting; about three days in all.
const DELAYS: [Duration; 12] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(3_600),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(4 * 3_600),
    Duration::from_secs(8 * 3_600),
    Duration::from_secs(12 * 3_600),
    Duration::from_secs(24 * 3_600),
    Duration::from_secs(24 * 3_600),
];

/// So often a delivery is tried.
pub const MAX_ATTEMPTS: u32 = 13;
/// A receiver that asks for more patience than this gets no more.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// The answer of a receiver that is gone for good.
const GONE: u16 = 410;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// It is to be sent, for the first time or again.
    Pending,
    /// The receiver has it.
    Delivered,
    /// It was tried as often as one is, or the receiver is gone.
    Failed,
}

impl DeliveryState {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The number that stands for it in columns and on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::Pending => 1,
            Self::Delivered => 2,
            Self::Failed => 3,
        }
    }

    /// The state behind a code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }
}

/// A delivery as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The notice.
    pub id: NoticeId,
    /// What it is about.
    pub kind: Kind,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was sent.
    pub attempts: u32,
    /// What the receiver answered last; none where it did not.
    pub status: Option<u16>,
    /// Why the last attempt failed.
    pub error: String,
    /// When it is sent next.
    pub next_time: Option<Instant>,
    /// When it was made.
    pub create_time: Instant,
    /// When it came to its end.
    pub end_time: Option<Instant>,
    /// What is sent.
    pub body: String,
}

/// A delivery whose time has come, with all that it takes to send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub sink: SinkUid,
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: SinkName,
    /// Where it is.
    pub url: String,
    /// What it signs with.
    pub secret: Sealed,
    /// The notice.
    pub id: NoticeId,
    /// How often it was sent.
    pub attempts: u32,
    /// What is sent.
    pub body: String,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered.
    Answered {
        /// With this.
        status: u16,
        /// It asks for so much patience.
        retry_after: Option<Duration>,
        /// The first words of what it said.
        said: String,
    },
    /// It did not, for this reason.
    Unanswered(String),
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// It is sent again, then.
    Again(Instant),
    /// It was tried often enough.
    Failed,
    /// The receiver is gone: nothing is sent to it any more.
    Gone,
}

impl Outcome {
    /// What the receiver answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered { status, retry_after: _, said: _ } => Some(*status),
            Self::Unanswered(_) => None,
        }
    }

    /// Whether the receiver has it.
    pub fn is_success(&self) -> bool {
        self.status().is_some_and(|status| (200..300).contains(&status))
    }

    /// Why it failed; empty where it did not.
    pub fn error(&self) -> String {
        match self {
            Self::Answered { .. } if self.is_success() => String::new(),
            Self::Answered { status: status @ 300..400, .. } => {
                format!("the receiver answered {status}; redirects are not followed, so name the address itself")
            }
            Self::Answered { status: GONE, .. } => {
                format!("the receiver answered {GONE}: it is gone")
            }
            Self::Answered { status, retry_after: _, said } if said.is_empty() => {
                format!("the receiver answered {status}")
            }
            Self::Answered { status, retry_after: _, said } => format!("the receiver answered {status}: {said}"),
            Self::Unanswered(why) => why.clone(),
        }
    }

    /// What follows, where this was the attempt of that number.
    pub fn judge(&self, id: NoticeId, attempts: u32, now: Instant) -> Verdict {
        let patience = match self {
            Self::Answered { .. } if self.is_success() => return Verdict::Delivered,
            Self::Answered { status: GONE, .. } => return Verdict::Gone,
            Self::Answered { status: _, retry_after, said: _ } => retry_after.unwrap_or_default().min(MAX_RETRY_AFTER),
            Self::Unanswered(_) => Duration::ZERO,
        };
        let made = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        match DELAYS.get(made) {
            Some(delay) => Verdict::Again(now.plus(spread_out(id, attempts, *delay).max(patience))),
            None => Verdict::Failed,
        }
    }
}

/// Up to a tenth later, so that what failed together does not come again together; the same after a restart.
fn spread_out(id: NoticeId, attempts: u32, delay: Duration) -> Duration {
    delay + delay * u32::try_from(spread(id.uuid(), attempts) % 1_000).unwrap_or_default() / 10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, retry_after: u64) -> Outcome {
        let retry_after = Some(Duration::from_secs(retry_after)).filter(|patience| !patience.is_zero());
        Outcome::Answered { status, retry_after, said: String::new() }
    }

    #[test]
    fn an_attempt_that_failed_is_made_again_for_days_and_no_longer() {
        let id = NoticeId::new(Instant::EPOCH);
        let failed = Outcome::Unanswered("nobody listens".into());
        let (mut now, mut attempts) = (Instant::EPOCH, 0);
        let end = loop {
            attempts += 1;
            match failed.judge(id, attempts, now) {
                Verdict::Again(at) => {
                    let delay = DELAYS[usize::try_from(attempts).unwrap() - 1];
                    assert!((delay..=delay + delay / 10).contains(&at.since(now)), "{attempts}: {delay:?}");
                    assert_eq!(failed.judge(id, attempts, now), Verdict::Again(at), "a restart says the same");
                    now = at;
                }
                end => break end,
            }
        };
        assert_eq!((end, attempts), (Verdict::Failed, MAX_ATTEMPTS));
        let days = now.since(Instant::EPOCH).as_secs_f64() / 86_400.0;
        assert!((3.0..3.6).contains(&days), "{days}");
    }

    #[test]
    fn an_answer_says_what_follows() {
        let id = NoticeId::new(Instant::EPOCH);
        let now = Instant::EPOCH;
        for good in [200, 202, 204, 299] {
            assert_eq!(answered(good, 0).judge(id, 1, now), Verdict::Delivered);
            assert_eq!(answered(good, 0).error(), "");
        }
        for bad in [199, 301, 308, 400, 404, 429, 500, 503] {
            assert!(matches!(answered(bad, 0).judge(id, 1, now), Verdict::Again(_)), "{bad}");
            assert!(answered(bad, 0).error().contains(&bad.to_string()));
        }
        assert_eq!(answered(410, 0).judge(id, 1, now), Verdict::Gone);
        let asked = |seconds| match answered(503, seconds).judge(id, 1, now) {
            Verdict::Again(at) => at.since(now).as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!((asked(0), asked(120), asked(1_000_000)), (5, 120, 86_400));
    }
}

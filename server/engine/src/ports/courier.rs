//! Carries notices out of the house: to addresses that users wrote, over networks that nobody here knows.
//!
//! An implementation signs what it sends, refuses addresses that no user may reach, follows no redirect and reads no more of
//! an answer than it needs. It knows no time: the engine gives up by dropping the future, at any point, and the connection
//! ends with it. A notice may so have arrived without anybody here knowing; it is sent again, under the same id.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::domain::{delivery::Outcome, ids::NoticeId, instant::Instant, sink::Sealed};

/// One attempt to tell a sink something.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where to.
    pub url: String,
    /// What to sign with.
    pub secret: Sealed,
    /// Which notice.
    pub id: NoticeId,
    /// When this attempt is made: a part of the signature.
    pub time: Instant,
    /// The notice.
    pub body: String,
}

/// Sends letters, and keeps what they are signed with.
#[async_trait]
pub trait Courier: Send + Sync + Debug + 'static {
    /// Why no letter may go to this address, as far as that can be told without asking the network. It is told to whoever
    /// wrote the address, and says what to do.
    fn check(&self, url: &str) -> Result<(), String>;

    /// Seals a secret, so that whoever reads the store cannot sign with it.
    fn seal(&self, secret: &[u8]) -> Sealed;

    /// Makes one attempt.
    async fn send(&self, letter: Letter) -> Outcome;
}

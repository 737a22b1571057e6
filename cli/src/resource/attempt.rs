//! What a person sees of an attempt.

use mainspring_proto::scheduler::v1::{Attempt, AttemptState, LossReason};

use super::{Resource, word};
use crate::{
    output::{Cell, Tone},
    times,
};

impl Resource for Attempt {
    const COLUMNS: &'static [&'static str] = &["ATTEMPT", "STATE", "WORKER", "STARTED", "TOOK", "REASON", "MESSAGE"];

    fn row(&self) -> Vec<Cell> {
        let tone = match self.state() {
            AttemptState::Succeeded => Tone::Good,
            AttemptState::Leased | AttemptState::Running => Tone::Busy,
            AttemptState::Failed | AttemptState::TimedOut | AttemptState::Lost => Tone::Bad,
            AttemptState::Unspecified
            | AttemptState::Cancelled
            | AttemptState::Returned
            | AttemptState::Interrupted => Tone::Quiet,
        };
        let took = times::between(self.start_time.as_ref(), self.end_time.as_ref()).map(times::took);
        let (reason, message) = match (&self.failure, self.loss_reason()) {
            (Some(failure), _) => (failure.reason.clone(), first_line(&failure.message)),
            (None, LossReason::Unspecified) => (String::new(), String::new()),
            (None, loss) => (loss_name(loss).to_owned(), String::new()),
        };
        vec![
            Cell::of(self.attempt),
            Cell::Word(word(self.state().as_str_name(), "ATTEMPT_STATE_"), tone),
            Cell::text(if self.worker_name.is_empty() { &self.worker_id } else { &self.worker_name }),
            Cell::time(self.start_time.as_ref()),
            Cell::text(took.unwrap_or_default()),
            Cell::text(reason),
            Cell::text(message),
        ]
    }
}

/// As every other reason, it is written like a name of the API.
fn loss_name(loss: LossReason) -> &'static str {
    let name = loss.as_str_name();
    name.strip_prefix("LOSS_REASON_").unwrap_or(name)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use mainspring_proto::scheduler::v1::{Attempt, AttemptState, LossReason};

    use crate::{output::Cell, resource::Resource as _};

    #[test]
    fn a_loss_has_its_name_in_the_api() {
        let (state, loss_reason) = (AttemptState::Interrupted.into(), LossReason::WorkerShutdown.into());
        let row = Attempt { state, loss_reason, ..Attempt::default() }.row();
        assert_eq!(row[5], Cell::text("WORKER_SHUTDOWN"));
    }
}

//! What a run is promised: retries, timeouts, delivery, lease loss.

use std::time::Duration;

use mainspring_engine::domain::policy::{Delivery, LeaseLossPolicy, RetryPolicy, RetryUntil, RunPolicy, Timeouts};
use mainspring_proto::{common::v1 as wire, scheduler::v1 as scheduler};

use super::{Check, time};

const MAX_REASONS: usize = 64;
const MAX_REASON: usize = 128;

/// The policy fields of a job, a submission or a trigger, as the wire groups them.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    pub(crate) retry_policy: Option<wire::RetryPolicy>,
    pub(crate) timeouts: Option<wire::Timeouts>,
    pub(crate) delivery: i32,
    pub(crate) lease_loss_policy: i32,
}

impl Check {
    /// The policy of a job or a submission.
    pub(crate) fn policy(&mut self, policies: Policies) -> RunPolicy {
        let Policies { retry_policy, timeouts, delivery, lease_loss_policy } = policies;
        let delivery = self
            .choice("delivery", delivery, |value| {
                Some(match value {
                    wire::Delivery::Unspecified | wire::Delivery::AtLeastOnce => Delivery::AtLeastOnce,
                    wire::Delivery::AtMostOnce => Delivery::AtMostOnce,
                })
            })
            .unwrap_or_default();
        let lease_loss = self
            .choice("lease_loss_policy", lease_loss_policy, |value| {
                Some(match value {
                    wire::LeaseLossPolicy::Unspecified => None,
                    wire::LeaseLossPolicy::Continue => Some(LeaseLossPolicy::Continue),
                    wire::LeaseLossPolicy::Stop => Some(LeaseLossPolicy::Stop),
                })
            })
            .flatten();
        let at_most_once = delivery == Delivery::AtMostOnce;
        if at_most_once && lease_loss == Some(LeaseLossPolicy::Continue) {
            self.refuse("lease_loss_policy", "must be STOP, or be left out, where delivery is AT_MOST_ONCE");
        }
        let lease_loss =
            lease_loss.unwrap_or(if at_most_once { LeaseLossPolicy::Stop } else { LeaseLossPolicy::Continue });
        let retry = match retry_policy {
            Some(mut retry) => {
                if at_most_once {
                    retry.max_attempts.get_or_insert(1);
                }
                self.under("retry_policy", |check| check.retry(retry, RetryPolicy::default()))
            }
            None => RetryPolicy { max_attempts: if at_most_once { 1 } else { 3 }, ..RetryPolicy::default() },
        };
        if at_most_once && retry.max_attempts > 1 {
            self.refuse("retry_policy.max_attempts", "must be 1, or be left out, where delivery is AT_MOST_ONCE");
        }
        let timeouts = match timeouts {
            Some(timeouts) => {
                let house = self.settings_in_force();
                self.under("timeouts", |check| check.timeouts(timeouts, &house.timeouts))
            }
            None => self.settings_in_force().timeouts.clone(),
        };
        RunPolicy { retry, timeouts, delivery, lease_loss }
    }

    /// A trigger may say its own retries and timeouts; what it leaves out is that of its job.
    pub(crate) fn policy_over(
        &mut self,
        policy: RunPolicy,
        retry: Option<wire::RetryPolicy>,
        timeouts: Option<wire::Timeouts>,
    ) -> RunPolicy {
        let RunPolicy { retry: job_retry, timeouts: job_timeouts, delivery, lease_loss } = policy;
        let retry = match retry {
            Some(retry) => self.under("retry_policy", |check| check.retry(retry, job_retry)),
            None => job_retry,
        };
        if delivery == Delivery::AtMostOnce && retry.max_attempts > 1 {
            self.refuse("retry_policy.max_attempts", "must be 1: the job's delivery is AT_MOST_ONCE");
        }
        let timeouts = match timeouts {
            Some(timeouts) => self.under("timeouts", |check| check.timeouts(timeouts, &job_timeouts)),
            None => job_timeouts,
        };
        RunPolicy { retry, timeouts, delivery, lease_loss }
    }

    /// Absent is the default.
    fn retry(&mut self, retry: wire::RetryPolicy, default: RetryPolicy) -> RetryPolicy {
        let wire::RetryPolicy {
            max_attempts,
            initial_backoff,
            multiplier,
            max_backoff,
            jitter,
            max_elapsed,
            non_retryable_reasons,
            retry_timeouts,
            max_losses,
            retry_until,
        } = retry;
        let until = self.choice("retry_until", retry_until, |until| retry_until_of(until, default.until));
        if max_attempts.is_some_and(|attempts| attempts < 1) {
            self.refuse("max_attempts", "must be at least 1; 1 means no retry");
        }
        if multiplier != 0.0 && !(1.0..=1e6).contains(&multiplier) {
            self.refuse("multiplier", "must be 1 to 1,000,000");
        }
        if jitter.is_some_and(|jitter| !(0.0..=1.0).contains(&jitter)) {
            self.refuse("jitter", "must be 0 to 1");
        }
        if max_elapsed.is_some_and(|length| length.seconds == 0 && length.nanos == 0) {
            self.refuse(
                "max_elapsed",
                "must be more than 0; leave it out for no bound, or say `max_attempts` 1 for no retry",
            );
        }
        if max_losses.is_some_and(|losses| losses < 1) {
            self.refuse("max_losses", "must be at least 1");
        }
        if non_retryable_reasons.len() > MAX_REASONS {
            self.refuse("non_retryable_reasons", format!("must be at most {MAX_REASONS}"));
        }
        for reason in non_retryable_reasons.iter().take(MAX_REASONS) {
            if reason.is_empty() {
                self.refuse("non_retryable_reasons", format!("each must be 1 to {MAX_REASON} characters"));
            }
            self.one_line("non_retryable_reasons", reason, MAX_REASON);
        }
        RetryPolicy {
            max_attempts: max_attempts.and_then(|max| u32::try_from(max).ok()).unwrap_or(default.max_attempts),
            initial_backoff: self.length("initial_backoff", initial_backoff).unwrap_or(default.initial_backoff),
            multiplier: if multiplier == 0.0 { default.multiplier } else { multiplier },
            max_backoff: self.length("max_backoff", max_backoff).unwrap_or(default.max_backoff),
            jitter: jitter.unwrap_or(default.jitter),
            max_elapsed: self.length("max_elapsed", max_elapsed).or(default.max_elapsed),
            non_retryable_reasons: match non_retryable_reasons.is_empty() {
                true => default.non_retryable_reasons,
                false => non_retryable_reasons,
            },
            retry_timeouts: retry_timeouts.unwrap_or(default.retry_timeouts),
            max_losses: max_losses.and_then(|losses| u32::try_from(losses).ok()).unwrap_or(default.max_losses),
            until: until.unwrap_or_default(),
        }
    }

    /// Absent is the default, zero is none.
    pub(super) fn timeouts(&mut self, timeouts: wire::Timeouts, default: &Timeouts) -> Timeouts {
        let wire::Timeouts { queue, execution, total, stop_grace, heartbeat } = timeouts;
        let mut limit = |field, length: Option<prost_types::Duration>, default| {
            if length.is_none() { default } else { self.length(field, length).filter(|length| !length.is_zero()) }
        };
        let heartbeat = limit("heartbeat", heartbeat, default.heartbeat);
        let timeouts = Timeouts {
            queue: limit("queue", queue, default.queue),
            execution: limit("execution", execution, default.execution),
            total: limit("total", total, default.total),
            // Zero is a grace too: the shortest there is, which is the lease.
            stop_grace: self.length("stop_grace", stop_grace).or(default.stop_grace),
            heartbeat,
        };
        if heartbeat.is_some_and(|most| most < Duration::from_secs(1)) {
            self.refuse("heartbeat", "must be at least 1 s; progress is sent about once a second");
        }
        timeouts
    }
}

/// What follows from `delivery` where nobody says otherwise. An update that changes delivery alone changes these with it,
/// as far as they were what followed from the delivery before; what somebody chose stays, and must fit.
pub(crate) fn follow_delivery(job: &mut scheduler::Job, before: i32, named: impl Fn(&str) -> bool) {
    let implied = |delivery: i32| match wire::Delivery::try_from(delivery) {
        Ok(wire::Delivery::AtMostOnce) => (LeaseLossPolicy::Stop, 1),
        Ok(wire::Delivery::Unspecified | wire::Delivery::AtLeastOnce) | Err(_) => {
            (LeaseLossPolicy::Continue, RetryPolicy::default().max_attempts)
        }
    };
    let (lease_loss_before, attempts_before) = implied(before);
    let (_, attempts) = implied(job.delivery);
    if implied(before) == implied(job.delivery) {
        return;
    }
    if !named("lease_loss_policy") && job.lease_loss_policy == lease_loss(lease_loss_before) {
        job.lease_loss_policy = wire::LeaseLossPolicy::Unspecified.into();
    }
    let count = |attempts: u32| i32::try_from(attempts).ok();
    if let Some(retry) = job.retry_policy.as_mut().filter(|_| !named("retry_policy"))
        && retry.max_attempts == count(attempts_before)
    {
        retry.max_attempts = count(attempts);
    }
}

/// A retry policy for people, in full.
pub(crate) fn retry(retry: RetryPolicy) -> wire::RetryPolicy {
    let RetryPolicy {
        max_attempts,
        initial_backoff,
        multiplier,
        max_backoff,
        jitter,
        max_elapsed,
        non_retryable_reasons,
        retry_timeouts,
        max_losses,
        until,
    } = retry;
    let retry_until = match until {
        RetryUntil::Budget => wire::RetryUntil::Budget,
        RetryUntil::NextOccurrence => wire::RetryUntil::NextOccurrence,
    };
    wire::RetryPolicy {
        max_attempts: Some(i32::try_from(max_attempts).unwrap_or(i32::MAX)),
        initial_backoff: Some(time::duration(initial_backoff)),
        multiplier,
        max_backoff: Some(time::duration(max_backoff)),
        jitter: Some(jitter),
        max_elapsed: max_elapsed.map(time::duration),
        non_retryable_reasons,
        retry_timeouts: Some(retry_timeouts),
        max_losses: Some(i32::try_from(max_losses).unwrap_or(i32::MAX)),
        retry_until: retry_until.into(),
    }
}

fn retry_until_of(until: wire::RetryUntil, default: RetryUntil) -> Option<RetryUntil> {
    Some(match until {
        wire::RetryUntil::Unspecified => default,
        wire::RetryUntil::Budget => RetryUntil::Budget,
        wire::RetryUntil::NextOccurrence => RetryUntil::NextOccurrence,
    })
}

/// Timeouts for people: zero where there is none, so that they read back the same.
pub(crate) fn timeouts(timeouts: Timeouts) -> wire::Timeouts {
    let Timeouts { queue, execution, total, stop_grace, heartbeat } = timeouts;
    let limit = |length: Option<Duration>| Some(time::duration(length.unwrap_or_default()));
    wire::Timeouts {
        queue: limit(queue),
        execution: limit(execution),
        total: limit(total),
        stop_grace: stop_grace.map(time::duration),
        heartbeat: limit(heartbeat),
    }
}

pub(crate) fn delivery(delivery: Delivery) -> i32 {
    match delivery {
        Delivery::AtLeastOnce => wire::Delivery::AtLeastOnce,
        Delivery::AtMostOnce => wire::Delivery::AtMostOnce,
    }
    .into()
}

pub(crate) fn lease_loss(policy: LeaseLossPolicy) -> i32 {
    match policy {
        LeaseLossPolicy::Continue => wire::LeaseLossPolicy::Continue,
        LeaseLossPolicy::Stop => wire::LeaseLossPolicy::Stop,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grpc::convert::read;

    pub(crate) fn any_policy() -> impl Strategy<Value = RunPolicy> {
        let secs = || (0..100_000_u64).prop_map(Duration::from_millis);
        let limit = || prop::option::of((1..100_000_u64).prop_map(Duration::from_millis));
        let retry = (
            (1..100_u32, secs(), 1.0..9.0_f64, secs(), 0.0..=1.0_f64),
            (limit(), prop::collection::vec("[A-Z]{1,5}", 0..3), any::<bool>(), 1..9_u32),
        )
            .prop_map(|((max_attempts, initial_backoff, multiplier, max_backoff, jitter), rest)| RetryPolicy {
                max_attempts,
                initial_backoff,
                multiplier,
                max_backoff,
                jitter,
                max_elapsed: rest.0,
                non_retryable_reasons: rest.1,
                retry_timeouts: rest.2,
                max_losses: rest.3,
                until: if rest.2 { RetryUntil::Budget } else { RetryUntil::NextOccurrence },
            });
        let timeouts = (limit(), limit(), limit(), limit(), prop::option::of(secs())).prop_map(
            |(queue, execution, total, heartbeat, stop_grace)| Timeouts {
                queue,
                execution,
                total,
                stop_grace,
                heartbeat: heartbeat.map(|most: Duration| most.max(Duration::from_secs(1))),
            },
        );
        (retry, timeouts, any::<bool>(), any::<bool>()).prop_map(|(mut retry, timeouts, once, stop)| {
            let (delivery, lease_loss) = match (once, stop) {
                (true, _) => (Delivery::AtMostOnce, LeaseLossPolicy::Stop),
                (false, true) => (Delivery::AtLeastOnce, LeaseLossPolicy::Stop),
                (false, false) => (Delivery::AtLeastOnce, LeaseLossPolicy::Continue),
            };
            if once {
                retry.max_attempts = 1;
            }
            RunPolicy { retry, timeouts, delivery, lease_loss }
        })
    }

    fn written(policy: RunPolicy) -> Policies {
        Policies {
            retry_policy: Some(retry(policy.retry)),
            timeouts: Some(timeouts(policy.timeouts)),
            delivery: delivery(policy.delivery),
            lease_loss_policy: lease_loss(policy.lease_loss),
        }
    }

    proptest! {
        #[test]
        fn policies_come_back(policy in any_policy()) {
            let sent = written(policy.clone());
            prop_assert_eq!(read(|check| Some(check.policy(sent))).unwrap(), policy);
        }
    }

    #[test]
    fn nothing_said_is_the_defaults() {
        assert_eq!(read(|check| Some(check.policy(Policies::default()))).unwrap(), RunPolicy::default());
    }

    #[test]
    fn at_most_once_means_one_attempt() {
        let once = wire::Delivery::AtMostOnce.into();
        let implied = read(|check| Some(check.policy(Policies { delivery: once, ..Policies::default() }))).unwrap();
        assert_eq!((implied.retry.max_attempts, implied.lease_loss), (1, LeaseLossPolicy::Stop));
        let retry_policy = Some(wire::RetryPolicy { max_attempts: Some(2), ..wire::RetryPolicy::default() });
        let sent = Policies { delivery: once, retry_policy, ..Policies::default() };
        let refusal = read(|check| Some(check.policy(sent))).unwrap_err();
        assert_eq!(refusal.first_field(), Some("retry_policy.max_attempts"));
        let left_out = Some(wire::RetryPolicy { multiplier: 3.0, ..wire::RetryPolicy::default() });
        let sent = Policies { delivery: once, retry_policy: left_out, ..Policies::default() };
        assert_eq!(read(|check| Some(check.policy(sent))).unwrap().retry.max_attempts, 1);
    }

    #[test]
    fn zero_is_none_and_unknown_numbers_are_refused() {
        let zero = Some(prost_types::Duration::default());
        let sent = wire::Timeouts { execution: zero, ..wire::Timeouts::default() };
        let policies = Policies { timeouts: Some(sent), ..Policies::default() };
        assert_eq!(read(|check| Some(check.policy(policies))).unwrap().timeouts.execution, None);
        for bad in ["", "a\0b", "a\nb"] {
            let reasons = wire::RetryPolicy { non_retryable_reasons: vec![bad.into()], ..Default::default() };
            let sent = Policies { retry_policy: Some(reasons), ..Policies::default() };
            assert!(read(|check| Some(check.policy(sent))).is_err(), "{bad:?}");
        }
        let unknown = Policies { delivery: 77, ..Policies::default() };
        assert!(read(|check| Some(check.policy(unknown))).is_err());
        let none = wire::RetryPolicy { max_attempts: Some(0), multiplier: 0.5, ..wire::RetryPolicy::default() };
        let sent = Policies { retry_policy: Some(none), ..Policies::default() };
        assert!(read(|check| Some(check.policy(sent))).is_err());
    }
}

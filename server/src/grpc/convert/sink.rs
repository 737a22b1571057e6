//! Sinks: what people set, read and shown; and what sinks were told.

use std::collections::BTreeSet;

use mainspring_engine::{
    domain::{
        delivery::{Delivery, DeliveryState, Outcome},
        notice::Kind,
        sink::{Disabled, Sink, SinkSpec},
    },
    flow::sinks::Tried,
};
use mainspring_proto::scheduler::v1 as wire;

use super::{Check, time};
use crate::adapters::http::read_secret;

const MAX_DESCRIPTION: usize = 1_024;
/// What an update can change.
pub(crate) const MUTABLE: &[&str] = &["description", "url", "kinds", "job", "disabled", "secret"];

impl Check {
    /// What people set on a sink, and the secret where one is given; output fields are not looked at. `allowed` says why
    /// nothing may be sent to an address.
    pub(crate) fn sink(
        &mut self,
        sink: wire::Sink,
        stored: Option<Disabled>,
        scope: &str,
        allowed: impl Fn(&str) -> Result<(), String>,
    ) -> Option<(SinkSpec, Option<Vec<u8>>)> {
        let wire::Sink {
            namespace,
            sink: _,
            uid: _,
            etag: _,
            description,
            url,
            kinds,
            job,
            disabled,
            disable_reason: _,
            secret,
            dropped_notices: _,
            create_time: _,
            update_time: _,
        } = sink;
        self.same_namespace(&namespace, scope);
        let description = self.text("description", description, MAX_DESCRIPTION);
        if url.is_empty() {
            self.refuse("url", "is required");
        } else if let Err(why) = allowed(&url) {
            self.refuse("url", why);
        }
        let kinds = self.kinds(kinds);
        let job = self.optional("job", &job);
        let secret = match secret.as_str() {
            "" => None,
            text => match read_secret(text) {
                Ok(secret) => Some(secret),
                Err(why) => {
                    self.refuse("secret", why);
                    None
                }
            },
        };
        // That its receiver is gone is not forgotten by a change of something else.
        let disabled = disabled.then(|| stored.unwrap_or(Disabled::Asked));
        Some((SinkSpec { description, url, kinds, job, disabled }, secret))
    }

    fn kinds(&mut self, kinds: Vec<i32>) -> BTreeSet<Kind> {
        let read = self.each("kinds", kinds, |check, kind| {
            let kind = check.choice("", kind, |kind: wire::NoticeKind| Some(i32::from(kind)))?;
            let kind = Kind::from_code(kind).filter(|kind| *kind != Kind::Test);
            if kind.is_none() {
                check.refuse("", "must be what a sink can be told by itself");
            }
            kind
        });
        if read.is_empty() { Kind::ALL.into() } else { read.into_iter().collect() }
    }

    /// The state that deliveries are listed in.
    pub(crate) fn delivery_state(&mut self, state: i32) -> Option<Option<DeliveryState>> {
        self.choice("state", state, |state: wire::DeliveryState| Some(DeliveryState::from_code(state.into())))
    }
}

/// Writes what an update says over what is stored. The secret, which is never shown, is as the update has it.
pub(crate) fn overlay(stored: &mut wire::Sink, new: wire::Sink, mask: &[String]) {
    let wire::Sink { description, url, kinds, job, disabled, secret, .. } = new;
    let named = |field: &str| mask.is_empty() || mask.iter().any(|path| path == field);
    if named("description") {
        stored.description = description;
    }
    if named("url") {
        stored.url = url;
    }
    if named("kinds") {
        stored.kinds = kinds;
    }
    if named("job") {
        stored.job = job;
    }
    if named("disabled") {
        stored.disabled = disabled;
    }
    if named("secret") {
        stored.secret = secret;
    }
}

/// A sink for people, without its secret.
pub(crate) fn sink(sink: Sink) -> wire::Sink {
    let Sink { uid, namespace, name, revision, spec, secret: _, dropped, create_time, update_time } = sink;
    let SinkSpec { description, url, kinds, job, disabled } = spec;
    let reason = match disabled {
        None => wire::SinkDisableReason::Unspecified,
        Some(Disabled::Asked) => wire::SinkDisableReason::Asked,
        Some(Disabled::Gone) => wire::SinkDisableReason::Gone,
    };
    wire::Sink {
        namespace: namespace.into(),
        sink: name.into(),
        uid: uid.to_string(),
        etag: revision.to_string(),
        description,
        url,
        kinds: kinds.into_iter().map(Kind::code).collect(),
        job: job.map(String::from).unwrap_or_default(),
        disabled: disabled.is_some(),
        disable_reason: reason.into(),
        secret: String::new(),
        dropped_notices: i64::try_from(dropped).unwrap_or(i64::MAX),
        create_time: Some(time::timestamp(create_time)),
        update_time: Some(time::timestamp(update_time)),
    }
}

/// A delivery for people.
pub(crate) fn delivery(delivery: Delivery, sink: String) -> wire::Delivery {
    let Delivery { id, kind, state, attempts, status, error, next_time, create_time, end_time, body } = delivery;
    wire::Delivery {
        delivery_id: id.to_string(),
        sink,
        kind: kind.code(),
        state: state.code(),
        attempts: i32::try_from(attempts).unwrap_or(i32::MAX),
        last_status: status.map(i32::from).unwrap_or_default(),
        last_error: error,
        next_time: next_time.map(time::timestamp),
        create_time: Some(time::timestamp(create_time)),
        end_time: end_time.map(time::timestamp),
        body,
    }
}

/// What came of trying a sink.
pub(crate) fn tried(tried: Tried) -> wire::TestSinkResponse {
    let Tried { notice, outcome, took } = tried;
    wire::TestSinkResponse {
        delivered: outcome.is_success(),
        status: outcome.status().map(i32::from).unwrap_or_default(),
        error: outcome.error(),
        answer: match outcome {
            Outcome::Answered { said, .. } => said,
            Outcome::Unanswered(_) => String::new(),
        },
        duration: Some(time::duration(took)),
        body: notice.body(),
    }
}

#[cfg(test)]
mod tests {
    use mainspring_engine::domain::{ids::SinkUid, instant::Instant, names::NamespaceName, sink::Sealed};

    use super::*;
    use crate::grpc::{convert::read, status::Refusal};

    fn sent() -> wire::Sink {
        wire::Sink {
            sink: "ops".into(),
            description: "Who is on call".into(),
            url: "https://example.org/hook".into(),
            kinds: vec![4, 1],
            job: "nightly".into(),
            ..wire::Sink::default()
        }
    }

    fn parsed(sink: wire::Sink) -> Result<(SinkSpec, Option<Vec<u8>>), Refusal> {
        let allowed = |url: &str| if url.starts_with("https://") { Ok(()) } else { Err("must be https".into()) };
        read(|check| check.sink(sink, None, "default", allowed))
    }

    #[test]
    fn sinks_come_back() {
        let (spec, secret) = parsed(sent()).unwrap();
        assert_eq!((secret, spec.kinds.len()), (None, 2));
        let now = Instant::EPOCH;
        let stored = Sink {
            uid: SinkUid::new(now),
            namespace: NamespaceName::default(),
            name: "ops".parse().unwrap(),
            revision: 3,
            spec: spec.clone(),
            secret: Sealed(vec![1]),
            dropped: 7,
            create_time: now,
            update_time: now,
        };
        let shown = sink(stored);
        assert_eq!((shown.etag.as_str(), shown.dropped_notices, shown.secret.as_str()), ("3", 7, ""));
        assert_eq!(parsed(shown).unwrap().0, spec);
        let all = parsed(wire::Sink { kinds: Vec::new(), ..sent() }).unwrap().0;
        assert_eq!(all.kinds.len(), Kind::ALL.len());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let field = |change: fn(&mut wire::Sink)| {
            let mut sink = sent();
            change(&mut sink);
            parsed(sink).unwrap_err().first_field().unwrap().to_owned()
        };
        assert_eq!(field(|sink| sink.url = String::new()), "url");
        assert_eq!(field(|sink| sink.url = "http://example.org/".into()), "url");
        assert_eq!(field(|sink| sink.kinds = vec![1, 0]), "kinds[1]");
        assert_eq!(field(|sink| sink.kinds = vec![6]), "kinds[0]");
        assert_eq!(field(|sink| sink.kinds = vec![99]), "kinds[0]");
        assert_eq!(field(|sink| sink.job = "Not A Job".into()), "job");
        assert_eq!(field(|sink| sink.secret = "hunter2".into()), "secret");
        assert_eq!(field(|sink| sink.namespace = "other".into()), "namespace");
    }

    #[test]
    fn an_update_writes_what_it_names() {
        let mut stored = sent();
        let new = wire::Sink { url: "https://example.net/".into(), description: String::new(), ..sent() };
        overlay(&mut stored, new.clone(), &["url".into()]);
        assert_eq!(stored, wire::Sink { url: "https://example.net/".into(), ..sent() });
        overlay(&mut stored, new.clone(), &[]);
        assert_eq!(stored, new);
    }
}

//! What is sent for a cell of the table, as the contract has the request.

use prost_reflect::{DynamicMessage, Kind, MapKey, MethodDescriptor, Value as Dynamic};
use serde_json::{Value, json};

use super::{Column, Fault, ground::Ground, sends::Expected::Answered};
use crate::{
    contract::{Place, Rule, encode, encode_with, places, rpc, rule, short, with, without},
    fields::{NOBODY, base64},
    table::{Row, STREAM},
    wire::nested,
};

/// A call.
pub(super) struct Sent {
    /// Where it is wrong; empty for the message as a whole.
    pub(super) place: String,
    pub(super) caller: Caller,
    pub(super) body: Vec<u8>,
    pub(super) expected: Expected,
}

pub(super) enum Caller {
    /// Who may call it.
    Usual,
    Other(Option<String>),
}

pub(super) enum Expected {
    /// With this reason, and this field named where one is.
    Refused { reason: &'static str, field: Option<String> },
    /// And why.
    Answered(&'static str),
}

/// Stands for the text that is put in its place on the wire, byte by byte.
const MARK: &str = "@@-no-text-@@";
/// The same length; the first byte begins nothing.
const NO_TEXT: &[u8] = b"\xff@-no-text-@@";
/// More than a message may have.
const TOO_LARGE: usize = (4 << 20) + 1;
const LEVELS: usize = 200;
/// The beginning and the end of a group with a number that no message has.
const GROUP: ([u8; 2], [u8; 2]) = ([0xbb, 0x3e], [0xbc, 0x3e]);
const FILTERS: [&str; 8] = ["nothing=1", "state=", "(state=ACTIVE", "name>1", "queue=\"", "AND", "job>", "= 1"];

/// Everything that is sent for one cell.
pub(super) async fn of(ground: &Ground, column: &Column, row: &Row) -> Vec<Sent> {
    let asked = Asked { ground, column, row, rpc: rpc(row.rpc), valid: (row.valid)(&ground.stage.known) };
    match column.fault {
        Fault::NoCredential => asked.without_credential(&[None]),
        Fault::FalseCredential => asked.without_credential(&[Some("garbage"), Some("mk_1_2"), Some("a.b.c")]),
        Fault::WrongRole => asked.wrong_roles(),
        Fault::MissingField => asked.missing_fields(),
        Fault::TooLarge => vec![asked.bytes("", vec![0; TOO_LARGE])],
        Fault::NoText => asked.no_text(),
        Fault::NoJson => asked.no_json(),
        Fault::DeepNest => asked.deep_nests(),
        Fault::UnknownId => asked.unknown_ids(),
        Fault::StaleEtag => {
            asked.each(|place| place.field.name() == "etag", |path| with(&asked.valid, path, json!("stale")))
        }
        Fault::ReusedRequestId => asked.reused_request_ids().await,
        Fault::ForeignPageToken => asked.foreign_page_tokens(),
        Fault::BadFilter => FILTERS
            .iter()
            .flat_map(|bad| {
                asked.each(|place| place.field.name() == "filter", |path| with(&asked.valid, path, json!(bad)))
            })
            .collect(),
    }
}

/// A cell, and a valid request of its rpc.
struct Asked<'a> {
    ground: &'a Ground,
    column: &'a Column,
    row: &'a Row,
    rpc: MethodDescriptor,
    valid: Value,
}

impl Asked<'_> {
    fn encode(&self, request: &Value) -> Vec<u8> {
        encode(self.rpc.input(), request)
    }

    /// Refused with the column's reason; by the name of the field where that is the reason.
    fn bytes(&self, place: &str, body: Vec<u8>) -> Sent {
        let reason = self.column.reason;
        // What is said of Hello names its fields as a worker has them.
        let field = place.strip_prefix("hello.").unwrap_or(place);
        let field = (reason == "FIELD_INVALID").then(|| field.to_owned());
        Sent { place: place.to_owned(), caller: Caller::Usual, body, expected: Expected::Refused { reason, field } }
    }

    fn refused(&self, place: &str, request: &Value) -> Sent {
        self.bytes(place, self.encode(request))
    }

    /// Every place of a kind, which the row's request must show if the row does not forgive it.
    fn each(&self, wanted: impl Fn(&Place) -> bool, bad: impl Fn(&str) -> Value) -> Vec<Sent> {
        let mut all = Vec::new();
        for place in places(&self.rpc.input()).iter().filter(|place| wanted(place)) {
            let forgiven = self.row.forgives(&place.pattern);
            let shown = place.shown_in(&self.valid);
            assert!(
                !shown.is_empty() || forgiven.is_some(),
                "the request of {} does not show `{}`",
                self.row.rpc,
                place.pattern
            );
            for path in shown {
                let mut request = bad(&path);
                let sent = match forgiven {
                    None => self.refused(&path, &request),
                    Some(why) => {
                        if self.rpc.input().get_field_by_name("validate_only").is_some() {
                            request["validate_only"] = true.into();
                        }
                        Sent { expected: Answered(why), ..self.refused(&path, &request) }
                    }
                };
                all.push(sent);
            }
        }
        all
    }

    fn without_credential(&self, tokens: &[Option<&str>]) -> Vec<Sent> {
        if rule(&self.rpc) == Rule::Public {
            return Vec::new();
        }
        let caller = |token: &Option<&str>| Caller::Other(token.map(str::to_owned));
        tokens.iter().map(|token| Sent { caller: caller(token), ..self.refused("", &self.valid) }).collect()
    }

    fn wrong_roles(&self) -> Vec<Sent> {
        let Rule::Permission(permission) = rule(&self.rpc) else { return Vec::new() };
        let wrong = self.ground.roles.iter().filter(|role| !role.permissions.contains(&permission));
        wrong
            .map(|role| Sent { caller: Caller::Other(Some(role.key.clone())), ..self.refused(&role.name, &self.valid) })
            .collect()
    }

    /// What says that it is required, and what is a choice among several.
    fn missing_fields(&self) -> Vec<Sent> {
        if self.row.rpc == STREAM {
            let expected = Expected::Refused { reason: "HELLO_REQUIRED", field: None };
            return vec![Sent { expected, ..self.refused("hello", &json!({})) }];
        }
        let mut all = self.each(Place::required, |path| without(&self.valid, path));
        for (message, arms) in [
            ("mainspring.common.v1.Payload", &["json", "inline", "reference"] as &[_]),
            ("mainspring.scheduler.v1.Schedule", &["cron", "interval", "at", "calendar_interval"]),
            ("mainspring.scheduler.v1.RunSelection", &["filter", "run_ids"]),
        ] {
            let bare = |path: &str| {
                arms.iter().fold(self.valid.clone(), |request, arm| without(&request, &format!("{path}.{arm}")))
            };
            all.extend(self.each(|place| place.is_message(message), bare));
        }
        if all.is_empty() {
            all.push(Sent { expected: Answered(self.column.absent), ..self.refused("", &json!({})) });
        }
        all
    }

    /// Forgiven or not: nobody can read it.
    fn no_text(&self) -> Vec<Sent> {
        let text = |text: &str| Dynamic::String(text.into());
        let is_text = |kind: &Kind| matches!(kind, Kind::String);
        let mut all = Vec::new();
        for place in places(&self.rpc.input()) {
            let marks = match place.field.kind() {
                Kind::Message(entry) if place.field.is_map() && is_text(&entry.map_entry_value_field().kind()) => {
                    let entry = |key: &str, value: &str| [(MapKey::String(key.into()), text(value))].into();
                    vec![Dynamic::Map(entry(MARK, "a")), Dynamic::Map(entry("a", MARK))]
                }
                kind if is_text(&kind) && place.field.is_list() => vec![Dynamic::List(vec![text(MARK)])],
                kind if is_text(&kind) => vec![text(MARK)],
                _ => continue,
            };
            let whole = place.pattern.trim_end_matches("[]");
            let shown = Place { pattern: whole.to_owned(), ..place.clone() }.shown_in(&self.valid);
            for (at, mark) in shown.iter().flat_map(|at| marks.iter().map(move |mark| (at, mark))) {
                let mut body = encode_with(self.rpc.input(), &self.valid, at, mark.clone());
                let mark = body.windows(MARK.len()).position(|bytes| bytes == MARK.as_bytes()).unwrap();
                body[mark..mark + NO_TEXT.len()].copy_from_slice(NO_TEXT);
                all.push(self.bytes(at, body));
            }
        }
        all
    }

    fn no_json(&self) -> Vec<Sent> {
        let no_json = json!({"content_type": "application/json", "inline": base64("{")});
        let is_payload = |place: &Place| place.is_message("mainspring.common.v1.Payload");
        let mut all = self.each(is_payload, |path| with(&self.valid, path, no_json.clone()));
        for sent in &mut all {
            sent.place.push_str(".inline");
            if let Expected::Refused { field: Some(field), .. } = &mut sent.expected {
                field.push_str(".inline");
            }
        }
        let is_schema = |place: &Place| place.is_text() && place.field.name().ends_with("_schema");
        all.extend(self.each(is_schema, |path| with(&self.valid, path, json!("{"))));
        all
    }

    fn deep_nests(&self) -> Vec<Sent> {
        let mut groups = self.encode(&self.valid);
        groups.extend(GROUP.0.repeat(LEVELS));
        groups.extend(GROUP.1.repeat(LEVELS));
        let mut all = vec![self.bytes("", groups)];
        for place in places(&self.rpc.input()) {
            let Kind::Message(value) = place.field.kind() else { continue };
            if value.full_name() != "google.protobuf.Value" {
                continue;
            }
            for path in place.shown_in(&self.valid) {
                let nest = Dynamic::Message(nested(&DynamicMessage::new(value.clone()), LEVELS));
                let sent = self.bytes(&path, encode_with(self.rpc.input(), &self.valid, &path, nest));
                // Whoever reads the bytes does not tell which item of a list it was.
                let field = Some(place.pattern.replace("[]", ""));
                all.push(Sent { expected: Expected::Refused { reason: "FIELD_INVALID", field }, ..sent });
            }
        }
        all
    }

    /// The namespace of the request, and the fields that say what it is about.
    fn unknown_ids(&self) -> Vec<Sent> {
        let is_namespace = |place: &Place| {
            let holder = place.field.parent_message();
            place.field.name() == "namespace" && (*holder == self.rpc.input() || holder.name() == "Hello")
        };
        let elsewhere = |path: &str| with(&self.valid, path, json!("elsewhere"));
        let mut all = told(self.each(is_namespace, elsewhere), "NAMESPACE_NOT_FOUND");
        // What is made has no name yet that anything could have.
        if self.rpc.name().starts_with("Create") {
            return all;
        }
        for (name, nobody, reason) in [
            ("job", "nobody", "JOB_NOT_FOUND"),
            ("queue", "nobody", "QUEUE_NOT_FOUND"),
            ("calendar", "nobody", "CALENDAR_NOT_FOUND"),
            ("sink", "nobody", "SINK_NOT_FOUND"),
            ("delivery_id", NOBODY, "DELIVERY_NOT_FOUND"),
            ("key_id", "nobody", "KEY_NOT_FOUND"),
            ("run_id", NOBODY, "RUN_NOT_FOUND"),
            ("backfill_id", NOBODY, "BACKFILL_NOT_FOUND"),
            ("worker_id", NOBODY, "WORKER_NOT_FOUND"),
        ] {
            let is_it = |place: &Place| place.field.name() == name && place.is_text() && place.required();
            all.extend(told(self.each(is_it, |path| with(&self.valid, path, json!(nobody))), reason));
        }
        all
    }

    /// Everything else of the request may be as it was, but for one text.
    async fn reused_request_ids(&self) -> Vec<Sent> {
        let places = places(&self.rpc.input());
        let Some(id) = places.iter().find(|place| place.field.name() == "request_id") else { return Vec::new() };
        let path = id.shown_in(&self.valid).remove(0);
        let made = with(&self.valid, &path, json!(format!("once-{}", short(&self.rpc))));
        self.ground.stage.answer(self.row, &made).await.unwrap();
        let is_other = |other: &&Place| other.max_chars().is_some() && other.field.name() != "request_id";
        let other = places.iter().find(is_other).unwrap().shown_in(&made).remove(0);
        vec![self.refused(&path, &with(&made, &other, json!("other")))]
    }

    fn foreign_page_tokens(&self) -> Vec<Sent> {
        if self.rpc.input().get_field_by_name("page_token").is_none() {
            return Vec::new();
        }
        let own = self.ground.pages.iter().find(|page| page.rpc == self.row.rpc).unwrap();
        let token = own.token.as_str();
        let last = if token.ends_with('0') { '1' } else { '0' };
        let changed = [format!("{}{last}", &token[..token.len() - 1]), token[1..].to_owned()];
        let made_up = ["garbage", "00", "ä"].map(str::to_owned).into_iter().chain(["0".repeat(token.len())]);
        let others = self.ground.pages.iter().filter(|page| page.rpc != self.row.rpc).map(|page| page.token.clone());
        let foreign = made_up.chain(changed).chain(others);
        let at = |request: &Value, token: &str| self.refused("page_token", &with(request, "page_token", json!(token)));
        foreign
            .map(|token| at(&own.request, &token))
            .chain(own.other_arguments().iter().map(|request| at(request, token)))
            .collect()
    }
}

/// The same, with another reason and no field.
fn told(sent: Vec<Sent>, reason: &'static str) -> Vec<Sent> {
    let with_reason = |sent: Sent| match sent.expected {
        Expected::Refused { .. } => Sent { expected: Expected::Refused { reason, field: None }, ..sent },
        Answered(_) => sent,
    };
    sent.into_iter().map(with_reason).collect()
}

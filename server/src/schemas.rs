//! Payloads against the schemas that workers announce for their types.
//!
//! The services ask with every payload that is given to them, so what is announced for a type is remembered, for as long as
//! a worker's Hello on another server may go unnoticed. A Hello on this one counts at once: whoever sees a worker there
//! finds payloads checked by its schema.
//!
//! A payload passes where *any* schema accepts it that a worker announces whose lease lives. So a deployment that rolls is
//! never in the way of its clients, old or new; what they disagree about shows as drift. Where no such worker is there, the
//! last word on the type counts, and a type that nobody ever announced takes anything.

mod bounds;
mod difference;
mod rule;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainspring_engine::{
    domain::{
        instant::Instant,
        names::{JobType, Scope},
        payload::Payload,
    },
    ports::store::{SharedStore, StoreResult},
};
use mainspring_schema::Mismatch;
use parking_lot::Mutex;

use bounds::Size;
use rule::{Read, Rule, Verdict};

pub(crate) use difference::difference;
pub(crate) use rule::{Budget, wrong};

/// Remembered for so long.
const FRESH: Duration = Duration::from_secs(1);
/// Types that are remembered; callers make up their names.
const MAX_TYPES: usize = 8_192;
/// What all remembered schemas take of memory, about.
const MAX_WEIGHT: usize = 128 << 20;

/// What is announced, remembered.
#[derive(Debug)]
pub(crate) struct Schemas {
    store: SharedStore,
    known: Mutex<Known>,
    /// Grows with every Hello.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    types: HashMap<Scope, HashMap<JobType, Entry>>,
    count: usize,
    weight: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    read_time: Instant,
    generation: u64,
    rules: Arc<[Arc<Rule>]>,
}

/// Why a payload is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The type takes JSON, and this is something else.
    NotJson,
    /// It is missing, and the type takes no null.
    Missing,
    /// Where it misses the newest schema; empty where that cannot be told.
    Fields(Vec<Mismatch>),
}

impl Schemas {
    /// Nothing is known yet.
    pub(crate) fn new(store: SharedStore) -> Self {
        Self { store, known: Mutex::default(), generation: AtomicU64::new(0) }
    }

    /// Something was announced: what is remembered may be old.
    pub(crate) fn announced(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a type takes a payload; what is wrong with it where not.
    pub(crate) async fn misfit(
        &self,
        now: Instant,
        scope: &Scope,
        job_type: &JobType,
        payload: &Payload,
        budget: &mut Budget,
    ) -> StoreResult<Option<Misfit>> {
        let rules = self.rules(now, scope, job_type).await?;
        Ok(if rules.is_empty() { None } else { misfit(&rules, payload, budget) })
    }

    /// What a payload of a type must match one of; none where it may be anything.
    async fn rules(&self, now: Instant, scope: &Scope, job_type: &JobType) -> StoreResult<Arc<[Arc<Rule>]>> {
        let generation = self.generation.load(Ordering::Acquire);
        let before = {
            let mut known = self.known.lock();
            let entry = known.types.get_mut(scope).and_then(|types| types.get_mut(job_type));
            match entry {
                Some(entry) if entry.generation == generation && now < entry.read_time.plus(FRESH) => {
                    return Ok(entry.rules.clone());
                }
                Some(entry) => {
                    // Whoever comes next need not read as well, unless there is news.
                    if entry.generation == generation {
                        entry.read_time = now;
                    }
                    Some(entry.rules.clone())
                }
                None => None,
            }
        };
        let texts = self.store.input_schemas(scope, job_type).await?;
        let rules = if texts.iter().any(String::is_empty) { Vec::new() } else { compiled(texts, before.as_deref()) };
        let entry = Entry { read_time: now, generation, rules: rules.into() };
        self.known.lock().remember(scope, job_type, entry.clone());
        Ok(entry.rules)
    }
}

/// Rules of texts; one that was there before is not made again.
fn compiled(texts: Vec<String>, before: Option<&[Arc<Rule>]>) -> Vec<Arc<Rule>> {
    let known = |text: &str| before.into_iter().flatten().find(|rule| rule.text() == text).cloned();
    texts.into_iter().map(|text| known(&text).unwrap_or_else(|| Arc::new(Rule::new(text)))).collect()
}

impl Known {
    fn remember(&mut self, scope: &Scope, job_type: &JobType, entry: Entry) {
        let weigh = |entry: &Entry| entry.rules.iter().map(|rule| rule.weight()).sum::<usize>();
        let weight = weigh(&entry);
        if self.count >= MAX_TYPES || self.weight + weight > MAX_WEIGHT {
            *self = Self::default();
        }
        let types = self.types.entry(scope.clone()).or_default();
        match types.insert(job_type.clone(), entry) {
            Some(old) => self.weight -= weigh(&old),
            None => self.count += 1,
        }
        self.weight += weight;
    }
}

fn misfit(rules: &[Arc<Rule>], payload: &Payload, budget: &mut Budget) -> Option<Misfit> {
    if !payload.is_json() {
        return Some(Misfit::NotJson);
    }
    // A worker reads no payload as null.
    let text: &[u8] = if payload.data.is_empty() { b"null" } else { &payload.data };
    // What is no JSON was refused before; what is nested beyond what is read here is the worker's to judge.
    let value = serde_json::from_slice(text).ok()?;
    let read = Read { size: Size::of(&value), bytes: text.len(), value };
    let mut newest = None;
    for rule in rules {
        match rule.verdict(&read, budget) {
            Verdict::Passes => return None,
            Verdict::Misses(fields) => newest = newest.or(Some(fields)),
        }
    }
    let missing = payload.data.is_empty();
    newest.map(|fields| if missing { Misfit::Missing } else { Misfit::Fields(fields) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(schemas: &[serde_json::Value]) -> Vec<Arc<Rule>> {
        compiled(schemas.iter().map(ToString::to_string).collect(), None)
    }

    fn given(text: &str) -> Payload {
        Payload { content_type: "application/json".into(), data: text.into() }
    }

    fn judged(rules: &[Arc<Rule>], text: &str) -> Option<Misfit> {
        misfit(rules, &given(text), &mut Budget::default())
    }

    fn fields(misfit: Option<Misfit>) -> Vec<String> {
        match misfit {
            Some(Misfit::Fields(fields)) => fields.into_iter().map(|field| field.path).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_payload_passes_by_any_schema_and_is_told_the_newest() {
        let both = rules(&[json!({"required": ["new"]}), json!({"required": ["old"]})]);
        assert_eq!(judged(&both, r#"{"old": 1}"#), None);
        assert_eq!(judged(&both, r#"{"new": 1}"#), None);
        assert_eq!(fields(judged(&both, "{}")), ["new"]);
    }

    #[test]
    fn what_is_not_there_is_null_as_workers_read_it() {
        let typed = rules(&[json!({"type": "object"})]);
        assert_eq!(misfit(&typed, &Payload::default(), &mut Budget::default()), Some(Misfit::Missing));
        assert_eq!(
            judged(&typed, "null"),
            Some(Misfit::Fields(vec![Mismatch { path: String::new(), problem: "must be of type object".into() }]))
        );
        let optional = rules(&[json!({"type": ["object", "null"]})]);
        assert_eq!(misfit(&optional, &Payload::default(), &mut Budget::default()), None);
        let bytes = Payload { content_type: "text/plain".into(), data: b"{}".to_vec() };
        assert_eq!(misfit(&optional, &bytes, &mut Budget::default()), Some(Misfit::NotJson));
        let other = Payload { content_type: "application/vnd.api+json; charset=utf-8".into(), data: b"{}".to_vec() };
        assert_eq!(misfit(&optional, &other, &mut Budget::default()), None);
    }

    #[test]
    fn what_cannot_be_checked_within_bounds_passes() {
        let ahead = json!({"properties": {"a": {"pattern": "^(?=x)"}}, "required": ["a"]});
        let large = json!({"required": ["a"], "pattern": "(\\p{L}{100}){100}"});
        let twice = json!({"items": {"$ref": "#"}, "contains": {"$ref": "#"}, "type": ["array", "string"]});
        let nested = format!("{}1{}", "[".repeat(24), "]".repeat(24));
        for (schema, text) in [(ahead, "{}"), (large, "{}"), (twice.clone(), nested.as_str())] {
            assert!(wrong(&schema.to_string()).is_none(), "{schema}");
            assert_eq!(judged(&rules(std::slice::from_ref(&schema)), text), None, "{schema}");
        }
        assert_eq!(fields(judged(&rules(&[twice]), "[[1]]"))[0], "[0][0]", "a shallow one is checked");
    }

    #[test]
    fn a_hundred_alternatives_of_a_large_payload_are_judged_and_not_told() {
        let schema = json!({"anyOf": vec![json!({"required": ["a", "b"], "minProperties": 3}); 200]});
        let payload = json!({"text": "x".repeat(200 << 10)}).to_string();
        assert_eq!(judged(&rules(&[schema]), &payload), Some(Misfit::Fields(Vec::new())));
    }

    #[test]
    fn the_checks_of_one_request_share_what_they_may_spend() {
        let typed = rules(&[json!({"items": {"type": "string"}})]);
        let (mut budget, many) = (Budget::default(), serde_json::to_string(&vec![1; 50_000]).unwrap());
        let refused = (0..100).filter(|_| misfit(&typed, &given(&many), &mut budget).is_some()).count();
        assert!((5..60).contains(&refused), "{refused}");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = Known::default();
        let heavy = rules(&[
            json!({"patternProperties": (0..60).map(|n| (format!("^{n}"), json!({}))).collect::<serde_json::Map<_, _>>()}),
        ]);
        let entry = Entry { read_time: Instant::from_micros(0), generation: 0, rules: heavy.into() };
        for n in 0..100 {
            known.remember(&Scope::default(), &format!("t{n}").parse().unwrap(), entry.clone());
            known.remember(&Scope::default(), &format!("t{n}").parse().unwrap(), entry.clone());
            assert!(known.weight <= MAX_WEIGHT, "{}", known.weight);
        }
        assert!(known.count < 20 && known.types[&Scope::default()].len() == known.count);
    }
}

//! What the schema of a stranger may cost, before anything is done with it.
//!
//! A worker is a stranger. A schema of a few hundred bytes can ask of a validator more work than there is time (every level
//! of a payload doubled by two references to the same definition), more stack than there is (a reference to itself, a
//! chain of thousands), or a file of the host. The library does what it is told, so it is asked here first: the schema is
//! taken apart into its subschemas, and by depth of the payload it is counted how often, at most, one value of the payload
//! is looked at. What would be too much is not checked by the server; the worker checks its payloads anyway.
//!
//! What is no schema at all, or refers to somewhere else, is an error of its author, and told when it is announced.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// JSON inside JSON, at most so deep.
const MAX_DEPTH: usize = 64;
/// The depths of all definitions that are referred to, together: in the worst case each is compiled inside the last.
const MAX_CHAIN: usize = 512;
/// Subschemas that apply to one value, inside each other.
const MAX_INSIDE: usize = 16;
/// Regular expressions of one schema, and their text in all.
const MAX_PATTERNS: usize = 64;
const MAX_PATTERN_TEXT: usize = 16 << 10;
const NAMED: &str = "it names its parts by `$id`, `$anchor` or `$dynamicRef`";
/// Payloads are checked up to this depth; `json` takes 30.
const DEPTHS: usize = 33;

/// Keywords by which a schema finds others in ways that are not followed here.
const NAMES: [&str; 6] = ["$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"];

/// What a schema asks of a payload, at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Costs {
    /// How often one value is looked at, by the depth of the payload.
    looks: Vec<u64>,
    /// Regular expressions.
    patterns: usize,
}

impl Costs {
    /// Looks at a payload of so many values and such a depth; none where that is not bounded.
    pub(crate) fn of(&self, size: Size) -> Option<u64> {
        self.looks.get(size.depth).map(|looks| looks.saturating_mul(size.values))
    }

    /// How often one value is looked at in a payload of this depth.
    pub(crate) fn looks(&self, depth: usize) -> u64 {
        self.looks.get(depth).copied().unwrap_or(u64::MAX)
    }

    /// Regular expressions.
    pub(crate) fn patterns(&self) -> usize {
        self.patterns
    }
}

/// What a payload is, to who checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Values, itself and those inside.
    pub(crate) values: u64,
    /// How deep they lie.
    pub(crate) depth: usize,
}

impl Size {
    /// Of a JSON value.
    pub(crate) fn of(value: &Value) -> Self {
        let inner = |size: Self, item: &Value| {
            let Self { values, depth } = Self::of(item);
            Self { values: size.values + values, depth: size.depth.max(depth + 1) }
        };
        let one = Self { values: 1, depth: 0 };
        match value {
            Value::Array(items) => items.iter().fold(one, inner),
            Value::Object(entries) => entries.values().fold(one, inner),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => one,
        }
    }
}

/// Why a schema is not measured.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unmeasured {
    /// Its author must mend it.
    Wrong(String),
    /// It may be right, and asks for more than the server gives.
    TooMuch(&'static str),
}

/// Takes a schema apart.
pub(crate) fn costs(schema: &Value) -> Result<Costs, Unmeasured> {
    // Before anything that goes into it by calling itself.
    if Size::of(schema).depth > MAX_DEPTH {
        return Err(Unmeasured::Wrong(format!(
            "is nested deeper than {MAX_DEPTH} levels; put parts of it under `$defs`"
        )));
    }
    if let Err(error) = jsonschema::draft202012::meta::validate(schema) {
        let at = error.instance_path().to_string();
        let (at, why): (String, String) =
            (at.chars().take(100).collect(), error.masked_with("it").to_string().chars().take(200).collect());
        return Err(Unmeasured::Wrong(format!("is no JSON Schema (2020-12): at `{at}`, {why}")));
    }
    let mut walk = Walk { root: schema, parts: Vec::new(), known: HashMap::new(), chain: 0, patterns: Vec::new() };
    let root = walk.part(schema)?;
    if walk.patterns.len() > MAX_PATTERNS || walk.patterns.iter().sum::<usize>() > MAX_PATTERN_TEXT {
        return Err(Unmeasured::TooMuch("it has too many regular expressions"));
    }
    let order = inside_out(&walk.parts)?;
    let mut looks = Vec::with_capacity(DEPTHS);
    let mut below: Option<Vec<u64>> = None;
    for _ in 0..DEPTHS {
        let mut costs = vec![0_u64; walk.parts.len()];
        for &at in &order {
            costs[at] = walk.parts[at].cost(&costs, below.as_deref());
        }
        looks.push(costs[root]);
        below = Some(costs);
    }
    Ok(Costs { looks, patterns: walk.patterns.len() })
}

/// A subschema.
#[derive(Default)]
struct Part {
    /// What it asks by itself.
    own: u64,
    /// What applies to the same value.
    here: Vec<usize>,
    /// What applies to one property or to one place of an array: at most one of them to the same one.
    either: Vec<usize>,
    /// What applies to every property or item besides.
    every: Vec<usize>,
    /// Regular expressions that every key is held against.
    keys: u64,
    /// How often the library looks at what it has seen already.
    again: u64,
}

impl Part {
    fn cost(&self, here: &[u64], below: Option<&[u64]>) -> u64 {
        let sum = |costs: &[u64], parts: &[usize]| parts.iter().fold(0_u64, |sum, at| sum.saturating_add(costs[*at]));
        let beside = sum(here, &self.here);
        let beneath = below.map_or(0, |below| {
            let most = self.either.iter().map(|at| below[*at]).max().unwrap_or_default();
            most.saturating_add(sum(below, &self.every)).saturating_add(self.keys)
        });
        beside.saturating_add(beneath).saturating_mul(self.again).saturating_add(self.own)
    }
}

struct Walk<'a> {
    root: &'a Value,
    parts: Vec<Part>,
    /// By address: one place of the text is one part, whichever way leads to it.
    known: HashMap<*const Value, usize>,
    /// How deep everything is that was referred to.
    chain: usize,
    /// Lengths of regular expressions.
    patterns: Vec<usize>,
}

impl<'a> Walk<'a> {
    fn part(&mut self, schema: &'a Value) -> Result<usize, Unmeasured> {
        if let Some(at) = self.known.get(&std::ptr::from_ref(schema)) {
            return Ok(*at);
        }
        let at = self.parts.len();
        self.known.insert(schema, at);
        self.parts.push(Part { own: 1, again: 1, ..Part::default() });
        if let Value::Object(keywords) = schema {
            let part = self.keywords(keywords, at == 0)?;
            self.parts[at] = part;
        }
        Ok(at)
    }

    fn keywords(&mut self, keywords: &'a Map<String, Value>, is_root: bool) -> Result<Part, Unmeasured> {
        let mut part = Part { own: 1, again: 1, ..Part::default() };
        for (keyword, value) in keywords {
            match keyword.as_str() {
                "$ref" => part.here.push(self.target(value)?),
                "not" | "if" | "then" | "else" => part.here.push(self.part(value)?),
                "allOf" | "anyOf" | "oneOf" | "dependentSchemas" => part.here.extend(self.parts_of(value)?),
                "properties" | "prefixItems" => part.either.extend(self.parts_of(value)?),
                "additionalProperties" | "items" => part.either.push(self.part(value)?),
                "contains" | "propertyNames" => part.every.push(self.part(value)?),
                "patternProperties" => {
                    for pattern in value.as_object().into_iter().flat_map(Map::keys) {
                        self.patterns.push(pattern.len());
                        part.keys += 1;
                    }
                    part.every.extend(self.parts_of(value)?);
                }
                "unevaluatedProperties" | "unevaluatedItems" => {
                    // To know what is left, the library asks every part beside it once more, and each of what is left.
                    part.again = 3;
                    part.every.push(self.part(value)?);
                }
                "pattern" => {
                    self.patterns.push(value.as_str().map_or(0, str::len));
                    part.own += 1;
                }
                // A name for the whole changes nothing.
                "$id" if is_root => {}
                name if NAMES.contains(&name) => return Err(Unmeasured::TooMuch(NAMED)),
                // Definitions count where they are referred to.
                "$defs" | "definitions" => {}
                _ => part.own = part.own.saturating_add(Size::of(value).values),
            }
        }
        Ok(part)
    }

    /// The schemas of a list or of a map.
    fn parts_of(&mut self, schemas: &'a Value) -> Result<Vec<usize>, Unmeasured> {
        match schemas {
            Value::Array(list) => list.iter().map(|schema| self.part(schema)).collect(),
            Value::Object(map) => map.values().map(|schema| self.part(schema)).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(Vec::new()),
        }
    }

    fn target(&mut self, reference: &'a Value) -> Result<usize, Unmeasured> {
        let text = reference.as_str().unwrap_or_default();
        let shown: String = text.chars().take(100).collect();
        let Some(pointer) = text.strip_prefix('#') else {
            if text.starts_with("https://json-schema.org/") {
                return Err(Unmeasured::TooMuch("it refers to a meta-schema"));
            }
            let why = format!("refers to `{shown}`, which the server does not fetch; carry it along under `$defs`");
            return Err(Unmeasured::Wrong(why));
        };
        if !pointer.is_empty() && !pointer.starts_with('/') || pointer.contains('%') {
            return Err(Unmeasured::TooMuch(NAMED));
        }
        let root = self.root;
        let Some(target) = root.pointer(pointer) else {
            return Err(Unmeasured::Wrong(format!("refers to `{shown}`, and there is no such place in it")));
        };
        if !self.known.contains_key(&std::ptr::from_ref(target)) {
            self.chain += Size::of(target).depth + 1;
            if self.chain > MAX_CHAIN {
                return Err(Unmeasured::TooMuch("it refers to too many definitions"));
            }
        }
        self.part(target)
    }
}

/// The parts, each after those that apply to the same value: there is no end to one that applies to itself.
fn inside_out(parts: &[Part]) -> Result<Vec<usize>, Unmeasured> {
    let mut order = Vec::with_capacity(parts.len());
    // How many lie inside each other; 0 while that is not known.
    let mut inside = vec![0_usize; parts.len()];
    let mut open = vec![false; parts.len()];
    for start in 0..parts.len() {
        // By hand, since a chain may be as long as the text allows.
        let mut path = vec![(start, 0)];
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            if inside[at] > 0 {
                path.pop();
                continue;
            }
            open[at] = true;
            if let Some(&inner) = parts[at].here.get(*next) {
                *next += 1;
                if open[inner] {
                    return Err(Unmeasured::Wrong("has a part that refers to itself without end".into()));
                }
                path.push((inner, 0));
                continue;
            }
            inside[at] = 1 + parts[at].here.iter().map(|inner| inside[*inner]).max().unwrap_or_default();
            if inside[at] > MAX_INSIDE {
                return Err(Unmeasured::TooMuch("it has too many parts inside each other"));
            }
            open[at] = false;
            order.push(at);
            path.pop();
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn looks(schema: &Value, depth: usize) -> u64 {
        costs(schema).unwrap().looks(depth)
    }

    #[test]
    fn what_people_write_costs_little() {
        let tree = json!({"$ref": "#/$defs/Node", "$defs": {"Node": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
            "required": ["name"],
        }}});
        assert!(looks(&tree, 30) < 300, "{}", looks(&tree, 30));
        let flat: Map<String, Value> =
            (0..200).map(|n| (format!("f{n}"), json!({"type": ["string", "null"]}))).collect();
        let flat = json!({"type": "object", "properties": flat, "additionalProperties": false});
        assert!(looks(&flat, 30) < 20, "{}", looks(&flat, 30));
        // An expression: every alternative may go on, and a short one is checked all the same.
        let expression = json!({"anyOf": [
            {"type": "number"},
            {"properties": {"add": {"prefixItems": [{"$ref": "#"}, {"$ref": "#"}]}}, "required": ["add"]},
            {"properties": {"mul": {"prefixItems": [{"$ref": "#"}, {"$ref": "#"}]}}, "required": ["mul"]},
        ]});
        assert!(looks(&expression, 6) < 1_000 && looks(&expression, 30) > 100_000, "{}", looks(&expression, 6));
    }

    #[test]
    fn what_grows_with_every_level_is_seen() {
        let twice = json!({"items": {"$ref": "#"}, "contains": {"$ref": "#"}});
        assert!(looks(&twice, 30) > 1 << 30);
        let laughs: Map<String, Value> = (0..12)
            .map(|n| (format!("d{n}"), json!({"allOf": [{"$ref": format!("#/$defs/d{}", n + 1)}, {"$ref": format!("#/$defs/d{}", n + 1)}]})))
            .chain([("d12".into(), json!({"type": "string"}))])
            .collect();
        assert_eq!(
            costs(&json!({"$ref": "#/$defs/d0", "$defs": laughs})),
            Err(Unmeasured::TooMuch("it has too many parts inside each other"))
        );
        let rest = json!({"properties": {"a": {"$ref": "#"}}, "unevaluatedProperties": {"$ref": "#"}});
        assert!(looks(&rest, 20) > 1 << 20);
    }

    #[test]
    fn what_is_no_schema_is_told_to_its_author() {
        for (schema, part) in [
            (json!({"type": "nonsense"}), "is no JSON Schema (2020-12): at `/type`"),
            (json!([1]), "is no JSON Schema"),
            (json!({"$ref": "#/$defs/none"}), "there is no such place"),
            (json!({"$ref": "file:///etc/passwd"}), "does not fetch"),
            (
                json!({"properties": {"a": {"$ref": "https://schemas.example/a.json"}}}),
                "`https://schemas.example/a.json`",
            ),
            (json!({"$ref": "#"}), "without end"),
            (json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#"}]}}}), "without end"),
            ((0..40).fold(json!({}), |inner, _| json!({"properties": {"a": inner}})), "deeper than 64"),
        ] {
            match costs(&schema) {
                Err(Unmeasured::Wrong(why)) => assert!(why.contains(part), "{part} in {why}"),
                other => panic!("{schema}: {other:?}"),
            }
        }
        // A property may be called like a keyword.
        assert!(costs(&json!({"properties": {"$ref": {"type": "string"}, "$id": {}}})).is_ok());
    }

    #[test]
    fn what_the_server_does_not_follow_is_left_to_the_worker() {
        let many: Map<String, Value> = (0..80).map(|n| (format!("^{n}"), json!({}))).collect();
        for schema in [
            json!({"$dynamicRef": "#node"}),
            json!({"$ref": "#node", "$defs": {"a": {"$anchor": "node"}}}),
            json!({"$ref": "https://json-schema.org/draft/2020-12/schema"}),
            json!({"patternProperties": many}),
            json!({"pattern": "a".repeat(20 << 10)}),
        ] {
            assert!(matches!(costs(&schema), Err(Unmeasured::TooMuch(_))), "{schema}");
        }
    }

    #[test]
    fn the_longest_chain_fits_into_the_stack() {
        let chain = |length: usize| -> Value {
            let one =
                |n: usize| (format!("d{n}"), json!({"properties": {"a": {"$ref": format!("#/$defs/d{}", n + 1)}}}));
            let defs: Map<String, Value> = (0..length).map(one).chain([(format!("d{length}"), json!({}))]).collect();
            json!({"$ref": "#/$defs/d0", "$defs": defs})
        };
        let longest = (1..).find(|length| costs(&chain(*length)).is_err()).unwrap() - 1;
        assert!(longest > 100, "{longest}");
        jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&chain(longest)).unwrap();
    }
}

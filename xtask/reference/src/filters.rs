//! `filters.md`: the language of filters, and the fields that each list has for it.
//!
//! Which fields those are, the contract says at each request's `filter`; what they are compared with follows from the
//! field of that name in what is listed.

use std::{collections::HashMap, fmt::Write as _};

use crate::{
    contract::{Contract, Field, Of, Rpc, Shape, Value},
    markdown::{head, table},
};

const LEAD: &str = "\
A filter is `FIELD OP VALUE`, joined by `AND`, `OR`, `NOT` and parentheses. It is the same for every client: `--filter` of the
command line, the field `filter` of a list's request.

```text
state = FAILED AND job = nightly
create_time > now-1h AND NOT job_type = demo.*
(state = FAILED OR state = TIMED_OUT) AND reason != LEASE_LOST
```

- **FIELD** is one of the list's own, below.
- **OP** is `=`, `!=`, `<`, `<=`, `>`, `>=`, or `:`, which means the same as `=`. Only numbers and times have an order.
- **VALUE** is bare, or in `'single'` or `\"double\"` quotes where it holds blanks, quotes or parentheses; in quotes, a backslash
  takes the next character as it is. At a shell, quote the whole filter once more: `--filter 'job = \"a b\"'`.
- A **text** may end in `*`, for \"begins with\": `job = night*`. `\\*` at its end is a star.
- A **word** is written without its prefix, in any case: `state = failed`.
- A **time** is RFC 3339 (`2026-01-31T12:00:00Z`), or counts from now: `now`, `now-1h`, `now-1h30m`, `now+2d`.
- `job` of `ListRuns` is a **name**, which may be given again once its job is deleted: it finds the runs of every job that has
  or had it. `job_uid` is one job's.
- `NOT` binds closest. **OR binds closer than AND**, as AIP-160 has it: `a AND b OR c` is `a AND (b OR c)`. Parentheses say it
  either way.

A filter has at most 4,096 bytes, 100 comparisons and 32 levels. One that cannot be read is refused with `FILTER_INVALID`, which
names the column.";

pub(crate) fn page(contract: &Contract) -> String {
    let known = Known::of(contract);
    let mut text = head("Filters", LEAD);
    for package in contract.packages.values() {
        for rpc in package.services.iter().flat_map(|service| &service.rpcs) {
            if let Some(rows) = known.rows(rpc) {
                let _ = write!(text, "\n## {}\n\n{}", rpc.name, table(&["field", "compared with"], rows));
            }
        }
    }
    text
}

/// What a filter may be about, by full name.
struct Known<'a> {
    messages: HashMap<&'a str, &'a Shape<Field>>,
    enums: HashMap<&'a str, &'a Shape<Value>>,
}

impl<'a> Known<'a> {
    fn of(contract: &'a Contract) -> Self {
        let packages = || contract.packages.values();
        Self {
            messages: packages()
                .flat_map(|package| &package.messages)
                .map(|one| (one.full_name.as_str(), one))
                .collect(),
            enums: packages().flat_map(|package| &package.enums).map(|one| (one.full_name.as_str(), one)).collect(),
        }
    }

    fn message(&self, of: &Of) -> Option<&'a Shape<Field>> {
        match of {
            Of::Named(name) => self.messages.get(name.as_str()).copied(),
            Of::Scalar(_) | Of::Map(..) => None,
        }
    }

    /// The fields that the list's filter knows; none where it is no list, or has no filter.
    fn rows(&self, rpc: &Rpc) -> Option<Vec<Vec<String>>> {
        let filter = self.message(&rpc.request.of)?.parts.iter().find(|field| field.name == "filter")?;
        // Wherever the comment goes on, the names end with their sentence.
        let comment = filter.comment.split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, names) = comment.split_once("Fields: ")?;
        let names = names.split('.').next().unwrap_or(names);
        let answer = self.message(&rpc.response.of)?;
        let listed =
            answer.parts.iter().find_map(|field| if field.kind.many { self.message(&field.kind.of) } else { None });
        let row = |name: &str| {
            // Words in brackets explain the name to those who read the contract.
            let (name, words) = name.split_once(' ').unwrap_or((name, ""));
            let field = listed.and_then(|listed| listed.parts.iter().find(|field| field.name == name));
            let compared = match field {
                Some(field) => self.compared(field),
                None if words.starts_with("(id of ") => format!("an {}", words.trim_matches(['(', ')'])),
                None => "a text".into(),
            };
            vec![format!("`{name}`"), compared]
        };
        Some(names.split(", ").map(row).collect())
    }

    fn compared(&self, field: &Field) -> String {
        match &field.kind.of {
            Of::Named(name) if name == "google.protobuf.Timestamp" => "a time".into(),
            Of::Named(name) => match self.enums.get(name.as_str()) {
                Some(words) => words_of(words),
                None => "a text".into(),
            },
            Of::Scalar("string") if field.name.ends_with("_id") => "an id".into(),
            Of::Scalar("bool") => "`true` or `false`".into(),
            Of::Scalar("string") | Of::Map(..) => "a text".into(),
            Of::Scalar(_) => "a number".into(),
        }
    }
}

/// The values without their common beginning, which is the type's name, and without the one that means nothing.
fn words_of(words: &Shape<Value>) -> String {
    let prefix =
        words.parts.iter().find(|value| value.number == 0).and_then(|zero| zero.name.strip_suffix("UNSPECIFIED"));
    let named = words.parts.iter().filter(|value| value.number != 0);
    let short = named.map(|value| value.name.strip_prefix(prefix.unwrap_or_default()).unwrap_or(&value.name));
    short.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

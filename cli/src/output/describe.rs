//! A page about one thing and what belongs to it: parts one below the other for people, one object for programs.

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::{Look, json, page, table, visible};
use crate::resource::Resource;

/// One part of a page.
#[derive(Debug)]
pub(crate) struct Part {
    /// What it is called in the object.
    key: &'static str,
    title: &'static str,
    text: String,
    json: Json,
}

impl Part {
    /// The thing itself, which needs no title.
    pub(crate) fn page<R: Resource>(key: &'static str, resource: &R, look: &Look) -> Self {
        Self { key, title: "", text: page::render(resource.page(), look), json: json::canonical(resource) }
    }

    /// Things that belong to it; left out for people where there are none.
    pub(crate) fn list<R: Resource>(key: &'static str, title: &'static str, items: &[R], look: &Look) -> Self {
        let rows: Vec<_> = items.iter().map(Resource::row).collect();
        let text = if rows.is_empty() { String::new() } else { table::render(R::COLUMNS, rows, look) };
        Self { key, title, text, json: items.iter().map(json::canonical).collect() }
    }

    /// Lines that are ready to be shown.
    pub(crate) fn log(key: &'static str, title: &'static str, text: String, json: Json) -> Self {
        Self { key, title, text, json }
    }

    /// Anything else.
    pub(crate) fn text(key: &'static str, title: &'static str, text: &str, json: impl Serialize) -> Self {
        Self { key, title, text: visible::lines(text), json: serde_json::to_value(json).unwrap_or_default() }
    }
}

/// For people.
pub(super) fn text(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts.iter().filter(|part| !part.text.is_empty()) {
        if !text.is_empty() {
            text.push('\n');
        }
        if !part.title.is_empty() {
            text.push_str(&format!("{}:\n", part.title));
        }
        text.push_str(&part.text);
    }
    text
}

/// For programs.
pub(super) fn object(parts: Vec<Part>) -> Json {
    Json::Object(parts.into_iter().map(|part| (part.key.to_owned(), part.json)).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use mainspring_proto::scheduler::v1::Queue;
    use serde_json::json;

    use super::{Look, Part, object, text};

    #[test]
    fn parts_stand_below_each_other_and_empty_ones_are_left_out() {
        let look = Look { terminal: true, color: false, now: jiff::Timestamp::UNIX_EPOCH };
        let queue = Queue { queue: "q".into(), ..Queue::default() };
        let parts = || {
            vec![
                Part::page("queue", &queue, &look),
                Part::list::<Queue>("others", "Others", &[], &look),
                Part::text("why", "Why", "because\n", "because"),
            ]
        };
        let told = text(&parts());
        assert!(told.starts_with("queue      q\n") && told.ends_with("\n\nWhy:\nbecause\n"), "{told}");
        let object = object(parts());
        assert_eq!(
            (&object["queue"]["queue"], &object["others"], &object["why"]),
            (&json!("q"), &json!([]), &json!("because"))
        );
    }
}

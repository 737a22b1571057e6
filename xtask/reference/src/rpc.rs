//! `rpc.md`: every service, rpc, message, field, enum and value, with what the contract says about it.

use std::fmt::Write as _;

use crate::{
    contract::{Contract, Field, Kind, Of, Package, Rpc, Service, Shape, Value},
    markdown::{head, table},
    permissions,
};

const LEAD: &str = "\
The whole contract: what a client may call, and what goes over the wire. The texts are the comments of the `.proto`
files. Beside these services a server offers `grpc.health.v1.Health` and reflection (`v1` and `v1alpha`), and all of
them also as gRPC-Web.

Who may call what is also a [page of its own](permissions.md).";

pub(crate) fn page(contract: &Contract) -> String {
    let mut text = head("The gRPC API", LEAD);
    text.push_str("\n| service | rpcs |\n| --- | --- |\n");
    for (package, content) in &contract.packages {
        for service in &content.services {
            let rpcs: Vec<_> = service.rpcs.iter().map(|rpc| format!("`{}`", rpc.name)).collect();
            let full = format!("{package}.{}", service.name);
            let _ = writeln!(text, "| {} | {} |", link(&full, &full), rpcs.join(" "));
        }
    }
    for (package, content) in &contract.packages {
        let _ = write!(text, "\n## {package}\n");
        add_package(&mut text, package, content);
    }
    text
}

fn add_package(text: &mut String, package: &str, content: &Package) {
    for service in &content.services {
        add_service(text, package, service);
    }
    for message in &content.messages {
        let rows = message.parts.iter().map(field_row).collect();
        add_shape(text, message, &["field", "type", "meaning"], rows);
    }
    for one in &content.enums {
        let rows = one.parts.iter().map(value_row).collect();
        add_shape(text, one, &["value", "meaning"], rows);
    }
}

fn add_service(text: &mut String, package: &str, service: &Service) {
    let full = format!("{package}.{}", service.name);
    add_heading(text, &full, &service.name, &service.comment);
    let rows = service.rpcs.iter().map(rpc_row);
    let _ = write!(text, "\n{}", table(&["rpc", "takes", "gives", "who may call it", "what it does"], rows));
}

fn add_shape<T>(text: &mut String, shape: &Shape<T>, columns: &[&str], rows: Vec<Vec<String>>) {
    add_heading(text, &shape.full_name, &shape.name, &shape.comment);
    if rows.is_empty() {
        text.push_str("\nIt has no fields.\n");
    } else {
        let _ = write!(text, "\n{}", table(columns, rows));
    }
}

/// The anchor is the full name: headings of that name occur in several packages.
fn add_heading(text: &mut String, full_name: &str, name: &str, comment: &str) {
    let _ = write!(text, "\n<a id=\"{full_name}\"></a>\n### {name}\n\n{}\n", lines(comment));
}

fn rpc_row(rpc: &Rpc) -> Vec<String> {
    let Rpc { name, path: _, comment, request, response } = rpc;
    let stream = |kind: &Kind| if kind.many { format!("stream of {}", shown(&kind.of)) } else { shown(&kind.of) };
    vec![format!("`{name}`"), stream(request), stream(response), permissions::who(rpc), comment.clone()]
}

fn field_row(field: &Field) -> Vec<String> {
    let Field { name, number, comment, kind, one_of } = field;
    let of = shown(&kind.of);
    let of = if kind.many { format!("{of}, repeated") } else { of };
    let of = one_of.as_ref().map_or(of.clone(), |one| format!("{of}, one of `{one}`"));
    vec![format!("`{name}` = {number}"), of, comment.clone()]
}

fn value_row(value: &Value) -> Vec<String> {
    let Value { name, number, comment } = value;
    vec![format!("`{name}` = {number}"), comment.clone()]
}

/// A type, as a link where this page tells more.
fn shown(of: &Of) -> String {
    match of {
        Of::Scalar(name) => (*name).to_owned(),
        Of::Named(name) if name.starts_with("mainspring.") => link(name.rsplit('.').next().unwrap_or(name), name),
        Of::Named(name) => format!("`{name}`"),
        Of::Map(key, value) => format!("map of {} to {}", shown(key), shown(value)),
    }
}

fn link(label: &str, full_name: &str) -> String {
    format!("[{label}](#{full_name})")
}

/// A comment as paragraphs: protoc keeps the space after each `//`, which Markdown could read as an indent.
fn lines(comment: &str) -> String {
    comment.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

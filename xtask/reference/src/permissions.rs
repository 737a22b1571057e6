//! `permissions.md`: what each permission allows, and who may call each rpc.

use mainspring_server::auth::roles::ROLES;
use std::fmt::Write as _;

use mainspring_proto::permissions::{PERMISSIONS, Rule, rule};

use crate::{
    contract::{Contract, Rpc},
    markdown::{head, table},
};

const LEAD: &str = "\
Everything is refused unless it is allowed here. Each rpc names its rule in the contract, in its `permission` option; an
rpc without one does not compile. A permission is held in a namespace, or in all of them.

*anyone* needs no credential; *any caller* needs a valid one, and the rpc concerns only its owner; everything else needs
the permission. A caller without it is refused with `PERMISSION_DENIED`, reason `PERMISSION_MISSING`, and the
permission's name in the metadata `required_permission`.";

pub(crate) fn page(contract: &Contract) -> String {
    let mut text = head("Permissions", LEAD);
    text.push_str("\n## Permissions\n\n");
    let rows =
        PERMISSIONS.iter().map(|(name, allows)| row([format!("`{name}`"), (*allows).into()], Rule::Permission(name)));
    text.push_str(&table(&columns(["permission", "allows to"]), rows));
    for (package, content) in &contract.packages {
        for service in &content.services {
            let _ = write!(text, "\n## {package}.{}\n\n", service.name);
            let rows = service.rpcs.iter().map(|rpc| row([format!("`{}`", rpc.name), who(rpc)], rule_of(rpc)));
            text.push_str(&table(&columns(["rpc", "who may call it"]), rows));
        }
    }
    text
}

/// Who may call an rpc, in a cell.
pub(crate) fn who(rpc: &Rpc) -> String {
    match rule_of(rpc) {
        Rule::Public => "*anyone*".into(),
        Rule::Caller => "*any caller*".into(),
        Rule::Permission(name) => format!("`{name}`"),
    }
}

fn rule_of(rpc: &Rpc) -> Rule {
    // Both come from the same descriptor set; the build of the contract fails where a rule is missing.
    rule(&rpc.path).expect("every rpc of the contract has a rule")
}

fn columns(own: [&str; 2]) -> Vec<&str> {
    own.into_iter().chain(ROLES.iter().map(|(role, _)| *role)).collect()
}

fn row(own: [String; 2], rule: Rule) -> Vec<String> {
    let allowed = |permissions: &[&str]| match rule {
        Rule::Public | Rule::Caller => true,
        Rule::Permission(name) => permissions.contains(&name),
    };
    let mark = |permissions: &[&str]| if allowed(permissions) { "yes".into() } else { String::new() };
    own.into_iter().chain(ROLES.iter().map(|(_, permissions)| mark(permissions))).collect()
}

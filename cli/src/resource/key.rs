//! What a person sees of an API key and of whoever is signed in.

use mainspring_proto::auth::v1::{ApiKey, CredentialKind, GetCallerResponse, RoleBinding};

use super::{Resource, word};
use crate::output::{Cell, Tone};

impl Resource for ApiKey {
    const COLUMNS: &'static [&'static str] = &["KEY", "NAME", "ROLE", "STATE", "CREATED", "BY", "EXPIRES", "LAST USED"];

    fn row(&self) -> Vec<Cell> {
        let state = if self.revoke_time.is_some() { ("revoked", Tone::Quiet) } else { ("good", Tone::Good) };
        vec![
            Cell::text(&self.key_id),
            Cell::text(&self.name),
            Cell::text(roles(&self.bindings)),
            Cell::Word(state.0.into(), state.1),
            Cell::time(self.create_time.as_ref()),
            Cell::text(&self.creator),
            Cell::time(self.expire_time.as_ref()),
            Cell::time(self.last_use_time.as_ref()),
        ]
    }
}

/// Roles, each with its namespace where it is held in one only.
fn roles(bindings: &[RoleBinding]) -> String {
    let shown = bindings.iter().map(|RoleBinding { role, namespace }| match namespace.as_str() {
        "" => role.clone(),
        namespace => format!("{role}@{namespace}"),
    });
    shown.collect::<Vec<_>>().join(",")
}

impl Resource for GetCallerResponse {
    const COLUMNS: &'static [&'static str] = &["SUBJECT", "NAME", "ROLES", "CREDENTIAL", "EXPIRES", "PERMISSIONS"];

    fn row(&self) -> Vec<Cell> {
        let credential = match self.credential() {
            CredentialKind::Unspecified => String::new(),
            kind => word(kind.as_str_name(), "CREDENTIAL_KIND_"),
        };
        vec![
            Cell::text(&self.subject),
            Cell::text(&self.display_name),
            Cell::text(roles(&self.bindings)),
            Cell::text(credential),
            Cell::time(self.expire_time.as_ref()),
            Cell::text(self.permissions.join(" ")),
        ]
    }

    fn page(&self) -> Vec<(&'static str, Cell)> {
        const NAMES: [&str; 6] = ["subject", "name", "roles", "credential", "expires", "permissions"];
        NAMES.into_iter().zip(self.row()).collect()
    }
}

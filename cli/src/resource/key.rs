//! What a person sees of an API key and of whoever is signed in.

use jiff::Timestamp;
use mainspring_proto::auth::v1::{ApiKey, CredentialKind, GetCallerResponse, RoleBinding};

use super::{Resource, word};
use crate::{
    clock,
    output::{Cell, Tone},
    times,
};

impl Resource for ApiKey {
    const COLUMNS: &'static [&'static str] = &["KEY", "NAME", "ROLE", "STATE", "CREATED", "BY", "EXPIRES", "LAST USED"];

    fn row(&self) -> Vec<Cell> {
        let state = state(self, clock::now());
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

/// Whether it opens anything at this moment.
fn state(key: &ApiKey, now: Timestamp) -> (&'static str, Tone) {
    let end = key.expire_time.as_ref().and_then(times::from_proto);
    match (&key.revoke_time, end) {
        (Some(_), _) => ("revoked", Tone::Quiet),
        (None, Some(end)) if end <= now => ("expired", Tone::Quiet),
        (None, Some(_) | None) => ("good", Tone::Good),
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use mainspring_proto::auth::v1::ApiKey;

    use super::state;
    use crate::output::Tone;

    #[test]
    fn a_key_that_opens_nothing_is_not_called_good() {
        let now = Timestamp::from_second(1_000).unwrap();
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        assert_eq!(state(&ApiKey::default(), now), ("good", Tone::Good));
        assert_eq!(state(&ApiKey { expire_time: at(1_001), ..ApiKey::default() }, now), ("good", Tone::Good));
        assert_eq!(state(&ApiKey { expire_time: at(1_000), ..ApiKey::default() }, now), ("expired", Tone::Quiet));
        let both = ApiKey { expire_time: at(1), revoke_time: at(1), ..ApiKey::default() };
        assert_eq!(state(&both, now), ("revoked", Tone::Quiet));
    }
}

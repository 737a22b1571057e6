//! What each role may do. Custom roles and bindings to namespaces come later; these four stay.

/// The roles and their permissions, which are those of the contract's `permission` options.
pub static ROLES: &[(&str, &[&str])] = &[
    (
        ADMIN,
        &[
            "calendars.read",
            "calendars.write",
            "events.read",
            "jobs.read",
            "jobs.trigger",
            "jobs.write",
            "keys.read",
            "keys.write",
            "logs.read",
            "namespaces.read",
            "namespaces.write",
            "queues.read",
            "queues.write",
            "runs.read",
            "runs.write",
            "server.backup",
            "server.read",
            "sinks.read",
            "sinks.write",
            "worker.serve",
            "workers.read",
            "workers.write",
        ],
    ),
    (
        OPERATOR,
        &[
            "calendars.read",
            "calendars.write",
            "events.read",
            "jobs.read",
            "jobs.trigger",
            "jobs.write",
            "logs.read",
            "namespaces.read",
            "namespaces.write",
            "queues.read",
            "queues.write",
            "runs.read",
            "runs.write",
            "server.read",
            "sinks.read",
            "sinks.write",
            "workers.read",
            "workers.write",
        ],
    ),
    (
        VIEWER,
        &[
            "calendars.read",
            "events.read",
            "jobs.read",
            "keys.read",
            "logs.read",
            "namespaces.read",
            "queues.read",
            "runs.read",
            "server.read",
            "sinks.read",
            "workers.read",
        ],
    ),
    (WORKER, &["worker.serve"]),
];

/// Everything.
pub const ADMIN: &str = "admin";
/// Everything but credentials, backups and serving as a worker.
pub const OPERATOR: &str = "operator";
/// Everything that changes nothing.
pub const VIEWER: &str = "viewer";
/// Holding a worker stream, and nothing else.
pub const WORKER: &str = "worker";

/// What a role may do; nothing where there is no such role.
pub fn permissions(role: &str) -> &'static [&'static str] {
    ROLES.iter().find(|(name, _)| *name == role).map_or(&[], |(_, permissions)| permissions)
}

/// Whether there is such a role.
pub fn exists(role: &str) -> bool {
    ROLES.iter().any(|(name, _)| *name == role)
}

#[cfg(test)]
mod tests {
    use mainspring_proto::permissions::PERMISSIONS;

    use super::*;

    /// Whether a role should hold a permission, said in another way than the table says it.
    fn should(role: &str, permission: &str) -> bool {
        match role {
            ADMIN => true,
            OPERATOR => {
                !permission.starts_with("keys.") && permission != "server.backup" && permission != "worker.serve"
            }
            VIEWER => permission.ends_with(".read"),
            WORKER => permission == "worker.serve",
            other => panic!("{other} is not spoken for"),
        }
    }

    #[test]
    fn every_role_holds_what_it_should_and_nothing_else() {
        for (role, held) in ROLES {
            for (permission, _) in PERMISSIONS {
                assert_eq!(held.contains(permission), should(role, permission), "{role} and {permission}");
            }
            for permission in *held {
                assert!(PERMISSIONS.iter().any(|(name, _)| name == permission), "{permission} is not in the contract");
            }
        }
    }

    #[test]
    fn an_unknown_role_may_nothing() {
        assert!(permissions("root").is_empty() && !exists("root"));
    }
}

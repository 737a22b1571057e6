//! The contract: stubs generated from `mainspring/**.proto`, the descriptor set, and who may call what.
//!
//! Everything that speaks gRPC stands on this crate: the server's `grpc/`, the SDK and the CLI. The engine does not.
//! Maps are `BTreeMap`, so that the encoding of a request (and with it the hash behind `request_id`) does not depend on
//! the order in which a client wrote them.

#![allow(
    missing_docs,
    clippy::doc_markdown,
    clippy::too_long_first_doc_paragraph,
    clippy::large_enum_variant,
    clippy::match_same_arms,
    unused_qualifications,
    unreachable_pub,
    reason = "generated code"
)]

mod code;
pub mod codec;
pub mod digits;

pub use code::code_name;

/// Shared messages: payloads, failures, policies, the permission option.
pub mod common {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("mainspring.common.v1");
    }
}

/// Signing in, API keys.
pub mod auth {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("mainspring.auth.v1");
    }
}

/// Jobs, runs, queues, the server.
pub mod scheduler {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("mainspring.scheduler.v1");
    }
}

/// The worker stream.
pub mod worker {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("mainspring.worker.v1");
    }
}

/// Who may call what.
pub mod permissions {
    /// The rule of one rpc, from its `permission` option.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Rule {
        /// Nobody needs to be signed in.
        Public,
        /// Any signed-in caller.
        Caller,
        /// A caller who holds this permission.
        Permission(&'static str),
    }

    include!(concat!(env!("OUT_DIR"), "/permissions.rs"));

    /// The rule of the rpc at `path` ("/package.Service/Method"); `None` for a path the contract does not have.
    pub fn rule(path: &str) -> Option<Rule> {
        RULES.binary_search_by(|(known, _)| (*known).cmp(path)).ok().map(|at| RULES[at].1)
    }

    #[cfg(test)]
    mod tests {
        use super::{PERMISSIONS, RULES, Rule, rule};

        #[test]
        fn both_tables_are_sorted_and_without_doubles() {
            assert!(RULES.windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert!(PERMISSIONS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }

        #[test]
        fn rules_are_found_by_path() {
            assert_eq!(rule("/mainspring.auth.v1.AuthService/Login"), Some(Rule::Public));
            assert_eq!(rule("/mainspring.auth.v1.AuthService/Logout"), Some(Rule::Caller));
            assert_eq!(
                rule("/mainspring.worker.v1.WorkerService/WorkerStream"),
                Some(Rule::Permission("worker.serve"))
            );
            assert_eq!(rule("/mainspring.auth.v1.AuthService/Nothing"), None);
        }

        #[test]
        fn every_permission_is_used() {
            for (name, _) in PERMISSIONS {
                assert!(RULES.iter().any(|(_, rule)| *rule == Rule::Permission(name)), "{name} is used by no rpc");
            }
        }
    }
}

/// The encoded `FileDescriptorSet` of the whole contract, comments and options included.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/mainspring.binpb"));

/// Oldest version of the worker protocol this code speaks.
pub const MIN_WORKER_PROTOCOL: i32 = 1;
/// Newest version of the worker protocol this code speaks.
pub const MAX_WORKER_PROTOCOL: i32 = 1;

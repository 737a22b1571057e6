//! Compiles the contract without protoc, and refuses an rpc that does not say who may call it, and a request that can hold
//! more items than anybody counts. The rules are in `build/`, where a test reaches them.

use std::{env, error::Error, fs, path::PathBuf};

use prost_reflect::DescriptorPool;

#[path = "build/bounds.rs"]
mod bounds;
#[path = "build/permissions.rs"]
mod permissions;

const FILES: &[&str] = &[
    "mainspring/auth/v1/auth_service.proto",
    "mainspring/auth/v1/user_service.proto",
    "mainspring/scheduler/v1/admin_service.proto",
    "mainspring/scheduler/v1/queue_service.proto",
    "mainspring/scheduler/v1/scheduler_service.proto",
    "mainspring/worker/v1/worker_service.proto",
];

/// Every permission there is. An rpc that names another one does not compile.
const PERMISSIONS: &[(&str, &str)] = &[
    ("calendars.read", "see calendars"),
    ("calendars.write", "create, change and delete calendars"),
    ("events.read", "watch events"),
    ("jobs.read", "see jobs, their ledger and previews"),
    ("jobs.trigger", "make runs of a job"),
    ("jobs.write", "create, change, pause and delete jobs"),
    ("keys.read", "see API keys, never their secrets"),
    ("keys.write", "make and revoke API keys"),
    ("logs.read", "read the logs of runs"),
    ("namespaces.read", "see namespaces and what they say for all of their jobs and runs"),
    ("namespaces.write", "change what a namespace says for all of its jobs and runs"),
    ("queues.read", "see queues"),
    ("queues.write", "change and pause queues"),
    ("runs.read", "see runs and their attempts"),
    ("runs.write", "submit, cancel and retry runs, and settle dead letters"),
    ("server.backup", "write a copy of the database on the server's machine"),
    ("server.read", "see the server's version, limits and counts"),
    ("sinks.read", "see sinks and what they were told, never their secrets"),
    ("sinks.write", "create, change, try and delete sinks, and tell them something again"),
    ("worker.serve", "hold a worker stream and report results"),
    ("workers.read", "see workers and job types"),
    ("workers.write", "drain workers"),
];

#[expect(
    clippy::disallowed_methods,
    reason = "a build script has no settings; cargo says by environment where to write"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=mainspring");
    println!("cargo:rerun-if-changed=build");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(out.join("mainspring.binpb"), &encoded)?;
    let pool = DescriptorPool::decode(encoded.as_slice())?;
    fs::write(out.join("permissions.rs"), permissions::table(&pool, PERMISSIONS)?)?;
    fs::write(out.join("bounds.rs"), bounds::tables(&pool)?)?;
    tonic_prost_build::configure()
        .btree_map(".")
        .codec_path("crate::codec::Bounded")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

//! Compiles the contract without protoc, and refuses an rpc that does not say who may call it.
//!
//! prost drops custom options, so the permission of every rpc is read here from the descriptor set with
//! prost-reflect and written out as a static table; nothing is reflected at run time.

use std::{env, error::Error, fmt::Write as _, fs, path::PathBuf};

use prost_reflect::{DescriptorPool, MethodDescriptor, ReflectMessage, Value};

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
    ("events.read", "watch events"),
    ("jobs.read", "see jobs, their ledger and previews"),
    ("jobs.trigger", "make runs of a job"),
    ("jobs.write", "create, change, pause and delete jobs"),
    ("keys.read", "see API keys, never their secrets"),
    ("keys.write", "make and revoke API keys"),
    ("logs.read", "read the logs of runs"),
    ("queues.read", "see queues"),
    ("queues.write", "change and pause queues"),
    ("runs.read", "see runs and their attempts"),
    ("runs.write", "submit, cancel and retry runs"),
    ("server.backup", "write a copy of the database on the server's machine"),
    ("server.read", "see the server's version, limits and counts"),
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
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(out.join("mainspring.binpb"), &encoded)?;
    fs::write(out.join("permissions.rs"), permission_table(&DescriptorPool::decode(encoded.as_slice())?)?)?;
    tonic_prost_build::configure().btree_map(".").compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

fn permission_table(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let mut rows = Vec::new();
    for service in pool.services().filter(|s| s.full_name().starts_with("mainspring.")) {
        for method in service.methods() {
            rows.push(format!("(\"/{}/{}\", {})", service.full_name(), method.name(), rule(pool, &method)?));
        }
    }
    // Sorted, so that a look-up is a binary search.
    rows.sort();
    let mut text =
        String::from("/// Who may call each rpc, by path, sorted.\npub static RULES: &[(&str, Rule)] = &[\n");
    for row in rows {
        writeln!(text, "    {row},")?;
    }
    text.push_str(
        "];\n\n/// Every permission and what it allows, sorted.\npub static PERMISSIONS: &[(&str, &str)] = &[\n",
    );
    for (name, allows) in PERMISSIONS {
        writeln!(text, "    (\"{name}\", \"{allows}\"),")?;
    }
    text.push_str("];\n");
    Ok(text)
}

fn rule(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<String, Box<dyn Error>> {
    let full = method.full_name();
    let extension =
        pool.get_extension_by_name("mainspring.common.v1.permission").ok_or("permission.proto is not imported")?;
    let options = method.options();
    if !options.has_extension(&extension) {
        return Err(format!(
            "rpc {full} does not say who may call it: add `option (mainspring.common.v1.permission) = {{name: \"…\"}};`"
        )
        .into());
    }
    let value = options.get_extension(&extension);
    let message = value.as_message().ok_or("the permission option is a message")?;
    let descriptor = message.descriptor();
    let set = descriptor
        .fields()
        .find(|field| message.has_field(field))
        .ok_or_else(|| format!("rpc {full}: its permission option is empty"))?;
    match (set.name(), message.get_field(&set).as_ref()) {
        ("public", Value::Bool(true)) => Ok("Rule::Public".into()),
        ("caller", Value::Bool(true)) => Ok("Rule::Caller".into()),
        ("name", Value::String(name)) if PERMISSIONS.iter().any(|(known, _)| known == name) => {
            Ok(format!("Rule::Permission(\"{name}\")"))
        }
        (field, value) => {
            Err(format!("rpc {full}: permission {field}: {value:?} is not known (proto/build.rs)").into())
        }
    }
}

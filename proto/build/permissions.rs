//! Who may call what, from the `permission` option of every rpc.
//!
//! prost drops custom options, so they are read here from the descriptor set with prost-reflect and written out as a
//! static table; nothing is reflected at run time. Shared by the build script and by the test that shows what it refuses.

use std::{error::Error, fmt::Write as _};

use prost_reflect::{DescriptorPool, MethodDescriptor, ReflectMessage, Value};

const OPTION: &str = "mainspring.common.v1.permission";

/// The table, as Rust. An rpc without the option, or with a permission that is not `known`, is an error.
pub(crate) fn table(pool: &DescriptorPool, known: &[(&str, &str)]) -> Result<String, Box<dyn Error>> {
    let mut rows = Vec::new();
    for service in pool.services().filter(|s| s.full_name().starts_with("mainspring.")) {
        for method in service.methods() {
            rows.push(format!("(\"/{}/{}\", {})", service.full_name(), method.name(), rule(pool, known, &method)?));
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
    for (name, allows) in known {
        writeln!(text, "    (\"{name}\", \"{allows}\"),")?;
    }
    text.push_str("];\n");
    Ok(text)
}

fn rule(pool: &DescriptorPool, known: &[(&str, &str)], method: &MethodDescriptor) -> Result<String, Box<dyn Error>> {
    let full = method.full_name();
    let extension = pool.get_extension_by_name(OPTION).ok_or("permission.proto is not imported")?;
    let options = method.options();
    if !options.has_extension(&extension) {
        return Err(
            format!("rpc {full} does not say who may call it: add `option ({OPTION}) = {{name: \"…\"}};`").into()
        );
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
        ("name", Value::String(name)) if known.iter().any(|(known, _)| known == name) => {
            Ok(format!("Rule::Permission(\"{name}\")"))
        }
        (field, value) => {
            Err(format!("rpc {full}: permission {field}: {value:?} is not known (proto/build.rs)").into())
        }
    }
}

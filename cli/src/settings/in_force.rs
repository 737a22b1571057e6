//! What is in force and where each value comes from: what [`Target::find`](mainspring_worker::context::Target::find)
//! decided, told. A key is never part of it.

use clap::ValueEnum as _;

use super::{Environment, GlobalArgs, Settings};

/// A setting, as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InForce {
    /// What it is called in documents of ours.
    pub(crate) name: &'static str,
    /// Its value; a key is never shown.
    pub(crate) value: String,
    /// Where it comes from.
    pub(crate) origin: String,
}

impl Settings {
    /// Every setting, and where it comes from: in the order it was decided by.
    pub(crate) fn in_force(&self, args: &GlobalArgs, environment: &Environment) -> Vec<InForce> {
        let Self { address, api_key, namespace, context, key_held_back } = self;
        let folder = environment.folder();
        let file = |of_key: bool| match (&folder, context) {
            (Some(folder), Some(context)) => {
                let path = if of_key { folder.credentials() } else { folder.config() };
                format!("context {context} in {}", environment.shortened(path).display())
            }
            _ => "default".into(),
        };
        let origin = |flag: Option<&str>, variable: &str, otherwise: String| match flag {
            Some(flag) => format!("flag {flag}"),
            None if environment.set(variable) => format!("variable {variable}"),
            None => otherwise,
        };
        let flag = |is_given: bool, flag: &'static str| is_given.then_some(flag);
        let selected = match (&folder, context) {
            (Some(folder), Some(_)) => {
                format!("current-context in {}", environment.shortened(folder.config()).display())
            }
            _ => "default".into(),
        };
        let key = match (api_key, key_held_back) {
            (Some(_), _) => "set",
            (None, true) => "held back: it belongs to another server",
            (None, false) => "",
        };
        let with_context = |has_it: bool, of_key: bool| if has_it { file(of_key) } else { "default".into() };
        let format = environment.format(args).unwrap_or_default().to_possible_value();
        let folder_origin =
            ["MAINSPRING_CONFIG", "XDG_CONFIG_HOME", "HOME"].into_iter().find(|name| environment.set(name));
        let mut all = Vec::new();
        let mut tell = |name, value: String, origin: String| all.push(InForce { name, value, origin });
        tell(
            "folder",
            folder
                .as_ref()
                .and_then(|folder| folder.config().parent())
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            folder_origin.map_or_else(|| "default".into(), |name| format!("variable {name}")),
        );
        tell(
            "context",
            context.clone().unwrap_or_default(),
            origin(flag(args.context.is_some(), "--context"), "MAINSPRING_CONTEXT", selected),
        );
        tell(
            "address",
            address.to_string(),
            origin(flag(args.address.is_some(), "--address"), "MAINSPRING_ADDRESS", file(false)),
        );
        tell("api-key", key.into(), origin(None, "MAINSPRING_API_KEY", with_context(!key.is_empty(), true)));
        tell(
            "namespace",
            if namespace.is_empty() { "default".into() } else { namespace.clone() },
            origin(
                flag(args.namespace.is_some(), "--namespace"),
                "MAINSPRING_NAMESPACE",
                with_context(!namespace.is_empty(), false),
            ),
        );
        tell(
            "output",
            format.map(|format| format.get_name().to_owned()).unwrap_or_default(),
            origin(flag(args.output.is_some(), "--output"), "MAINSPRING_OUTPUT", "default".into()),
        );
        all
    }
}

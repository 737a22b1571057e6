//! Everything a command may depend on besides its arguments: environment, configuration files, terminal.
//!
//! Each value comes from the first that has it: flag, environment, user file, default. Which server, key and namespace
//! that makes is decided by [`mainspring_worker::context`], as for every worker; the rest of the environment is read here
//! and nowhere else, once.

mod in_force;

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use mainspring_worker::context::{self, Given, Target};
use secrecy::SecretString;

use crate::{address::Address, context::Folder, failure::Failure, output::Fields};
pub(crate) use in_force::InForce;

/// What every command takes.
#[allow(clippy::doc_markdown, rustdoc::bare_urls, reason = "doc comments of arguments are the help a person reads")]
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// How to print [env: MAINSPRING_OUTPUT] [default: table]
    #[arg(short, long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    /// Only these fields, by their names in the API: state,failure.reason; columns of a table, parts of an object
    #[arg(long, global = true, value_name = "FIELDS")]
    pub(crate) fields: Option<Fields>,
    /// Server, host:port or http://host:port [env: MAINSPRING_ADDRESS] [default: http://127.0.0.1:7420]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) address: Option<Address>,
    /// Context of config.toml to use [env: MAINSPRING_CONTEXT]
    ///
    /// config.toml and credentials.toml are in the folder that MAINSPRING_CONFIG names (or the config.toml it names), else
    /// in $XDG_CONFIG_HOME/mainspring, else in ~/.config/mainspring.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Namespace to work in [env: MAINSPRING_NAMESPACE] [default: the context's, else "default"]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = false)]
    pub(crate) color: ColorChoice,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; tab-separated where stdout is no terminal.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    /// The API message as canonical protobuf JSON.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// The same as YAML.
    Yaml,
    /// kind/name, a line each, as other commands take it.
    Name,
    /// Nothing; the exit code tells.
    None,
}

/// When to use colour.
#[allow(clippy::doc_markdown, reason = "doc comments of arguments are the help a person reads")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR or TERM=dumb says otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Every variable, keys among them: so it is never printed.
#[derive(Clone, Default)]
struct Variables(BTreeMap<OsString, OsString>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} variables", self.0.len())
    }
}

/// The environment, as it was when the process began.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    target: context::Environment,
    output: Option<String>,
    no_color: bool,
    force_color: bool,
    dumb_terminal: bool,
    /// Everything, for programs that are started.
    variables: Variables,
    /// What `serve` and `dev` log, in the words of tracing's filters.
    pub(crate) log_filter: Option<String>,
}

impl Environment {
    /// Reads it. An empty variable counts as unset.
    #[expect(clippy::disallowed_methods, reason = "the CLI's one reader of the environment")]
    pub fn of_process() -> Self {
        let raw = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let text = |name: &str| raw(name).and_then(|value| value.into_string().ok());
        Self {
            target: context::Environment::of_process(),
            output: text("MAINSPRING_OUTPUT"),
            no_color: raw("NO_COLOR").is_some(),
            force_color: raw("CLICOLOR_FORCE").is_some_and(|value| value != OsStr::new("0")),
            dumb_terminal: raw("TERM").is_some_and(|value| value == OsStr::new("dumb")),
            variables: Variables(env::vars_os().collect()),
            log_filter: text("RUST_LOG"),
        }
    }

    /// An environment that names a configuration folder and nothing else, for tests.
    pub fn with_config(config: impl Into<PathBuf>) -> Self {
        Self { target: context::Environment::with_config(config), ..Self::default() }
    }

    /// Whether a variable goes before the context that is selected.
    pub(crate) fn names_a_context(&self) -> bool {
        self.set("MAINSPRING_CONTEXT")
    }

    /// Whether a variable names the server, whatever the contexts say.
    pub(crate) fn names_a_server(&self) -> bool {
        self.set("MAINSPRING_ADDRESS")
    }

    fn set(&self, name: &str) -> bool {
        self.variable(name).is_some_and(|value| !value.is_empty())
    }

    /// A variable, whatever it is for.
    pub(crate) fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.0.get(OsStr::new(name)).cloned()
    }

    /// Where the user's files are; `None` where there is no home at all.
    pub(crate) fn folder(&self) -> Option<Folder> {
        self.target.folder().map(Folder::from)
    }

    /// A path as a person writes it, with `~` for home.
    pub(crate) fn shortened(&self, path: &Path) -> PathBuf {
        self.target.shortened(path)
    }

    /// The format data is printed in.
    pub(crate) fn format(&self, args: &GlobalArgs) -> Result<Format, Failure> {
        match (args.output, &self.output) {
            (Some(format), _) => Ok(format),
            (None, None) => Ok(Format::default()),
            (None, Some(text)) => Format::from_str(text, true).map_err(|_| {
                Failure::usage(format!(
                    "MAINSPRING_OUTPUT is `{text}`: it is one of table, wide, json, jsonl, yaml, name, none"
                ))
            }),
        }
    }

    /// Whether to colour what goes to a stream.
    pub(crate) fn color(&self, choice: ColorChoice, is_terminal: bool) -> bool {
        match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if self.no_color => false,
            ColorChoice::Auto => self.force_color || (is_terminal && !self.dumb_terminal),
        }
    }
}

/// Where to call, as whom, about which namespace.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The server.
    pub(crate) address: Address,
    /// The credential; `None` where nobody is signed in.
    pub(crate) api_key: Option<SecretString>,
    /// Empty means "default", as in the API.
    pub(crate) namespace: String,
    /// The context in use.
    pub(crate) context: Option<String>,
    /// The context has a key, and it was held back because the call goes elsewhere.
    pub(crate) key_held_back: bool,
}

impl Settings {
    /// Puts arguments, environment and files together.
    pub(crate) fn load(args: &GlobalArgs, environment: &Environment) -> Result<Self, Failure> {
        let given =
            Given { address: args.address.clone(), context: args.context.clone(), namespace: args.namespace.clone() };
        let Target { address, api_key, namespace, context, held_back, .. } = Target::find(&given, &environment.target)?;
        Ok(Self {
            address: address.unwrap_or_default(),
            api_key,
            namespace: namespace.unwrap_or_default(),
            context,
            key_held_back: held_back.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mainspring_worker::context;
    use secrecy::ExposeSecret as _;
    use tempfile::TempDir;

    use super::{ColorChoice, Environment, Format, GlobalArgs, Settings};

    fn folder() -> (TempDir, Environment) {
        let folder = TempDir::new().unwrap();
        fs::write(
            folder.path().join("config.toml"),
            "current-context = \"dev\"\n[contexts.dev]\naddress = \"http://127.0.0.1:7421\"\n\
             [contexts.prod]\naddress = \"prod.example:443\"\nnamespace = \"billing\"\n",
        )
        .unwrap();
        fs::write(
            folder.path().join("credentials.toml"),
            "[contexts.dev]\napi-key = \"dev-key\"\n[contexts.prod]\napi-key = \"prod-key\"\n",
        )
        .unwrap();
        let environment = Environment::with_config(folder.path());
        (folder, environment)
    }

    fn set(variables: &[(&str, &str)]) -> Environment {
        let value = |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into());
        Environment { target: context::Environment::of(value), ..Environment::default() }
    }

    fn key(settings: &Settings) -> Option<&str> {
        settings.api_key.as_ref().map(|key| key.expose_secret())
    }

    #[test]
    fn without_anything_it_is_the_local_server() {
        let settings = Settings::load(&GlobalArgs::default(), &Environment::default()).unwrap();
        assert_eq!(settings.address.to_string(), "http://127.0.0.1:7420");
        assert_eq!((key(&settings), settings.namespace.as_str()), (None, ""));
    }

    #[test]
    fn flag_before_environment_before_file() {
        let (folder, environment) = folder();
        let config = folder.path().to_str().unwrap();
        let args = GlobalArgs::default();
        let settings = Settings::load(&args, &environment).unwrap();
        assert_eq!(settings.address.to_string(), "http://127.0.0.1:7421");
        assert_eq!(key(&settings), Some("dev-key"));

        let variables = [
            ("MAINSPRING_CONFIG", config),
            ("MAINSPRING_CONTEXT", "prod"),
            ("MAINSPRING_ADDRESS", "elsewhere:1"),
            ("MAINSPRING_NAMESPACE", "theirs"),
            ("MAINSPRING_API_KEY", "from-env"),
        ];
        let settings = Settings::load(&args, &set(&variables[..2])).unwrap();
        assert_eq!(
            (settings.address.to_string().as_str(), settings.namespace.as_str()),
            ("http://prod.example:443", "billing")
        );
        let settings = Settings::load(&args, &set(&variables)).unwrap();
        assert_eq!((settings.address.to_string().as_str(), key(&settings)), ("http://elsewhere:1", Some("from-env")));
        assert_eq!(settings.namespace, "theirs");

        let args = GlobalArgs {
            address: Some("[::1]:2".parse().unwrap()),
            namespace: Some("mine".into()),
            context: Some("dev".into()),
            ..GlobalArgs::default()
        };
        let settings = Settings::load(&args, &set(&variables)).unwrap();
        assert_eq!((settings.address.to_string().as_str(), settings.namespace.as_str()), ("http://[::1]:2", "mine"));
        assert_eq!(settings.context.as_deref(), Some("dev"));
    }

    #[test]
    fn a_stored_key_stays_with_its_server() {
        let (_folder, environment) = folder();
        let mut args = GlobalArgs { address: Some("stranger.example:7421".parse().unwrap()), ..GlobalArgs::default() };
        let settings = Settings::load(&args, &environment).unwrap();
        assert_eq!((key(&settings), settings.key_held_back), (None, true));
        args.address = Some("localhost:7421".parse().unwrap());
        let settings = Settings::load(&args, &environment).unwrap();
        assert_eq!((key(&settings), settings.key_held_back), (Some("dev-key"), false));
    }

    #[test]
    fn a_context_that_is_not_there_is_told() {
        let (_folder, environment) = folder();
        let args = GlobalArgs { context: Some("staging".into()), ..GlobalArgs::default() };
        let failure = Settings::load(&args, &environment).unwrap_err();
        assert_eq!(failure.exit().number(), 2);
        assert!(failure.text().contains("dev, prod"), "{}", failure.text());
    }

    #[test]
    fn the_format_may_come_from_the_environment() {
        let mut environment = Environment { output: Some("JSON".into()), ..Environment::default() };
        assert_eq!(environment.format(&GlobalArgs::default()).unwrap(), Format::Json);
        let args = GlobalArgs { output: Some(Format::Jsonl), ..GlobalArgs::default() };
        assert_eq!(environment.format(&args).unwrap(), Format::Jsonl);
        environment.output = Some("xml".into());
        assert!(environment.format(&GlobalArgs::default()).is_err());
    }

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        let plain = Environment::default();
        assert!(plain.color(ColorChoice::Auto, true));
        assert!(!plain.color(ColorChoice::Auto, false));
        assert!(plain.color(ColorChoice::Always, false));
        let quiet = Environment { no_color: true, force_color: true, ..Environment::default() };
        assert!(!quiet.color(ColorChoice::Auto, true));
        let forced = Environment { force_color: true, ..Environment::default() };
        assert!(forced.color(ColorChoice::Auto, false));
    }
}

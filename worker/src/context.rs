//! Where the server is, which key it gets, and which namespace is meant.
//!
//! The environment and the CLI's contexts are read in one way by everything that calls a server:
//! [`Worker::from_env`](crate::Worker::from_env) and the CLI both ask [`Target::find`]; a client of your own can, too.
//!
//! Each value comes from the first that has it: what was given by hand, the environment, the context. Nothing is read
//! from the working directory: a cloned repository must not redirect a key. And a context's key goes to the context's
//! own server only: an address from elsewhere must not be able to collect keys that were meant for another.
//!
//! ```toml
//! # config.toml                               # credentials.toml
//! current-context = "dev"                     # [contexts.dev]
//! [contexts.dev]                              # api-key = "…"
//! address = "http://127.0.0.1:7420"
//! namespace = "default"                       # optional
//! ```

mod address;
mod environment;
mod files;

use std::path::PathBuf;

use secrecy::SecretString;

pub(crate) use self::environment::{read, text};
pub use self::{
    address::{Address, AddressError, DEFAULT_PORT},
    environment::Environment,
    files::{Context, Contexts, Folder, read_file},
};

/// Why the server cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// A variable does not make sense.
    #[error("{name}: {problem}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A file cannot be read or understood.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no context of that name.
    #[error("there is no context `{name}` in {}", path.display())]
    NoSuchContext {
        /// The file that would have it.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
        /// The ones there are.
        known: Vec<String>,
    },
    /// The address of a context does not make sense.
    #[error("context `{context}`: {error}")]
    Address {
        /// The context.
        context: String,
        /// What is wrong with it.
        error: AddressError,
    },
}

impl ContextError {
    pub(crate) fn variable(name: &'static str, problem: impl ToString) -> Self {
        Self::Variable { name, problem: problem.to_string() }
    }
}

/// What was given by hand, and goes before everything else.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The server.
    pub address: Option<Address>,
    /// The context.
    pub context: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
}

/// Where to call, as whom, about which namespace.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Target {
    /// The server; `None` where nothing names one.
    pub address: Option<Address>,
    /// The credential; `None` where nobody is signed in.
    pub api_key: Option<SecretString>,
    /// The namespace; `None` means `default`.
    pub namespace: Option<String>,
    /// The context in use.
    pub context: Option<String>,
    /// The context has a key, and it is held back: it belongs to this server, and the call goes elsewhere.
    pub held_back: Option<Address>,
}

impl Target {
    /// Puts what was given, the environment and the files together.
    ///
    /// Where address and key come from outside and no context is named, the files have nothing to add and are not even
    /// looked at: a service that is told everything by its environment needs no home it may read.
    ///
    /// # Errors
    /// If a variable, a file or a context does not make sense.
    pub fn find(given: &Given, environment: &Environment) -> Result<Self, ContextError> {
        let address = text("MAINSPRING_ADDRESS", environment.address.as_ref())?
            .map(|text| text.parse().map_err(|error| ContextError::variable("MAINSPRING_ADDRESS", error)))
            .transpose()?;
        let address: Option<Address> = given.address.clone().or(address);
        let api_key = environment.api_key()?;
        let named = given.context.clone().or(text("MAINSPRING_CONTEXT", environment.context.as_ref())?);
        let namespace = given.namespace.clone().or(text("MAINSPRING_NAMESPACE", environment.namespace.as_ref())?);

        let folder =
            if address.is_some() && api_key.is_some() && named.is_none() { None } else { environment.folder() };
        let contexts = match (folder, &named) {
            (Some(folder), _) => folder.read()?,
            (None, None) => Contexts::default(),
            (None, Some(_)) => return Err(ContextError::variable("HOME", "not set, so there are no contexts")),
        };
        let Some(name) = named.or_else(|| contexts.current.clone()) else {
            return Ok(Self { address, api_key, namespace, ..Self::default() });
        };
        let Context { address: own, namespace: own_namespace, api_key: own_key } = contexts.get(&name)?.clone();
        let own: Address = own.parse().map_err(|error| ContextError::Address { context: name.clone(), error })?;
        let fits = address.as_ref().is_none_or(|address| address.is_same_server(&own));
        let held_back = (api_key.is_none() && own_key.is_some() && !fits).then(|| own.clone());
        Ok(Self {
            address: address.or(Some(own)),
            api_key: api_key.or_else(|| own_key.filter(|_| fits)),
            namespace: namespace.or(own_namespace),
            context: Some(name),
            held_back,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::ExposeSecret as _;
    use tempfile::TempDir;

    use super::{ContextError, Environment, Given, Target};

    fn files() -> TempDir {
        let folder = TempDir::new().unwrap();
        fs::write(
            folder.path().join("config.toml"),
            "current-context = \"dev\"\n[contexts.dev]\naddress = \"http://127.0.0.1:7420\"\nnamespace = \"lab\"\n\
             [contexts.prod]\naddress = \"prod.example\"\n[contexts.broken]\naddress = \"::1\"\n",
        )
        .unwrap();
        fs::write(folder.path().join("credentials.toml"), "[contexts.dev]\napi-key = \" dev-key\\n\"\n").unwrap();
        folder
    }

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::of(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    fn find(pairs: &[(&str, &str)]) -> Result<Target, ContextError> {
        Target::find(&Given::default(), &environment(pairs))
    }

    fn facts(target: &Target) -> (String, Option<&str>, Option<&str>) {
        let address = target.address.as_ref().map(ToString::to_string).unwrap_or_default();
        (address, target.api_key.as_ref().map(|key| key.expose_secret()), target.namespace.as_deref())
    }

    #[test]
    fn nothing_names_nothing() {
        assert_eq!(facts(&find(&[]).unwrap()), (String::new(), None, None));
    }

    #[test]
    fn the_environment_alone_is_enough_and_no_file_is_looked_at() {
        let folder = files();
        fs::write(folder.path().join("config.toml"), "broken").unwrap();
        let config = folder.path().to_str().unwrap();
        let both = [("MAINSPRING_ADDRESS", "a"), ("MAINSPRING_API_KEY", " k\n"), ("MAINSPRING_CONFIG", config)];
        assert_eq!(facts(&find(&both).unwrap()), ("http://a:7420".into(), Some("k"), None));
        assert!(find(&both[..1]).is_ok());
        assert!(matches!(find(&[both[0], both[2]]), Err(ContextError::File { .. })));
    }

    #[test]
    fn what_was_given_goes_before_the_environment_and_that_before_the_context() {
        let folder = files();
        let config = ("MAINSPRING_CONFIG", folder.path().to_str().unwrap());
        let dev = find(&[config]).unwrap();
        assert_eq!(facts(&dev), ("http://127.0.0.1:7420".into(), Some("dev-key"), Some("lab")));
        assert_eq!(dev.context.as_deref(), Some("dev"));
        let prod = find(&[config, ("MAINSPRING_CONTEXT", "prod")]).unwrap();
        assert_eq!(facts(&prod), ("http://prod.example:7420".into(), None, None));

        let variables = [config, ("MAINSPRING_NAMESPACE", "theirs"), ("MAINSPRING_API_KEY", "k")];
        assert_eq!(facts(&find(&variables).unwrap()), ("http://127.0.0.1:7420".into(), Some("k"), Some("theirs")));
        let given = Given {
            address: Some("[::1]:2".parse().unwrap()),
            context: Some("prod".into()),
            namespace: Some("mine".into()),
        };
        let target = Target::find(&given, &environment(&variables)).unwrap();
        assert_eq!(facts(&target), ("http://[::1]:2".into(), Some("k"), Some("mine")));
    }

    #[test]
    fn a_contexts_key_goes_to_its_server_however_that_is_written_and_nowhere_else() {
        let folder = files();
        let config = ("MAINSPRING_CONFIG", folder.path().to_str().unwrap());
        for same in ["127.0.0.1:7420", "http://127.0.0.1:7420/", "localhost", " [::1]:7420"] {
            let target = find(&[config, ("MAINSPRING_ADDRESS", same)]).unwrap();
            assert_eq!((facts(&target).1, &target.held_back), (Some("dev-key"), &None), "{same}");
        }
        for other in ["127.0.0.1:7421", "evil.example"] {
            let target = find(&[config, ("MAINSPRING_ADDRESS", other)]).unwrap();
            let held_back = target.held_back.as_ref().map(ToString::to_string);
            assert_eq!((facts(&target).1, held_back.as_deref()), (None, Some("http://127.0.0.1:7420")), "{other}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let folder = files();
        let config = ("MAINSPRING_CONFIG", folder.path().to_str().unwrap());
        for (pairs, message) in [
            (
                vec![("MAINSPRING_ADDRESS", "https://a")],
                "MAINSPRING_ADDRESS: `https://a` is no address: this version has no TLS",
            ),
            (vec![config, ("MAINSPRING_CONTEXT", "lab")], "there is no context `lab` in "),
            (vec![config, ("MAINSPRING_CONTEXT", "broken")], "context `broken`: `::1` is no address"),
            (vec![("MAINSPRING_CONTEXT", "lab")], "HOME: not set"),
        ] {
            let error = find(&pairs).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let Err(ContextError::NoSuchContext { known, .. }) = find(&[config, ("MAINSPRING_CONTEXT", "lab")]) else {
            panic!("found")
        };
        assert_eq!(known, ["broken", "dev", "prod"]);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStringExt as _;
        let environment =
            Environment::of(|name| (name == "MAINSPRING_API_KEY").then(|| std::ffi::OsString::from_vec(vec![0xff])));
        let error = Target::find(&Given::default(), &environment).unwrap_err();
        assert_eq!(error.to_string(), "MAINSPRING_API_KEY: is not UTF-8");
    }
}

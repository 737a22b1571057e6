//! What `dev` says when it is ready: where everything is, and what to type next.

use std::{fmt, path::Path};

use super::{CONTEXT, Login};
use crate::address::Address;

/// Everything that varies in it.
#[derive(Debug)]
pub(super) struct Banner<'a> {
    pub(super) address: &'a Address,
    pub(super) data: &'a Path,
    pub(super) ephemeral: bool,
    pub(super) login: &'a Login,
    pub(super) demo: bool,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, data, ephemeral, login, demo } = self;
        let grpc = format!("localhost:{}", address.port());
        let database = data.join("mainspring.db").display().to_string();
        let kept = if *ephemeral {
            "(forgotten when you stop)"
        } else {
            "(kept when you stop; --ephemeral forgets, --reset starts over)"
        };
        writeln!(
            f,
            "  mainspring {}  embedded mode (one process: SQLite, in-process broker)\n",
            env!("CARGO_PKG_VERSION")
        )?;
        writeln!(f, "  {:<12}{grpc:<33}(reflection on; gRPC-Web on the same port)", "gRPC")?;
        writeln!(f, "  {:<12}{database:<33}{kept}", "Data")?;
        writeln!(f, "  {:<12}{login}", "Login")?;
        if *demo {
            writeln!(f, "  {:<12}4 jobs and 1 built-in worker are running (--no-demo to leave them out)", "Demo")?;
        }
        // Another context stays selected, so what is typed next has to name this one.
        let context = if login.is_selected() { String::new() } else { format!(" --context {CONTEXT}") };
        let first = if *demo { "trigger demo.hello -d name=you --follow" } else { "job list" };
        writeln!(f, "\n  {:<12}mainspring{context} {first}", "Try next")?;
        writeln!(f, "  {:<12}mainspring{context} run list", "")?;
        writeln!(f, "  {:<12}grpcurl -plaintext {grpc} list", "")?;
        write!(f, "  Not for production as it is.   Ctrl-C stops cleanly.")
    }
}

impl Login {
    fn is_selected(&self) -> bool {
        match self {
            Self::Saved(saved, _) => saved.current == CONTEXT,
            Self::NotSaved(_) => true,
        }
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Saved(saved, credentials) => {
                let made = if saved.created { "created" } else { "updated" };
                let selected =
                    if self.is_selected() { "selected".into() } else { format!("not selected ({} is)", saved.current) };
                write!(
                    f,
                    "CLI context \"{CONTEXT}\" {made} and {selected}; API key in {} (0600)",
                    credentials.display()
                )
            }
            Self::NotSaved(reason) => write!(f, "not saved ({reason}); --print-addr json tells the API key"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Banner, Login};
    use crate::{address::Address, context::Saved};

    fn banner(current: &str, demo: bool) -> String {
        let saved = Saved { created: true, current: current.into() };
        let login = Login::Saved(saved, PathBuf::from("~/.config/mainspring/credentials.toml"));
        let address = Address::local(7421);
        Banner { address: &address, data: Path::new("./mainspring-data"), ephemeral: false, login: &login, demo }
            .to_string()
    }

    #[test]
    fn it_tells_where_everything_is() {
        let text = banner("dev", true);
        for part in [
            "  gRPC        localhost:7421                   (reflection on",
            "  Data        ./mainspring-data/mainspring.db  (kept when you stop",
            "  Login       CLI context \"dev\" created and selected; API key in ~/.config/mainspring/credentials.toml (0600)",
            "  Demo        4 jobs",
            "  Try next    mainspring trigger demo.hello -d name=you --follow",
            "              grpcurl -plaintext localhost:7421 list",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }

    #[test]
    fn another_context_stays_selected_and_the_commands_name_this_one() {
        let text = banner("prod", false);
        assert!(text.contains("not selected (prod is)"), "{text}");
        assert!(text.contains("mainspring --context dev job list") && !text.contains("demo"), "{text}");
    }
}

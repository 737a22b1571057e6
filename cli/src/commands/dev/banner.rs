//! What `dev` says when it is ready: where everything is, and what to type next.

use std::{fmt, path::Path};

use super::Login;
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
        // As a person writes it: `./` says that it is here.
        let here = data.is_relative() && !data.starts_with(".") && !data.starts_with("..");
        let data = if here { Path::new(".").join(data) } else { data.to_path_buf() };
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
        writeln!(f, "  {:<12}{grpc:<32} (reflection on; gRPC-Web on the same port)", "gRPC")?;
        writeln!(f, "  {:<12}{database:<32} {kept}", "Data")?;
        writeln!(f, "  {:<12}{login}", "Login")?;
        if *demo {
            writeln!(f, "  {:<12}4 jobs and 1 built-in worker are running (--no-demo to leave them out)", "Demo")?;
        }
        // Another context stays selected, so what is typed next has to name this one.
        let context = login.to_be_named().map(|name| format!(" --context {name}")).unwrap_or_default();
        let first = if *demo { "trigger demo.hello -d name=you --follow" } else { "job list" };
        writeln!(f, "\n  {:<12}mainspring{context} {first}", "Try next")?;
        writeln!(f, "  {:<12}mainspring{context} run list", "")?;
        writeln!(f, "  {:<12}grpcurl -plaintext {grpc} list", "")?;
        write!(f, "  Not for production as it is.   Ctrl-C stops cleanly.")
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Banner, Login};
    use crate::{address::Address, context::Saved};

    fn banner(current: &str, demo: bool) -> String {
        told(Path::new("mainspring-data"), &saved("dev", current, None), demo)
    }

    fn saved(name: &str, current: &str, other: Option<&str>) -> Login {
        Login::Saved {
            name: name.into(),
            saved: Saved { created: true, current: current.into() },
            credentials: PathBuf::from("~/.config/mainspring/credentials.toml"),
            other: other.map(|other| other.parse().unwrap()),
        }
    }

    fn told(data: &Path, login: &Login, demo: bool) -> String {
        Banner { address: &Address::local(7421), data, ephemeral: false, login, demo }.to_string()
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
    #[test]
    fn a_long_path_is_apart_from_what_is_said_about_it() {
        let data = Path::new("/home/somebody/work/clients/a-long-name/mainspring-data");
        let text = told(data, &saved("dev", "dev", None), true);
        assert!(text.contains("mainspring-data/mainspring.db (kept when you stop"), "{text}");
    }

    #[test]
    fn a_second_server_does_not_take_the_context_of_the_first() {
        let text = told(Path::new("d"), &saved("dev-7421", "dev", Some("127.0.0.1:7420")), true);
        for part in [
            "CLI context \"dev-7421\" created and not selected (\"dev\" stays with the server at 127.0.0.1:7420); API key in",
            "mainspring --context dev-7421 trigger demo.hello",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }
}

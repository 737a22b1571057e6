//! The worker that the documentation shows is the one that is built and run, and it compiles where a reader puts it: in a
//! project of its own beside the checkout, with the manifest that the quickstart gives.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The fenced blocks of a language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    document.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The example without the words that introduce it to whoever reads the source.
fn example() -> String {
    let code = read("worker/examples/greet.rs");
    code[code.find("use std::").unwrap()..].to_owned()
}

#[test]
fn what_is_shown_is_what_is_built() {
    for document in ["README.md", "docs/quickstart.md"] {
        let text = read(document);
        assert!(
            blocks(&text, "rust").contains(&example().as_str()),
            "{document} shows another program than the example"
        );
    }
}

/// Nothing of the workspace helps it: no features that only our own crates turn on, no dependencies that only they have.
#[test]
fn it_compiles_in_a_project_of_its_own() {
    let quickstart = read("docs/quickstart.md");
    let manifests = blocks(&quickstart, "toml");
    let [manifest] = manifests.as_slice() else { panic!("one manifest in the quickstart: {manifests:?}") };
    let beside = "../mainspring/";
    assert!(manifest.contains(beside), "{manifest}");
    let project = TempDir::new().unwrap();
    let file = |name: &str, text: &str| fs::write(project.path().join(name), text).unwrap();
    file("Cargo.toml", &manifest.replace(beside, &format!("{}/", root().display())));
    // The versions that are here, so that nothing is fetched.
    file("Cargo.lock", &read("Cargo.lock"));
    fs::create_dir(project.path().join("src")).unwrap();
    file("src/main.rs", blocks(&quickstart, "rust")[0]);

    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().find(|folder| folder.ends_with("deps")).unwrap().join("../../docs-worker");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["check", "--quiet", "--offline", "--target-dir"]).arg(target).current_dir(project.path());
    let output = cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0").output().unwrap();
    assert!(output.status.success(), "{manifest}\n{}", String::from_utf8_lossy(&output.stderr));
}

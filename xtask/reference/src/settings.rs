//! `settings.md`: what can be set by environment variable, of servers, command line and workers.

use std::{collections::BTreeMap, fmt::Write as _};

use mainspring_cli::{Reader, VARIABLES};
use mainspring_server::config::{SETTINGS, Setting, settings::PLAIN};

use crate::{
    contract::Contract,
    markdown::{head, table},
};

const LEAD: &str = "\
A server takes each setting from the first that has it: a flag (`mainspring serve --help`), the environment variable below, the
default. The variable is `MAINSPRING_` and the setting's path, with `__` between section and name. A name with `__` that is no
setting, a value that cannot be, and settings that contradict each other are refused before anything is begun, with exit
code 78.

A length is made of whole numbers and units, the longer first: `w`, `d`, `h`, `m`, `s`, `ms`, `us`, as in `30s`, `1h30m` or
`2d`. The same is typed on the command line (`--every 90s`) and in filters (`now-1h30m`).";

pub(crate) fn page(_: &Contract) -> String {
    let mut text = head("Settings", LEAD);
    let mut sections: BTreeMap<&str, Vec<&Setting>> = BTreeMap::new();
    for setting in SETTINGS {
        let path = setting.name.trim_start_matches("MAINSPRING_");
        sections.entry(path.split("__").next().unwrap_or(path)).or_default().push(setting);
    }
    for (section, settings) in sections {
        let rows = settings.into_iter().map(|setting| {
            let default = match setting.default_value().as_str() {
                "" => String::new(),
                default => format!("`{default}`"),
            };
            vec![format!("`{}`", setting.name), setting.takes.words(), default, setting.meaning.into()]
        });
        let columns = ["variable", "takes", "default", "meaning"];
        let _ = write!(text, "\n## Server: {}\n\n{}", section.to_lowercase(), table(&columns, rows));
    }
    let plain = PLAIN.iter().map(|(name, meaning)| vec![format!("`{name}`"), (*meaning).into()]);
    let rows = plain.chain(variables(&[Reader::Server]));
    let _ = write!(text, "\n## Server: without a section\n\n{}", table(&["variable", "meaning"], rows));
    for (title, readers) in [
        ("Command line", &[Reader::CommandLine, Reader::Both][..]),
        ("Workers of the Rust SDK", &[Reader::Worker, Reader::Both]),
        ("Set for programs of `worker exec`", &[Reader::Program]),
    ] {
        let _ = write!(text, "\n## {title}\n\n{}", table(&["variable", "meaning"], variables(readers)));
    }
    text
}

fn variables(readers: &[Reader]) -> impl Iterator<Item = Vec<String>> {
    let read = VARIABLES.iter().filter(move |variable| readers.contains(&variable.reader));
    read.map(|variable| vec![format!("`{}`", variable.name), variable.meaning.to_owned()])
}

//! The environment variables of clients: the command line's own, and those of the worker SDK. A server's settings are a
//! table of the server's.

/// Who reads a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The command line.
    CommandLine,
    /// The worker SDK.
    Worker,
    /// Both.
    Both,
    /// `serve` and `dev`, beside their settings.
    Server,
    /// Programs that `worker exec` runs: it is set for them.
    Program,
}

/// An environment variable of a client.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Who reads it.
    pub reader: Reader,
    /// What it means.
    pub meaning: &'static str,
}

const fn variable(name: &'static str, reader: Reader, meaning: &'static str) -> Variable {
    Variable { name, reader, meaning }
}

/// Every one, by name.
pub const VARIABLES: &[Variable] = &[
    variable("CLICOLOR_FORCE", Reader::CommandLine, "Colour also where stdout is no terminal, unless it is 0."),
    variable(
        "HOME",
        Reader::Both,
        "Contexts and keys are in $HOME/.config/mainspring, unless one of the others says where.",
    ),
    variable("MAINSPRING_ADDRESS", Reader::Both, "The server, host:port or http://host:port."),
    variable(
        "MAINSPRING_API_KEY",
        Reader::Both,
        "The credential. Without it the context's, which is sent to the context's own server and to no other.",
    ),
    variable(
        "MAINSPRING_ATTEMPT",
        Reader::Program,
        "The number of the attempt, from 1; a later attempt of the run has a larger one.",
    ),
    variable(
        "MAINSPRING_CONFIG",
        Reader::CommandLine,
        "The folder of config.toml and credentials.toml, or the config.toml in it.",
    ),
    variable("MAINSPRING_CONTEXT", Reader::Both, "The context to use, instead of the selected one."),
    variable("MAINSPRING_DUE_TIME", Reader::Program, "When the run became due, RFC 3339 in UTC."),
    variable(
        "MAINSPRING_IDEMPOTENCY_KEY",
        Reader::Program,
        "The same for every attempt of the run: for systems that can recognise a repeated request.",
    ),
    variable("MAINSPRING_JOB", Reader::Program, "The job; empty where the run was submitted without one."),
    variable("MAINSPRING_JOB_TYPE", Reader::Program, "The job type."),
    variable("MAINSPRING_NAMESPACE", Reader::Both, "The namespace to work in."),
    variable(
        "MAINSPRING_NOMINAL_TIME",
        Reader::Program,
        "The instant of the schedule that the run stands for, RFC 3339 in UTC; empty where it is no schedule's.",
    ),
    variable("MAINSPRING_OUTPUT", Reader::CommandLine, "How to print: table, wide, json, jsonl, yaml, name or none."),
    variable(
        "MAINSPRING_PREVIOUS_SUCCESS",
        Reader::Program,
        "The last instant of the job that had succeeded, where the job asks for it (`--previous-success`); empty otherwise.",
    ),
    variable("MAINSPRING_RUN_ID", Reader::Program, "The run."),
    variable("MAINSPRING_SLOTS", Reader::Worker, "How many runs the worker takes at once. Default 10."),
    variable("MAINSPRING_WORKER_NAME", Reader::Worker, "What the worker is called. Default: like its program."),
    variable("NO_COLOR", Reader::CommandLine, "Never colour."),
    variable("RUST_LOG", Reader::Server, "What is told on stderr, where MAINSPRING_LOG__FILTER says nothing."),
    variable("TERM", Reader::CommandLine, "`dumb`: no colour."),
    variable("XDG_CONFIG_HOME", Reader::Both, "Contexts and keys are in the folder mainspring below it."),
];

#[cfg(test)]
mod tests {
    use super::VARIABLES;

    #[test]
    fn the_table_is_sorted_and_says_something() {
        assert!(VARIABLES.is_sorted_by(|a, b| a.name < b.name));
        assert!(VARIABLES.iter().all(|variable| variable.meaning.ends_with('.')));
    }
}

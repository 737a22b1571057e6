//! The command line of Mainspring.
//!
//! `Cli` is what was typed, [`Environment`] what the process was given; [`run`] makes a [`Session`](session) of both and
//! hands it to the command. One file a noun in `commands/`; what a person sees of a resource is in `resource/`, how it
//! is printed in `output/`, what went wrong in `failure.rs`. Everything but `dev` and `serve` is a client of the
//! contract like any other.

mod address;
mod argument;
mod clock;
mod commands;
mod connection;
mod context;
mod demo;
mod exit;
mod failure;
mod follow;
mod hint;
mod logging;
mod named;
mod output;
mod payload;
#[cfg(unix)]
mod program;
mod prompt;
mod resource;
mod server;
mod session;
mod settings;
mod sign_in;
mod signals;
mod tasks;
mod times;
mod variables;

pub use crate::{
    commands::Cli,
    exit::Exit,
    settings::Environment,
    variables::{Reader, VARIABLES, Variable},
};

use crate::{failure::Failure, output::Output, session::Session, settings::GlobalArgs};

/// The reasons of failures that workers give themselves: who gives them, what to know about that, and the table.
pub fn worker_reasons() -> Vec<(&'static str, &'static str, &'static [(&'static str, &'static str)])> {
    let mut all = vec![(
        "Of the worker SDK for Rust",
        "Failures of an attempt that are not in the handler's own words.",
        mainspring_worker::reason::ALL,
    )];
    #[cfg(unix)]
    all.push((
        "Of programs",
        "Failures of an attempt that `mainspring worker exec` gave to a program.",
        program::REASONS,
    ));
    all
}

/// The tree of commands, for tests and for whatever is generated from it.
pub fn command() -> clap::Command {
    use clap::CommandFactory as _;

    Cli::command()
}

/// Does what was typed, tells what went wrong, says how the process ends.
pub async fn run(cli: Cli, environment: Environment) -> Exit {
    let Cli { global, command } = cli;
    let out = match Output::new(&global, &environment) {
        Ok(out) => out,
        Err(failure) => return refused(&failure),
    };
    let session = Session::new(out, global, environment);
    let done = tokio::select! {
        done = command.run(&session) => done,
        never = session.stay_signed_in() => match never {},
    };
    match done {
        Ok(exit) => exit,
        Err(failure) => {
            if failure.exit() != Exit::Done {
                session.out.failure(&failure);
            }
            failure.exit()
        }
    }
}

/// The format of the output itself makes no sense, so it is told in words.
fn refused(failure: &Failure) -> Exit {
    if let Ok(out) = Output::new(&GlobalArgs::default(), &Environment::default()) {
        out.failure(failure);
    }
    failure.exit()
}

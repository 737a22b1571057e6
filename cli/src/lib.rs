//! The command line of Mainspring.
//!
//! [`read`] makes a [`Cli`] of what was typed, [`Environment`] is what the process was given; [`run`] makes a [`Session`](session) of both and
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
mod document;
mod exit;
mod failure;
mod follow;
mod hint;
mod logging;
mod named;
mod output;
mod pauses;
mod payload;
#[cfg(unix)]
mod program;
mod prompt;
mod rate;
mod resource;
mod server;
mod session;
mod settings;
mod sign_in;
mod signals;
mod suggest;
mod tasks;
mod times;
mod typed;
mod variables;
mod watch;

pub use crate::{
    commands::Cli,
    exit::Exit,
    settings::Environment,
    typed::read,
    variables::{Reader, VARIABLES, Variable},
};

use crate::{
    failure::Failure,
    output::Output,
    session::Session,
    settings::{Format, GlobalArgs},
};

/// Reasons of failures that are given by one kind of worker.
#[derive(Clone, Copy, Debug)]
pub struct Reasons {
    /// Whose they are.
    pub title: &'static str,
    /// What to know about all of them.
    pub about: &'static str,
    /// Each with its sentence.
    pub table: &'static [(&'static str, &'static str)],
}

/// Those of the workers that are part of this program, for the reference.
pub fn worker_reasons() -> Vec<Reasons> {
    vec![
        Reasons {
            title: "Of the worker SDK for Rust",
            about: "Failures of an attempt that are not in the handler's own words.",
            table: mainspring_worker::reason::ALL,
        },
        #[cfg(unix)]
        Reasons {
            title: "Of programs",
            about: "Failures of an attempt that `mainspring worker exec` gave to a program.",
            table: program::REASONS,
        },
    ]
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
            let failure = suggest::improved(failure, &session).await;
            session.out.ended(&failure)
        }
    }
}

/// The format of the output itself makes no sense, so it is told in words.
fn refused(failure: &Failure) -> Exit {
    Output::of(Format::default(), &GlobalArgs::default(), &Environment::default()).ended(failure)
}

//! `worker exec`: any program is a worker.

use std::{ffi::OsString, path::Path, sync::Arc};

use clap::Args;
use mainspring_server::config::LogConfig;
use mainspring_worker::{Ctx, Error, RawPayload, Worker};
use secrecy::ExposeSecret as _;
use tokio::sync::oneshot;
use tonic::Code;

use crate::{
    commands::examples,
    connection::Credential,
    exit::Exit,
    failure::Failure,
    logging, named,
    program::{Groups, Program},
    session::Session,
    settings::Settings,
    sign_in::Kept,
    signals::{self, Signals},
    times::Length,
};

/// Variables that every program needs to find its way, and that hold no secret.
const PASSED: [&str; 11] =
    ["HOME", "LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"];

/// Serve a job type with any program: JSON in on stdin, JSON out on stdout
#[derive(Args, Debug)]
#[command(
    before_help = examples![
        "mainspring worker exec --type report.build -- ./build-report.sh --quick",
        "mainspring worker exec --type mail.send --slots 4 --timeout 5m --env HOST -- python3 send.py",
        "mainspring worker exec --type host.info --text -- uname -a",
    ],
    after_help = "\
stdin is the run's payload as JSON, null where it has none. stdout is the run's output: one JSON value, or nothing, at most
1 MiB. Every line of stderr goes to the run's log; one that begins with `error`, `warning` or `debug` is of that level.

Exit codes:
  0      the run succeeded
  65     the run failed, and another attempt would not help (EX_DATAERR)
  other  the attempt failed; the job's retry policy decides. The reason is EXIT_n, or SIGNAL_n where a signal ended it

The program leads a process group. When the run is cancelled or times out, or the worker leaves before it is done, the group
gets SIGTERM, and SIGKILL after the grace. What is left of the group when the program ends is killed. The worker leaves at
SIGTERM, SIGINT, SIGQUIT and SIGHUP, which is what a terminal that is closed sends. A run may be executed
more than once: MAINSPRING_IDEMPOTENCY_KEY is the same each time, MAINSPRING_ATTEMPT grows.

The environment is HOME, LANG, LC_*, LOGNAME, PATH, SHELL, TMPDIR, TZ and USER, what --env names, and MAINSPRING_RUN_ID,
MAINSPRING_ATTEMPT, MAINSPRING_IDEMPOTENCY_KEY, MAINSPRING_JOB, MAINSPRING_JOB_TYPE, MAINSPRING_NOMINAL_TIME,
MAINSPRING_DUE_TIME and MAINSPRING_PREVIOUS_SUCCESS (RFC 3339, or empty); nothing else, and no key of ours."
)]
pub(crate) struct ExecArgs {
    /// The job type to serve
    #[arg(long = "type", value_name = "TYPE")]
    job_type: String,
    /// The queue to take runs from
    #[arg(long, value_name = "NAME", value_parser = named::queue, default_value = "default")]
    queue: String,
    /// How many at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    slots: u32,
    /// Stop an attempt after this; it has failed then. 0s means never [default: the run's own timeout alone]
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    timeout: Option<Length>,
    /// How long a program has between SIGTERM and SIGKILL
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true, default_value = "10s")]
    grace: Length,
    /// How long programs may go on after this worker was asked to leave
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true, default_value = "30s")]
    drain: Length,
    /// Pass this variable on; may be repeated
    #[arg(long, value_name = "NAME")]
    env: Vec<String>,
    /// stdout is text: the output is one JSON string
    #[arg(long)]
    text: bool,
    /// What the worker is called [default: like the program]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

pub(super) async fn run(args: ExecArgs, session: &Session) -> Result<Exit, Failure> {
    let ExecArgs { job_type, queue, slots, timeout, grace, drain, env, text, name, program } = args;
    let variables = variables(session, &env)?;
    let file = program.first().map(Path::new).unwrap_or(Path::new(""));
    let name = name.or_else(|| Some(file.file_stem()?.to_str()?.to_owned())).unwrap_or_else(|| "exec".into());
    can_be_found(file, &variables)?;
    logging::start(session, &LogConfig::default(), "warn,mainspring_worker=info")?;

    let groups = Groups::default();
    let program = Arc::new(Program {
        line: program,
        variables,
        text,
        // As everywhere: none is no limit.
        timeout: timeout.map(|Length(timeout)| timeout).filter(|timeout| !timeout.is_zero()),
        grace: grace.0,
        groups: groups.clone(),
    });
    let worker = worker(session)?
        .name(name)
        .slots(slots)
        .drain_within(drain.0)
        // The program is killed after its grace; the worker waits a little longer, to tell what became of it.
        .stop_within(grace.0.saturating_add(std::time::Duration::from_secs(5)))
        .handle_in(queue, job_type, move |ctx: Ctx, payload: RawPayload| {
            let program = program.clone();
            async move { program.run(ctx, payload).await }
        });

    let mut signals = Signals::listen()?;
    let (leave, leaving) = oneshot::channel::<()>();
    let stop = async {
        signals.next().await;
        session.out.note("leaving when the programs are done; a second signal kills them");
        drop(leave);
        signals.next().await;
        groups.kill();
        signals::quit()
    };
    let asked = async {
        // Nothing is ever sent: the end of the sender is the word.
        drop(leaving.await);
    };
    tokio::select! {
        left = worker.run_until(asked) => left.map(|()| Exit::Done).map_err(Failure::from),
        never = stop => never,
    }
}

/// A worker for the server of the command line, which looks the key up again when it is refused.
fn worker(session: &Session) -> Result<Worker, Failure> {
    let settings = session.settings()?;
    if settings.api_key.is_none()
        && let (Some(context), Some(folder)) = (&settings.context, session.environment.folder())
        && Kept::new(folder, context.clone()).read()?.is_some()
    {
        return Err(Failure::new(
            Exit::NotAllowed,
            "TOKEN_MISSING",
            format!("context {context} holds a person's sign-in, and a worker needs an API key"),
        )
        .hint("`mainspring admin key create NAME --role worker` makes one; set MAINSPRING_API_KEY to it"));
    }
    let mut worker = Worker::connect_to(settings.address.to_string());
    if !settings.namespace.is_empty() {
        worker = worker.namespace(settings.namespace);
    }
    if settings.api_key.is_none() {
        return Ok(worker);
    }
    // What cannot be a key is told as by every other command.
    Credential::new(settings.api_key.as_ref())?;
    let (given, environment) = (session.args.clone(), session.environment.clone());
    Ok(worker.api_key_from(move || {
        let key = Settings::load(&given, &environment).ok()?.api_key?;
        Some(key.expose_secret().to_owned())
    }))
}

/// What the program is given of this process's environment.
fn variables(session: &Session, named: &[String]) -> Result<Vec<(OsString, OsString)>, Failure> {
    let mut variables = Vec::new();
    for name in PASSED {
        variables.extend(session.environment.variable(name).map(|value| (name.into(), value)));
    }
    for name in named {
        let value = session.environment.variable(name).ok_or_else(|| {
            Failure::usage(format!("--env {name}: there is no such variable here"))
                .hint("it is passed on from this worker's own environment: set it there")
        })?;
        variables.push((name.into(), value));
    }
    Ok(variables)
}

/// A program that is not there would fail every run that comes.
fn can_be_found(program: &Path, variables: &[(OsString, OsString)]) -> Result<(), Failure> {
    let is_path = program.components().count() > 1 || program.is_absolute();
    let path = variables.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value);
    let is_there = if is_path || program.starts_with(".") {
        program.is_file()
    } else {
        path.is_some_and(|path| std::env::split_paths(path).any(|folder| folder.join(program).is_file()))
    };
    if is_there {
        return Ok(());
    }
    let place = if is_path { "" } else { " on the PATH" };
    Err(Failure::usage(format!("there is no program {}{place}", program.display())))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Refused { refusal, .. } => {
                let exit = match refusal.code {
                    Code::Unauthenticated | Code::PermissionDenied => Exit::NotAllowed,
                    Code::InvalidArgument => Exit::Usage,
                    _ => Exit::Failed,
                };
                let reason = if refusal.reason.is_empty() { "WORKER_REFUSED" } else { refusal.reason.as_str() };
                Self::new(exit, reason, &error)
            }
            Error::Setting { .. } => Self::usage(&error),
            _ => Self::new(Exit::Failed, "WORKER_FAILED", &error),
        }
    }
}

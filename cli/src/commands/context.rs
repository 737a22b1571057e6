//! `context`: servers by name, kept in `config.toml`, and which of them is used.

use std::time::Duration;

use clap::Subcommand;
use mainspring_proto::{auth::v1::GetCallerRequest, scheduler::v1::GetServerInfoRequest};
use mainspring_worker::context::{Context, ContextError};
use serde_json::{Value as Json, json};

use super::examples;
use crate::{
    address::Address,
    clock,
    connection::CONNECT_WITHIN,
    context::Folder,
    exit::Exit,
    failure::Failure,
    output::{Cell, Thing, Tone},
    prompt::Lines,
    resource,
    session::Session,
    settings::{GlobalArgs, Settings},
    sign_in::Kept,
    suggest, times,
};

/// Name servers, and choose the one to work with
#[derive(Debug, Subcommand)]
#[command(before_help = examples![
    "mainspring context list",
    "mainspring context add staging http://127.0.0.1:7420",
    "mainspring context use dev",
])]
pub(crate) enum ContextCommand {
    /// Add a context, or change where one leads
    #[command(before_help = examples![
        "mainspring context add staging http://127.0.0.1:7420",
        "mainspring context add ci 127.0.0.1:7420 --namespace default",
    ])]
    Add {
        /// What to call it
        #[arg(value_name = "NAME", value_parser = name)]
        context: String,
        /// The server
        #[arg(value_name = "SERVER")]
        server: Address,
        /// Read an API key from stdin and keep it with the context
        #[arg(long)]
        api_key_stdin: bool,
        /// Select it
        #[arg(long = "use")]
        select: bool,
    },
    /// Select a context
    #[command(before_help = examples!["mainspring context use dev", "mainspring context use dev -o json"])]
    Use {
        /// The context
        #[arg(value_name = "NAME")]
        context: String,
    },
    /// List contexts
    #[command(before_help = examples!["mainspring context list", "mainspring context list -o name"])]
    List {},
    /// Show a context, without its key
    #[command(before_help = examples!["mainspring context show", "mainspring context show dev -o json"])]
    Show {
        /// The context [default: the one in use]
        #[arg(value_name = "NAME")]
        context: Option<String>,
    },
    /// Forget a context, and its key; the server is not told
    #[command(before_help = examples!["mainspring context rm staging", "mainspring context rm ci -o json"])]
    Rm {
        /// The context
        #[arg(value_name = "NAME")]
        context: String,
    },
    /// Call the context's server, and tell as whom it knows you
    #[command(before_help = examples!["mainspring context test", "mainspring context test dev -o json"])]
    Test {
        /// The context [default: the one in use]
        #[arg(value_name = "NAME")]
        context: Option<String>,
    },
    /// Print the name of the context in use, for prompts; reads files and nothing else
    #[command(before_help = examples!["mainspring context current", "mainspring context current -o json"])]
    Current {},
}

fn name(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text {
        "" => Err("a context has a name".into()),
        text if text.len() <= 64 && text.chars().all(is_good) => Ok(text.into()),
        _ => Err("a name has at most 64 letters, digits, `-`, `_` and `.`".into()),
    }
}

pub(super) async fn run(command: ContextCommand, session: &Session) -> Result<Exit, Failure> {
    let Some(folder) = session.environment.folder() else {
        return Err(
            Failure::usage("there is nowhere to keep contexts").hint("set MAINSPRING_CONFIG, XDG_CONFIG_HOME or HOME")
        );
    };
    match command {
        ContextCommand::Add { context, server, api_key_stdin, select } => {
            let key = if api_key_stdin {
                let key = Lines::read()?.next().ok_or_else(|| Failure::usage("there is no key on stdin"))?;
                Some(key)
            } else {
                None
            };
            let saved = folder.add(&context, &server.to_string(), session.args.namespace.as_deref(), key.as_ref())?;
            if select {
                folder.select(&context)?;
            }
            let did = if saved.created { "added" } else { "changed" };
            let selected = select || saved.current == context;
            let text = format!("context {context} {did}{}\n", if selected { " and selected" } else { "" });
            session.out.value(&text, &json!({"context": context, "created": saved.created, "selected": selected}))?;
        }
        ContextCommand::Use { context } => {
            known(&folder, &context)?;
            folder.select(&context)?;
            let variable = session.environment.names_a_context();
            session.out.value(&format!("context {context} selected\n"), &json!({"context": context}))?;
            if variable {
                session.out.remark("note: MAINSPRING_CONTEXT is set, and goes before it");
            }
        }
        ContextCommand::List {} => list(&folder, session)?,
        ContextCommand::Show { context } => show(&folder, context, session)?,
        ContextCommand::Rm { context } => {
            known(&folder, &context)?;
            folder.remove(&context)?;
            session.out.value(&format!("context {context} forgotten\n"), &json!({"context": context}))?;
        }
        ContextCommand::Test { context } => return test(context, session).await,
        ContextCommand::Current {} => {
            let name = in_use(session)?;
            session.out.value(&format!("{name}\n"), &json!({"context": name}))?;
        }
    }
    Ok(Exit::Done)
}

/// The name of the context in use.
fn in_use(session: &Session) -> Result<String, Failure> {
    session.settings()?.context.ok_or_else(|| {
        Failure::new(Exit::NotFound, "CONTEXT_NOT_FOUND", "no context is in use")
            .hint("`mainspring context use NAME` selects one; `mainspring context list` shows them")
    })
}

/// The context of that name, or the one that was probably meant.
fn known(folder: &Folder, name: &str) -> Result<Context, Failure> {
    let contexts = folder.read()?;
    match contexts.get(name) {
        Ok(context) => Ok(context.clone()),
        Err(ContextError::NoSuchContext { path, name, known }) => {
            let message = format!("there is no context {name} in {}", path.display());
            let failure = Failure::new(Exit::NotFound, "CONTEXT_NOT_FOUND", message);
            Err(match suggest::nearest(&name, known.iter().map(String::as_str)) {
                Some(near) => failure.hint(format!("did you mean {near}? (`mainspring context list` shows all)")),
                None => failure.hint("`mainspring context list` shows those there are"),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// What a context is signed in by.
fn credential(folder: &Folder, name: &str, context: &Context) -> Result<&'static str, Failure> {
    if context.api_key.is_some() {
        return Ok("API key");
    }
    Ok(if Kept::new(folder.clone(), name.to_owned()).read()?.is_some() { "sign-in" } else { "" })
}

fn told(folder: &Folder, name: &str, context: &Context, is_current: bool) -> Result<Thing, Failure> {
    let credential = credential(folder, name, context)?;
    let namespace = context.namespace.clone().unwrap_or_default();
    let used = if is_current { Cell::Word("yes".into(), Tone::Good) } else { Cell::text("") };
    Ok(Thing {
        name: format!("context/{name}"),
        cells: vec![
            Cell::text(name),
            used,
            Cell::text(&context.address),
            Cell::text(&namespace),
            Cell::text(credential),
        ],
        json: json!({
            "context": name, "selected": is_current, "address": context.address,
            "namespace": namespace, "credential": credential,
        }),
    })
}

const COLUMNS: [&str; 5] = ["CONTEXT", "SELECTED", "SERVER", "NAMESPACE", "SIGNED IN BY"];

fn list(folder: &Folder, session: &Session) -> Result<(), Failure> {
    let contexts = folder.read()?;
    let current = contexts.current.clone();
    let is_current = |name: &str| current.as_deref() == Some(name);
    let things = contexts.iter().map(|(name, context)| told(folder, name, context, is_current(name)));
    session.out.things("contexts", &COLUMNS, things.collect::<Result<_, _>>()?)
}

fn show(folder: &Folder, context: Option<String>, session: &Session) -> Result<(), Failure> {
    let name = context.map_or_else(|| in_use(session), Ok)?;
    let context = known(folder, &name)?;
    let current = folder.read()?.current;
    let Thing { name: _, cells, json } = told(folder, &name, &context, current.as_deref() == Some(&name))?;
    let shown = COLUMNS.iter().zip(cells).map(|(column, cell)| (column.to_lowercase(), cell));
    session.out.value(&session.out.page(shown), &json)
}

/// Who the server says we are, how far away it is, and whether its clock is ours.
async fn test(context: Option<String>, session: &Session) -> Result<Exit, Failure> {
    let given = match context {
        None => session.args.clone(),
        Some(name) => GlobalArgs { context: Some(name), ..session.args.clone() },
    };
    let settings = Settings::load(&given, &session.environment)?;
    let begun = clock::now();
    let server = session.connect(&settings, CONNECT_WITHIN).await?;
    let caller = server.auth().get_caller(GetCallerRequest {}).await?.into_inner();
    let took = Duration::try_from(clock::now().duration_since(begun)).unwrap_or_default();
    let info = server.admin().get_server_info(GetServerInfoRequest {}).await.map(tonic::Response::into_inner);
    // Whoever may not ask what the server is has still been let in.
    let (version, skew) = match info {
        Ok(info) => {
            let skew =
                info.server_time.as_ref().and_then(times::from_proto).map(|time| time.duration_since(clock::now()));
            (format!("{} {}", info.version, resource::mode_word(info.mode())), skew)
        }
        Err(_) => (String::new(), None),
    };
    let name = settings.context.unwrap_or_default();
    let skew = skew.map(|skew| skew.as_secs_f64());
    let mut rows = vec![
        ("context".to_owned(), Cell::text(&name)),
        ("server".into(), Cell::text(settings.address.to_string())),
        ("version".into(), Cell::text(&version)),
        ("signed in as".into(), Cell::text(&caller.subject)),
        ("answered in".into(), Cell::text(times::took(took))),
    ];
    if let Some(skew) = skew.filter(|skew| skew.abs() >= 2.0) {
        let way = if skew > 0.0 { "ahead of" } else { "behind" };
        rows.push((
            "clock".into(),
            Cell::Word(format!("the server's is {:.0} s {way} this one", skew.abs()), Tone::Bad),
        ));
    }
    let json: Json = json!({
        "context": name, "address": settings.address.to_string(), "version": version, "subject": caller.subject,
        "seconds": took.as_secs_f64(), "clockSkewSeconds": skew,
    });
    session.out.value(&session.out.page(rows), &json)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_name_stays_a_key_of_the_file() {
        assert_eq!(name("prod-eu.1"), Ok("prod-eu.1".into()));
        assert!(name("").is_err() && name("a b").is_err() && name("x\n[y]").is_err());
    }
}

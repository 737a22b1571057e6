//! `login`: a person's sign-in, or an API key, kept for the commands that follow.

use clap::Args;
use mainspring_proto::auth::v1::{ChangePasswordRequest, GetCallerRequest, LoginRequest, LoginResponse};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::examples;
use crate::{
    address::Address,
    clock,
    connection::{CONNECT_WITHIN, Server},
    context::{Folder, Saved},
    exit::Exit,
    failure::Failure,
    output::visible,
    prompt::{self, Lines},
    session::Session,
    settings::{GlobalArgs, Settings},
    sign_in::{Kept, SignIn},
    times,
};

/// How often a new password is asked for before that is given up.
const ASKED: usize = 3;

/// Sign in to a server; later commands are signed in, too
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring login",
    "mainspring login http://127.0.0.1:7420 --password-stdin < password-file",
    "mainspring login --api-key-stdin < key-file",
])]
pub(crate) struct LoginArgs {
    /// The server [default: the context's]
    #[arg(value_name = "ADDRESS")]
    server: Option<Address>,
    /// Who signs in
    #[arg(long, value_name = "NAME", default_value = "root")]
    user: String,
    /// Read the password from stdin; where it must be changed, the new one is the second line
    #[arg(long)]
    password_stdin: bool,
    /// Read an API key from stdin and keep it, instead of signing in by a password
    #[arg(long, conflicts_with_all = ["password_stdin", "user", "change_password"])]
    api_key_stdin: bool,
    /// Also choose a new password
    #[arg(long)]
    change_password: bool,
}

pub(super) async fn run(args: LoginArgs, session: &Session) -> Result<Exit, Failure> {
    let Some(folder) = session.environment.folder() else {
        return Err(
            Failure::usage("there is nowhere to keep a sign-in").hint("set MAINSPRING_CONFIG, XDG_CONFIG_HOME or HOME")
        );
    };
    let place = Place::find(args.server.as_ref(), session)?;
    session.warn_of_clear_text(&place.address);
    let signed = if args.api_key_stdin {
        with_key(&place, &folder).await?
    } else {
        with_password(&args, &place, &folder, session).await?
    };
    let Signed { subject, saved, until } = signed;
    let credentials = session.environment.shortened(folder.credentials());
    let Place { address, context } = &place;
    let made = if saved.created { "created" } else { "updated" };
    let selected = if saved.current == *context {
        "selected".into()
    } else {
        format!("not selected ({} is); name it with --context {context}", saved.current)
    };
    let until = until.map(|until| format!(", until {}", times::local(until))).unwrap_or_default();
    let text = format!(
        "signed in to {address} as {subject}: kept in {} (0600){until}\ncontext {context} {made} and {selected}\n",
        credentials.display()
    );
    session.out.value(
        &visible::lines(&text),
        &json!({"address": address.to_string(), "subject": subject, "context": context, "selected": saved.current}),
    )?;
    // What is left after a sign-in took the place of a stored key is the environment's.
    if session.settings().is_ok_and(|settings| settings.api_key.is_some())
        && !args.api_key_stdin
        && !session.out.is_for_programs()
    {
        session.out.note("note: MAINSPRING_API_KEY is set, and goes before this sign-in");
    }
    if session.environment.names_a_server() && !session.out.is_for_programs() {
        session.out.note("note: MAINSPRING_ADDRESS is set, and commands go there as long as it is");
    }
    Ok(Exit::Done)
}

/// What came of it.
struct Signed {
    subject: String,
    saved: Saved,
    /// When it ends by itself.
    until: Option<jiff::Timestamp>,
}

/// Which server, and what it is called here.
struct Place {
    address: Address,
    context: String,
}

impl Place {
    /// The server that was named, else the context's; the context that was named, else the one in use where it leads
    /// there, else one that is called like its host.
    fn find(server: Option<&Address>, session: &Session) -> Result<Self, Failure> {
        let named = server.or(session.args.address.as_ref());
        let in_use = match session.settings() {
            Ok(settings) => Some(settings),
            // A context that is to be made does not exist yet.
            Err(_) if named.is_some() => None,
            Err(failure) => return Err(failure),
        };
        let address = named.cloned().or_else(|| in_use.as_ref().map(|settings| settings.address.clone()));
        let address = address.unwrap_or_default();
        if let Some(context) = &session.args.context {
            return Ok(Self { address, context: context.clone() });
        }
        let selected = Settings::load(&GlobalArgs::default(), &session.environment).ok();
        let leads_there = |settings: &Settings| settings.address.is_same_server(&address);
        if let Some(context) = selected.filter(leads_there).and_then(|settings| settings.context) {
            return Ok(Self { address, context });
        }
        let context = name_of(&address);
        let args = GlobalArgs { context: Some(context.clone()), ..GlobalArgs::default() };
        match Settings::load(&args, &session.environment) {
            Ok(settings) if !leads_there(&settings) => {
                Err(Failure::usage(format!("the context {context} leads to {}, not to {address}", settings.address))
                    .hint("choose a name for this one with --context"))
            }
            Ok(_) | Err(_) => Ok(Self { address, context }),
        }
    }
}

/// What a server is called where nobody said: like its host, with its port where that is not the usual one.
fn name_of(address: &Address) -> String {
    let usual = Address::default().port();
    let host = address.host_and_port();
    let host = host.rsplit_once(':').map_or(host.as_str(), |(host, _)| host);
    let local = address.is_same_server(&Address::local(address.port()));
    let host = if local { "local" } else { host.trim_matches(['[', ']']) };
    if address.port() == usual { host.into() } else { format!("{host}-{}", address.port()) }
}

async fn with_key(place: &Place, folder: &Folder) -> Result<Signed, Failure> {
    let key = Lines::read()?.next().map(|line| SecretString::from(line.expose_secret().trim()));
    let key = key.filter(|key| !key.expose_secret().is_empty());
    let key = key.ok_or_else(|| Failure::usage("stdin holds no API key"))?;
    let server = Server::open(&place.address, Some(&key), String::new(), CONNECT_WITHIN).await?;
    let caller = server.auth().get_caller(GetCallerRequest {}).await?.into_inner();
    Kept::new(folder.clone(), place.context.clone()).forget()?;
    let saved = folder.save(&place.context, &place.address.to_string(), &key)?;
    Ok(Signed { subject: caller.subject, saved, until: caller.expire_time.as_ref().and_then(times::from_proto) })
}

async fn with_password(args: &LoginArgs, place: &Place, folder: &Folder, session: &Session) -> Result<Signed, Failure> {
    let Place { address, context } = place;
    let mut lines = if args.password_stdin { Some(Lines::read()?) } else { None };
    let server = Server::open(address, None, String::new(), CONNECT_WITHIN).await?;
    let password = match &mut lines {
        Some(lines) => lines.next().ok_or_else(|| Failure::usage("stdin holds no password"))?,
        None => prompt::hidden(&format!("Password of {} at {}", args.user, address.host_and_port())).await?,
    };
    let request = LoginRequest {
        username: args.user.clone(),
        password: password.expose_secret().to_owned(),
        client_name: concat!("mainspring CLI ", env!("CARGO_PKG_VERSION")).into(),
    };
    let LoginResponse { tokens, password_change_required } = server.auth().login(request).await?.into_inner();
    let sign_in = SignIn::new(address.clone(), args.user.clone(), tokens.unwrap_or_default(), clock::now());
    if password_change_required || args.change_password {
        let signed = server.signed_by(&sign_in.access_token)?;
        if password_change_required && lines.is_none() {
            session.out.note("this password is good once: choose one of your own, of at least 12 bytes");
        }
        change(&signed, &password, lines.as_mut(), session).await?;
    }
    // The context is made with the token that is good now; then both tokens take its place.
    let saved = folder.save(context, &address.to_string(), &sign_in.access_token)?;
    Kept::new(folder.clone(), context.clone()).keep(&sign_in)?;
    Ok(Signed { subject: format!("user:{}", sign_in.user), saved, until: Some(sign_in.session_expires) })
}

/// Puts a new password in the place of the one that was just used.
async fn change(
    server: &Server,
    current: &SecretString,
    mut lines: Option<&mut Lines>,
    session: &Session,
) -> Result<(), Failure> {
    for asked in 1.. {
        let new = match &mut lines {
            Some(lines) => lines.next().ok_or_else(|| {
                Failure::new(Exit::NotAllowed, "PASSWORD_CHANGE_REQUIRED", "the password must be changed, and stdin has no second line")
                    .hint("`mainspring login --password-stdin` takes the password on the first line and the new one on the second")
            })?,
            None => twice().await?,
        };
        let request = ChangePasswordRequest {
            current_password: current.expose_secret().to_owned(),
            new_password: new.expose_secret().to_owned(),
        };
        match server.auth().change_password(request).await.map_err(Failure::from) {
            Err(failure) if failure.reason() == "FIELD_INVALID" && lines.is_none() && asked < ASKED => {
                session.out.failure(&failure);
            }
            done => return done.map(drop),
        }
    }
    Ok(())
}

/// A new password, typed the same twice.
async fn twice() -> Result<SecretString, Failure> {
    let new = prompt::hidden("New password").await?;
    let again = prompt::hidden("New password, once more").await?;
    if new.expose_secret() == again.expose_secret() {
        return Ok(new);
    }
    Err(Failure::usage("the two passwords differ; nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn a_context_is_called_like_its_server() {
        for (address, name) in [
            ("prod.example", "prod.example"),
            ("prod.example:9000", "prod.example-9000"),
            ("127.0.0.1", "local"),
            ("localhost:7421", "local-7421"),
            ("[::1]:7420", "local"),
            ("[2001:db8::7]:7420", "2001:db8::7"),
        ] {
            assert_eq!(name_of(&address.parse().unwrap()), name, "{address}");
        }
    }
}

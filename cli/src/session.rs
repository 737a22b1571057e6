//! What a command is given: where to print, whom to call, as whom.

use std::{convert::Infallible, time::Duration};

use tokio::sync::watch;

use crate::{
    address::Address,
    clock,
    connection::{CONNECT_WITHIN, Server},
    failure::Failure,
    output::Output,
    resource::Listing,
    settings::{Environment, GlobalArgs, Settings},
    sign_in::{Kept, SignIn},
};

/// Between attempts to renew a sign-in while the server is away.
const RETRY: Duration = Duration::from_secs(5);
/// The largest page a server gives.
const LARGEST_PAGE: u32 = 1000;

/// One invocation.
#[derive(Debug)]
pub(crate) struct Session {
    /// Where to print.
    pub out: Output,
    /// What every command takes.
    pub args: GlobalArgs,
    /// The environment.
    pub environment: Environment,
    /// The sign-in in use, once there is one.
    renewing: watch::Sender<Option<Renewing>>,
}

/// A sign-in that has to be renewed for as long as a connection uses it.
#[derive(Clone, Debug)]
struct Renewing {
    server: Server,
    kept: Kept,
    sign_in: SignIn,
}

impl Session {
    pub(crate) fn new(out: Output, args: GlobalArgs, environment: Environment) -> Self {
        Self { out, args, environment, renewing: watch::Sender::new(None) }
    }

    /// Where to call, as whom. Read late: `dev` and `serve` need no context, not even a broken one.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        Settings::load(&self.args, &self.environment)
    }

    /// The server, connected.
    pub(crate) async fn server(&self) -> Result<Server, Failure> {
        let settings = self.settings()?;
        // Where a program reads stderr, nothing but an error may be on it.
        if settings.key_held_back && !self.out.is_for_programs() {
            let context = settings.context.as_deref().unwrap_or_default();
            self.out.note(format!(
                "note: the key of context {context} belongs to another server and is not sent to {}; set MAINSPRING_API_KEY",
                settings.address
            ));
        }
        self.connect(&settings, CONNECT_WITHIN).await
    }

    /// Connects within a time, as whoever the settings say: by an API key, else by the context's sign-in.
    pub(crate) async fn connect(&self, settings: &Settings, within: Duration) -> Result<Server, Failure> {
        let Settings { address, api_key, namespace, context, key_held_back: _ } = settings;
        let kept = match (api_key, context, self.environment.folder()) {
            (None, Some(context), Some(folder)) => Some(Kept::new(folder, context.clone())),
            _ => None,
        };
        let sign_in = match &kept {
            Some(kept) => kept.read()?.filter(|sign_in| sign_in.server.is_same_server(address)),
            None => None,
        };
        if api_key.is_some() || sign_in.is_some() {
            self.warn_of_clear_text(address);
        }
        let server = Server::open(address, api_key.as_ref(), namespace.clone(), within).await?;
        let (Some(kept), Some(sign_in)) = (kept, sign_in) else { return Ok(server) };
        let sign_in = kept.renewed(&server, sign_in, self.out.look().now).await?;
        let server = server.signed_by(&sign_in.access_token)?;
        self.renewing.send_replace(Some(Renewing { server: server.clone(), kept, sign_in }));
        Ok(server)
    }

    /// What everybody on the way can read is said to whoever sends it.
    pub(crate) fn warn_of_clear_text(&self, address: &Address) {
        if !self.out.is_for_programs() && !is_this_machine(address) {
            self.out.note(format!(
                "warning: the credential goes to {address} in clear text, readable on the way; this version has no TLS yet",
            ));
        }
    }

    /// Renews the sign-in in use before it ends, for as long as the command runs. Where that fails the command hears of it
    /// by its next call.
    pub(crate) async fn stay_signed_in(&self) -> Infallible {
        let mut renewing = self.renewing.subscribe();
        let Ok(Some(Renewing { server, kept, mut sign_in })) =
            renewing.wait_for(Option::is_some).await.map(|renewing| renewing.clone())
        else {
            return std::future::pending().await;
        };
        loop {
            clock::pause(sign_in.renew_in(clock::now())).await;
            match kept.renewed(&server, sign_in.clone(), clock::now()).await {
                Ok(renewed) => {
                    server.sign_with(&renewed.access_token);
                    sign_in = renewed;
                }
                Err(failure) if failure.is_passing() => clock::pause(RETRY).await,
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

/// Whether what is sent there leaves this machine: all names of loopback are one server.
fn is_this_machine(address: &Address) -> bool {
    address.is_same_server(&Address::local(address.port()))
}

/// How much of a list to show.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct LimitArgs {
    /// Show at most so many; 0 means all
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 50)]
    pub limit: u32,
}

impl LimitArgs {
    /// Fetches pages until there are enough. The answer's page token is the server's: empty where nothing is left.
    pub(crate) async fn pages<L: Listing>(
        self,
        mut fetch: impl AsyncFnMut(i32, String) -> Result<L, Failure>,
    ) -> Result<L, Failure> {
        let mut all = L::default();
        loop {
            let held = u32::try_from(all.items().len()).unwrap_or(u32::MAX);
            let size = if self.limit == 0 { LARGEST_PAGE } else { (self.limit - held).min(LARGEST_PAGE) };
            let mut page = fetch(i32::try_from(size).unwrap_or(i32::MAX), std::mem::take(all.token())).await?;
            all.items().append(page.items());
            *all.token() = std::mem::take(page.token());
            let enough = self.limit != 0 && all.items().len() >= self.limit as usize;
            if all.token().is_empty() || enough {
                return Ok(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mainspring_proto::scheduler::v1::{ListRunsResponse, Run};

    use super::{LimitArgs, is_this_machine};
    use crate::failure::Failure;

    #[test]
    fn only_loopback_stays_on_this_machine() {
        for (address, stays) in [
            ("127.0.0.1:1", true),
            ("localhost:7420", true),
            ("[::1]:7420", true),
            ("10.0.0.7:7420", false),
            ("box", false),
        ] {
            assert_eq!(is_this_machine(&address.parse().unwrap()), stays, "{address}");
        }
    }

    /// A server with `total` runs and pages of at most 3.
    async fn listed(limit: u32, total: usize) -> (usize, String, usize) {
        let mut calls = 0;
        let response = LimitArgs { limit }
            .pages(async |size, token: String| -> Result<ListRunsResponse, Failure> {
                calls += 1;
                let from: usize = if token.is_empty() { 0 } else { token.parse().unwrap() };
                let to = (from + usize::try_from(size).unwrap().min(3)).min(total);
                let next_page_token = if to < total { to.to_string() } else { String::new() };
                Ok(ListRunsResponse { runs: vec![Run::default(); to - from], next_page_token })
            })
            .await
            .unwrap();
        (response.runs.len(), response.next_page_token, calls)
    }

    #[tokio::test]
    async fn pages_are_fetched_until_there_are_enough() {
        assert_eq!(listed(50, 0).await, (0, String::new(), 1));
        assert_eq!(listed(50, 8).await, (8, String::new(), 3));
        assert_eq!(listed(4, 8).await, (4, "4".into(), 2));
        assert_eq!(listed(8, 8).await, (8, String::new(), 3));
        assert_eq!(listed(0, 10).await, (10, String::new(), 4));
    }
}

//! What a command is given: where to print, whom to call.

use crate::{
    address::Address,
    connection::Server,
    failure::Failure,
    output::Output,
    resource::Listing,
    settings::{Environment, GlobalArgs, Settings},
};

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
}

impl Session {
    /// Where to call, as whom. Read late: `dev` and `serve` need no context, not even a broken one.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        Settings::load(&self.args, &self.environment)
    }

    /// The server, connected.
    pub(crate) async fn server(&self) -> Result<Server, Failure> {
        let settings = self.settings()?;
        // Where a program reads stderr, nothing but an error may be on it.
        if settings.key_held_back && !self.out.is_json() {
            let context = settings.context.as_deref().unwrap_or_default();
            self.out.note(format!(
                "note: the key of context {context} belongs to another server and is not sent to {}; set MAINSPRING_API_KEY",
                settings.address
            ));
        }
        if settings.api_key.is_some() && !self.out.is_json() && !is_this_machine(&settings.address) {
            self.out.note(format!(
                "warning: the credential goes to {} in clear text, readable on the way; this version has no TLS yet",
                settings.address
            ));
        }
        Server::connect(&settings).await
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

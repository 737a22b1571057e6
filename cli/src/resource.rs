//! The messages of the contract that commands print: their names, their columns, their pages.
//!
//! One file per resource holds what a person sees of it; JSON needs nothing but the name.

mod attempt;
mod backfill;
mod calendar;
mod dead;
mod instant;
mod job;
mod key;
mod namespace;
mod queue;
mod run;
mod server;
mod sink;
mod worker;

use mainspring_proto::{auth::v1 as auth, scheduler::v1 as scheduler};

pub(crate) use mainspring_proto::scheduler::v1::{GetServerInfoResponse, TailLogsResponse};

pub(crate) use self::{job::schedule_words, run::state_word, server::mode_word};
use crate::output::Cell;

/// A message of the contract. prost forgets the full name, which is what the descriptors are found by.
pub(crate) trait Message: prost::Message {
    /// Its full name.
    const NAME: &'static str;

    /// What it can be typed as, `kind/name`; empty where it is no thing that has a name.
    fn name(&self) -> String {
        String::new()
    }
}

/// A message that is a row of a list, or a page of its own.
pub(crate) trait Resource: Message {
    /// Headers of a list.
    const COLUMNS: &'static [&'static str];
    /// Headers of what a wide list has more.
    const WIDE: &'static [&'static str] = &[];

    /// Its row, one cell a column.
    fn row(&self) -> Vec<Cell>;

    /// What a wide list has more.
    fn wide(&self) -> Vec<Cell> {
        Vec::new()
    }

    /// Everything a person may want to see of it.
    fn page(&self) -> Vec<(&'static str, Cell)> {
        Self::COLUMNS.iter().copied().zip(self.row()).collect()
    }
}

/// The answer of a List rpc.
pub(crate) trait Listing: Message + Default {
    /// What it lists.
    type Item: Resource;
    /// What it lists, in the plural.
    const NOUN: &'static str;

    /// The items.
    fn items(&mut self) -> &mut Vec<Self::Item>;

    /// Where the next page begins.
    fn token(&mut self) -> &mut String;
}

macro_rules! named {
    ($package:literal: $(
        $module:ident::$message:ident $(= $kind:literal $field:ident)? $(of $inner:ident)?
    ),+ $(,)?) => {$(
        impl Message for $module::$message {
            const NAME: &'static str = concat!($package, ".", stringify!($message));
            $(
                fn name(&self) -> String {
                    // What is only tried out has none yet.
                    if self.$field.is_empty() { String::new() } else { format!(concat!($kind, "/{}"), self.$field) }
                }
            )?
            $(
                fn name(&self) -> String {
                    self.$inner.as_ref().map(Message::name).unwrap_or_default()
                }
            )?
        }
    )+};
}

named! { "mainspring.scheduler.v1":
    scheduler::Job = "job" job,
    scheduler::JobVersion,
    scheduler::Instant,
    scheduler::Backfill = "backfill" backfill_id,
    scheduler::BackfillJobResponse of backfill,
    scheduler::ListBackfillsResponse,
    scheduler::PauseJobResponse,
    scheduler::Calendar = "calendar" calendar,
    scheduler::ListCalendarsResponse,
    scheduler::DeleteCalendarResponse,
    scheduler::Namespace = "namespace" namespace,
    scheduler::Run = "run" run_id,
    scheduler::Attempt,
    scheduler::DeadLetterGroup = "dead" fingerprint,
    scheduler::StoredLogEntry,
    scheduler::Queue = "queue" queue,
    scheduler::Worker = "worker" worker_id,
    scheduler::JobType = "type" job_type,
    scheduler::SchemaAnnouncement,
    scheduler::ListJobsResponse,
    scheduler::ListJobVersionsResponse,
    scheduler::ListInstantsResponse,
    scheduler::ListRunsResponse,
    scheduler::ListAttemptsResponse,
    scheduler::ListDeadLettersResponse,
    scheduler::ResolveDeadLettersResponse,
    scheduler::RedriveDeadLettersResponse,
    scheduler::ListLogsResponse,
    scheduler::ListQueuesResponse,
    scheduler::ListWorkersResponse,
    scheduler::ListJobTypesResponse,
    scheduler::PreviewScheduleResponse,
    scheduler::TailLogsResponse,
    scheduler::DeleteJobResponse,
    scheduler::UpdateJobResponse,
    scheduler::RestoreJobVersionResponse,
    scheduler::ExplainInstantResponse,
    scheduler::GetServerInfoResponse,
    scheduler::Sink = "sink" sink,
    scheduler::Delivery = "delivery" delivery_id,
    scheduler::CreateSinkResponse of sink,
    scheduler::UpdateSinkResponse of sink,
    scheduler::DeleteSinkResponse,
    scheduler::TestSinkResponse,
    scheduler::ListSinksResponse,
    scheduler::ListDeliveriesResponse,
    scheduler::BackupResult,
}

named! { "mainspring.auth.v1":
    auth::ApiKey = "key" key_id,
    auth::CreateApiKeyResponse,
    auth::ListApiKeysResponse,
    auth::GetCallerResponse = "user" subject,
}

macro_rules! lists {
    ($($response:ty: $noun:literal, $items:ident of $item:ty);+ $(;)?) => {$(
        impl Listing for $response {
            type Item = $item;
            const NOUN: &'static str = $noun;

            fn items(&mut self) -> &mut Vec<$item> {
                &mut self.$items
            }

            fn token(&mut self) -> &mut String {
                &mut self.next_page_token
            }
        }
    )+};
}

lists! {
    scheduler::ListJobsResponse: "jobs", jobs of scheduler::Job;
    scheduler::ListJobVersionsResponse: "versions", versions of scheduler::JobVersion;
    scheduler::ListBackfillsResponse: "backfills", backfills of scheduler::Backfill;
    scheduler::ListCalendarsResponse: "calendars", calendars of scheduler::Calendar;
    scheduler::ListSinksResponse: "sinks", sinks of scheduler::Sink;
    scheduler::ListDeliveriesResponse: "deliveries", deliveries of scheduler::Delivery;
    scheduler::ListInstantsResponse: "instants", instants of scheduler::Instant;
    scheduler::ListRunsResponse: "runs", runs of scheduler::Run;
    scheduler::ListAttemptsResponse: "attempts", attempts of scheduler::Attempt;
    scheduler::ListDeadLettersResponse: "dead letters", groups of scheduler::DeadLetterGroup;
    scheduler::ListQueuesResponse: "queues", queues of scheduler::Queue;
    scheduler::ListWorkersResponse: "workers", workers of scheduler::Worker;
    scheduler::ListJobTypesResponse: "job types", job_types of scheduler::JobType;
    auth::ListApiKeysResponse: "API keys", api_keys of auth::ApiKey;
}

/// The name of an enum value without its prefix, in lower case, as filters take it.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

/// A map as `k=v,k=v`.
fn pairs<'a>(map: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    map.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

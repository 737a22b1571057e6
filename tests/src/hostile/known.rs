//! What plausible requests name: things that are there, and values that fields of a name usually have.

use prost_reflect::FieldDescriptor;
use rand::{RngExt as _, rngs::StdRng};
use uuid::Uuid;

use super::nasty;

/// The password of `root`, which is one of these at any time.
pub(super) const PASSWORDS: [&str; 2] = ["correct horse battery", "another horse battery"];

/// A sink that nobody knows who deletes one: what it was told is there to the end.
pub(super) const TOLD: &str = "told";

/// Things that are there, put there for this.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) jobs: Vec<String>,
    /// Jobs that were deleted.
    pub(super) gone: Vec<String>,
    pub(super) calendars: Vec<String>,
    pub(super) sinks: Vec<String>,
    /// What [`TOLD`] was told.
    pub(super) deliveries: Vec<String>,
    pub(super) etags: Vec<String>,
    pub(super) queues: Vec<String>,
    pub(super) runs: Vec<String>,
    pub(super) backfills: Vec<String>,
    pub(super) workers: Vec<String>,
    pub(super) keys: Vec<String>,
    pub(super) page_tokens: Vec<String>,
    pub(super) refresh_tokens: Vec<String>,
    /// A folder of our own: the server writes copies of its database where it is told to.
    pub(super) folder: String,
}

pub(super) fn pick<'a, T: ?Sized>(rng: &mut StdRng, from: &'a [impl AsRef<T>]) -> Option<&'a T> {
    (!from.is_empty()).then(|| from[rng.random_range(0..from.len())].as_ref())
}

impl Known {
    /// What a text of this name might well be.
    pub(super) fn text(&self, field: &FieldDescriptor, rng: &mut StdRng) -> String {
        let one = |rng: &mut StdRng, of: &[String]| pick::<str>(rng, of).unwrap_or_default().to_owned();
        let any = |rng: &mut StdRng, of: &[&str]| pick::<str>(rng, of).unwrap_or_default().to_owned();
        match field.name() {
            // A role holds everywhere so far.
            "namespace" if field.parent_message().name() == "RoleBinding" => String::new(),
            "namespace" => any(rng, &["", "", "default"]),
            // New ones, and those that are there.
            "job" if rng.random_bool(0.5) => format!("job-{}", rng.random_range(0..500)),
            "job" if field.parent_message().name() == "UndeleteJobRequest" => one(rng, &self.gone),
            "job" => one(rng, &self.jobs),
            "calendar" if rng.random_bool(0.5) => format!("calendar-{}", rng.random_range(0..500)),
            "calendar" | "exclude_calendars" | "only_calendars" => one(rng, &self.calendars),
            "sink" if field.parent_message().name() == "RedeliverNoticeRequest" => TOLD.into(),
            "sink" if rng.random_bool(0.3) => format!("sink-{}", rng.random_range(0..500)),
            "sink" => one(rng, &self.sinks),
            "delivery_id" => one(rng, &self.deliveries),
            // Nobody listens there.
            "url" => "https://localhost/hook".into(),
            "secret" => any(rng, &["", "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="]),
            "dates" => any(rng, &["2026-12-25", "2027-01-01"]),
            "yearly_dates" => any(rng, &["12-25", "02-29"]),
            "queue" => one(rng, &self.queues),
            "job_type" => any(rng, &["nobody", "greet", "t.noop"]),
            "run_id" => one(rng, &self.runs),
            "backfill_id" => one(rng, &self.backfills),
            "schedules" => "default".into(),
            "worker_id" => one(rng, &self.workers),
            "worker_instance_id" => {
                Uuid::from_u128((rng.random::<u128>() & !(0xf << 76) & !(3 << 62)) | (7 << 76) | (2 << 62)).to_string()
            }
            "key_id" => one(rng, &self.keys),
            // Those of an earlier state are stale.
            "etag" if rng.random_bool(0.6) => String::new(),
            "etag" => one(rng, &self.etags),
            // Those of another list are refused.
            "page_token" if rng.random_bool(0.8) => String::new(),
            "page_token" => one(rng, &self.page_tokens),
            "cursor" => String::new(),
            "refresh_token" => one(rng, &self.refresh_tokens),
            "username" => "root".into(),
            "password" | "current_password" | "new_password" => any(rng, &PASSWORDS),
            "role" => any(rng, &["admin", "operator", "viewer", "worker"]),
            "cron" => any(rng, &["0 3 * * *", "*/5 * * * *", "@daily", "0 9 * * MON-FRI", "0 0 1 1 *"]),
            "time_zone" => any(rng, &["", "UTC", "Europe/Berlin", "America/New_York", "Pacific/Chatham"]),
            "filter" if is_selection(field) => {
                not_the_honest(any(rng, &["state=QUEUED", "job:kept*", "create_time>now-1h"]))
            }
            "filter" => any(rng, &["", "", "state=QUEUED", "job:kept*", "create_time>now-1h", "name:a*"]),
            "order_by" => any(rng, &["", "", "create_time desc", "name", "job desc"]),
            "request_id" => any(rng, &["", "once", "twice", "again-1", "again-2"]),
            "path" => format!("{}/{}.db", self.folder, rng.random::<u64>()),
            "content_type" => any(rng, &["", "application/json", "text/plain"]),
            "input_schema" | "output_schema" => any(rng, &["", "{}", "{\"type\":\"object\"}"]),
            "reason" => "BROKEN".into(),
            // A map of labels has such an entry.
            "key" => any(rng, &["team", "tier", "a"]),
            _ => any(rng, &["", "a", "text", "nightly-report", "why not"]),
        }
    }

    /// When something of this name might well be, in seconds; none where any day will do.
    pub(super) fn moment(field: &FieldDescriptor, rng: &mut StdRng) -> Option<i64> {
        match (field.parent_message().name(), field.name()) {
            ("BackfillJobRequest", "from_time") => Some(rng.random_range(1_700_000_000..1_740_000_000)),
            ("BackfillJobRequest", "to_time") => Some(rng.random_range(1_740_000_000..1_790_000_000)),
            _ => None,
        }
    }

    /// What a whole number of this name might well be.
    pub(super) fn int(field: &FieldDescriptor, rng: &mut StdRng) -> i64 {
        match field.name() {
            "min_protocol_version" | "max_protocol_version" | "attempt" => 1,
            "max_receive_message_bytes" => 4 << 20,
            "page_size" => rng.random_range(0..100),
            "next_log_offset" | "first_offset" | "dropped_count" => rng.random_range(0..3),
            _ => rng.random_range(1..5),
        }
    }

    /// A text that is nasty where a field of this name is read.
    pub(super) fn nasty_text(field: &FieldDescriptor, rng: &mut StdRng) -> String {
        let own = match field.name() {
            "filter" if is_selection(field) && rng.random_bool(0.5) => return not_the_honest(filter(rng)),
            "filter" if is_selection(field) => {
                return not_the_honest(pick::<str>(rng, nasty::FILTERS).unwrap_or_default());
            }
            "filter" if rng.random_bool(0.5) => return filter(rng),
            "filter" => nasty::FILTERS,
            "cron" => nasty::CRONS,
            "time_zone" => nasty::ZONES,
            "order_by" => nasty::ORDERS,
            _ => nasty::TEXTS,
        };
        let from = if rng.random_bool(0.7) { own } else { nasty::TEXTS };
        pick::<str>(rng, from).unwrap_or_default().to_owned()
    }
}

/// What takes one of these does something to all the runs that it finds.
fn is_selection(field: &FieldDescriptor) -> bool {
    field.parent_message().name() == "RunSelection"
}

/// Who may change all runs may change those of the honest client; that it is served nevertheless, nobody promises.
fn not_the_honest(filter: impl std::fmt::Display) -> String {
    format!("job_type=nobody AND ({filter})")
}

/// Words of filters in no order, or very many of the same.
fn filter(rng: &mut StdRng) -> String {
    if rng.random_bool(0.1) {
        let (before, pile, after) = nasty::FILTER_PILES[rng.random_range(0..nasty::FILTER_PILES.len())];
        let height = [10, 100, 1_000, 10_000, 100_000][rng.random_range(0..5)];
        return format!("{before}{}{after}", pile.repeat(height));
    }
    let words = (0..rng.random_range(1..12)).filter_map(|_| pick::<str>(rng, nasty::FILTER_WORDS));
    words.collect::<Vec<_>>().join(" ")
}

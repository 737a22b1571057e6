//! Every rpc and everything that can be wrong with a call: the table of docs/reference/refusals.md, asked of a server.
//!
//! ```text
//!  COLUMNS (what is wrong, code, reason) × ROWS (a valid request) ── sends ── server ── page
//! ```
//! What a cell sends follows from the contract: a request without an `etag` has no stale one, and one that has it cannot
//! do without the column. A cell says so by itself, except for the few places that a row forgives, with its reason; what
//! is forgiven is sent too, and answered. The page is what was sent and told, so whatever changes there shows in a diff.

use std::fs;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use tonic::Code;

use super::{
    contract::{Place, path, rpc, rpcs},
    raw,
    stage::Told,
    table::{ROWS, Row, STREAM_ROW},
};

#[path = "matrix/ground.rs"]
mod ground;
#[path = "matrix/page.rs"]
mod page;
#[path = "matrix/sends.rs"]
mod sends;

use ground::Ground;
use sends::{Caller, Expected, Sent};

/// What can be wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    NoCredential,
    FalseCredential,
    WrongRole,
    MissingField,
    TooLarge,
    NoText,
    NoJson,
    DeepNest,
    UnknownId,
    StaleEtag,
    ReusedRequestId,
    ForeignPageToken,
    BadFilter,
}

struct Column {
    fault: Fault,
    name: &'static str,
    /// What is sent.
    sent: &'static str,
    code: Code,
    /// The usual one; where it follows from the place, `sends` knows it.
    reason: &'static str,
    /// What the details must say beside it.
    says: &'static [&'static str],
    /// Why a request may have no such fault.
    absent: &'static str,
}

const COLUMNS: [Column; 13] = [
    Column {
        fault: Fault::NoCredential,
        name: "no credential",
        sent: "The call without `authorization`.",
        code: Code::Unauthenticated,
        reason: "TOKEN_MISSING",
        says: &[],
        absent: "Anybody may call it.",
    },
    Column {
        fault: Fault::FalseCredential,
        name: "false credential",
        sent: "A credential that is neither a key nor a token of this server.",
        code: Code::Unauthenticated,
        reason: "TOKEN_INVALID",
        says: &[],
        absent: "Anybody may call it.",
    },
    Column {
        fault: Fault::WrongRole,
        name: "wrong role",
        sent: "The key of a role that does not hold the permission; the cell names the roles.",
        code: Code::PermissionDenied,
        reason: "PERMISSION_MISSING",
        says: &["required_permission"],
        absent: "It needs no permission.",
    },
    Column {
        fault: Fault::MissingField,
        name: "missing field",
        sent: "The request without this field, or with no choice made in it. A worker stream without Hello is told \
               `HELLO_REQUIRED`.",
        code: Code::InvalidArgument,
        reason: "FIELD_INVALID",
        says: &[],
        absent: "No field is required: an empty request is answered.",
    },
    Column {
        fault: Fault::TooLarge,
        name: "too large",
        sent: "A message of 4 MiB and one byte.",
        code: Code::InvalidArgument,
        reason: "PAYLOAD_TOO_LARGE",
        says: &[],
        absent: "",
    },
    Column {
        fault: Fault::NoText,
        name: "no UTF-8",
        sent: "The byte 0xff in this text.",
        code: Code::InvalidArgument,
        reason: "MESSAGE_MALFORMED",
        says: &[],
        absent: "The request has no text.",
    },
    Column {
        fault: Fault::NoJson,
        name: "bad JSON",
        sent: "`{` in bytes that say they are JSON.",
        code: Code::InvalidArgument,
        reason: "FIELD_INVALID",
        says: &[],
        absent: "The request has no JSON.",
    },
    Column {
        fault: Fault::DeepNest,
        name: "200 levels",
        sent: "200 groups of a field that nobody knows; JSON in 200 lists, which is `FIELD_INVALID`.",
        code: Code::InvalidArgument,
        reason: "MESSAGE_MALFORMED",
        says: &[],
        absent: "",
    },
    Column {
        fault: Fault::UnknownId,
        name: "unknown id",
        sent: "A name or an id of the right form that nothing has.",
        code: Code::NotFound,
        reason: "that of the field: `NAMESPACE_NOT_FOUND`, `JOB_NOT_FOUND`, `RUN_NOT_FOUND`, `QUEUE_NOT_FOUND`, \
                 `CALENDAR_NOT_FOUND`, `BACKFILL_NOT_FOUND`, `SINK_NOT_FOUND`, `DELIVERY_NOT_FOUND`, \
                 `WORKER_NOT_FOUND`, `KEY_NOT_FOUND`",
        says: &[],
        absent: "The request names nothing that is in a namespace or has an id.",
    },
    Column {
        fault: Fault::StaleEtag,
        name: "stale etag",
        sent: "An etag that is not the resource's.",
        code: Code::Aborted,
        reason: "ETAG_MISMATCH",
        says: &[],
        absent: "The request has no etag.",
    },
    Column {
        fault: Fault::ReusedRequestId,
        name: "reused request id",
        sent: "Another request under the id of one that was answered.",
        code: Code::AlreadyExists,
        reason: "REQUEST_ID_REUSED",
        says: &[],
        absent: "The request has no `request_id`.",
    },
    Column {
        fault: Fault::ForeignPageToken,
        name: "foreign page token",
        sent: "A token that is made up or changed, is from another list, or from the same one with other arguments.",
        code: Code::InvalidArgument,
        reason: "PAGE_TOKEN_INVALID",
        says: &[],
        absent: "It has no pages.",
    },
    Column {
        fault: Fault::BadFilter,
        name: "bad filter",
        sent: "Filters that cannot be read, or have a field that the list has not.",
        code: Code::InvalidArgument,
        reason: "FILTER_INVALID",
        says: &["column"],
        absent: "It has no filter.",
    },
];

/// What became of a column for an rpc.
enum Cell {
    /// Where something was wrong, each refused.
    Refused(Vec<String>),
    /// Sent, and answered all the same.
    Forgiven(&'static str),
    Absent(&'static str),
}

/// The messages of a request that hold the fields a caller thinks of first: itself, and what it is about.
fn first_fields(request: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let own: Vec<_> = request.fields().collect();
    let inner = own.iter().filter(|field| !field.is_list() && !field.is_map()).filter_map(|field| match field.kind() {
        Kind::Message(message) if message.full_name().starts_with("mainspring.") => Some(message),
        _ => None,
    });
    let inner: Vec<_> = inner.flat_map(|message| message.fields().collect::<Vec<_>>()).collect();
    [own, inner].concat()
}

impl Fault {
    /// Whether a request with this field can have the fault: what `sends` derives in its own way is held against it.
    fn concerns(self, field: &FieldDescriptor) -> bool {
        match self {
            Self::NoCredential | Self::FalseCredential | Self::WrongRole | Self::TooLarge | Self::DeepNest => false,
            Self::MissingField => Place::of(field).required(),
            Self::NoText => field.kind() == Kind::String,
            Self::NoJson => {
                matches!(field.kind(), Kind::Message(message) if message.full_name() == "mainspring.common.v1.Payload")
            }
            Self::UnknownId => {
                ["namespace", "job", "run_id", "backfill_id", "worker_id", "key_id"].contains(&field.name())
            }
            Self::StaleEtag => field.name() == "etag",
            Self::ReusedRequestId => field.name() == "request_id",
            Self::ForeignPageToken => field.name() == "page_token",
            Self::BadFilter => field.name() == "filter",
        }
    }
}

/// Asks, and holds the answer against the column.
async fn ask(ground: &Ground, column: &Column, row: &Row, sent: Sent) -> Result<String, &'static str> {
    let Sent { place, caller, body, expected } = sent;
    let why = format!("{} with {} in `{place}`", row.rpc, column.name);
    let answer = match caller {
        Caller::Usual => ground.stage.answer_to_bytes(row, body).await.map(drop),
        Caller::Other(token) => {
            let answer = raw::first(&ground.stage.server, &path(&rpc(row.rpc)), token, body).await;
            answer.map(drop).map_err(|status| Told::of(&status))
        }
    };
    match (expected, answer) {
        (Expected::Answered(reason), Ok(())) => Err(reason),
        (Expected::Refused { reason, field }, Err(told)) => {
            told.is(column.code, reason, &why);
            assert!(field.is_none_or(|field| told.fields.contains(&field)), "{why}: {told:?}");
            told.says(column.says, &why);
            Ok(place)
        }
        (Expected::Answered(_), Err(told)) => panic!("{why} is not forgiven: {told:?}"),
        (Expected::Refused { .. }, Ok(())) => panic!("{why} was not refused"),
    }
}

async fn cell(ground: &Ground, column: &Column, row: &Row) -> Cell {
    let mut places = Vec::new();
    let mut forgiven = None;
    for sent in sends::of(ground, column, row).await {
        match ask(ground, column, row, sent).await {
            Ok(place) if places.contains(&place) => {}
            Ok(place) => places.push(place),
            Err(why) => forgiven = Some(why),
        }
    }
    match forgiven {
        _ if !places.is_empty() => Cell::Refused(places),
        Some(why) if why == column.absent => Cell::Absent(why),
        Some(why) => Cell::Forgiven(why),
        None => Cell::Absent(column.absent),
    }
}

#[tokio::test]
async fn every_rpc_refuses_in_every_way_as_the_page_says() {
    let ground = Ground::lay().await;
    let mut lines = Vec::new();
    for row in ROWS.iter().chain([&STREAM_ROW]) {
        let rpc = rpc(row.rpc);
        let mut cells = Vec::new();
        for column in &COLUMNS {
            let cell = cell(&ground, column, row).await;
            if let Cell::Absent(why) = &cell {
                let why_not = format!("{} has no cell for {}, for want of a reason", row.rpc, column.name);
                assert!(!why.is_empty(), "{why_not}");
                let fields = first_fields(&rpc.input()).into_iter();
                let odd: Vec<_> = fields.filter(|field| column.fault.concerns(field)).collect();
                assert!(odd.is_empty(), "{} × {} is said not to apply, but: {odd:?}", row.rpc, column.name);
            }
            cells.push(cell);
        }
        lines.push((rpc, cells));
    }
    assert_eq!(lines.len(), rpcs().len());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/refusals.md");
    let page = page::page(&lines);
    if fs::read_to_string(file).unwrap_or_default() != page {
        fs::write(file, page).unwrap();
        panic!("docs/reference/refusals.md was out of date and is written anew: look at what changed, and commit it");
    }
}

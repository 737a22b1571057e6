//! Dead letters: listed by what went wrong, settled, and made again.

use mainspring_engine::{
    domain::{
        dead::{Fingerprint, Resolution, Verdict},
        filter::{Filter, Op, Value},
        instant::Instant,
        run::RunOrigin,
    },
    ports::store::{NewRun, Settled},
};
use mainspring_proto::scheduler::v1 as wire;

use super::{
    bulk::{self, PIECE, TOLD, Wanted, count, full, one_of},
    retry::{Copies, Passes},
    runs::{FIELDS, Made, context, made},
};
use crate::grpc::{
    Api, Call,
    convert::{self, MAX_NOTE},
    filter,
    status::{Reason, Refusal},
};

/// Most dead letters of one call.
const MOST: usize = 100_000;

pub(super) async fn list(
    api: &Api,
    mut request: wire::ListDeadLettersRequest,
) -> Result<wire::ListDeadLettersResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListDeadLettersRequest { namespace, filter: text, page_size: _, page_token: _ } = request;
    let (scope, ()) = api.read(&namespace, |_, _| Some(())).await?;
    let after = turn.place(place)?;
    let typed = filter(&text, FIELDS, turn.asked)?;
    let filter = if names(&typed, "resolution") { typed } else { Filter::And(vec![typed, open()]) };
    let found = api.store().dead_groups(&scope, &filter, after, turn.page().limit).await?;
    let entries = found
        .into_iter()
        .map(|group| (format!("{} {}", group.last.as_micros(), group.fingerprint), convert::run::dead_group(group)));
    let (groups, next_page_token) = turn.cut(entries);
    Ok(wire::ListDeadLettersResponse { groups, next_page_token })
}

/// Where a page ended.
fn place(key: &str) -> Option<(Instant, Fingerprint)> {
    let (last, fingerprint) = key.split_once(' ')?;
    Some((Instant::from_micros(last.parse().ok()?), fingerprint.parse().ok()?))
}

/// Whether a filter says something of a field.
fn names(filter: &Filter, name: &str) -> bool {
    match filter {
        Filter::All => false,
        Filter::And(parts) | Filter::Or(parts) => parts.iter().any(|part| names(part, name)),
        Filter::Not(part) => names(part, name),
        Filter::Test { field, .. } => *field == name,
    }
}

/// What nobody has dealt with.
fn open() -> Filter {
    let value = Value::Number(Resolution::Open.code().into());
    Filter::Test { field: "resolution", op: Op::Equal, value }
}

pub(super) async fn resolve(
    api: &Api,
    call: &Call,
    request: wire::ResolveDeadLettersRequest,
) -> Result<wire::ResolveDeadLettersResponse, Refusal> {
    let wire::ResolveDeadLettersRequest { namespace, selection, resolution, note, expected_count, validate_only } =
        request;
    let (scope, (selection, verdict, note)) = api
        .read(&namespace, |check, _| {
            let selection = check.selection(selection);
            let verdict = check.choice("resolution", resolution, |resolution| {
                Some(match resolution {
                    wire::Resolution::Unspecified | wire::Resolution::Resolved => Ok(Verdict::Resolved),
                    wire::Resolution::Ignored => Ok(Verdict::Ignored),
                    wire::Resolution::Open => Ok(Verdict::Open),
                    wire::Resolution::Redriven => Err("is said by RedriveDeadLetters alone"),
                })
            });
            let verdict = match verdict? {
                Ok(verdict) => Some(verdict),
                Err(why) => {
                    check.refuse("resolution", why);
                    None
                }
            };
            let note = check.text("note", note, MAX_NOTE);
            Some((selection?, verdict?, note))
        })
        .await?;
    let by = Settled { note, actor: call.caller()?.subject() };
    let only = one_of("resolution", verdict.of().iter().map(|resolution| resolution.code()));
    let wanted = Wanted { selection, only, most: MOST, expected: expected_count };
    let found = bulk::find(api, &scope, wanted).await?;
    let mut resolved = 0;
    for piece in found.chunks(PIECE).filter(|_| !validate_only) {
        resolved += api.store().resolve(api.now(), &scope, piece.to_vec(), verdict, by.clone()).await?;
    }
    let resolved_count = i64::try_from(resolved).unwrap_or(i64::MAX);
    Ok(wire::ResolveDeadLettersResponse { count: count(found.len()), resolved_count })
}

pub(super) async fn redrive(
    api: &Api,
    call: &Call,
    request: wire::RedriveDeadLettersRequest,
) -> Result<wire::RedriveDeadLettersResponse, Refusal> {
    let wire::RedriveDeadLettersRequest {
        namespace,
        selection,
        pace,
        note,
        expected_count,
        validate_only,
        force,
        while_paused,
    } = request;
    let (scope, (selection, pace, note)) = api
        .read(&namespace, |check, _| {
            let selection = check.selection(selection);
            let pace = check.length("pace", pace);
            if pace.is_some_and(|pace| pace.is_zero()) {
                check.refuse("pace", "must be longer than 0; leave it out for all at once");
            }
            let note = check.text("note", note, MAX_NOTE);
            Some((selection?, pace.unwrap_or_default(), note))
        })
        .await?;
    let by = Settled { note: note.clone(), actor: call.caller()?.subject() };
    let wanted = Wanted { selection, only: open(), most: MOST, expected: expected_count };
    let found = bulk::find(api, &scope, wanted).await?;
    let mut answer = wire::RedriveDeadLettersResponse { count: count(found.len()), ..Default::default() };
    if validate_only {
        return Ok(answer);
    }
    let context = context(api, call, scope.clone());
    let mut copies = Copies::of(api, &scope, Passes { force, while_paused, waits: true });
    // Counts what is due, so that the pace goes on from piece to piece.
    let mut place = 0_u32;
    let mut left = found.as_slice();
    while !left.is_empty() {
        let (old, done) = full(api, &scope, &left[..left.len().min(PIECE)]).await?;
        left = &left[done..];
        let mut runs = Vec::with_capacity(old.len());
        for old in old {
            let dead = old.run;
            let run = match copies.like(old, note.clone(), None, &context).await {
                Ok(run) => run,
                Err(refusal) if refusal.reason() == Reason::JobPaused => {
                    if answer.refusals.len() < TOLD {
                        answer.refusals.push(bulk::refusal(dead, refusal));
                    }
                    continue;
                }
                Err(refusal) => return Err(refusal),
            };
            let due = context.now.plus(pace.saturating_mul(place));
            place += 1;
            runs.push(NewRun { origin: RunOrigin::Redrive, due, ..run });
        }
        let named: Vec<_> = runs.iter().map(|run| (run.parent, run.job.as_ref().map(|job| job.name.clone()))).collect();
        let answers = api.engine.redrive(runs, by.clone()).await?;
        for ((dead, job), submitted) in named.into_iter().zip(answers) {
            let submitted = match submitted {
                Some(submitted) => Some(made(api, submitted, &scope, job.as_ref()).await),
                None => None,
            };
            match (submitted, dead) {
                (Some(Ok(Made::Now(_) | Made::Before(_))), _) => answer.redriven_count += 1,
                (Some(Err(refusal)), Some(dead)) if answer.refusals.len() < TOLD => {
                    answer.refusals.push(bulk::refusal(dead, refusal));
                }
                // Somebody else has settled it meanwhile, or nobody can be told more.
                (Some(Err(_)) | None, _) => {}
            }
        }
    }
    Ok(answer)
}

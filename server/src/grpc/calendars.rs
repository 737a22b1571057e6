//! Calendars, as `AdminService` serves them: create, get, list, update, delete.

use mainspring_engine::{
    domain::{
        ids::CalendarUid,
        names::{CalendarName, Scope},
    },
    ports::store::{CalendarChange, NewCalendar, UpdateCalendar},
};
use mainspring_proto::scheduler::v1 as wire;

use super::{
    Api, convert,
    status::{Reason, Refusal},
};

/// A change without an etag is made again where somebody else was faster.
const TRIES: usize = 20;

fn shown(scope: &Scope, calendar: mainspring_engine::domain::calendar::NamedCalendar) -> wire::Calendar {
    convert::calendar::calendar(calendar, scope.0.to_string())
}

pub(super) fn missing(name: &CalendarName, scope: &Scope) -> Refusal {
    Refusal::missing(Reason::CalendarNotFound, "calendar", name, &scope.0)
}

fn changed(name: &CalendarName) -> Refusal {
    let message = format!("calendar `{name}` has changed since it was read; read it again");
    Refusal::new(Reason::EtagMismatch, message).about("calendar", name)
}

fn bug() -> Refusal {
    Refusal::bug("a change of a calendar was answered as another")
}

async fn stored(
    api: &Api,
    scope: &Scope,
    name: &CalendarName,
) -> Result<mainspring_engine::domain::calendar::NamedCalendar, Refusal> {
    let found = api.store().calendars_named(scope, std::slice::from_ref(name)).await?.pop();
    found.ok_or_else(|| missing(name, scope))
}

pub(super) async fn create(
    api: &Api,
    request: wire::CreateCalendarRequest,
) -> Result<wire::CreateCalendarResponse, Refusal> {
    let wire::CreateCalendarRequest { namespace, calendar } = request;
    let (scope, (name, spec)) = api
        .read(&namespace, |check, scope| {
            let Some(calendar) = calendar else {
                check.refuse("calendar", "is required");
                return None;
            };
            check.under("calendar", |check| check.calendar(calendar, scope.0.as_str()))
        })
        .await?;
    let new = NewCalendar { scope: scope.clone(), uid: CalendarUid::new(api.now()), name: name.clone(), spec };
    match api.engine.calendars().create(new).await? {
        CalendarChange::Done(calendar) => Ok(wire::CreateCalendarResponse { calendar: Some(shown(&scope, calendar)) }),
        CalendarChange::NameTaken => {
            let message = format!("namespace `{}` has a calendar `{name}`; update it, or choose another name", scope.0);
            Err(Refusal::new(Reason::CalendarAlreadyExists, message).about("calendar", &name))
        }
        CalendarChange::Unchanged(_)
        | CalendarChange::Missing
        | CalendarChange::VersionMismatch
        | CalendarChange::InUse(..) => Err(bug()),
    }
}

pub(super) async fn get(api: &Api, request: wire::GetCalendarRequest) -> Result<wire::GetCalendarResponse, Refusal> {
    let wire::GetCalendarRequest { namespace, calendar } = request;
    let (scope, name) = api.read(&namespace, |check, _| check.required("calendar", &calendar)).await?;
    Ok(wire::GetCalendarResponse { calendar: Some(shown(&scope, stored(api, &scope, &name).await?)) })
}

pub(super) async fn list(
    api: &Api,
    mut request: wire::ListCalendarsRequest,
) -> Result<wire::ListCalendarsResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListCalendarsRequest { namespace, page_size: _, page_token: _ } = request;
    let (scope, ()) = api.read(&namespace, |_, _| Some(())).await?;
    let after = turn.place(|key| key.parse::<CalendarName>().ok())?;
    let found = api.store().calendars(&scope, after, turn.page().limit).await?;
    let entries = found.into_iter().map(|calendar| (calendar.name.to_string(), shown(&scope, calendar)));
    let (calendars, next_page_token) = turn.cut(entries);
    Ok(wire::ListCalendarsResponse { calendars, next_page_token })
}

pub(super) async fn update(
    api: &Api,
    request: wire::UpdateCalendarRequest,
) -> Result<wire::UpdateCalendarResponse, Refusal> {
    let wire::UpdateCalendarRequest { namespace, calendar } = request;
    let etag = calendar.as_ref().map(|calendar| calendar.etag.clone()).unwrap_or_default();
    let (scope, (name, spec)) = api
        .read(&namespace, |check, scope| {
            let Some(calendar) = calendar else {
                check.refuse("calendar", "is required");
                return None;
            };
            check.under("calendar", |check| check.calendar(calendar, scope.0.as_str()))
        })
        .await?;
    let tries = if etag.is_empty() { TRIES } else { 1 };
    for _ in 0..tries {
        let there = stored(api, &scope, &name).await?;
        if !etag.is_empty() && etag != there.version.to_string() {
            break;
        }
        let (scope, name, version) = (scope.clone(), name.clone(), there.version);
        let update = UpdateCalendar { scope: scope.clone(), name: name.clone(), version, spec: spec.clone() };
        match api.engine.calendars().update(update).await? {
            (CalendarChange::Done(calendar), followed) => {
                let updated_jobs = i32::try_from(followed).unwrap_or(i32::MAX);
                return Ok(wire::UpdateCalendarResponse { calendar: Some(shown(&scope, calendar)), updated_jobs });
            }
            (CalendarChange::Unchanged(calendar), _) => {
                let calendar = Some(shown(&scope, calendar));
                return Ok(wire::UpdateCalendarResponse { calendar, updated_jobs: 0 });
            }
            (CalendarChange::Missing, _) => return Err(missing(&name, &scope)),
            (CalendarChange::VersionMismatch, _) => {}
            (CalendarChange::NameTaken | CalendarChange::InUse(..), _) => return Err(bug()),
        }
    }
    Err(changed(&name))
}

pub(super) async fn delete(
    api: &Api,
    request: wire::DeleteCalendarRequest,
) -> Result<wire::DeleteCalendarResponse, Refusal> {
    let wire::DeleteCalendarRequest { namespace, calendar, etag } = request;
    let (scope, name) = api.read(&namespace, |check, _| check.required("calendar", &calendar)).await?;
    let there = stored(api, &scope, &name).await?;
    if !etag.is_empty() && etag != there.version.to_string() {
        return Err(changed(&name));
    }
    let version = (!etag.is_empty()).then_some(there.version);
    match api.engine.calendars().delete(&scope, &name, version).await? {
        CalendarChange::Done(..) => Ok(wire::DeleteCalendarResponse {}),
        CalendarChange::Missing => Err(missing(&name, &scope)),
        CalendarChange::VersionMismatch => Err(changed(&name)),
        CalendarChange::InUse(count, some) => {
            let advice = match some.iter().find(|user| user.is_deleted) {
                Some(deleted) => {
                    format!("; `{}` is deleted, and has to be brought back (UndeleteJob) for that", deleted.job)
                }
                None => String::new(),
            };
            let some = some.iter().map(|user| format!("`{}`", user.job)).collect::<Vec<_>>().join(", ");
            let message = match count {
                1 => format!("calendar `{name}` is used by job {some}; change it first{advice}"),
                _ => format!("calendar `{name}` is used by {count} jobs, {some} among them; change them first{advice}"),
            };
            Err(Refusal::new(Reason::CalendarInUse, message).about("calendar", &name).with("jobs", count))
        }
        CalendarChange::Unchanged(_) | CalendarChange::NameTaken => Err(bug()),
    }
}

//! The calendars that a request's schedules name, read before the request is.

use mainspring_engine::domain::{
    calendar::NamedCalendar,
    names::{CalendarName, Scope},
};
use mainspring_proto::scheduler::v1 as wire;

use crate::grpc::{Api, status::Refusal};

/// Those of them that there are; the check says which are not. Nothing is asked where none is named.
pub(in crate::grpc) async fn named<'a>(
    api: &Api,
    namespace: &str,
    schedules: impl Iterator<Item = &'a wire::Schedule>,
) -> Result<Vec<NamedCalendar>, Refusal> {
    let mut names: Vec<CalendarName> = schedules
        .flat_map(|schedule| schedule.exclude_calendars.iter().chain(&schedule.only_calendars))
        .filter_map(|name| name.parse().ok())
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // A namespace that is none is refused by the check.
    let scope = match namespace {
        "" => Some(Scope::default()),
        namespace => namespace.parse().ok().map(Scope),
    };
    let Some(scope) = scope else { return Ok(Vec::new()) };
    Ok(api.store().calendars_named(&scope, &names).await?)
}

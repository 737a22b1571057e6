//! `calendar`: time that schedules leave out.

use std::{fs, path::PathBuf, str::FromStr};

use clap::{Args, Subcommand};
use mainspring_proto::scheduler::v1::{
    Calendar, CreateCalendarRequest, DayOfWeek, DeleteCalendarRequest, GetCalendarRequest, ListCalendarsRequest,
    UpdateCalendarRequest, WeeklyHours,
};

use super::examples;
use crate::{
    connection::Server,
    exit::Exit,
    failure::Failure,
    named,
    session::{LimitArgs, Session},
};

/// Create, see, change and delete calendars, whose time schedules leave out
#[derive(Debug, Subcommand)]
#[command(before_help = examples![
    "mainspring calendar create weekends --weekly SAT,SUN",
    "mainspring calendar list",
    "mainspring job update demo.hello --exclude-calendar weekends",
])]
pub(crate) enum CalendarCommand {
    /// Create a calendar
    #[command(before_help = examples![
        "mainspring calendar create holidays --yearly 12-25 --date 2027-04-05 --tz Europe/Berlin",
        "mainspring calendar create nights --weekly 'MON,TUE 22:00-' --description 'When nobody is there'",
    ])]
    Create {
        /// Its name, a slug; it is never changed
        #[arg(value_name = "NAME", value_parser = named::calendar)]
        calendar: String,
        #[command(flatten)]
        held: HeldArgs,
    },
    /// List calendars by name
    #[command(before_help = examples!["mainspring calendar list", "mainspring calendar list -o name"])]
    List {
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show what a calendar holds
    #[command(before_help = examples!["mainspring calendar get weekends", "mainspring calendar get holidays -o yaml"])]
    Get {
        /// The calendar
        #[arg(value_parser = named::calendar)]
        calendar: String,
    },
    /// Replace what a calendar holds; what is not named stays, and every job that uses it counts with it at once
    #[command(before_help = examples![
        "mainspring calendar update weekends --weekly FRI,SAT",
        "mainspring calendar update holidays --date 2027-04-05 --date 2027-05-13 -o json",
    ])]
    Update {
        /// The calendar
        #[arg(value_parser = named::calendar)]
        calendar: String,
        #[command(flatten)]
        held: HeldArgs,
        /// Only if it is still this one (`etag` of `calendar get -o json`)
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
    },
    /// Delete a calendar that no job uses
    #[command(before_help = examples!["mainspring calendar delete holidays", "mainspring calendar delete nights -o json"])]
    Delete {
        /// The calendar
        #[arg(value_parser = named::calendar)]
        calendar: String,
        /// Only if it is still this one (`etag` of `calendar get -o json`)
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
    },
}

/// What a calendar holds.
#[derive(Args, Debug)]
pub(crate) struct HeldArgs {
    /// A whole day, for example 2026-12-25; may be repeated. On an update `none` takes them away
    #[arg(long, value_name = "DATE")]
    date: Vec<String>,
    /// A whole day of every year, for example 12-25; may be repeated. On an update `none` takes them away
    #[arg(long, value_name = "MM-DD")]
    yearly: Vec<String>,
    /// Days of every week, whole or from one time to another: SAT,SUN or MON-FRI or 'MON,TUE 22:00-06:00'; may be repeated. On an update `none` takes them away
    #[arg(long, value_name = "DAYS")]
    weekly: Vec<Weekly>,
    /// An iCalendar file, whose events it holds; on an update they take the place of dates and stretches of time
    #[arg(long, value_name = "FILE")]
    ical: Option<PathBuf>,
    /// Whose wall clock its days are of [default: that of the schedule that asks]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// Days of every week as typed.
#[derive(Clone, Debug)]
struct Weekly(Vec<WeeklyHours>);

impl FromStr for Weekly {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "none" {
            return Ok(Self(Vec::new()));
        }
        let (days, hours) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), "-"));
        let Some((from, until)) = hours.trim().split_once('-') else {
            return Err(format!("`{hours}` is no stretch of a day such as 22:00- or 12:00-13:00"));
        };
        let day = |day: &str| {
            Ok(match day.trim().to_ascii_uppercase().as_str() {
                "MON" => DayOfWeek::Monday,
                "TUE" => DayOfWeek::Tuesday,
                "WED" => DayOfWeek::Wednesday,
                "THU" => DayOfWeek::Thursday,
                "FRI" => DayOfWeek::Friday,
                "SAT" => DayOfWeek::Saturday,
                "SUN" => DayOfWeek::Sunday,
                _ => return Err(format!("`{day}` is no day: MON, TUE, WED, THU, FRI, SAT or SUN")),
            })
        };
        let (from, until) = (from.trim(), until.trim());
        let mut held = Vec::new();
        for days in days.split(',') {
            let (first, last) = days.split_once('-').unwrap_or((days, days));
            for day in through(day(first)?, day(last)?) {
                let hours = |day: DayOfWeek, from: &str, until: &str| WeeklyHours {
                    day: day.into(),
                    from: from.into(),
                    until: until.into(),
                };
                // Times of one form sort as they come; one that is no time is for the server to refuse.
                if !until.is_empty() && until < from {
                    held.extend([hours(day, from, ""), hours(after(day), "", until)]);
                } else {
                    held.push(hours(day, from, until));
                }
            }
        }
        Ok(Self(held))
    }
}

/// The day after.
fn after(day: DayOfWeek) -> DayOfWeek {
    match day {
        DayOfWeek::Monday => DayOfWeek::Tuesday,
        DayOfWeek::Tuesday => DayOfWeek::Wednesday,
        DayOfWeek::Wednesday => DayOfWeek::Thursday,
        DayOfWeek::Thursday => DayOfWeek::Friday,
        DayOfWeek::Friday => DayOfWeek::Saturday,
        DayOfWeek::Saturday => DayOfWeek::Sunday,
        DayOfWeek::Unspecified | DayOfWeek::Sunday => DayOfWeek::Monday,
    }
}

/// The days from one to another, over the end of the week where that comes in between.
fn through(first: DayOfWeek, last: DayOfWeek) -> impl Iterator<Item = DayOfWeek> {
    std::iter::successors(Some(first), move |day| (*day != last).then(|| after(*day)))
}

/// What was typed in place of what there is: `none` is nothing.
fn instead(typed: Vec<String>) -> Vec<String> {
    if typed == ["none"] { Vec::new() } else { typed }
}

impl HeldArgs {
    /// Writes what was typed; whether anything was.
    fn write(self, calendar: &mut Calendar) -> Result<bool, Failure> {
        let Self { date, yearly, weekly, ical, tz, description } = self;
        let mut any = false;
        let has_dates = !date.is_empty();
        if has_dates {
            (calendar.dates, any) = (instead(date), true);
        }
        if !yearly.is_empty() {
            (calendar.yearly_dates, any) = (instead(yearly), true);
        }
        if !weekly.is_empty() {
            (calendar.weekly, any) = (weekly.into_iter().flat_map(|Weekly(hours)| hours).collect(), true);
        }
        if let Some(file) = ical {
            let wrong = |error| Failure::usage(format!("--ical {}: {error}", file.display()));
            // What last year's file brought is not what this one says.
            calendar.spans.clear();
            if !has_dates {
                calendar.dates.clear();
            }
            (calendar.ical, any) = (fs::read(&file).map_err(wrong)?, true);
        }
        if let Some(tz) = tz {
            (calendar.time_zone, any) = (tz, true);
        }
        if let Some(description) = description {
            (calendar.description, any) = (description, true);
        }
        Ok(any)
    }
}

pub(super) async fn run(command: CalendarCommand, session: &Session) -> Result<Exit, Failure> {
    let server = session.server().await?;
    let namespace = server.namespace();
    let mut admin = server.admin();
    match command {
        CalendarCommand::Create { calendar, held } => {
            let mut made = Calendar { calendar, ..Calendar::default() };
            held.write(&mut made)?;
            let request = CreateCalendarRequest { namespace, calendar: Some(made) };
            let made = admin.create_calendar(request).await?.into_inner().calendar.unwrap_or_default();
            session.out.did(&format!("calendar/{} created", made.calendar), &made)?;
        }
        CalendarCommand::List { limit } => {
            let pages = limit.pages(async |page_size, page_token| {
                let request = ListCalendarsRequest { namespace: namespace.clone(), page_size, page_token };
                Ok(admin.list_calendars(request).await?.into_inner())
            });
            session.out.list(pages.await?)?;
        }
        CalendarCommand::Get { calendar } => session.out.show(&got(&server, calendar).await?)?,
        CalendarCommand::Update { calendar, held, etag } => {
            let stored = got(&server, calendar).await?;
            let mut changed = Calendar { namespace: String::new(), ..stored };
            if !held.write(&mut changed)? {
                return Err(
                    Failure::usage("nothing is to be changed").hint("name what is; `mainspring help calendar update`")
                );
            }
            changed.etag = etag.unwrap_or(changed.etag);
            let request = UpdateCalendarRequest { namespace, calendar: Some(changed) };
            let answer = admin.update_calendar(request).await?.into_inner();
            let jobs = match answer.updated_jobs {
                1 => "1 job counts with it".to_owned(),
                many => format!("{many} jobs count with it"),
            };
            let calendar = answer.calendar.unwrap_or_default();
            session.out.did(&format!("calendar/{} updated, {jobs}", calendar.calendar), &calendar)?;
        }
        CalendarCommand::Delete { calendar, etag } => {
            let etag = etag.unwrap_or_default();
            let request = DeleteCalendarRequest { namespace, calendar: calendar.clone(), etag };
            let answer = admin.delete_calendar(request).await?.into_inner();
            session.out.did(&format!("calendar/{calendar} deleted"), &answer)?;
        }
    }
    Ok(Exit::Done)
}

async fn got(server: &Server, calendar: String) -> Result<Calendar, Failure> {
    let request = GetCalendarRequest { namespace: server.namespace(), calendar };
    Ok(server.admin().get_calendar(request).await?.into_inner().calendar.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::Weekly;

    #[test]
    fn days_of_the_week_are_whole_or_have_hours() {
        let read = |text: &str| {
            text.parse::<Weekly>().map(|Weekly(hours)| {
                hours.into_iter().map(|hours| (hours.day, hours.from, hours.until)).collect::<Vec<_>>()
            })
        };
        assert_eq!(read("SAT,sun").unwrap(), [(6, String::new(), String::new()), (7, String::new(), String::new())]);
        let whole = |day: i32| (day, String::new(), String::new());
        assert_eq!(read("MON-WED").unwrap(), [whole(1), whole(2), whole(3)]);
        assert_eq!(read("SAT-MON,WED").unwrap(), [whole(6), whole(7), whole(1), whole(3)]);
        let night = [(7, "22:00".into(), String::new()), (1, String::new(), "06:00".into())];
        assert_eq!(read("SUN 22:00-06:00").unwrap(), night);
        assert_eq!(read("MON 22:00-").unwrap(), [(1, "22:00".into(), String::new())]);
        assert_eq!(read("FRI 12:00-13:00").unwrap(), [(5, "12:00".into(), "13:00".into())]);
        assert!(read("SAT 12:00").is_err() && read("XMAS").is_err());
        assert_eq!(read("none").unwrap(), []);
    }
}

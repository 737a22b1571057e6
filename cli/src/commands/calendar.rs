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
    /// A whole day, for example 2026-12-25; may be repeated
    #[arg(long, value_name = "DATE")]
    date: Vec<String>,
    /// A whole day of every year, for example 12-25; may be repeated
    #[arg(long, value_name = "MM-DD")]
    yearly: Vec<String>,
    /// Days of every week, whole or from one time to another: SAT,SUN or 'MON,TUE 22:00-' or 'FRI 12:00-13:00'; may be repeated
    #[arg(long, value_name = "DAYS")]
    weekly: Vec<Weekly>,
    /// An iCalendar file, whose events are added
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
        let (days, hours) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), "-"));
        let Some((from, until)) = hours.trim().split_once('-') else {
            return Err(format!("`{hours}` is no stretch of a day such as 22:00- or 12:00-13:00"));
        };
        let of = |day: &str| {
            let day = match day.trim().to_ascii_uppercase().as_str() {
                "MON" => DayOfWeek::Monday,
                "TUE" => DayOfWeek::Tuesday,
                "WED" => DayOfWeek::Wednesday,
                "THU" => DayOfWeek::Thursday,
                "FRI" => DayOfWeek::Friday,
                "SAT" => DayOfWeek::Saturday,
                "SUN" => DayOfWeek::Sunday,
                _ => return Err(format!("`{day}` is no day: MON, TUE, WED, THU, FRI, SAT or SUN")),
            };
            Ok(WeeklyHours { day: day.into(), from: from.trim().into(), until: until.trim().into() })
        };
        days.split(',').map(of).collect::<Result<_, _>>().map(Self)
    }
}

impl HeldArgs {
    /// Writes what was typed; whether anything was.
    fn write(self, calendar: &mut Calendar) -> Result<bool, Failure> {
        let Self { date, yearly, weekly, ical, tz, description } = self;
        let mut any = false;
        if !date.is_empty() {
            (calendar.dates, any) = (date, true);
        }
        if !yearly.is_empty() {
            (calendar.yearly_dates, any) = (yearly, true);
        }
        if !weekly.is_empty() {
            (calendar.weekly, any) = (weekly.into_iter().flat_map(|Weekly(hours)| hours).collect(), true);
        }
        if let Some(file) = ical {
            let wrong = |error| Failure::usage(format!("--ical {}: {error}", file.display()));
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
        assert_eq!(read("MON 22:00-").unwrap(), [(1, "22:00".into(), String::new())]);
        assert_eq!(read("FRI 12:00-13:00").unwrap(), [(5, "12:00".into(), "13:00".into())]);
        assert!(read("SAT 12:00").is_err() && read("XMAS").is_err());
    }
}

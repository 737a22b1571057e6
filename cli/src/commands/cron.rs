//! `cron`: what a time rule means. By the scheduler's own code, in this process; no server is asked, but for calendars.

use std::str::FromStr;

use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use mainspring_cron::{Cron, Expr, Fire, ParseError, Rule, RuleError, Zone, Zones};
use mainspring_proto::scheduler::v1::{
    DayMatch, DstGap, DstOverlap, PreviewRange, PreviewScheduleRequest, Schedule, schedule,
};
use serde_json::json;

use super::{
    examples,
    refine::{DayMatchArg, GapArg, RepeatArg},
};
use crate::{
    clock,
    exit::Exit,
    failure::Failure,
    output::{Cell, Thing},
    session::Session,
    times::{self, Moment, TimeError},
};

/// How far remarks about clock changes look ahead.
const YEAR: SignedDuration = SignedDuration::from_hours(366 * 24);
/// A server lists no more instants at once.
const MOST_PREVIEWED: u32 = 100;
/// So many clock changes are told.
const CHANGES: usize = 4;

/// Explain cron expressions, without a server
#[derive(Debug, Subcommand)]
#[command(before_help = examples![
    "mainspring cron explain '0 2 * * 1-5' --tz Europe/Berlin",
    "mainspring cron next '*/15 9-17 * * *' -n 3",
])]
pub(crate) enum CronCommand {
    /// Say an expression in English, and what is odd about it
    #[command(before_help = examples![
        "mainspring cron explain '0 2 * * 1-5'",
        "mainspring cron explain '30 2 * * *' --tz Europe/Berlin -o json",
    ])]
    Explain {
        #[command(flatten)]
        rule: RuleArgs,
    },
    /// List the next instants an expression names
    #[command(before_help = examples![
        "mainspring cron next '0 2 * * 1-5' --tz Europe/Berlin",
        "mainspring cron next '0 0 29 2 *' -n 3",
        "mainspring cron next '@hourly' --after 2026-03-29T00:00:00Z -o json",
    ])]
    Next {
        #[command(flatten)]
        rule: RuleArgs,
        /// How many
        #[arg(short = 'n', long, short_alias = 'c', value_name = "N", default_value_t = 10)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
        /// Namespace of --calendar; here -n is how many
        #[arg(id = "namespace", long = "namespace", value_name = "NAME")]
        _namespace: Option<String>,
        /// Instants after this: RFC 3339, or now+1d [default: now]
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        after: Option<After>,
        /// Without what this calendar of the server holds; may be repeated. At most 100 are listed then
        #[arg(long, value_name = "CALENDAR")]
        calendar: Vec<String>,
    },
}

/// A time, as it was typed and as it is meant.
#[derive(Clone, Debug)]
pub(crate) struct After {
    typed: String,
    moment: Moment,
}

impl After {
    fn now() -> Self {
        Self { typed: "now".into(), moment: Moment::FromNow(SignedDuration::ZERO) }
    }
}

impl FromStr for After {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        Ok(Self { typed: text.trim().into(), moment: text.parse()? })
    }
}

/// A rule as it is typed.
#[derive(clap::Args, Debug)]
pub(crate) struct RuleArgs {
    /// 5 fields, 6 with seconds first, or 7 with the year last; or @daily, @hourly …
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    expression: String,
    /// The zone its wall clock is in
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// What becomes of a time that a clock change skips [default: next-valid for an hour written as a number, else skip]
    #[arg(long, value_name = "POLICY")]
    dst_gap: Option<GapArg>,
    /// What becomes of a time that a clock change repeats [default: first for an hour written as a number, else both]
    #[arg(long, value_name = "POLICY")]
    dst_overlap: Option<RepeatArg>,
    /// Whether one or both day fields must match [default: or; and with a + before the day of week]
    #[arg(long, value_name = "MATCH")]
    day_match: Option<DayMatchArg>,
    /// Refuse an expression that does not say how its two day fields count together, as a strict namespace does
    #[arg(long)]
    strict: bool,
}

impl RuleArgs {
    fn read(&self) -> Result<(Expr, Rule, Zone), Failure> {
        let expr = Expr::parse(&self.expression).map_err(|error| self.refused(&error))?;
        let zone = Zone::parse(&self.tz).map_err(|error| {
            Failure::usage(format!("--tz: {error}")).details([("suggestion", error.suggestion.clone())])
        })?;
        let cron = Cron {
            gap: self.dst_gap.map(Into::into),
            overlap: self.dst_overlap.map(Into::into),
            day_match: self.day_match.map(Into::into),
            ..Cron::new(expr.clone())
        };
        let rule = Rule::Cron(cron);
        rule.agrees().map_err(|error| Failure::new(Exit::Usage, "FIELD_INVALID", format!("--day-match: {error}")))?;
        if let Some(lint) = rule.ambiguity().filter(|_| self.strict) {
            let failure = Failure::new(Exit::Usage, "CRON_INVALID", format!("EXPR: {}", lint.message));
            return Err(failure.details([("remark", Some(lint.code.to_string()))]));
        }
        Ok((expr, rule, zone))
    }

    /// The same, as the server takes it.
    fn schedule(&self, exclude_calendars: Vec<String>) -> Schedule {
        Schedule {
            rule: Some(schedule::Rule::Cron(self.expression.clone())),
            time_zone: self.tz.clone(),
            gap: self.dst_gap.map_or(DstGap::Unspecified, DstGap::from).into(),
            overlap: self.dst_overlap.map_or(DstOverlap::Unspecified, DstOverlap::from).into(),
            day_match: self.day_match.map_or(DayMatch::Unspecified, DayMatch::from).into(),
            exclude_calendars,
            ..Schedule::default()
        }
    }

    /// With the same reason and metadata as the server's answer.
    fn refused(&self, error: &ParseError) -> Failure {
        let ParseError { field, column, message: _, suggestion } = error;
        let failure = Failure::new(Exit::Usage, "CRON_INVALID", format!("EXPR: {error}")).details([
            ("field", field.map(|field| field.to_string())),
            ("column", Some(column.to_string())),
            ("suggestion", suggestion.clone()),
        ]);
        failure.at(&self.expression, *column)
    }
}

/// The instants of a rule after another that its calendars leave: the server knows them.
async fn free(session: &Session, schedule: Schedule, after: Timestamp, count: u32) -> Result<Vec<Timestamp>, Failure> {
    let server = session.server().await?;
    let count = i32::try_from(count.min(MOST_PREVIEWED)).unwrap_or_default();
    let request = PreviewScheduleRequest {
        namespace: server.namespace(),
        job: String::new(),
        schedule: Some(schedule),
        range: Some(PreviewRange { after_time: Some(times::to_proto(after)), count, within: None }),
    };
    let found = server.scheduler().preview_schedule(request).await?.into_inner().schedules;
    let instants = found.into_iter().flat_map(|preview| preview.instants);
    Ok(instants.filter_map(|instant| times::from_proto(&instant.time?)).collect())
}

pub(super) async fn run(command: CronCommand, session: &Session) -> Result<Exit, Failure> {
    let now = clock::now();
    match command {
        CronCommand::Explain { rule: typed } => {
            let (expr, rule, zone) = typed.read()?;
            let lints = rule.validate(&zone, now).map_err(|error| {
                let reason = match error {
                    RuleError::NeverFires => "SCHEDULE_NEVER_FIRES",
                    RuleError::DayMatchConflict | _ => "CRON_INVALID",
                };
                Failure::new(Exit::Usage, reason, format!("`{}`: {error}", typed.expression))
            })?;
            let changes = rule.dst_notes(&zone, now, now.saturating_add(YEAR).unwrap_or(now), CHANGES);
            let remarks = lints.iter().map(ToString::to_string).chain(changes.iter().map(ToString::to_string));
            let remarks: Vec<String> = remarks.collect();
            let next = rule.next_after(&zone, now);
            let mut text = format!("{}\n", rule.explain());
            if let Some(next) = next {
                text.push_str(&format!("next: {} ({})\n", local(next, &zone), times::ahead(next, now)));
            }
            remarks.iter().for_each(|remark| text.push_str(&format!("note: {remark}\n")));
            let json = json!({
                "expression": typed.expression, "canonical": expr.to_string(), "timeZone": zone.name(),
                "sentence": rule.explain(), "next": next.map(|next| next.to_string()), "warnings": remarks,
            });
            session.out.value(&text, &json)?;
        }
        CronCommand::Next { rule: typed, count, _namespace: _, after, calendar } => {
            let (expr, rule, zone) = typed.read()?;
            let After { typed: asked, moment } = after.unwrap_or_else(After::now);
            let from = moment.reached(now);
            let fires: Vec<Fire> = if calendar.is_empty() {
                rule.fires(&zone, from, Timestamp::MAX).take(count as usize).collect()
            } else {
                let free = free(session, typed.schedule(calendar), from, count).await?;
                // What clock changes do to an instant is the same whatever else is left out.
                let fire = |at: Timestamp| rule.fires(&zone, at - SignedDuration::from_micros(1), at).next();
                free.into_iter().filter_map(fire).collect()
            };
            if fires.is_empty() {
                let message = format!("`{}` names no instant after {asked}", typed.expression);
                let failure = Failure::new(Exit::Usage, "SCHEDULE_NEVER_FIRES", message);
                let hint = match rule.never_fires(&zone, Timestamp::MIN) {
                    true => "no date has the day, the month and the year that it asks for; look at these fields".into(),
                    false => {
                        format!("what it names has passed, or comes after the end of the calendar, {}", Timestamp::MAX)
                    }
                };
                return Err(failure.hint(hint));
            }
            let facts = [
                ("next", fires.iter().map(|fire| fire.at.to_string()).collect()),
                ("expression", json!(typed.expression)),
                ("canonical", json!(expr.to_string())),
                ("timeZone", json!(zone.name())),
                ("zoneDataVersion", json!(Zones::bundled().version())),
            ];
            let things = fires.iter().map(|fire| shown(fire, &zone, now)).collect();
            session.out.things_with(&facts, "instants", &["TIME", "LOCAL", "AWAY", "NOTE"], things)?;
        }
    }
    Ok(Exit::Done)
}

/// One instant, for people and for programs.
fn shown(fire: &Fire, zone: &Zone, now: Timestamp) -> Thing {
    let note = fire.note.map(|note| note.to_string()).unwrap_or_default();
    let (time, wall) = (fire.at.to_string(), local(fire.at, zone));
    let away = times::ahead(fire.at, now);
    Thing {
        name: String::new(),
        cells: vec![Cell::text(&time), Cell::text(&wall), Cell::text(away), Cell::text(&note)],
        json: json!({"time": time, "localTime": wall, "note": note}),
    }
}

/// As a wall clock there shows it, with its offset.
fn local(instant: Timestamp, zone: &Zone) -> String {
    format!("{}{}", zone.wall_clock(instant), offset(zone.offset(instant).seconds()))
}

fn offset(seconds: i32) -> String {
    let (sign, seconds) = if seconds < 0 { ('-', -seconds) } else { ('+', seconds) };
    format!("{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use mainspring_cron::Zone;
    use serde_json::json;

    use super::{DayMatchArg, GapArg, RepeatArg, RuleArgs, local};

    #[test]
    fn a_wall_clock_is_shown_with_its_offset() {
        let berlin = Zone::parse("Europe/Berlin").unwrap();
        assert_eq!(local("2026-01-05T01:00:00Z".parse().unwrap(), &berlin), "2026-01-05T02:00:00+01:00");
        let kolkata = Zone::parse("Asia/Kolkata").unwrap();
        assert_eq!(local("2026-01-05T01:00:00Z".parse().unwrap(), &kolkata), "2026-01-05T06:30:00+05:30");
        let newfoundland = Zone::parse("America/St_Johns").unwrap();
        assert!(local("2026-01-05T01:00:00Z".parse().unwrap(), &newfoundland).ends_with("-03:30"));
    }

    fn typed(expression: &str, tz: &str) -> RuleArgs {
        RuleArgs {
            expression: expression.into(),
            tz: tz.into(),
            dst_gap: None,
            dst_overlap: None,
            day_match: None,
            strict: false,
        }
    }

    #[test]
    fn how_a_rule_is_meant_changes_what_it_names() {
        let next = |args: &RuleArgs, after: &str| {
            let (_, rule, zone) = args.read().unwrap();
            rule.next_after(&zone, after.parse().unwrap()).unwrap().to_string()
        };
        let args = typed("30 2 * * *", "Europe/Berlin");
        assert_eq!(next(&args, "2026-03-28T12:00:00Z"), "2026-03-29T01:00:00Z");
        let skips = RuleArgs { dst_gap: Some(GapArg::Skip), ..args };
        assert_eq!(next(&skips, "2026-03-28T12:00:00Z"), "2026-03-30T00:30:00Z");
        let last = RuleArgs { dst_overlap: Some(RepeatArg::Last), ..skips };
        assert_eq!(next(&last, "2026-10-24T12:00:00Z"), "2026-10-25T01:30:00Z");
        let friday = RuleArgs { day_match: Some(DayMatchArg::And), ..typed("0 0 13 * FRI", "UTC") };
        assert_eq!(next(&friday, "2026-01-01T00:00:00Z"), "2026-02-13T00:00:00Z");
    }

    #[test]
    fn a_strict_reader_wants_to_know_how_days_count_together() {
        let strict = |expression: &str, day_match| RuleArgs { strict: true, day_match, ..typed(expression, "UTC") };
        let refused = strict("0 0 13 * FRI", None).read().unwrap_err().json();
        assert_eq!(refused["error"]["reason"], "CRON_INVALID");
        assert_eq!(refused["error"]["metadata"]["remark"], "AMBIGUOUS_DAY_FIELDS");
        for clear in
            [strict("0 0 13 * +FRI", None), strict("0 0 13 * FRI", Some(DayMatchArg::Or)), strict("0 0 13 * *", None)]
        {
            assert!(clear.read().is_ok(), "{clear:?}");
        }
        assert!(typed("0 0 13 * FRI", "UTC").read().is_ok());
    }

    #[test]
    fn who_says_and_and_or_is_asked_to_choose() {
        let joined = |day_match| RuleArgs { day_match: Some(day_match), ..typed("0 0 13 * +FRI", "UTC") };
        let refused = joined(DayMatchArg::Or).read().unwrap_err();
        assert_eq!(refused.reason(), "FIELD_INVALID");
        assert!(refused.text().contains("--day-match: the `+`"), "{}", refused.text());
        assert!(joined(DayMatchArg::And).read().is_ok());
    }

    #[test]
    fn what_cannot_be_read_is_pointed_at() {
        let refused = |expression: &str, tz: &str| typed(expression, tz).read().unwrap_err();
        let told = refused("0 99 * * *", "UTC").text();
        assert!(told.contains("column 3") && told.contains("\n  0 99 * * *\n    ^\n"), "{told}");
        let json = refused("0 99 * * *", "UTC").json();
        let error = &json["error"];
        assert_eq!((&error["hint"], &error["metadata"]["column"]), (&json!(""), &json!("3")), "{json}");
        assert!(refused("0 2 * * *", "Europe/Berln").text().contains("Europe/Berlin"));
    }
}

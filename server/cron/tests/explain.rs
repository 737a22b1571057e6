//! Canonical form and English sentence, side by side.

use mainspring_cron::{Anchor, At, Expr, Interval, Rule};

#[test]
fn canonical_forms_and_sentences() {
    let table = [
        ("* * * * *", "* * * * *", "Every minute"),
        ("*/1 0-23 ? 1-12 ?", "* * * * *", "Every minute"),
        ("*/15 * * * *", "*/15 * * * *", "Every 15 minutes"),
        ("0/15 * * * *", "*/15 * * * *", "Every 15 minutes"),
        ("5/15 * * * *", "5-59/15 * * * *", "Every 15th minute from 5 through 59 past every hour"),
        ("17 * * * *", "17 * * * *", "At minute 17 past every hour"),
        ("30,0,0 * * * *", "0,30 * * * *", "At minutes 0 and 30 past every hour"),
        ("10-20 3 * * *", "10-20 3 * * *", "At minutes 10 through 20 past hour 3"),
        ("30 2 * * *", "30 2 * * *", "At 02:30 every day"),
        ("0 9,17 * * *", "0 9,17 * * *", "At 09:00 and 17:00 every day"),
        ("15 30 9 * * *", "15 30 9 * * *", "At 09:30:15 every day"),
        ("0 30 9 * * *", "30 9 * * *", "At 09:30 every day"),
        ("* * * * * *", "* * * * * *", "Every second"),
        ("*/10 * * * * *", "*/10 * * * * *", "Every 10 seconds"),
        ("*/10 5 * * * *", "*/10 5 * * * *", "Every 10 seconds of minute 5 past every hour"),
        ("30 * * * * *", "30 * * * * *", "At second 30 past every minute"),
        ("0 */2 * * *", "0 */2 * * *", "At minute 0 past every 2nd hour"),
        ("0 22-2 * * *", "0 22-2 * * *", "At minute 0 past every hour from 22 through 2"),
        (
            "*/15 9-17 * * mon-fri",
            "*/15 9-17 * * MON-FRI",
            "Every 15 minutes during every hour from 9 through 17 on Monday through Friday",
        ),
        ("* 9 * * *", "* 9 * * *", "Every minute during hour 9"),
        ("30 2,5-7 * * *", "30 2,5-7 * * *", "At minute 30 past hours 2 and 5 through 7"),
        ("0 0 13 * 5", "0 0 13 * FRI", "At 00:00 on day 13 of the month or on Friday"),
        ("0 0 13 * +5", "0 0 13 * +FRI", "At 00:00 on day 13 of the month if that is Friday"),
        ("0 0 1,15 * *", "0 0 1,15 * *", "At 00:00 on day 1 and day 15 of the month"),
        ("0 0 L * *", "0 0 L * *", "At 00:00 on the last day of the month"),
        ("0 0 l-3 * *", "0 0 L-3 * *", "At 00:00 on the day 3 days before the last of the month"),
        ("0 0 15w * *", "0 0 15W * *", "At 00:00 on the weekday nearest day 15 of the month"),
        ("0 0 LW * *", "0 0 LW * *", "At 00:00 on the last weekday of the month"),
        ("0 0 L-2W * *", "0 0 L-2W * *", "At 00:00 on the weekday nearest the day 2 days before the last of the month"),
        ("0 0 */2 * *", "0 0 */2 * *", "At 00:00 on every 2nd day of the month"),
        ("0 0 * * 1#1", "0 0 * * MON#1", "At 00:00 on the 1st Monday of the month"),
        ("0 0 * * 1,3L", "0 0 * * MON,WEDL", "At 00:00 on Monday and the last Wednesday of the month"),
        ("0 9 * * SUN,7,0", "0 9 * * SUN", "At 09:00 on Sunday"),
        ("0 9 * * 5-7", "0 9 * * FRI-SUN", "At 09:00 on Friday through Sunday"),
        ("0 9 * * 0-7", "0 9 * * SUN-SAT", "At 09:00 on Sunday through Saturday"),
        ("0 0 1 1-3 *", "0 0 1 JAN-MAR *", "At 00:00 on day 1 of the month in January through March"),
        ("0 0 0 1 1 ? 2030", "0 0 0 1 JAN * 2030", "At 00:00 on day 1 of the month in January in 2030"),
        ("0 0 0 1 1 ? *", "0 0 1 JAN *", "At 00:00 on day 1 of the month in January"),
        ("@weekly", "0 0 * * SUN", "At 00:00 on Sunday"),
        ("@Hourly", "0 * * * *", "At minute 0 past every hour"),
        ("h H(1-4) * * *", "H H(1-4) * * *", "At one minute of the schedule's own past one of hours 1 through 4"),
        ("H/15 * * * *", "H/15 * * * *", "Every 15 minutes"),
    ];
    for (text, canonical, sentence) in table {
        let expr = Expr::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(expr.to_string(), canonical, "{text}");
        assert_eq!(expr.explain(), sentence, "{text}");
        assert_eq!(Expr::parse(canonical).as_ref(), Ok(&expr), "{text}");
    }
}

#[test]
fn rules_explain_themselves() {
    let table = [
        (
            serde_json::from_str::<Rule>(r#"{"kind":"cron","expr":"30 2 * * *","gap":"SKIP","overlap":"BOTH"}"#)
                .unwrap(),
            "At 02:30 every day; times that a clock change skips do not fire; times that a clock change repeats fire \
             both times",
        ),
        (
            serde_json::from_str(r#"{"kind":"cron","expr":"0 0 13 * FRI","day_match":"AND"}"#).unwrap(),
            "At 00:00 on day 13 of the month if that is Friday",
        ),
        (
            Rule::Interval(Interval::new(5_400_000_000, Anchor::Epoch { phase_us: 0 }).unwrap()),
            "Every 1h30m, counted from 1970-01-01T00:00:00Z",
        ),
        (
            Rule::Interval(Interval::new(60_000_000, Anchor::Start("2026-01-01T00:00:05Z".parse().unwrap())).unwrap()),
            "Every 1m, starting at 2026-01-01T00:00:05Z",
        ),
        (Rule::At(At::new("2026-01-01T00:00:00Z".parse().unwrap())), "Once, at 2026-01-01T00:00:00Z"),
    ];
    for (rule, sentence) in table {
        assert_eq!(rule.explain(), sentence);
    }
}

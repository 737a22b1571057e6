//! Every kind of mistake, with the field, the column and the words its author gets to read.

use mainspring_cron::{Expr, MAX_EXPRESSION_LENGTH};

#[test]
fn mistakes_are_located_and_explained() {
    let table = [
        ("", "column 1: the expression is empty; `0 9 * * *` is every day at 09:00"),
        (
            "* * * *",
            "column 8: expected 5, 6 or 7 fields, found 4; write `minute hour day-of-month month day-of-week`, with seconds first and the year last if needed",
        ),
        (
            "* * * * * * * *",
            "column 15: expected 5, 6 or 7 fields, found 8; write `minute hour day-of-month month day-of-week`, with seconds first and the year last if needed",
        ),
        ("hourly", "column 1: `hourly` is not an expression; did you mean `@hourly`?"),
        ("  Daily", "column 3: `Daily` is not an expression; did you mean `@daily`?"),
        ("midnight", "column 1: `midnight` is not an expression; did you mean `@midnight`?"),
        ("weekly", "column 1: `weekly` is not an expression; did you mean `@weekly`?"),
        ("monthly", "column 1: `monthly` is not an expression; did you mean `@monthly`?"),
        ("yearly", "column 1: `yearly` is not an expression; did you mean `@yearly`?"),
        ("anually", "column 1: `anually` is not an expression; did you mean `@annually`?"),
        (
            "often",
            "column 6: expected 5, 6 or 7 fields, found 1; write `minute hour day-of-month month day-of-week`, with seconds first and the year last if needed",
        ),
        ("0 24 * * *", "hour field, column 3: 24 is out of range 0-23; midnight is hour 0, of the next day"),
        ("60 * * * *", "minute field, column 1: 60 is out of range 0-59; the full hour or minute is 0"),
        ("0 0 0 * *", "day of month field, column 5: 0 is out of range 1-31; the first day is 1; the last day is `L`"),
        ("0 0 32 * *", "day of month field, column 5: 32 is out of range 1-31"),
        ("0 0 1 0 *", "month field, column 7: 0 is out of range 1-12; January is 1"),
        ("0 0 * * 8", "day of week field, column 9: 8 is out of range 0-7; Sunday is 0 or 7, Saturday is 6"),
        ("0 0 0 1 1 ? 1969", "year field, column 13: 1969 is out of range 1970-9999"),
        ("0 0 0 1 1 ? 2030-2026", "year field, column 13: years do not come round again; write `2026-2030`"),
        ("99999999999999999999 * * * *", "minute field, column 1: 99999999999999999999 is out of range 0-59"),
        (
            "*/90 * * * *",
            "minute field, column 3: step 90 is larger than the field, which has 60 values; use an interval rule for longer periods",
        ),
        ("*/0 * * * *", "minute field, column 3: a step of 0 never advances; leave the step out to take every value"),
        ("*/ * * * *", "minute field, column 3: a step is missing here"),
        ("/5 * * * *", "minute field, column 1: a step needs something to step through; write `*/5`"),
        ("*/5/2 * * * *", "minute field, column 3: a range takes one step only"),
        ("1,,2 * * * *", "minute field, column 3: an element of the list is empty; remove the extra comma"),
        ("1,2, * * * *", "minute field, column 5: an element of the list is empty; remove the extra comma"),
        (",1 * * * *", "minute field, column 1: an element of the list is empty; remove the extra comma"),
        ("5- * * * *", "minute field, column 3: the minute is missing here"),
        ("-5 * * * *", "minute field, column 1: the minute is missing here"),
        ("1-2-3 * * * *", "minute field, column 4: the minute must be a number, and \"-\" is none"),
        (
            "*5 * * * *",
            "minute field, column 1: the minute must be a number, and \"*\" is none; `*` stands alone or before a step: `*/5`",
        ),
        ("x * * * *", "minute field, column 1: `x` is not a number"),
        (
            "? * * * *",
            "minute field, column 1: the minute must be a number, and \"?\" is none; `?` stands alone, as day of month or day of week",
        ),
        ("0 0 * * MNO", "day of week field, column 9: `MNO` is not the name of a day of week; did you mean `MON`?"),
        (
            "0 0 * * monday",
            "day of week field, column 9: `monday` is not the name of a day of week; did you mean `MON`?",
        ),
        ("0 0 * SEPT *", "month field, column 7: `SEPT` is not the name of a month; did you mean `SEP`?"),
        (
            "0 0 * FRI *",
            "month field, column 7: `FRI` is not the name of a month; `FRI` belongs in the day of week field",
        ),
        ("0 0 L-0 * *", "day of month field, column 7: `L-0` is the last day itself; write `L`"),
        ("0 0 L-31 * *", "day of month field, column 7: no month has a day 31 days before its last"),
        ("0 0 W * *", "day of month field, column 5: `W` needs a day; write `15W` or `LW`"),
        ("0 0 1-5W * *", "day of month field, column 5: `W` takes one day, not a range; list them: `1W,2W,3W,4W,5W`"),
        ("0 0 32W * *", "day of month field, column 5: 32 is out of range 1-31"),
        ("0 0 1-L * *", "day of month field, column 7: `L` cannot end a range; write `1-31`"),
        ("0 0 L/2 * *", "day of month field, column 5: `L` is a single day and takes no step"),
        (
            "0 0 1,? * *",
            "day of month field, column 7: the day of month must be a number, and \"?\" is none; `?` stands alone, as day of month or day of week",
        ),
        (
            "0 0 * * L",
            "day of week field, column 9: `L` alone is read differently by every cron; write `6L` for the last Saturday, `SAT`, or `L` as day of month",
        ),
        ("0 0 * * 1-3L", "day of week field, column 9: `L` takes one weekday, not a range; list them: `1L,2L,3L`"),
        (
            "0 0 * * FRI-MON#2",
            "day of week field, column 9: `#` takes one weekday, not a range; list them: `5#2,6#2,0#2,1#2`",
        ),
        ("0 0 LW-1 * *", "day of month field, column 5: `W` stands last; write `L-1W`"),
        ("0 0 * * 1#6", "day of week field, column 11: no month has weekday number 6; use 1 to 5"),
        ("0 0 * * 1#0", "day of week field, column 11: no month has weekday number 0; use 1 to 5"),
        ("0 0 * * 1#", "day of week field, column 11: the count after `#` is missing here"),
        ("0 0 * * 5#L", "day of week field, column 11: `#` takes a number from 1 to 5; write `5L`"),
        ("0 0 13 * +", "day of week field, column 11: the day of week is missing here"),
        (
            "0 0 13 * 1,+2",
            "day of week field, column 12: the day of week must be a number, and \"+\" is none; `+` stands once, before the whole day-of-week field",
        ),
        ("H(5) * * * *", "minute field, column 3: `H(…)` needs a range; write `H(a-b)`"),
        ("Hx * * * *", "minute field, column 2: `x` cannot follow `H`; write `H`, `H(a-b)` or `H/s`"),
        ("0 0 0 1 1 ? H", "year field, column 13: `H` would spread over eight thousand years; write the year, or `*`"),
        ("@reboot", "column 1: `@reboot` names no time; submit the job when the program that needs it starts"),
        ("@every 90m", "column 1: `@every` is not cron; use an interval rule: `--every 90m` of `job create`"),
        ("@at 2026-01-01", "column 1: `@at` is not cron; use a one-shot rule, with the instant to run at"),
        ("@dayly", "column 1: `@dayly` is not a known macro; did you mean `@daily`?"),
        ("@daily 5", "column 8: nothing may follow `@daily`"),
        ("TZ=UTC 0 0 * * *", "column 1: `TZ=` is not part of the expression; set the schedule's time zone instead"),
        ("0 0 * * Ⅴ", "column 9: 'Ⅴ' cannot stand in a cron expression; use plain ASCII characters"),
        ("0 0 * *\u{0} *", "column 8: '\\0' cannot stand in a cron expression; use plain ASCII characters"),
    ];
    for (text, message) in table {
        match Expr::parse(text) {
            Err(error) => assert_eq!(error.to_string(), message, "{text}"),
            Ok(expr) => panic!("`{text}` was read as `{expr}`"),
        }
    }
}

#[test]
fn long_input_is_refused_at_the_limit() {
    let long = "1,".repeat(MAX_EXPRESSION_LENGTH);
    let error = Expr::parse(&long).unwrap_err();
    assert_eq!((error.field, error.column), (None, MAX_EXPRESSION_LENGTH + 1));

    let every_minute = (0..60).map(|minute| minute.to_string()).collect::<Vec<_>>().join(",");
    assert!(Expr::parse(&format!("{every_minute} * * * *")).is_ok());
}

#[test]
fn white_space_around_and_between_is_free() {
    assert_eq!(Expr::parse("  0\t9  * * 1 \n"), Expr::parse("0 9 * * MON"));
}

#[test]
fn columns_count_characters_even_in_long_foreign_text() {
    let error = Expr::parse(&"ü".repeat(10_000)).unwrap_err();
    assert_eq!(error.column, 1);
}

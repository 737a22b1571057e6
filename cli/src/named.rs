//! Names as arguments: bare, or with the kind in front as our own output writes them (`run/ID`, `job/NAME`), so that
//! whatever was printed can be typed.

/// The kinds that stand before a name.
const KINDS: [&str; 10] = ["run", "job", "worker", "queue", "key", "type", "calendar", "backfill", "sink", "delivery"];

/// The name of a `kind`, without the kind.
fn of(kind: &str, text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((before, name)) if before == kind => Ok(name.into()),
        Some((other, _)) if KINDS.contains(&other) => Err(format!("this names a {other}, and a {kind} is wanted here")),
        Some(_) | None => Ok(text.into()),
    }
}

macro_rules! kinds {
    ($($kind:ident),+) => {$(
        #[doc = concat!("A ", stringify!($kind), ".")]
        pub(crate) fn $kind(text: &str) -> Result<String, String> {
            of(stringify!($kind), text)
        }
    )+};
}

kinds!(run, job, worker, queue, key, calendar, sink, delivery, dead, backfill);

/// A job type.
pub(crate) fn type_(text: &str) -> Result<String, String> {
    of("type", text)
}

#[cfg(test)]
mod tests {
    use super::{job, run};

    #[test]
    fn what_was_printed_can_be_typed() {
        assert_eq!(run("run/019a"), Ok("019a".into()));
        assert_eq!(run("019a"), Ok("019a".into()));
        assert_eq!(job("job/nightly"), Ok("nightly".into()));
        assert_eq!(job("no/such"), Ok("no/such".into()), "the server says what is wrong with it");
        assert_eq!(run("job/nightly"), Err("this names a job, and a run is wanted here".into()));
    }
}

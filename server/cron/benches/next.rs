//! What a question costs: an ordinary one, a long walk, a change of the clocks, and the worst there are.
#![expect(clippy::unwrap_used, reason = "a benchmark may fail as a test may")]
#![allow(missing_docs, reason = "criterion's macros write functions without")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use mainspring_cron::{Expr, Rule, Zone};

fn next(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("next");
    for (name, expr, zone, after) in [
        ("daily", "0 2 * * *", "UTC", "2026-01-01T00:00:00Z"),
        ("daily_in_a_zone", "0 2 * * *", "Europe/Berlin", "2026-01-01T00:00:00Z"),
        ("over_a_gap", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z"),
        ("leap_day", "0 0 29 2 *", "Europe/Berlin", "2096-03-01T00:00:00Z"),
        ("year_9999", "0 0 0 1 1 ? 9999", "Europe/Berlin", "2026-01-01T00:00:00Z"),
        ("never", "0 0 30 2 *", "Europe/Berlin", "2026-01-01T00:00:00Z"),
    ] {
        let rule = Rule::cron(Expr::parse(expr).unwrap());
        let (zone, after): (_, Timestamp) = (Zone::parse(zone).unwrap(), after.parse().unwrap());
        group.bench_function(name, |bencher| bencher.iter(|| rule.next_after(black_box(&zone), black_box(after))));
    }
    group.finish();
}

fn walk(criterion: &mut Criterion) {
    let (zone, after) = (Zone::parse("Europe/Berlin").unwrap(), "2026-01-01T00:00:00Z".parse().unwrap());
    let rule = Rule::cron(Expr::parse("*/15 * * * *").unwrap());
    let mut group = criterion.benchmark_group("walk");
    group.bench_function("a_year_of_quarters", |bencher| {
        bencher.iter(|| rule.instants(black_box(&zone), after, Timestamp::MAX).take(35_040).last());
    });
    group.bench_function("a_hundred_backwards", |bencher| {
        bencher.iter(|| std::iter::successors(Some(after), |at| rule.prev_before(&zone, *at)).take(100).last());
    });
    group.finish();
}

fn parse(criterion: &mut Criterion) {
    criterion.bench_function("parse", |bencher| {
        bencher.iter(|| Expr::parse(black_box("*/15 9-17 1-7,L-2,15W * +MON-FRI,SUN#2")));
    });
}

criterion_group!(benches, next, walk, parse);
criterion_main!(benches);

//! Events of `tracing` that happen inside a run become lines of its log.
//!
//! An event belongs to the run whose handler is being polled on this thread, or works for it in
//! [`Ctx::spawn_blocking`](crate::Ctx::spawn_blocking); else to the run in whose span it happened, so that tasks the
//! handler started under its span (`.in_current_span()`, `.instrument(…)`) count, too. What is kept, cut and dropped is
//! decided where the lines of [`Ctx::info`](crate::Ctx::info) are; nothing here waits for the network, and a line that
//! was written with `ctx.info` is no event, so nothing is there twice.
//!
//! What the SDK says itself is left out: it is about the worker, and some of it is said while the session's lock is
//! held, which taking a line needs.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    error::Error as StdError,
    fmt::{self, Write as _},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};
use tracing_subscriber::{Layer, layer, registry::LookupSpan};

use crate::ctx::{LogLevel, Reports};

/// No value is written out beyond this; a whole line is no longer anyway.
const MAX_VALUE_BYTES: usize = 16 << 10;
/// The span of a run, and the only one of the SDK's own that its events may be found by.
pub(crate) const SPAN: &str = "run";

thread_local! {
    /// The run that is at work on this thread.
    static CURRENT: RefCell<Option<Arc<dyn Reports>>> = const { RefCell::new(None) };
    /// The SDK is at work for itself on this thread, inside a run: it takes a line, or tells an observer.
    static APART: Cell<bool> = const { Cell::new(false) };
}

/// A layer for your `tracing` subscriber that sends the events of a run to the run's log.
///
/// Events of INFO and above are sent; see [`with_max_level`](Self::with_max_level). Fields are kept by their names, the
/// event's target as `target`.
///
/// ```
/// use tracing_subscriber::{filter::LevelFilter, prelude::*};
///
/// tracing_subscriber::registry()
///     .with(tracing_subscriber::fmt::layer().with_filter(LevelFilter::INFO)) // or everything that libraries trace
///     .with(mainspring_worker::RunLog::new())
///     .init();
/// ```
#[derive(Clone, Debug)]
pub struct RunLog {
    max_level: LevelFilter,
}

impl Default for RunLog {
    fn default() -> Self {
        Self { max_level: LevelFilter::INFO }
    }
}

impl RunLog {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends events up to this level. Mind that the libraries a handler uses have much to say at DEBUG; a filter of its
    /// own (`.with_filter(…)`) can tell them apart.
    #[must_use]
    pub fn with_max_level(mut self, level: impl Into<LevelFilter>) -> Self {
        self.max_level = level.into();
        self
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RunLog {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: layer::Context<'_, S>) {
        let metadata = attributes.metadata();
        if is_ours(metadata) && metadata.name() != SPAN {
            return;
        }
        let current = CURRENT.with_borrow(Clone::clone);
        if let (Some(reports), Some(span)) = (current, context.span(id)) {
            span.extensions_mut().insert(Owner(reports));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: layer::Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > self.max_level || is_ours(metadata) || APART.get() {
            return;
        }
        let by_span = || {
            let mut scope = context.event_scope(event)?;
            scope.find_map(|span| span.extensions().get::<Owner>().map(|Owner(reports)| reports.clone()))
        };
        let Some(reports) = CURRENT.with_borrow(Clone::clone).or_else(by_span) else { return };
        apart(|| {
            let mut line = Line::default();
            event.record(&mut line);
            let Line { message, mut fields } = line;
            fields.entry("target".into()).or_insert_with(|| metadata.target().into());
            reports.log(level(*metadata.level()), message, fields);
        });
    }
}

/// Whose events happen in a span.
struct Owner(Arc<dyn Reports>);

fn is_ours(metadata: &Metadata<'_>) -> bool {
    let krate = metadata.target().split("::").next().unwrap_or_default();
    krate == env!("CARGO_CRATE_NAME")
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        _ => LogLevel::Debug,
    }
}

/// An event, written out.
#[derive(Default)]
struct Line {
    message: String,
    fields: BTreeMap<String, String>,
}

impl Line {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Bounded(String::new());
        // It stops where there is no more room.
        let _ = text.write_fmt(value);
        match field.name() {
            "message" => self.message = text.0,
            name => {
                self.fields.insert(name.into(), text.0);
            }
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn StdError + 'static)) {
        self.put(field, format_args!("{value}"));
    }
}

struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_VALUE_BYTES - self.0.len();
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() <= room { Ok(()) } else { Err(fmt::Error) }
    }
}

/// The events of `work` are no run's, although it happens inside one.
pub(crate) fn apart<T>(work: impl FnOnce() -> T) -> T {
    struct Outer(bool);

    impl Drop for Outer {
        fn drop(&mut self) {
            APART.set(self.0);
        }
    }

    let _outer = Outer(APART.replace(true));
    work()
}

/// Work whose events are the run's, wherever it is polled.
pub(crate) struct Within<F> {
    reports: Arc<dyn Reports>,
    work: Pin<Box<F>>,
}

impl<F> Within<F> {
    pub(crate) fn new(reports: Arc<dyn Reports>, work: F) -> Self {
        Self { reports, work: Box::pin(work) }
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        within(&this.reports, || this.work.as_mut().poll(cx))
    }
}

/// The events of `work` are the run's.
pub(crate) fn within<T>(reports: &Arc<dyn Reports>, work: impl FnOnce() -> T) -> T {
    /// Puts back what was there, even if `work` panics.
    struct Outer(Option<Arc<dyn Reports>>);

    impl Drop for Outer {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }

    let _outer = Outer(CURRENT.replace(Some(reports.clone())));
    work()
}

#[cfg(test)]
mod tests;

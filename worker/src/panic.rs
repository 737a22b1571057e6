//! Catches the panics of handlers, with the place they happened at.
//!
//! A panic's message reaches whoever catches it, its place and backtrace only the panic hook. So the first worker of a
//! process puts a hook in front of the one that is there; it notes both for threads that are inside a handler, and
//! calls the old one in every case.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    cell::{Cell, RefCell},
    future::Future,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind, set_hook, take_hook},
    pin::Pin,
    sync::Once,
    task::{Context, Poll},
};

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static NOTED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught.
pub(crate) struct Panic {
    payload: Box<dyn Any + Send>,
    /// Where it happened, and the backtrace if `RUST_BACKTRACE` asks for one.
    trace: String,
}

impl Panic {
    /// What the panic said, and where it was.
    pub(crate) fn into_parts(self) -> (String, String) {
        // A panic that came through `spawn_blocking` carries its trace in a second envelope.
        let payload = match self.payload.downcast::<Panic>() {
            Ok(inner) => return inner.into_parts(),
            Err(payload) => payload,
        };
        let message = match payload.downcast::<String>() {
            Ok(message) => *message,
            Err(payload) => {
                payload.downcast::<&str>().map_or_else(|_| "panicked".into(), |message| message.to_string())
            }
        };
        (message, self.trace)
    }
}

/// Puts the hook in place, once per process.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if INSIDE.get() {
                NOTED.set(Some(place(info)));
            }
            before(info);
        }));
    });
}

/// Calls `work` and catches its panic, with its place.
pub(crate) fn remember<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    let outer = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(outer);
    result.map_err(|payload| Panic { payload, trace: NOTED.take().unwrap_or_default() })
}

/// Lets a caught panic go on.
pub(crate) fn resume(panic: Panic) -> ! {
    resume_unwind(Box::new(panic))
}

/// A future whose panics are caught.
pub(crate) struct Caught<F>(pub(crate) Pin<Box<F>>);

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match remember(|| self.0.as_mut().poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

fn place(info: &PanicHookInfo<'_>) -> String {
    let mut text = info.location().map(|at| format!("at {at}")).unwrap_or_default();
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        text.push_str(&format!("\n{trace}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Caught, install_hook, remember, resume};

    #[test]
    fn a_panic_is_caught_with_its_message_and_place() {
        install_hook();
        let caught = remember(|| panic!("no {}", "luck")).err().unwrap();
        let (message, trace) = caught.into_parts();
        assert_eq!(message, "no luck");
        assert!(trace.starts_with("at ") && trace.contains("panic.rs"), "{trace}");
    }

    #[tokio::test]
    async fn a_panic_of_another_thread_keeps_its_place() {
        install_hook();
        let outer = Caught(Box::pin(async {
            let inner = remember(|| -> () { panic!("deep") }).err().unwrap();
            resume(inner)
        }));
        let (message, trace) = outer.await.err().unwrap().into_parts();
        assert_eq!(message, "deep");
        assert!(trace.contains("panic.rs"));
    }
}

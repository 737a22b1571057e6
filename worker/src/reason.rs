//! The reasons that this SDK gives to failures itself. Whatever else stands in a failure's `reason` is the handler's own
//! word, by [`JobError::reason`](crate::JobError::reason).

macro_rules! reasons {
    ($($name:ident $about:literal;)+) => {
        $(
            #[doc = $about]
            pub const $name: &str = stringify!($name);
        )+

        /// All of them, each with its sentence.
        pub const ALL: &[(&str, &str)] = &[$(($name, $about)),+];
    };
}

reasons! {
    HANDLER_ERROR "The handler failed, and named no reason of its own.";
    PANIC "The handler panicked; the failure's stack trace says where.";
    PAYLOAD_MISMATCH "The payload is not what the handler takes, and no other attempt would change that: the message names the fields.";
    OUTPUT_TOO_LARGE "The handler's output is larger than the server takes, so it is not kept; the work itself was done.";
    OUTPUT_NOT_JSON "The handler's output cannot be written as JSON; the work itself was done.";
    EXECUTION_TIMEOUT "The attempt ran longer than its execution timeout and was stopped.";
    HANDLER_MISSING "The worker no longer has the handler that it announced.";
    STATE_MISSING "The handler takes a state that the worker was never given, and did not declare it.";
}

//! Why a run stands where it stands, where the platform decided it.
//!
//! The names are part of the contract, and each has a sentence for whoever finds it on a run; the page of reasons in the
//! reference is written from here.

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
    QUEUE_TIMEOUT "It waited for a worker longer than its queue timeout: no worker of its type was connected, none had a free slot, or its queue was paused.";
    TOTAL_TIMEOUT "It was not over within its total timeout, which counts from its creation and includes waits and retries.";
    EXECUTION_TIMEOUT "An attempt ran longer than its execution timeout and was stopped: give it more time, or less to do.";
    LEASE_LOST "Its worker was lost, and a run that may start at most once is not started again: find out how far it came before you retry it.";
    HEARTBEAT_TIMEOUT "Its attempts gave no sign of life for its heartbeat timeout, as often as `max_losses` allows: tell of progress more often, give it more time, or find out where it hangs.";
    WORKER_CRASH_SUSPECTED "Workers were lost while they ran it, as often as `max_losses` allows: it may be what kills them, by its use of memory for example; their own logs say more.";
    UNDISPATCHABLE "Workers handed it back unstarted too often: the log of the server and those of the workers say why, a payload they cannot read for example.";
    WORKER_SHUTDOWN "Its worker was shut down while it ran, and a run that may start at most once is not started again.";
    CANCELLED "Somebody cancelled it; `cancellation` says when and why.";
    WORKER_UNRESPONSIVE "Somebody cancelled it, and its worker did not stop it within the grace period: it may still be running there.";
    OVERLAPPED "A newer run of its job took its place while it waited for another to be over (`overlap`).";
    REPLACED "A newer run took its unique key while it waited (`REPLACE_PENDING`).";
    NEXT_OCCURRENCE_DUE "An attempt failed, and the next would have begun at the next instant of its schedule or later, which `retry_until` does not allow; the run of that instant takes its place.";
    JOB_DELETED "Its job was deleted while it waited.";
}

/// What a reason of the platform means; `None` for those that handlers choose.
pub fn sentence(reason: &str) -> Option<&'static str> {
    ALL.iter().find(|(name, _)| *name == reason).map(|(_, sentence)| *sentence)
}

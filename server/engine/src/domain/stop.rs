//! What becomes of runs of a job that is deleted or paused.

/// What a delete makes of runs that are at workers. Those that wait are cancelled in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Running {
    /// They finish, without further attempts.
    #[default]
    Detach,
    /// They are asked to stop.
    Cancel,
    /// The same, with no more time to stop than the rules of leases demand.
    Terminate,
}

impl Running {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Detach, Self::Cancel, Self::Terminate];

    /// The number that stands for it in columns; none where nothing is to be done.
    pub const fn code(self) -> Option<i32> {
        match self {
            Self::Detach => None,
            Self::Cancel => Some(1),
            Self::Terminate => Some(2),
        }
    }

    /// The one behind a code.
    pub fn from_code(code: Option<i32>) -> Option<Self> {
        Self::ALL.into_iter().find(|running| running.code() == code)
    }
}

/// What a pause makes of runs that are not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Paused {
    /// They go on, with their retries.
    #[default]
    Keep,
    /// Those that wait are cancelled.
    CancelWaiting,
    /// All are: those at workers are asked to stop.
    CancelAll,
}

#[cfg(test)]
mod tests {
    use super::Running;

    #[test]
    fn codes_come_back() {
        for running in Running::ALL {
            assert_eq!(Running::from_code(running.code()), Some(running));
        }
        assert_eq!(Running::from_code(Some(3)), None);
    }
}

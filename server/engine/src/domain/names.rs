//! Names that users choose: parsed once at the rim, cheap to copy afterwards.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::selector::Selector;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// Too long.
    #[error("must be at most 128 characters")]
    TooLong,
    /// A character that names do not have.
    #[error("must match {0}")]
    Shape(&'static str),
}

const SLUG: &str = "[a-z0-9][a-z0-9._-]{0,127}";
const TYPE: &str = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}";

fn check(text: &str, shape: &'static str, upper: bool) -> Result<(), NameError> {
    let plain = |c: u8| c.is_ascii_digit() || c.is_ascii_lowercase() || (upper && c.is_ascii_uppercase());
    match text.as_bytes() {
        [] => Err(NameError::Empty),
        [first, rest @ ..] if plain(*first) && rest.iter().all(|c| plain(*c) || b"._-".contains(c)) => {
            if text.len() > 128 { Err(NameError::TooLong) } else { Ok(()) }
        }
        _ => Err(NameError::Shape(shape)),
    }
}

macro_rules! name {
    ($(#[$meta:meta])* $name:ident, $shape:expr, $upper:expr) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text, $shape, $upper)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name!(
    /// A namespace.
    NamespaceName, SLUG, false
);
name!(
    /// A job's name in its namespace.
    JobName, SLUG, false
);
name!(
    /// A schedule's name in its job.
    ScheduleName, SLUG, false
);
name!(
    /// A calendar's name in its namespace.
    CalendarName, SLUG, false
);
name!(
    /// A sink's name in its namespace.
    SinkName, SLUG, false
);
name!(
    /// A queue's name in its namespace.
    QueueName, SLUG, false
);
name!(
    /// The type that names a worker's handler.
    JobType, TYPE, true
);

/// Why a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// Too long.
    #[error("must be at most 128 bytes")]
    TooLong,
    /// Not to be printed.
    #[error("must not contain control characters")]
    Control,
}

fn check_key(text: &str, may_be_empty: bool) -> Result<(), KeyError> {
    if text.is_empty() && !may_be_empty {
        Err(KeyError::Empty)
    } else if text.len() > 128 {
        Err(KeyError::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(KeyError::Control)
    } else {
        Ok(())
    }
}

macro_rules! key {
    ($(#[$meta:meta])* $name:ident, $may_be_empty:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = KeyError;

            fn from_str(text: &str) -> Result<Self, KeyError> {
                check_key(text, $may_be_empty)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = KeyError;

            fn try_from(text: String) -> Result<Self, KeyError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(key: $name) -> Self {
                key.0.as_ref().into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

key!(
    /// Whose turn it is among runs of one priority. Empty is a key like any other. Keys have the order of their bytes.
    FairnessKey, true
);
key!(
    /// What one run of a namespace holds at a time.
    UniqueKey, false
);
key!(
    /// What so many runs of a namespace are at workers by at once.
    ConcurrencyKey, false
);

impl Default for FairnessKey {
    fn default() -> Self {
        Self("".into())
    }
}

/// The name that stands where none was given.
const DEFAULT: &str = "default";

macro_rules! default_name {
    ($($name:ident),*) => {$(
        impl Default for $name {
            fn default() -> Self {
                Self(DEFAULT.into())
            }
        }
    )*};
}
default_name!(NamespaceName, ScheduleName, QueueName);

/// The namespace a call may touch. Store methods on namespaced rows take one, so that forgetting the namespace is a
/// compile error and not a leak.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Scope(pub NamespaceName);

/// The unit of release: runs of one lane are interchangeable for a worker that handles its type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Whose.
    pub namespace: NamespaceName,
    /// The queue they wait in.
    pub queue: QueueName,
    /// The type that names their handler.
    pub job_type: JobType,
    /// What else a worker must be.
    pub selector: Selector,
}

impl Lane {
    /// The one that waits for any worker of its type.
    pub fn for_all(&self) -> Self {
        Self { selector: Selector::default(), ..self.clone() }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.queue, self.job_type)?;
        if self.selector.is_empty() { Ok(()) } else { write!(f, " on {}", self.selector) }
    }
}

#[cfg(test)]
mod tests {
    use super::{FairnessKey, JobName, JobType, KeyError, NameError, UniqueKey};

    #[test]
    fn names_are_checked_once() {
        assert!("nightly-report.v2_x".parse::<JobName>().is_ok());
        assert!("Email.Send".parse::<JobType>().is_ok());
        assert_eq!("".parse::<JobName>(), Err(NameError::Empty));
        assert_eq!("a".repeat(129).parse::<JobName>(), Err(NameError::TooLong));
        for bad in ["Nightly", "-a", "a b", "a/b", "ä", ".a"] {
            assert!(matches!(bad.parse::<JobName>(), Err(NameError::Shape(_))), "{bad}");
        }
    }

    #[test]
    fn keys_are_printed_texts() {
        for good in ["", "Tenant 7", "ä/ö", &"a".repeat(128)] {
            assert_eq!(good.parse::<FairnessKey>().map(String::from), Ok(good.into()));
        }
        assert_eq!("ä".repeat(65).parse::<FairnessKey>(), Err(KeyError::TooLong));
        assert_eq!("a\nb".parse::<FairnessKey>(), Err(KeyError::Control));
        assert_eq!("".parse::<UniqueKey>(), Err(KeyError::Empty));
        assert_eq!("order 7".parse::<UniqueKey>().map(String::from), Ok("order 7".into()));
    }
}

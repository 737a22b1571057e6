//! Filters of lists as conditions.

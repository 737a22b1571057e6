//! Templates: text in which `${name}` stands for something, and `$$` for a dollar sign. A dollar sign before anything else is
//! itself.
//!
//! What the names are is for those to say who have something to put in: payloads of backfills
//! ([`super::backfill::template`]) and keys of runs ([`super::keyed`]).

/// What a template is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// It stays as it is.
    Text(&'a str),
    /// Something is put in its place.
    Name(&'a str),
}

/// A `${` without its `}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a `${{` has no `}}`; a dollar sign is `$$`")]
pub struct Open;

/// Cuts a text, and tells of each piece in turn.
pub fn cut<'a, E: From<Open>>(text: &'a str, mut tell: impl FnMut(Piece<'a>) -> Result<(), E>) -> Result<(), E> {
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        tell(Piece::Text(&rest[..dollar]))?;
        let after = &rest[dollar + 1..];
        rest = if let Some(after) = after.strip_prefix('$') {
            tell(Piece::Text("$"))?;
            after
        } else if let Some(inner) = after.strip_prefix('{') {
            let (name, after) = inner.split_once('}').ok_or(Open)?;
            tell(Piece::Name(name))?;
            after
        } else {
            tell(Piece::Text("$"))?;
            after
        };
    }
    tell(Piece::Text(rest))
}

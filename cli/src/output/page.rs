//! One object: a field a line. What it does not have is left out.

use comfy_table::{Attribute, Cell as Drawn};

use super::{Cell, Look, table};

/// The fields that are set, under `FIELD` and `VALUE` in a pipe.
pub(super) fn render<N: AsRef<str>>(fields: impl IntoIterator<Item = (N, Cell)>, look: &Look) -> String {
    let set = fields.into_iter().filter(|(_, cell)| cell.shown(look) != "-");
    if !look.terminal {
        let lines = set.map(|(name, cell)| format!("{}\t{}\n", name.as_ref(), cell.shown(look)));
        return std::iter::once("FIELD\tVALUE\n".to_owned()).chain(lines).collect();
    }
    let mut drawn = table::frameless(look);
    for (name, cell) in set {
        let name = Drawn::new(name.as_ref());
        let name = if look.color { name.add_attribute(Attribute::Dim) } else { name };
        drawn.add_row([name, table::drawn(&cell, look)]);
    }
    table::finish(&mut drawn)
}

#[cfg(test)]
mod tests {
    use super::{Cell, Look, render};

    #[test]
    fn a_page_leaves_out_what_is_not_there() {
        let fields = || vec![("job", Cell::text("nightly")), ("pause", Cell::text("")), ("priority", Cell::of(0))];
        let look = Look { terminal: false, color: false, now: jiff::Timestamp::UNIX_EPOCH };
        assert_eq!(render(fields(), &look), "FIELD\tVALUE\njob\tnightly\npriority\t0\n");
        assert_eq!(render(fields(), &Look { terminal: true, ..look }), "job       nightly\npriority  0\n");
    }
}

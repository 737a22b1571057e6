//! Lists: aligned on a terminal, tab-separated with a header in a pipe.

use comfy_table::{Attribute, Cell as Drawn, Color, ContentArrangement, Table};

use super::{Cell, Look, Tone};

/// The rows under their header.
pub(super) fn render(columns: &[&str], rows: Vec<Vec<Cell>>, look: &Look) -> String {
    if look.terminal { aligned(columns, &rows, look) } else { separated(columns, &rows, look) }
}

fn separated(columns: &[&str], rows: &[Vec<Cell>], look: &Look) -> String {
    let mut text = columns.join("\t");
    text.push('\n');
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.shown(look)).collect();
        text.push_str(&cells.join("\t"));
        text.push('\n');
    }
    text
}

fn aligned(columns: &[&str], rows: &[Vec<Cell>], look: &Look) -> String {
    let mut table = frameless(look);
    table.set_header(columns.iter().map(|column| {
        let cell = Drawn::new(column);
        if look.color { cell.add_attribute(Attribute::Dim) } else { cell }
    }));
    for row in rows {
        table.add_row(row.iter().map(|cell| drawn(cell, look)));
    }
    finish(&mut table)
}

/// A table without lines around it. It is never narrowed: a cut id cannot be copied.
pub(super) fn frameless(look: &Look) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if look.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

/// A value with its colour.
pub(super) fn drawn(cell: &Cell, look: &Look) -> Drawn {
    let drawn = Drawn::new(cell.shown(look));
    match cell.tone().filter(|_| look.color) {
        None => drawn,
        Some(Tone::Good) => drawn.fg(Color::Green),
        Some(Tone::Busy) => drawn.fg(Color::Cyan),
        Some(Tone::Bad) => drawn.fg(Color::Red),
        Some(Tone::Quiet) => drawn.add_attribute(Attribute::Dim),
    }
}

/// The lines: two spaces between columns, none around them, colour on the words alone.
pub(crate) fn finish(table: &mut Table) -> String {
    table.style_text_only();
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Cell, Look, Tone, render};

    fn look(terminal: bool) -> Look {
        Look { terminal, color: false, now: "2026-11-21T10:00:00Z".parse().unwrap() }
    }

    fn rows() -> Vec<Vec<Cell>> {
        let instant: Timestamp = "2026-11-21T09:57:00.5Z".parse().unwrap();
        vec![
            vec![Cell::text("a-long-name"), Cell::Word("failed".into(), Tone::Bad), Cell::Time(Some(instant))],
            vec![Cell::text("b"), Cell::text("with\ttab\nand line"), Cell::Time(None)],
        ]
    }

    #[test]
    fn a_pipe_gets_tabs_and_whole_values() {
        let text = render(&["NAME", "STATE", "CREATED"], rows(), &look(false));
        assert_eq!(
            text,
            "NAME\tSTATE\tCREATED\na-long-name\tfailed\t2026-11-21T09:57:00.5Z\nb\twith\\ttab\\nand line\t-\n"
        );
        assert_eq!(render(&["NAME"], vec![], &look(false)), "NAME\n");
    }

    #[test]
    fn a_terminal_gets_columns_and_distances() {
        let text = render(&["NAME", "STATE", "CREATED"], rows(), &look(true));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].find("STATE"), lines[1].find("failed"));
        assert!(lines[0].starts_with("NAME") && lines[1].ends_with("2m ago"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn colour_is_added_only_where_it_is_wanted() {
        let text = render(&["NAME", "STATE", "CREATED"], rows(), &Look { color: true, ..look(true) });
        assert!(text.contains("\u{1b}["), "{text:?}");
    }
}

//! Lists: aligned on a terminal, tab-separated with a header in a pipe.

use comfy_table::{Attribute, Cell as Drawn, Color, ContentArrangement, Table};

use super::{Cell, Look, Tone};

/// The rows under their header.
pub(super) fn render<N: AsRef<str>>(columns: &[N], rows: Vec<Vec<Cell>>, look: &Look) -> String {
    if look.terminal { aligned(columns, &rows, look) } else { separated(columns, &rows, look) }
}

fn separated<N: AsRef<str>>(columns: &[N], rows: &[Vec<Cell>], look: &Look) -> String {
    let mut text = columns.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("\t");
    text.push('\n');
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.shown(look)).collect();
        text.push_str(&cells.join("\t"));
        text.push('\n');
    }
    text
}

fn aligned<N: AsRef<str>>(columns: &[N], rows: &[Vec<Cell>], look: &Look) -> String {
    let mut table = frameless(look);
    table.set_header(columns.iter().map(|column| {
        let cell = Drawn::new(column.as_ref());
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

/// How wide the columns of a list are that goes on line by line.
pub(super) fn widths(headers: &[String], rows: &[Vec<Cell>], look: &Look) -> Vec<usize> {
    let mut widths: Vec<usize> = headers.iter().map(|header| header.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.shown(look).chars().count());
        }
    }
    widths
}

/// One line of it. A value that is wider than its column moves what follows: it is never cut.
pub(super) fn line(cells: &[Cell], widths: &[usize], look: &Look) -> String {
    if !look.terminal {
        let cells: Vec<String> = cells.iter().map(|cell| cell.shown(look)).collect();
        return format!("{}\n", cells.join("\t"));
    }
    let mut text = String::new();
    for (place, cell) in cells.iter().enumerate() {
        let shown = cell.shown(look);
        let room = widths.get(place).copied().unwrap_or(0).saturating_sub(shown.chars().count());
        match cell.tone().filter(|_| look.color) {
            None => text.push_str(&shown),
            Some(tone) => text.push_str(&format!("\u{1b}[{}m{shown}\u{1b}[0m", code(tone))),
        }
        text.push_str(&" ".repeat(room + 2));
    }
    format!("{}\n", text.trim_end())
}

/// The same colours as [`drawn`], where no table is drawn.
fn code(tone: Tone) -> u8 {
    match tone {
        Tone::Good => 32,
        Tone::Busy => 36,
        Tone::Bad => 31,
        Tone::Quiet => 2,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Cell, Look, Tone, line, render, widths};

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
    fn a_line_keeps_to_the_columns_and_is_never_cut() {
        let headers = ["NAME".to_owned(), "STATE".into(), "CREATED".into()];
        let widths = widths(&headers, &rows(), &look(true));
        assert_eq!(widths, [11, 19, 7]);
        let short = [Cell::text("c"), Cell::Word("failed".into(), Tone::Bad), Cell::Time(None)];
        assert_eq!(line(&short, &widths, &look(true)), "c            failed               -\n");
        let colored = line(&short, &widths, &Look { color: true, ..look(true) });
        assert!(colored.contains("\u{1b}[31mfailed\u{1b}[0m               -"), "{colored:?}");
        assert!(
            line(&[Cell::text("longer-than-the-column")], &widths, &look(true)).starts_with("longer-than-the-column")
        );
        assert_eq!(line(&short, &widths, &look(false)), "c\tfailed\t-\n");
    }

    #[test]
    fn colour_is_added_only_where_it_is_wanted() {
        let text = render(&["NAME", "STATE", "CREATED"], rows(), &Look { color: true, ..look(true) });
        assert!(text.contains("\u{1b}["), "{text:?}");
    }
}

//! Aligned columns. On a terminal long cells wrap to its width; elsewhere nothing is cut or wrapped.

use comfy_table::{Attribute, Cell as TableCell, CellAlignment, ContentArrangement, Table, presets};
use corduroy_types::TimestampMs;

use super::{Row, cell::Cell, escape::escaped};
use crate::range::now;

/// The whole table, each line ended and without trailing spaces.
pub(super) fn render<R: Row>(
    rows: &[R],
    wide: bool,
    for_people: bool,
    width: Option<u16>,
    color: bool,
) -> String {
    let shown = |index: usize| R::COLUMNS.get(index).is_some_and(|column| wide || !column.wide_only);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    if for_people && let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    if color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let titles = R::COLUMNS.iter().enumerate().filter(|(index, _)| shown(*index));
    table.set_header(titles.map(|(_, column)| {
        let cell = TableCell::new(column.title);
        if color { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    let now = now();
    for row in rows {
        let cells = row.cells().into_iter().enumerate().filter(|(index, _)| shown(*index));
        table.add_row(cells.map(|(_, cell)| table_cell(&cell, for_people, now)));
    }
    // A column of numbers stays one where some are missing.
    let mut numbers = Vec::new();
    for row in rows {
        let cells = row.cells().into_iter().enumerate().filter(|(index, _)| shown(*index));
        for (index, (_, cell)) in cells.enumerate() {
            match numbers.get_mut(index) {
                Some(number) => *number |= cell.is_number(),
                None => numbers.push(cell.is_number()),
            }
        }
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.get(index).copied().unwrap_or(false) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn table_cell(cell: &Cell, for_people: bool, now: TimestampMs) -> TableCell {
    if for_people { TableCell::new(escaped(&cell.for_people(now))) } else { TableCell::new(cell.plain()) }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;
    use crate::output::{Column, column, wide};

    #[derive(Serialize)]
    struct Sample(&'static str, u64);

    impl Row for Sample {
        const COLUMNS: &'static [Column] = &[column("NAME"), column("SIZE"), wide("MORE")];
        fn name(&self) -> String {
            self.0.to_owned()
        }
        fn cells(&self) -> Vec<Cell> {
            vec![Cell::text(self.0), Cell::Bytes(self.1), Cell::Nothing]
        }
    }

    #[test]
    fn columns_align_by_width_on_screen() {
        let rows = [Sample("日本", 5), Sample("ab", 1_048_576)];
        assert_eq!(render(&rows, false, false, None, false), "NAME     SIZE\n日本        5\nab    1048576\n");
        assert_eq!(
            render(&rows, false, true, Some(80), false),
            "NAME     SIZE\n日本      5 B\nab    1.0 MiB\n"
        );
        assert!(render(&rows, true, false, None, false).starts_with("NAME     SIZE  MORE\n"));
        assert_eq!(render::<Sample>(&[], false, false, None, false), "NAME  SIZE\n");
    }

    #[test]
    fn control_characters_are_escaped_on_a_terminal() {
        let rows = [Sample("\u{1b}[2J\u{202e}x", 1)];
        assert!(render(&rows, false, true, Some(80), false).contains("\\x1b[2J\\u{202e}x"));
    }

    #[test]
    fn nothing_is_cut_without_a_terminal() {
        let long: &'static str = "x123456789".repeat(50).leak();
        assert!(render(&[Sample(long, 1)], false, false, Some(20), false).contains(long));
    }
}

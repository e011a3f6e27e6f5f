//! Columns of text for a terminal.

use std::fmt;

/// A heading and rows; a column of numbers is set to the right.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(heading: &[&str; N]) -> Self {
        Self { rows: vec![heading.map(str::to_owned)] }
    }

    pub(super) fn row(&mut self, row: [String; N]) {
        self.rows.push(row);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        let number = |column: usize| {
            let mut cells =
                self.rows.iter().skip(1).map(|row| &row[column]).filter(|cell| *cell != "-").peekable();
            cells.peek().is_some()
                && cells.all(|cell| cell.starts_with(|c: char| c.is_ascii_digit()) && !cell.contains('-'))
        };
        let numbers: [bool; N] = std::array::from_fn(number);
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                line.push_str(&if numbers[column] {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                });
                line.push_str("  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A size in bytes for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut shown, mut unit) = (bytes, None);
    let mut rest = 0;
    for name in UNITS {
        if shown < 1024 {
            break;
        }
        rest = shown % 1024 * 10 / 1024;
        shown /= 1024;
        unit = Some(name);
    }
    match unit {
        None => format!("{bytes} B"),
        Some(unit) => format!("{shown}.{rest} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_lines_end_with_their_text() {
        let mut table = Table::new(&["module", "rows", "note"]);
        table.row(["orders".into(), "7".into(), String::new()]);
        table.row(["inventory".into(), "1200".into(), "of 2026-01-01".into()]);
        assert_eq!(
            table.to_string(),
            "module     rows  note\norders        7\ninventory  1200  of 2026-01-01\n"
        );
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_572_864, "1.5 MiB"), (1 << 42, "4.0 TiB")]
        {
            assert_eq!(size(bytes), shown);
        }
    }
}

//! Values as an archive has them: in the form of the database that they come from.
//!
//! On SQLite a value is of one of five classes, whatever its column is declared as. Integers and text stand as they are in JSON, the others as an object that says
//! what they are. On PostgreSQL a value is the text that the server writes for it and reads back without loss.

use serde_json::Value;

use super::sum::{hex, unhex};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    /// Text of SQLite that is not UTF-8.
    Raw(Vec<u8>),
    Blob(Vec<u8>),
}

/// Writes a row as a line of an archive, without its end: one row has one text.
pub(crate) fn write(cells: &[Cell], out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match cell {
            Cell::Null => out.extend_from_slice(b"null"),
            Cell::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Cell::Real(number) => out.extend_from_slice(format!("{{\"real\":\"{number:?}\"}}").as_bytes()),
            Cell::Text(text) => {
                serde_json::to_writer(&mut *out, text).expect("text can be written to memory");
            }
            Cell::Raw(bytes) => out.extend_from_slice(format!("{{\"text\":\"{}\"}}", hex(bytes)).as_bytes()),
            Cell::Blob(bytes) => out.extend_from_slice(format!("{{\"blob\":\"{}\"}}", hex(bytes)).as_bytes()),
        }
    }
    out.push(b']');
}

/// Reads a row; `None` if it is not one.
pub(crate) fn read(line: &[u8]) -> Option<Vec<Cell>> {
    let Ok(Value::Array(values)) = serde_json::from_slice(line) else { return None };
    values.into_iter().map(cell).collect()
}

fn cell(value: Value) -> Option<Cell> {
    match value {
        Value::Null => Some(Cell::Null),
        Value::Number(number) => number.as_i64().map(Cell::Int),
        Value::String(text) => Some(Cell::Text(text)),
        Value::Object(one) => {
            let (class, text) = one.iter().next()?;
            match (class.as_str(), text.as_str()?) {
                ("real", text) => text.parse().ok().map(Cell::Real),
                ("text", text) => unhex(text).map(Cell::Raw),
                ("blob", text) => unhex(text).map(Cell::Blob),
                _ => None,
            }
        }
        Value::Bool(_) | Value::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_went() {
        let cells = vec![
            Cell::Null,
            Cell::Int(i64::MIN),
            Cell::Int(i64::MAX),
            Cell::Real(0.1 + 0.2),
            Cell::Real(-0.0),
            Cell::Real(f64::INFINITY),
            Cell::Real(f64::MIN_POSITIVE / 3.0),
            Cell::Text("stone \"\\ \u{1} \u{1f600}".to_owned()),
            Cell::Raw(vec![0xff, 0]),
            Cell::Blob(vec![]),
        ];
        let mut line = Vec::new();
        write(&cells, &mut line);
        let back = read(&line).unwrap();
        assert_eq!(back, cells);
        let mut again = Vec::new();
        write(&back, &mut again);
        assert_eq!(again, line);
    }

    #[test]
    fn what_is_not_a_row_is_refused() {
        for line in [
            "",
            "{}",
            "[true]",
            "[1.5]",
            "[[]]",
            "[{\"blob\":\"0\"}]",
            "[{\"x\":\"\"}]",
            "[18446744073709551615]",
        ] {
            assert_eq!(read(line.as_bytes()), None, "{line}");
        }
    }
}

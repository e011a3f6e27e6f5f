//! Values on their way from one database to the other.
//!
//! The rule is that of the module's code: a Rust type that it writes on one database and reads on the other is the same value. So what `rusqlite` and
//! `postgres-types` make of a type decides, and the column's type on PostgreSQL, which is the stricter of the two, says which type it is.

use rusqlite::ToSql;
use rusqlite::types::{FromSql, ToSqlOutput, Value, ValueRef};
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};
use uuid::Uuid;

use super::cell::Cell;
use super::json;
use super::sum::{hex, unhex};

/// What a column of PostgreSQL holds, as far as SQLite keeps it in another form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Single,
    Double,
    Text,
    Bytes,
    Uuid,
    Moment,
    Local,
    Date,
    Clock,
    Json,
    /// A type that no column of a module that runs on both has: its text is kept.
    Other,
}

type Converted = Result<Cell, String>;

impl Kind {
    /// The kind of a type's name, as `format_type` gives it.
    pub(crate) fn of(name: &str) -> Self {
        match name.split('(').next().unwrap_or_default().trim_end() {
            "boolean" => Self::Bool,
            "smallint" | "integer" | "bigint" => Self::Int,
            "real" => Self::Single,
            "double precision" => Self::Double,
            "text" | "character varying" | "character" | "name" => Self::Text,
            "bytea" => Self::Bytes,
            "uuid" => Self::Uuid,
            "timestamp with time zone" => Self::Moment,
            "timestamp without time zone" => Self::Local,
            "date" => Self::Date,
            "time without time zone" => Self::Clock,
            "json" | "jsonb" => Self::Json,
            // A precision stands in the middle of these two.
            "timestamp" if name.ends_with("with time zone") => Self::Moment,
            "timestamp" => Self::Local,
            "time" if name.ends_with("without time zone") => Self::Clock,
            _ => Self::Other,
        }
    }

    /// A value of SQLite as PostgreSQL reads it.
    ///
    /// # Errors
    /// What keeps it from being the same value there.
    pub(crate) fn to_postgres(self, cell: &Cell) -> Converted {
        let text = match (self, cell) {
            (_, Cell::Null) => return Ok(Cell::Null),
            (Self::Bool, Cell::Int(0)) => "false".to_owned(),
            (Self::Bool, Cell::Int(1)) => "true".to_owned(),
            (Self::Int | Self::Other, Cell::Int(number)) => number.to_string(),
            (Self::Double | Self::Other, Cell::Real(number)) => double(*number),
            (Self::Single, Cell::Real(number)) => double(single(*number)?),
            (Self::Text | Self::Other, Cell::Text(text)) => text.clone(),
            (Self::Bytes, Cell::Blob(bytes)) => format!("\\x{}", hex(bytes)),
            (Self::Uuid, Cell::Blob(bytes)) => Uuid::from_slice(bytes).map_err(said)?.to_string(),
            (Self::Uuid, Cell::Text(text)) => text.parse::<Uuid>().map_err(said)?.to_string(),
            // The driver looks behind the eighth byte of a moment without asking whether there is one.
            (Self::Moment, Cell::Text(text)) if text.len() > 10 && text.is_ascii() => moment(read(cell)?)?,
            (Self::Moment, Cell::Int(_)) => moment(read(cell)?)?,
            (Self::Local, Cell::Text(_)) => local(read(cell)?)?,
            (Self::Date, Cell::Text(_)) => read::<Date>(cell)?.to_string(),
            (Self::Clock, Cell::Text(_)) => clock(read(cell)?)?,
            (Self::Json, Cell::Int(_) | Cell::Real(_) | Cell::Text(_)) => json::canonical(&read(cell)?),
            _ => return Err(format!("{} is no {self:?}", shown(cell))),
        };
        if text.contains('\0') || self == Self::Json && text.contains("\\u0000") {
            return Err("PostgreSQL keeps no text with the character U+0000".to_owned());
        }
        Ok(Cell::Text(text))
    }

    /// A value of PostgreSQL as SQLite keeps it, in a column declared as `declared`.
    ///
    /// # Errors
    /// What keeps it from being the same value there.
    pub(crate) fn to_sqlite(self, cell: &Cell, declared: &str) -> Converted {
        let Cell::Text(text) = cell else {
            return if *cell == Cell::Null {
                Ok(Cell::Null)
            } else {
                Err(format!("{} is no text", shown(cell)))
            };
        };
        match self {
            Self::Bool => match text.as_str() {
                "true" => Ok(Cell::Int(1)),
                "false" => Ok(Cell::Int(0)),
                _ => Err(format!("{text:?} is no boolean")),
            },
            Self::Int => text.parse().map(Cell::Int).map_err(said),
            Self::Single => text.parse::<f32>().map_err(said).and_then(|number| real(number.into())),
            Self::Double => text.parse().map_err(said).and_then(real),
            Self::Bytes => text
                .strip_prefix("\\x")
                .and_then(unhex)
                .map(Cell::Blob)
                .ok_or_else(|| format!("{text:?} is no bytea")),
            Self::Uuid if declared.to_ascii_lowercase().contains("text") => Ok(cell.clone()),
            Self::Uuid => {
                text.parse::<Uuid>().map(|uuid| Cell::Blob(uuid.into_bytes().to_vec())).map_err(said)
            }
            // PostgreSQL writes an offset of whole hours, and in UTC it is one, without its minutes.
            Self::Moment if text.len() > 10 => {
                written(&read::<OffsetDateTime>(&Cell::Text(format!("{text}:00")))?)
            }
            Self::Moment => Err(format!("SQLite keeps no moment {text:?}")),
            Self::Local => written(&read::<PrimitiveDateTime>(cell)?),
            Self::Date => written(&read::<Date>(cell)?),
            Self::Clock => written(&read::<Time>(cell)?),
            Self::Json => {
                let value = written(&serde_json::from_str::<serde_json::Value>(text).map_err(said)?)?;
                Ok(if prefers_integers(declared) { whole(value) } else { value })
            }
            Self::Text | Self::Other => Ok(cell.clone()),
        }
    }

    /// The one form of a value that PostgreSQL may write in several.
    pub(crate) fn canonical(self, cell: Cell) -> Cell {
        let Cell::Text(text) = &cell else { return cell };
        match self {
            Self::Single => text.parse::<f32>().map_or(cell, |number| Cell::Text(double(number.into()))),
            Self::Double => text.parse().map_or(cell, |number| Cell::Text(double(number))),
            Self::Json => {
                serde_json::from_str(text).map_or(cell, |value| Cell::Text(json::canonical(&value)))
            }
            _ => cell,
        }
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A value as it is named in an error: its class only, for the value may be nobody's business.
fn shown(cell: &Cell) -> &'static str {
    match cell {
        Cell::Null => "null",
        Cell::Int(_) => "an integer",
        Cell::Real(_) => "a real",
        Cell::Text(_) => "a text",
        Cell::Raw(_) => "a text that is not UTF-8",
        Cell::Blob(_) => "a blob",
    }
}

/// What the module's code would read from SQLite.
fn read<T: FromSql>(cell: &Cell) -> Result<T, String> {
    let value = match cell {
        Cell::Null => ValueRef::Null,
        Cell::Int(number) => ValueRef::Integer(*number),
        Cell::Real(number) => ValueRef::Real(*number),
        Cell::Text(text) => ValueRef::Text(text.as_bytes()),
        Cell::Raw(bytes) => ValueRef::Text(bytes),
        Cell::Blob(bytes) => ValueRef::Blob(bytes),
    };
    T::column_result(value).map_err(said)
}

/// What the module's code would write to SQLite.
fn written(value: &impl ToSql) -> Converted {
    match value.to_sql().map_err(said)? {
        ToSqlOutput::Owned(Value::Null) | ToSqlOutput::Borrowed(ValueRef::Null) => Ok(Cell::Null),
        ToSqlOutput::Owned(Value::Integer(number)) => Ok(Cell::Int(number)),
        ToSqlOutput::Owned(Value::Real(number)) => Ok(Cell::Real(number)),
        ToSqlOutput::Owned(Value::Text(text)) => Ok(Cell::Text(text)),
        _ => Err("it has no form there".to_owned()),
    }
}

fn real(number: f64) -> Converted {
    if number.is_nan() {
        return Err("SQLite keeps no NaN".to_owned());
    }
    // It has one zero, the positive one.
    Ok(Cell::Real(if number == 0.0 { 0.0 } else { number }))
}

/// Whether SQLite keeps a real without a fraction as an integer in a column declared so: its rules of affinity.
fn prefers_integers(declared: &str) -> bool {
    let declared = declared.to_ascii_uppercase();
    let says = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    says(&["INT"])
        || !(declared.is_empty() || says(&["CHAR", "CLOB", "TEXT", "BLOB", "REAL", "FLOA", "DOUB", "ANY"]))
}

fn whole(cell: Cell) -> Cell {
    match cell {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what has no fraction and is smaller than 2^63 is exact"
        )]
        Cell::Real(number) if number.fract() == 0.0 && number.abs() < 9.223_372_036_854_775e18 => {
            Cell::Int(number as i64)
        }
        other => other,
    }
}

fn single(number: f64) -> Result<f64, String> {
    #[expect(clippy::cast_possible_truncation, reason = "what does not survive it is refused")]
    let short = number as f32;
    if f64::from(short).to_bits() == number.to_bits() {
        Ok(number)
    } else {
        Err("it has more digits than a real of PostgreSQL keeps".to_owned())
    }
}

fn double(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    format!("{number:?}")
}

/// The text of a moment as PostgreSQL writes it in UTC.
fn moment(at: OffsetDateTime) -> Result<String, String> {
    let at = at.to_offset(UtcOffset::UTC);
    Ok(format!("{}+00", local(PrimitiveDateTime::new(at.date(), at.time()))?))
}

fn local(at: PrimitiveDateTime) -> Result<String, String> {
    Ok(format!("{} {}", at.date(), clock(at.time())?))
}

fn clock(at: Time) -> Result<String, String> {
    if !at.nanosecond().is_multiple_of(1000) {
        return Err("PostgreSQL keeps times to the microsecond".to_owned());
    }
    let whole = at.format(format_description!("[hour]:[minute]:[second]")).map_err(said)?;
    if at.microsecond() == 0 {
        return Ok(whole);
    }
    Ok(format!("{whole}.{:06}", at.microsecond()).trim_end_matches('0').to_owned())
}

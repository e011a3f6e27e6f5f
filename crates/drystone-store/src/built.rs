//! Statements that sea-query built: their values, bound on both databases.

use std::fmt;

use postgres_types::private::BytesMut;
use postgres_types::{IsNull, ToSql, Type, WrongType, to_sql_checked};
use rusqlite::Statement;
use rusqlite::types::ToSqlOutput;
use sea_query::{Value, Values};
use serde_json::Value as Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::params::Params;

/// The values of a statement that sea-query built. Build with `PostgresQueryBuilder`: SQLite understands the same text.
///
/// ```ignore
/// let (sql, values) = Query::select().column(Items::Sku).from(Items::Table).limit(10).build(PostgresQueryBuilder);
/// let rows: Vec<(String,)> = tx.query(&sql).bind(Built::from(values)).all().await?;
/// ```
///
/// They are of the types of [`crate::Column`]; an integer fits every integer column that is wide enough. Others, such as enums, arrays and dates without an offset, are
/// refused when the statement runs.
#[derive(Clone, Debug, Default)]
pub struct Built(Vec<BuiltValue>);

impl From<Values> for Built {
    fn from(values: Values) -> Self {
        Self(values.0.into_iter().map(BuiltValue::from).collect())
    }
}

#[derive(Clone, Debug)]
enum BuiltValue {
    Null,
    Bool(bool),
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
    Uuid(Uuid),
    Time(OffsetDateTime),
    Json(Box<Json>),
    Refused(Refused),
}

/// A value that the databases do not share a type for.
#[derive(Clone, Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a value of a column type; see drystone_store::Column", self.0)
    }
}

impl std::error::Error for Refused {}

impl From<Value> for BuiltValue {
    fn from(value: Value) -> Self {
        let integer = |n: Option<i64>| n.map_or(Self::Null, Self::Integer);
        match value {
            Value::Bool(v) => v.map_or(Self::Null, Self::Bool),
            Value::TinyInt(v) => integer(v.map(Into::into)),
            Value::SmallInt(v) => integer(v.map(Into::into)),
            Value::Int(v) => integer(v.map(Into::into)),
            Value::BigInt(v) => integer(v),
            Value::TinyUnsigned(v) => integer(v.map(Into::into)),
            Value::SmallUnsigned(v) => integer(v.map(Into::into)),
            Value::Unsigned(v) => integer(v.map(Into::into)),
            // `limit` and `offset` come as these.
            Value::BigUnsigned(Some(v)) => {
                i64::try_from(v).map_or_else(|_| Self::Refused(Refused(v.to_string())), Self::Integer)
            }
            Value::Float(v) => v.map_or(Self::Null, |v| Self::Real(v.into())),
            Value::Double(v) => v.map_or(Self::Null, Self::Real),
            Value::String(v) => v.map_or(Self::Null, Self::Text),
            Value::Char(v) => v.map_or(Self::Null, |v| Self::Text(v.into())),
            Value::Bytes(v) => v.map_or(Self::Null, Self::Bytes),
            Value::Uuid(v) => v.map_or(Self::Null, Self::Uuid),
            Value::TimeDateTimeWithTimeZone(v) => v.map_or(Self::Null, Self::Time),
            Value::Json(v) => v.map_or(Self::Null, Self::Json),
            Value::BigUnsigned(None) => Self::Null,
            other => Self::Refused(Refused(format!("{other:?}"))),
        }
    }
}

impl ToSql for BuiltValue {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Bool(v) => v.to_sql_checked(ty, out),
            Self::Integer(v) if *ty == Type::INT2 => i16::try_from(*v)?.to_sql(ty, out),
            Self::Integer(v) if *ty == Type::INT4 => i32::try_from(*v)?.to_sql(ty, out),
            Self::Integer(v) => v.to_sql_checked(ty, out),
            Self::Real(v) => v.to_sql_checked(ty, out),
            Self::Text(v) => v.to_sql_checked(ty, out),
            Self::Bytes(v) => v.to_sql_checked(ty, out),
            Self::Uuid(v) => v.to_sql_checked(ty, out),
            Self::Time(v) => v.to_sql_checked(ty, out),
            Self::Json(v) => v.as_ref().to_sql_checked(ty, out),
            Self::Refused(_) => Err(Box::new(WrongType::new::<Self>(ty.clone()))),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl rusqlite::ToSql for BuiltValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Null => Ok(ToSqlOutput::from(rusqlite::types::Null)),
            Self::Bool(v) => rusqlite::ToSql::to_sql(v),
            Self::Integer(v) => rusqlite::ToSql::to_sql(v),
            Self::Real(v) => rusqlite::ToSql::to_sql(v),
            Self::Text(v) => rusqlite::ToSql::to_sql(v),
            Self::Bytes(v) => rusqlite::ToSql::to_sql(v),
            Self::Uuid(v) => rusqlite::ToSql::to_sql(v),
            Self::Time(v) => rusqlite::ToSql::to_sql(v),
            Self::Json(v) => rusqlite::ToSql::to_sql(v.as_ref()),
            Self::Refused(v) => Err(rusqlite::Error::ToSqlConversionFailure(Box::new(v.clone()))),
        }
    }
}

impl Params for Built {
    const COUNT: usize = 0;

    fn count(&self) -> usize {
        self.0.len()
    }

    fn bind_sqlite(&self, statement: &mut Statement<'_>) -> rusqlite::Result<()> {
        for (at, value) in self.0.iter().enumerate() {
            statement.raw_bind_parameter(format!("${}", at + 1).as_str(), value)?;
        }
        Ok(())
    }

    fn bind_postgres<'p>(&'p self, values: &mut Vec<&'p (dyn ToSql + Sync)>) {
        values.extend(self.0.iter().map(|value| value as &(dyn ToSql + Sync)));
    }
}

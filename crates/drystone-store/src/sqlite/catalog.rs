//! The tables of a file, as an archive sees them.

use rusqlite::Connection;

use super::schema::Kind;
use crate::archive::{Column, RECORDS, Table, groups, is_platform, number_of};

/// The tables of a file, those first that others refer to; or the name of one that cannot be copied row by row.
pub(crate) fn tables(db: &Connection, kind: Kind) -> rusqlite::Result<Result<Vec<Found>, String>> {
    let mut list = db.prepare(
        "select name, type from pragma_table_list where schema = 'main' and type in ('table', 'virtual') and name not like 'sqlite\\_%' escape '\\'",
    )?;
    let list = list.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let list: Vec<(String, String)> = list.collect::<rusqlite::Result<_>>()?;
    if let Some((name, _)) = list.iter().find(|(_, class)| class == "virtual") {
        return Ok(Err(name.clone()));
    }
    let names: Vec<String> =
        list.into_iter().map(|(name, _)| name).filter(|name| !is_platform(name)).collect();
    let mut references = Vec::new();
    for name in &names {
        let mut keys = db.prepare("select \"table\" from pragma_foreign_key_list($1)")?;
        for to in keys.query_map([name], |row| row.get::<_, String>(0))? {
            // A foreign key may spell the table with other letter case.
            let to = to?;
            references.extend(
                names
                    .iter()
                    .filter(|name| name.eq_ignore_ascii_case(&to))
                    .map(|to| (name.clone(), to.clone())),
            );
        }
    }
    groups(&names, &references)
        .into_iter()
        .flatten()
        .map(|name| Found::read(db, kind, name))
        .collect::<rusqlite::Result<_>>()
        .map(Ok)
}

/// A table of a file.
pub(crate) struct Found {
    pub(crate) table: Table,
    /// The columns that rows are told apart by.
    order: Vec<String>,
    /// Whether a column has the tenant's name, which is not in the archive.
    pub(crate) fills_tenant: bool,
}

impl Found {
    fn read(db: &Connection, kind: Kind, name: String) -> rusqlite::Result<Self> {
        let fills_tenant = name == RECORDS && kind == Kind::Tenant;
        let mut statement =
            db.prepare("select name, type, pk from pragma_table_xinfo($1) where hidden = 0")?;
        let all = statement.query_map([&name], |row| {
            Ok((
                Column { name: row.get(0)?, kind: row.get::<_, String>(1)?.to_ascii_lowercase() },
                row.get::<_, i64>(2)?,
            ))
        })?;
        let all: Vec<(Column, i64)> = all.collect::<rusqlite::Result<_>>()?;
        // Records are numbered in the order in which they came, which means nothing elsewhere.
        let left_out = |column: &Column| {
            name == RECORDS && (column.name == "id" || fills_tenant && column.name == "tenant")
                || number_of(&name) == Some(&column.name)
        };
        let mut key: Vec<&(Column, i64)> = all.iter().filter(|(_, at)| *at > 0).collect();
        key.sort_by_key(|(_, at)| *at);
        let kept: Vec<Column> =
            all.iter().filter(|(column, _)| !left_out(column)).map(|(column, _)| column.clone()).collect();
        let order = if name == RECORDS || key.is_empty() {
            kept.iter().map(|column| column.name.clone()).collect()
        } else {
            key.iter().map(|(column, _)| column.name.clone()).collect()
        };
        Ok(Self { table: Table { name, columns: kept }, order, fills_tenant })
    }

    /// The statement that reads these columns, in an order that depends on the rows alone.
    pub(crate) fn select(&self, columns: &[Column]) -> String {
        let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        let order: Vec<String> = self.order.iter().map(|name| quoted(name)).collect();
        format!("select {} from {} order by {}", names.join(", "), quoted(&self.table.name), order.join(", "))
    }
}

/// An identifier, quoted.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The names of the migrations that have run, in order.
pub(crate) fn migrations(db: &Connection) -> rusqlite::Result<Vec<String>> {
    db.prepare("select name from drystone_migrations order by version")?
        .query_map([], |row| row.get(0))?
        .collect()
}

//! The tables of a schema, as an archive and a deletion see them.

use std::collections::HashMap;

use drystone_call::Result;
use tokio_postgres::Client;

use super::names::quoted;
use crate::archive::{Column, RECORDS, Table, groups, is_platform, number_of};

const TABLES: &str = "
select c.relname::text, c.relkind = 'p', array(
    select a.attname::text from pg_index i, unnest(i.indkey) with ordinality k (at, place)
    join pg_attribute a on a.attnum = k.at
    where i.indrelid = c.oid and i.indisprimary and a.attrelid = c.oid order by k.place)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition
order by 1";

const COLUMNS: &str = "
select c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
order by 1, a.attnum";

const REFERENCES: &str = "
select f.relname::text, t.relname::text, k.condeferrable
from pg_constraint k join pg_class f on f.oid = k.conrelid join pg_class t on t.oid = k.confrelid
join pg_namespace n on n.oid = f.relnamespace
where k.contype = 'f' and n.nspname = $1 and t.relnamespace = f.relnamespace and not f.relispartition";

/// A table of a schema.
pub(crate) struct Found {
    pub(crate) table: Table,
    /// The columns that rows are told apart by.
    order: Vec<String>,
    /// Whether its rows lie in partitions.
    pub(crate) partitioned: bool,
}

/// The tables of a schema.
pub(crate) struct Catalog {
    /// Those first that others refer to; those that refer to each other, or to themselves, in one group.
    pub(crate) groups: Vec<Vec<Found>>,
    /// Tables whose foreign keys form a circle and are checked at once, so that no order of their rows satisfies them.
    pub(crate) stuck: Vec<String>,
}

impl Catalog {
    /// Reads the catalog of the server. Where rows have a tenant, the column is left out, and so is one that only numbers them.
    pub(crate) async fn read(client: &Client, schema: &str, has_tenants: bool) -> Result<Self> {
        let mut columns: HashMap<String, Vec<Column>> = HashMap::new();
        for row in client.query(COLUMNS, &[&schema]).await? {
            let table: String = row.try_get(0)?;
            let column = Column { name: row.try_get(1)?, kind: row.try_get(2)? };
            let left_out = has_tenants && column.name == "tenant" || number_of(&table) == Some(&column.name);
            if !left_out {
                columns.entry(table).or_default().push(column);
            }
        }
        let mut tables: HashMap<String, Found> = HashMap::new();
        for row in client.query(TABLES, &[&schema]).await? {
            let (name, partitioned, key): (String, bool, Vec<String>) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if is_platform(&name) {
                continue;
            }
            let columns = columns.remove(&name).unwrap_or_default();
            let mut order: Vec<String> =
                key.into_iter().filter(|name| !(has_tenants && name == "tenant")).collect();
            if order.is_empty() {
                order = columns.iter().map(|column| column.name.clone()).collect();
            }
            tables.insert(name.clone(), Found { table: Table { name, columns }, order, partitioned });
        }
        let mut references = Vec::new();
        let mut at_once = Vec::new();
        for row in client.query(REFERENCES, &[&schema]).await? {
            let reference: (String, String) = (row.try_get(0)?, row.try_get(1)?);
            if !row.try_get::<_, bool>(2)? {
                at_once.push(reference.clone());
            }
            references.push(reference);
        }
        let mut names: Vec<String> = tables.keys().cloned().collect();
        names.sort();
        let names = groups(&names, &references);
        let in_circle = |name: &String| {
            let group = names.iter().find(|group| group.contains(name));
            at_once.iter().any(|(from, to)| from == name && group.is_some_and(|group| group.contains(to)))
        };
        let stuck = tables.keys().filter(|name| in_circle(name)).cloned().collect();
        let found = |group: Vec<String>| group.iter().filter_map(|name| tables.remove(name)).collect();
        Ok(Self { groups: names.into_iter().map(found).collect(), stuck })
    }

    /// All tables, those first that others refer to.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Found> {
        self.groups.iter().flatten()
    }
}

impl Found {
    /// The statement that reads these columns as text, in an order that depends on the rows alone.
    pub(crate) fn select(&self, columns: &[Column]) -> String {
        let texts: Vec<String> =
            columns.iter().map(|column| format!("{}::text", quoted(&column.name))).collect();
        // Not every type has an order, but every text has.
        let by_key = self.order.len() < self.table.columns.len() || self.table.name == RECORDS;
        let cast = if by_key { "" } else { "::text" };
        let order: Vec<String> = self.order.iter().map(|name| format!("{}{cast}", quoted(name))).collect();
        let order = if order.is_empty() { String::new() } else { format!(" order by {}", order.join(", ")) };
        format!("select {} from {}{order}", texts.join(", "), quoted(&self.table.name))
    }
}

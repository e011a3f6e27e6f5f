//! A tenant's rows, or those of no tenant: read into an archive, written from one, deleted.
//!
//! On connections of their own, logged in as the module's role and behind the wall, like everything that a module's process does. A value travels as the text
//! that the server writes for it, which it reads back without loss whatever the type.

use drystone_call::{Code, Error, Result, TenantId};
use tokio::io::{AsyncBufRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;
use tokio_postgres::{Client, Row};

use super::catalog::{Catalog, Found};
use super::module::PostgresModule;
use super::names::quoted;
use super::started::applied;
use super::tenants::SOON;
use crate::archive::{
    Cell, Destination, Mapping, OUTBOX, Section, SectionWriter, Sum, Table, import, unfit, write,
};
use crate::dialect::Dialect;
use crate::tenants::{TenantState, unknown, wrong_state};

/// So many rows are fetched at a time.
const FETCH: &str = "fetch 250 from archived";
/// So many rows are deleted in one transaction.
const DELETED: usize = 5_000;

impl PostgresModule {
    /// Writes the section of a tenant, or that of no tenant.
    pub(crate) async fn export<W>(&self, tenant: Option<&TenantId>, to: &mut W) -> Result<Section>
    where
        W: AsyncWrite + Unpin + Send,
    {
        let Some(tenant) = tenant else { return self.export_rows(None, to).await };
        let exporting = async {
            match self.find(tenant, Instant::now() + SOON).await? {
                None => Err(unknown(tenant)),
                Some((TenantState::Active | TenantState::Suspended, _)) => {
                    self.export_rows(Some(tenant), to).await
                }
                Some((state, _)) => Err(wrong_state(tenant, state, "there is nothing complete to export")),
            }
        };
        self.claim(tenant).await?.during(exporting).await
    }

    async fn export_rows<W>(&self, tenant: Option<&TenantId>, to: &mut W) -> Result<Section>
    where
        W: AsyncWrite + Unpin + Send,
    {
        let schema = self.schema_of(tenant);
        let client = self.session(schema).await?;
        // A snapshot that could have been taken while nobody worked, though others do.
        client.batch_execute("begin isolation level serializable, read only, deferrable").await?;
        stand_behind_the_wall(&client, tenant).await?;
        let catalog = Catalog::read(&client, schema, tenant.is_some()).await?;
        let migrations = applied(&client, schema).await?.into_iter().map(|line| line.name).collect();
        let mut writer = SectionWriter::new(self.config.home.module(), Dialect::Postgres, migrations);
        for found in catalog.tables() {
            writer.table(&found.table);
            let mut rows = Rows::of(&client, found, &found.table).await?;
            while let Some(some) = rows.next().await? {
                for row in &some {
                    writer.row(&cells(row)?);
                }
                if let Some(piece) = writer.chunk() {
                    write(to, &piece).await?;
                }
            }
            writer.end_table();
        }
        client.batch_execute("commit").await?;
        let (piece, section) = writer.end();
        write(to, &piece).await?;
        to.flush()
            .await
            .map_err(|cause| Error::unavailable("the archive cannot be written").caused_by(cause))?;
        Ok(section)
    }

    fn schema_of(&self, tenant: Option<&TenantId>) -> &str {
        if tenant.is_some() { &self.names.schema } else { &self.names.shared }
    }

    /// Reads a section into a tenant that is not there.
    pub(crate) async fn import_tenant<R>(&self, tenant: &TenantId, from: &mut R) -> Result<Section>
    where
        R: AsyncBufRead + Unpin + Send,
    {
        let importing = async {
            self.start_import(tenant).await?;
            let done = self.import_into(Some(tenant), from).await;
            if done.is_err()
                && let Err(error) = self.remove(tenant).await
            {
                tracing::error!(target: "drystone::store", tenant = tenant.as_str(), error = ?error, "an import that failed could not be removed");
            }
            done
        };
        self.claim(tenant).await?.during(importing).await
    }

    /// Reads a section into the tables of no tenant, which must be empty.
    pub(crate) async fn import_shared<R: AsyncBufRead + Unpin + Send>(
        &self,
        from: &mut R,
    ) -> Result<Section> {
        self.import_into(None, from).await
    }

    async fn import_into<R>(&self, tenant: Option<&TenantId>, from: &mut R) -> Result<Section>
    where
        R: AsyncBufRead + Unpin + Send,
    {
        let (schema, module) = (self.schema_of(tenant), self.config.home.module());
        let client = self.session(schema).await?;
        // The id of the transaction is there before the outbox gives numbers under it, as a publisher's is: who reads along the numbers waits for it.
        client.batch_execute("begin; set constraints all deferred; select pg_current_xact_id()").await?;
        stand_behind_the_wall(&client, tenant).await?;
        let catalog = Catalog::read(&client, schema, tenant.is_some()).await?;
        if tenant.is_none() {
            check_empty(&client, &catalog, module).await?;
        }
        let migrations = applied(&client, schema).await?.into_iter().map(|line| line.name).collect();
        let mut into = Import {
            client,
            catalog,
            migrations,
            schema,
            module,
            into: String::new(),
            insert: String::new(),
        };
        let section = import(from, module, &mut into).await?;
        into.advance_sequences(&section).await?;
        let committed = into.client.batch_execute("commit").await;
        committed.map_err(|cause| refused(module, "its rows", cause))?;
        Ok(section)
    }

    /// Deletes a tenant's rows, those first that refer to others, then its row in the registry.
    pub(crate) async fn delete_tenant(&self, tenant: &TenantId) -> Result<()> {
        self.claim(tenant).await?.during(self.delete_rows(tenant)).await
    }

    async fn delete_rows(&self, tenant: &TenantId) -> Result<()> {
        self.start_delete(tenant).await?;
        let client = self.session(&self.names.schema).await?;
        client.execute("select set_config('app.tenant', $1, false)", &[&tenant.as_str()]).await?;
        let catalog = Catalog::read(&client, &self.names.schema, true).await?;
        for group in catalog.groups.iter().rev() {
            match group.as_slice() {
                [found] if found.table.name == OUTBOX => self.delete_published(tenant).await?,
                [found] if !found.partitioned && !catalog.stuck.contains(&found.table.name) => {
                    let table = quoted(&found.table.name);
                    let sql = format!(
                        "delete from {table} where ctid = any(array(select ctid from {table} limit {DELETED}))"
                    );
                    while client.execute(&sql, &[]).await? > 0 {}
                }
                group => delete_together(&client, group).await?,
            }
        }
        self.remove(tenant).await
    }

    /// Deletes what a tenant has published, which the module's own role may not.
    async fn delete_published(&self, tenant: &TenantId) -> Result<()> {
        let options = format!("-c search_path={}", quoted(&self.names.schema));
        let client = self.relay_server.with_options(&options).connect().await?;
        // No index has the tenant: one walk along the numbers, a batch at a time.
        let sql = format!(
            "with piece as (select seq from {OUTBOX} where tenant = $1 and seq > $2 order by seq limit {DELETED}),
             gone as (delete from {OUTBOX} o using piece p where o.seq = p.seq)
             select max(seq) from piece"
        );
        let mut last = Some(i64::MIN);
        while let Some(from) = last {
            last = client.query_one(&sql, &[&tenant.as_str(), &from]).await?.try_get(0)?;
        }
        Ok(())
    }
}

/// Deletes from tables that refer to each other: foreign keys are checked when the one statement ends.
async fn delete_together(client: &Client, group: &[Found]) -> Result<()> {
    let parts: Vec<String> = group
        .iter()
        .enumerate()
        .map(|(at, found)| format!("deleted{at} as (delete from {})", quoted(&found.table.name)))
        .collect();
    Ok(client.execute(&format!("with {} select", parts.join(", ")), &[]).await.map(drop)?)
}

async fn stand_behind_the_wall(client: &Client, tenant: Option<&TenantId>) -> Result<()> {
    let tenant = tenant.map_or("", TenantId::as_str);
    Ok(client.execute("select set_config('app.tenant', $1, true)", &[&tenant]).await.map(drop)?)
}

async fn check_empty(client: &Client, catalog: &Catalog, module: &str) -> Result<()> {
    for found in catalog.tables() {
        let name = &found.table.name;
        let sql = format!("select exists (select from {})", quoted(name));
        if client.query_one(&sql, &[]).await?.try_get(0)? {
            return Err(Error::new(
                Code::AlreadyExists,
                format!(
                    "table {name} of module {module}, of no tenant, has rows already: import into an empty store"
                ),
            ));
        }
    }
    Ok(())
}

/// The rows of a table, a few at a time.
struct Rows<'c>(&'c Client);

impl<'c> Rows<'c> {
    async fn of(client: &'c Client, found: &Found, table: &Table) -> Result<Self> {
        let select = found.select(&table.columns);
        client.batch_execute(&format!("declare archived no scroll cursor for {select}")).await?;
        Ok(Self(client))
    }

    async fn next(&mut self) -> Result<Option<Vec<Row>>> {
        let rows = self.0.query(FETCH, &[]).await?;
        if rows.is_empty() {
            self.0.batch_execute("close archived").await?;
            return Ok(None);
        }
        Ok(Some(rows))
    }
}

fn cells(row: &Row) -> Result<Vec<Cell>> {
    (0..row.len())
        .map(|at| Ok(row.try_get::<_, Option<String>>(at)?.map_or(Cell::Null, Cell::Text)))
        .collect()
}

/// An open transaction that rows are written in. Dropping it closes the connection, which rolls back.
struct Import<'m> {
    client: Client,
    catalog: Catalog,
    migrations: Vec<String>,
    schema: &'m str,
    module: &'m str,
    /// The table whose rows are being read.
    into: String,
    /// The statement for them.
    insert: String,
}

impl Import<'_> {
    fn found(&self, table: &Table) -> Result<&Found> {
        let found = self.catalog.tables().find(|found| found.table.name == table.name);
        found.ok_or_else(|| unfit(self.module, &format!("there is no table {} here", table.name)))
    }

    /// Numbers that a sequence gives from now on are none that the rows have.
    async fn advance_sequences(&self, section: &Section) -> Result<()> {
        for found in self
            .catalog
            .tables()
            .filter(|found| section.tables.iter().any(|one| one.name == found.table.name && one.rows > 0))
        {
            let table = format!("{}.{}", quoted(self.schema), quoted(&found.table.name));
            for column in &found.table.columns {
                let sql = "select pg_get_serial_sequence($1, $2)";
                let row = self.client.query_one(sql, &[&table, &column.name]).await?;
                let Some(sequence) = row.try_get::<_, Option<String>>(0)? else { continue };
                let sql = format!(
                    "select count(nextval($1::text::regclass)) from generate_series(nextval($1::text::regclass) + 1, (select max({}) from {table}))",
                    quoted(&column.name)
                );
                self.client.query_one(&sql, &[&sequence]).await?;
            }
        }
        Ok(())
    }
}

impl Destination for Import<'_> {
    const DIALECT: Dialect = Dialect::Postgres;

    fn migrations(&self) -> &[String] {
        &self.migrations
    }

    async fn table(&mut self, table: &Table) -> Result<Vec<String>> {
        let found = self.found(table)?;
        let kind = |name: &String| {
            let here = found.table.columns.iter().find(|column| column.name == *name);
            let here = here.map(|column| column.kind.clone());
            here.ok_or_else(|| unfit(self.module, &format!("table {} has no column {name} here", table.name)))
        };
        let kinds = table.columns.iter().map(|column| kind(&column.name)).collect::<Result<Vec<String>>>()?;
        let names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
        let values: Vec<String> =
            kinds.iter().enumerate().map(|(at, kind)| format!("(r ->> {at})::{kind}")).collect();
        self.insert = format!(
            "insert into {} ({}) overriding system value select {} from jsonb_array_elements($1::text::jsonb) r",
            quoted(&table.name),
            names.join(", "),
            values.join(", ")
        );
        self.into.clone_from(&table.name);
        Ok(kinds)
    }

    async fn insert(&mut self, rows: Vec<Vec<Cell>>) -> Result<()> {
        if self.catalog.stuck.contains(&self.into) {
            return Err(unfit(
                self.module,
                &format!(
                    "the foreign keys of table {} lead back to it, so that no order of its rows satisfies them: declare them `deferrable` in a migration",
                    self.into
                ),
            ));
        }
        let text = |cell| if let Cell::Text(text) = cell { Some(text) } else { None };
        let rows: Vec<Vec<Option<String>>> =
            rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect();
        let rows = serde_json::to_string(&rows)?;
        let done = self.client.execute(&self.insert, &[&rows]).await;
        done.map(drop).map_err(|cause| refused(self.module, &format!("rows of table {}", self.into), cause))
    }

    async fn reread(&mut self, table: &Table, mapping: &Mapping) -> Result<(u64, Sum)> {
        let (mut count, mut sum) = (0, Sum::default());
        let mut rows = Rows::of(&self.client, self.found(table)?, table).await?;
        while let Some(some) = rows.next().await? {
            for row in &some {
                mapping.add(cells(row)?, &mut sum);
                count += 1;
            }
        }
        Ok((count, sum))
    }
}

/// What the server refuses is the archive's fault, or the module's, and not the caller's.
fn refused(module: &str, what: &str, cause: tokio_postgres::Error) -> Error {
    match cause.as_db_error() {
        Some(db) if matches!(db.code().code().get(..2), Some("22" | "23")) => {
            let message = db.message().to_owned();
            unfit(module, &format!("{what} are refused by the database ({message})")).caused_by(cause)
        }
        _ => cause.into(),
    }
}

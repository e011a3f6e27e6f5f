//! Reads a section into a file: on a connection of its own, in one transaction.

use drystone_call::{Code, Error, Result, TenantId};
use rusqlite::ToSql;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio::io::AsyncBufRead;

use super::catalog::{self, Found, quoted};
use super::conn::Conn;
use super::export::cells;
use super::layout::ensure;
use super::module::{SqliteModule, blocking};
use super::schema::{Kind, migrate};
use crate::archive::{Cell, Destination, Mapping, RECORDS, Section, Sum, Table, import, unfit};
use crate::dialect::Dialect;

impl SqliteModule {
    /// Reads a section into a tenant that is not there.
    pub(crate) async fn import_tenant<R>(&self, tenant: &TenantId, from: &mut R) -> Result<Section>
    where
        R: AsyncBufRead + Unpin + Send,
    {
        let busy = self.start_import(tenant).await?;
        let done = self.import_into(Some(tenant), from).await;
        if done.is_err() {
            self.undo_import(tenant, &busy).await;
        }
        done
    }

    /// Reads a section into the tables of no tenant, which must be empty.
    pub(crate) async fn import_shared<R: AsyncBufRead + Unpin + Send>(
        &self,
        from: &mut R,
    ) -> Result<Section> {
        let section = self.import_into(None, from).await?;
        if section.tables.iter().any(|table| table.name == RECORDS && table.rows > 0) {
            self.note_shared_key();
        }
        Ok(section)
    }

    async fn import_into<R>(&self, tenant: Option<&TenantId>, from: &mut R) -> Result<Section>
    where
        R: AsyncBufRead + Unpin + Send,
    {
        let module = self.config.home.module();
        let mut into = self.import_on(tenant).await?;
        let section = import(from, module, &mut into).await?;
        into.commit().await?;
        Ok(section)
    }

    /// Opens and migrates the file and begins.
    async fn import_on(&self, tenant: Option<&TenantId>) -> Result<Import> {
        let layout = &self.files.layout;
        let (path, kind, migrations) = match tenant {
            Some(tenant) => (layout.tenant(tenant), Kind::Tenant, self.config.migrations.sqlite),
            None => (layout.shared(), Kind::Shared, self.config.migrations.shared_sqlite),
        };
        let (durability, now, module) =
            (self.files.durability, self.times().now, self.config.home.module().to_owned());
        let tenant = tenant.cloned();
        blocking(false, move || {
            ensure(&path)?;
            let conn = Conn::writer(&path, durability)?;
            migrate(&conn, kind, migrations, &path.display().to_string(), now)?;
            conn.db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
            conn.run("begin immediate")?;
            conn.run("pragma defer_foreign_keys = on")?;
            let migrations = conn.own(catalog::migrations)?;
            let tables = conn.own(|db| catalog::tables(db, kind))?.unwrap_or_default();
            let import = Import {
                on: Some(Work { conn, tables, module, tenant, insert: String::new(), fills_tenant: false }),
                migrations,
            };
            if kind == Kind::Shared {
                import.work()?.check_empty()?;
            }
            Ok(import)
        })
        .await
    }
}

/// An open transaction on a file. Dropping it rolls back.
struct Import {
    on: Option<Work>,
    migrations: Vec<String>,
}

/// What goes to the thread that touches the disk, and comes back.
struct Work {
    conn: Conn,
    tables: Vec<Found>,
    module: String,
    tenant: Option<TenantId>,
    /// The statement for the rows of the table that is being read.
    insert: String,
    /// Whether its last parameter is the tenant's name.
    fills_tenant: bool,
}

impl Import {
    fn work(&self) -> Result<&Work> {
        self.on.as_ref().ok_or_else(|| Error::internal("an import was given up half way"))
    }

    async fn run<T: Send + 'static>(
        &mut self,
        job: impl FnOnce(&mut Work) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.work()?;
        let Some(mut work) = self.on.take() else {
            return Err(Error::internal("an import was given up half way"));
        };
        let (work, done) = blocking(false, move || {
            let done = job(&mut work);
            Ok((work, done))
        })
        .await?;
        self.on = Some(work);
        done
    }

    async fn commit(mut self) -> Result<()> {
        self.run(|work| {
            work.conn.run("commit").map_err(|cause| {
                unfit(&work.module, &format!("its rows do not satisfy the tables' foreign keys ({cause})"))
                    .caused_by(cause)
            })
        })
        .await
    }
}

impl Destination for Import {
    const DIALECT: Dialect = Dialect::Sqlite;

    fn migrations(&self) -> &[String] {
        &self.migrations
    }

    async fn table(&mut self, table: &Table) -> Result<Vec<String>> {
        let table = table.clone();
        self.run(move |work| work.table(&table)).await
    }

    async fn insert(&mut self, rows: Vec<Vec<Cell>>) -> Result<()> {
        self.run(move |work| work.insert(&rows)).await
    }

    async fn reread(&mut self, table: &Table, mapping: &Mapping) -> Result<(u64, Sum)> {
        let (table, mapping) = (table.clone(), mapping.clone());
        self.run(move |work| work.reread(&table, &mapping)).await
    }
}

impl Work {
    fn check_empty(&self) -> Result<()> {
        for found in &self.tables {
            let name = &found.table.name;
            let sql = format!("select exists (select 1 from {})", quoted(name));
            if self.conn.own(|db| db.query_row(&sql, [], |row| row.get::<_, bool>(0)))? {
                return Err(Error::new(
                    Code::AlreadyExists,
                    format!(
                        "table {name} of module {}, of no tenant, has rows already: import into an empty store",
                        self.module
                    ),
                ));
            }
        }
        Ok(())
    }

    fn found(&self, table: &Table) -> Result<&Found> {
        let found = self.tables.iter().find(|found| found.table.name == table.name);
        found.ok_or_else(|| unfit(&self.module, &format!("there is no table {} here", table.name)))
    }

    fn table(&mut self, table: &Table) -> Result<Vec<String>> {
        let found = self.found(table)?;
        let kind = |name: &String| {
            let here = found.table.columns.iter().find(|column| column.name == *name);
            let here = here.map(|column| column.kind.clone());
            here.ok_or_else(|| {
                unfit(&self.module, &format!("table {} has no column {name} here", table.name))
            })
        };
        let kinds = table.columns.iter().map(|column| kind(&column.name)).collect::<Result<Vec<String>>>()?;
        let mut names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
        let fills_tenant = found.fills_tenant;
        if fills_tenant {
            names.push("tenant".to_owned());
        }
        let places = vec!["?"; names.len()].join(", ");
        self.insert = format!("insert into {} ({}) values ({places})", quoted(&table.name), names.join(", "));
        self.fills_tenant = fills_tenant;
        Ok(kinds)
    }

    fn insert(&self, rows: &[Vec<Cell>]) -> Result<()> {
        let tenant = self.tenant.as_ref().filter(|_| self.fills_tenant).map(TenantId::as_str);
        let inserted = self.conn.own(|db| -> rusqlite::Result<()> {
            let mut statement = db.prepare_cached(&self.insert)?;
            for row in rows {
                for (at, cell) in row.iter().enumerate() {
                    statement.raw_bind_parameter(at + 1, Bound(cell))?;
                }
                if let Some(tenant) = tenant {
                    statement.raw_bind_parameter(row.len() + 1, tenant)?;
                }
                statement.raw_execute()?;
            }
            Ok(())
        });
        inserted.map_err(|cause| match cause.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => {
                unfit(&self.module, &format!("its rows are refused by the database ({cause})"))
                    .caused_by(cause)
            }
            _ => cause.into(),
        })
    }

    fn reread(&self, table: &Table, mapping: &Mapping) -> Result<(u64, Sum)> {
        let sql = self.found(table)?.select(&table.columns);
        let (mut count, mut sum) = (0, Sum::default());
        self.conn.own(|db| -> rusqlite::Result<()> {
            let mut statement = db.prepare(&sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                mapping.add(cells(row, table.columns.len())?, &mut sum);
                count += 1;
            }
            Ok(())
        })?;
        Ok((count, sum))
    }
}

/// A value to bind.
struct Bound<'c>(&'c Cell);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Cell::Null => ValueRef::Null,
            Cell::Int(number) => ValueRef::Integer(*number),
            Cell::Real(number) => ValueRef::Real(*number),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
            Cell::Raw(bytes) => ValueRef::Text(bytes),
            Cell::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

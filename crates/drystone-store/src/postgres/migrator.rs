//! `Migrator`: what the owner of a database does so that a module's processes can work in it.
//!
//! The module's role and schemas, the platform's objects in them, and then one transaction for each migration: its statements, the wall around new tables, the lint
//! of what has become of the schema, the rights of the role, and the line in the record. So whatever is refused leaves nothing.

use std::fmt;

use drystone_call::{Code, Error, Result};
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio_postgres::Client;

use super::connect::Server;
use super::names::{Names, quoted};
use super::platform::{self, Kind};
use super::started::applied;
use super::{contract, keys, lint, roles, step};
use crate::clock::millis;
use crate::config::{Location, StoreConfig};
use crate::migrate::{self, Migrated, MigratedSchema, Migration, Step, Steps};

/// Older servers have no `security_invoker` views.
const OLDEST: i32 = 150_000;

/// Brings databases to a module's version, as their owner. The processes that run the modules do not have the owner's connection string.
///
/// The owner is a role with `createrole` and with `create` on the database. Several migrators may run at the same time, of one module or of several: they wait
/// for one another where they have to.
pub struct Migrator {
    client: Mutex<Client>,
}

impl Migrator {
    /// Connects as the owner.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if the connection string is not one, `UNAVAILABLE` if the server cannot be reached, `FAILED_PRECONDITION` if it is too old.
    pub async fn connect(owner: &SecretString) -> Result<Self> {
        let client = Server::parse(owner)?.connect().await?;
        check_version(&client).await?;
        Ok(Self { client: Mutex::new(client) })
    }

    /// Makes the module's role and schemas and brings them towards the version of `config`.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` if a migration fails, was edited, breaks a rule of the catalog, or takes something away that a process at work still needs: the
    /// message has the rule's id. That migration leaves nothing; what ran before it stays.
    pub async fn migrate(&self, config: &StoreConfig, steps: Steps) -> Result<Migrated> {
        let Location::Postgres { url, password } = &config.location else {
            return Err(Error::invalid_argument("the store is not on PostgreSQL"));
        };
        let server = Server::parse(url)?;
        let names = Names::of(server.user(), config.home.module())?;
        let login = server.logging_in_as(&names.role, password.as_ref());
        let client = &*self.client.lock().await;
        // What a call that was dropped half way has left.
        client.batch_execute("rollback; select pg_advisory_unlock_all()").await?;
        roles::create(client, &names, login.password()).await?;
        client.execute("select pg_advisory_lock(hashtextextended($1, 0))", &[&names.schema]).await?;
        let done = Work { client, names: &names, steps, now: millis(config.home.now()) }.run(config).await;
        client.execute("select pg_advisory_unlock(hashtextextended($1, 0))", &[&names.schema]).await?;
        done
    }
}

impl fmt::Debug for Migrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migrator").finish_non_exhaustive()
    }
}

async fn check_version(client: &Client) -> Result<()> {
    let version: i32 =
        client.query_one("select current_setting('server_version_num')::integer", &[]).await?.get(0);
    if version >= OLDEST {
        return Ok(());
    }
    Err(Error::new(Code::FailedPrecondition, format!("PostgreSQL {version} is too old: use 15 or newer")))
}

/// One module's migration, while its lock is held.
struct Work<'w> {
    client: &'w Client,
    names: &'w Names,
    steps: Steps,
    now: i64,
}

impl Work<'_> {
    async fn run(&self, config: &StoreConfig) -> Result<Migrated> {
        let (shared, tenants) = (config.migrations.shared_postgres, config.migrations.postgres);
        let schemas =
            vec![self.schema(Kind::Shared, shared).await?, self.schema(Kind::Tenants, tenants).await?];
        Ok(Migrated { schemas })
    }

    async fn schema(&self, kind: Kind, all: &[Migration]) -> Result<MigratedSchema> {
        let schema = kind.schema(self.names);
        let place = format!("schema {schema}");
        self.in_schema(schema, self.platform(kind, &place)).await?;
        let applied = applied(self.client, schema).await?;
        let left = migrate::plan(all, &applied, &place)?;
        let (now, held_back) = match self.steps {
            Steps::All => (left, &left[left.len()..]),
            Steps::ExpandOnly => migrate::expanding(left),
        };
        for migration in now {
            self.in_schema(schema, self.migration(kind, migration, &place)).await?;
            tracing::info!(target: "drystone::store", place, migration = migration.name, "migrated");
        }
        let named = |list: &[Migration]| list.iter().map(|migration| migration.name).collect();
        Ok(MigratedSchema { schema: schema.to_owned(), ran: named(now), held_back: named(held_back) })
    }

    /// The platform's objects, and a look at what others may have done to the schema since.
    async fn platform(&self, kind: Kind, place: &str) -> Result<()> {
        platform::create(self.client, kind).await?;
        self.client.batch_execute(&keys::platform(kind == Kind::Tenants, self.names)).await?;
        self.settle(kind, |findings| format!("{place} breaks rules before any migration ran:\n  {findings}"))
            .await
    }

    async fn migration(&self, kind: Kind, migration: &Migration, place: &str) -> Result<()> {
        if migration.step == Step::Contract {
            contract::check(self.client, self.names, kind, migration).await?;
        }
        step::run(self.client, migration, place).await?;
        let refused = |findings| format!("migration {} is refused on {place}:\n  {findings}", migration.name);
        self.settle(kind, refused).await?;
        let table = format!("{}.drystone_migrations", quoted(kind.schema(self.names)));
        let line = format!("insert into {table} (version, name, checksum, applied) values ($1, $2, $3, $4)");
        let (version, checksum) = (i64::from(migration.version), migrate::checksum(migration));
        self.client.execute(&line, &[&version, &migration.name, &checksum, &self.now]).await?;
        Ok(())
    }

    /// The wall around what is new, the lint of the whole, the rights of the role.
    async fn settle(&self, kind: Kind, refused: impl FnOnce(String) -> String) -> Result<()> {
        let schema = kind.schema(self.names);
        let mut findings = lint::obstacles(self.client, self.names, kind).await?;
        if findings.is_empty() {
            if kind == Kind::Tenants {
                platform::wall(self.client, self.names).await?;
            }
            findings = lint::findings(self.client, self.names, kind).await?;
        }
        if !findings.is_empty() {
            return Err(migrate::refuse(refused(findings.join("\n  "))));
        }
        roles::grant(self.client, self.names, schema).await
    }

    /// Runs `work` in one transaction. A statement that waits for long behind somebody else's lock keeps everybody behind itself waiting, so it gives up.
    async fn in_schema(&self, schema: &str, work: impl Future<Output = Result<()>>) -> Result<()> {
        let begin = format!(
            "begin isolation level read committed; reset all; set local search_path = {}; set local lock_timeout = '10s'; set local drystone.migrating = 'on'",
            quoted(schema)
        );
        self.client.batch_execute(&begin).await?;
        let done = work.await;
        self.client.batch_execute(if done.is_ok() { "commit" } else { "rollback" }).await?;
        done
    }
}

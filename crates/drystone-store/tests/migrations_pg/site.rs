//! A database with an owner who is no superuser, and modules to migrate in it.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use drystone_call::Home;
use drystone_store::{Location, Migrated, Migration, Migrations, Migrator, Step, Steps, Store, StoreConfig};
use drystone_testkit::{Database, Postgres};
use tokio_postgres::{Client, NoTls};

/// A database of its own.
pub(crate) struct Site {
    pub(crate) database: Database,
    pub(crate) owner_url: String,
    pub(crate) owner: String,
    /// A superuser, for what only a test does.
    pub(crate) admin: Client,
    pub(crate) migrator: Migrator,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let database =
            tokio::task::spawn_blocking(|| Postgres::of_process().database()).await.unwrap().unwrap();
        let admin = login(&database.owner_url).await;
        let name: String = admin.query_one("select current_database()::text", &[]).await.unwrap().get(0);
        let owner = format!("{name}_owner");
        let make =
            format!("create role {owner} login createrole; grant create on database {name} to {owner}");
        admin.batch_execute(&make).await.unwrap();
        let owner_url = database.owner_url.replace("postgres@", &format!("{owner}@"));
        let migrator = Migrator::connect(&owner_url.clone().into()).await.unwrap();
        Self { database, owner_url, owner, admin, migrator }
    }

    /// The role of a module.
    pub(crate) fn role(&self, module: &str) -> String {
        self.owner.replace("_owner", &format!("_{module}"))
    }

    /// The connection string of a module's role.
    pub(crate) fn url_of(&self, module: &str) -> String {
        let user = self.owner.replace("_owner", "");
        self.database.url.replace(&format!("{user}@"), &format!("{}@", self.role(module)))
    }

    /// A session of a module's role.
    pub(crate) async fn session(&self, module: &str) -> Client {
        login(&self.url_of(module)).await
    }

    pub(crate) fn config(&self, module: &str, migrations: Migrations) -> StoreConfig {
        StoreConfig::new(Location::postgres(self.database.url.clone()), migrations, Home::of_system(module))
    }

    pub(crate) async fn migrate(
        &self,
        module: &str,
        migrations: Migrations,
    ) -> drystone_call::Result<Migrated> {
        self.migrator.migrate(&self.config(module, migrations), Steps::All).await
    }

    /// The message of a migration that is refused.
    pub(crate) async fn refusal(&self, module: &str, migrations: Migrations) -> String {
        let error = self.migrate(module, migrations).await.unwrap_err();
        assert_eq!(error.code(), drystone_call::Code::FailedPrecondition, "{error:?}");
        error.message().to_owned()
    }

    /// A store of the module, open.
    pub(crate) async fn open(&self, module: &str, migrations: Migrations) -> drystone_call::Result<Store> {
        let store = Store::unopened(module);
        store.open(self.config(module, migrations)).await.map(|()| store)
    }

    /// All lines of the first column.
    pub(crate) async fn lines(&self, sql: &str) -> Vec<String> {
        self.admin.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Everything that is in a module's schemas, with its rights: equal before and after something that left nothing.
    pub(crate) async fn catalog(&self, module: &str) -> Vec<String> {
        let sql = format!(
            "with n as (select oid, nspname from pg_namespace where nspname in ('{module}', '{module}_shared'))
             select format('%s %s %s %s %s', nspname, relkind, relname, relrowsecurity, relacl)
             from n join pg_class on relnamespace = n.oid
             union all select format('%s.%s %s', relname, attname, attacl)
             from n join pg_class c on relnamespace = n.oid join pg_attribute on attrelid = c.oid
             union all select format('%s %s %s', nspname, proname, proacl) from n join pg_proc on pronamespace = n.oid
             union all select format('%s %s %s', c.relname, polname, pg_get_expr(polqual, polrelid))
             from n join pg_class c on relnamespace = n.oid join pg_policy on polrelid = c.oid
             union all select format('%s %s', conrelid::regclass, conname) from n join pg_constraint on connamespace = n.oid
             union all select format('%s %s', nspname, version) from n, lateral (
                 select version from {module}.drystone_migrations where nspname = '{module}'
                 union all select version from {module}_shared.drystone_migrations where nspname <> '{module}') v
             order by 1"
        );
        self.lines(&sql).await
    }
}

/// A session of whoever the connection string names.
pub(crate) async fn login(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A migration as `migrations!` makes it of a file.
pub(crate) fn step(version: u32, name: &str, sql: &str) -> Migration {
    let name: &'static str = Box::leak(format!("V{version:04}__{name}").into_boxed_str());
    let step = if name.contains("__contract_") { Step::Contract } else { Step::Expand };
    Migration { version, step, name, sql: Box::leak(sql.to_owned().into_boxed_str()) }
}

/// Migrations of the tenants' data.
pub(crate) fn tenants(steps: &[Migration]) -> Migrations {
    Migrations { postgres: Vec::leak(steps.to_vec()), ..Migrations::NONE }
}

/// Migrations of the data of no tenant.
pub(crate) fn shared(steps: &[Migration]) -> Migrations {
    Migrations { shared_postgres: Vec::leak(steps.to_vec()), ..Migrations::NONE }
}

/// A table that keeps every rule.
pub(crate) const ITEMS: &str = "create table items (tenant text not null, id bigint not null, sku text not null default '', primary key (tenant, id))";

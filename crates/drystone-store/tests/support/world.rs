//! A store of its own for a test, on either database.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use drystone_call::{Context, Home, ManualClock, Principal, SeededIds, TenantId};
use drystone_store::{Location, Migrations, Migrator, Row, Steps, Store, StoreConfig, migrations};
use drystone_testkit::Database;
use tempfile::TempDir;
use uuid::Uuid;

/// The module of the tests.
pub(crate) const MODULE: &str = "stock";
pub(crate) const MIGRATIONS: Migrations = migrations!("tests/migrations");

/// A store, and what is needed to open it again.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) home: Arc<Home>,
    pub(crate) clock: Arc<ManualClock>,
    location: Location,
    migrator: Option<Migrator>,
    _dir: Option<TempDir>,
}

/// A row of the table that most tests use.
#[derive(Clone, Debug, PartialEq, Row)]
pub(crate) struct Item {
    pub(crate) id: Uuid,
    pub(crate) sku: String,
    #[row(rename = "quantity")]
    pub(crate) count: i64,
}

impl World {
    /// A store on SQLite.
    pub(crate) async fn sqlite() -> Self {
        Self::sqlite_with(|_| {}).await
    }

    /// A store on SQLite with other settings.
    pub(crate) async fn sqlite_with(change: impl FnOnce(&mut StoreConfig)) -> Self {
        let dir = TempDir::new().unwrap();
        let location = Location::Sqlite { dir: dir.path().to_owned() };
        Self::open(location, Some(dir), change).await
    }

    /// A store in a database of PostgreSQL.
    pub(crate) async fn postgres_in(database: &Database) -> Self {
        let migrator = Migrator::connect(&database.owner_url.clone().into()).await.unwrap();
        let home = Home::of_system(MODULE);
        let location = Location::postgres(database.url.clone());
        let config = StoreConfig::new(location.clone(), MIGRATIONS, home);
        migrator.migrate(&config, Steps::All).await.unwrap();
        let mut world = Self::open(location, None, |_| {}).await;
        world.migrator = Some(migrator);
        world
    }

    /// A store at a place.
    pub(crate) async fn open(
        location: Location,
        dir: Option<TempDir>,
        change: impl FnOnce(&mut StoreConfig),
    ) -> Self {
        let clock = Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 50)));
        let home = Home::new(MODULE, clock.clone(), Arc::new(SeededIds::new(1, MODULE)));
        let world = Self { store: Store::unopened(MODULE), home, clock, location, migrator: None, _dir: dir };
        let mut config = world.config();
        change(&mut config);
        world.store.open(config).await.unwrap();
        world
    }

    /// What opens the same data.
    pub(crate) fn config(&self) -> StoreConfig {
        StoreConfig::new(self.location.clone(), MIGRATIONS, Arc::clone(&self.home))
    }

    /// Closes the store and opens the same data again.
    pub(crate) async fn reopen(&mut self) {
        self.reopen_with(self.config()).await.unwrap();
    }

    /// Closes the store and opens the same data with other settings, migrating first where that is a step of its own.
    pub(crate) async fn reopen_with(&mut self, config: StoreConfig) -> drystone_call::Result<()> {
        self.store.close().await?;
        self.store = Store::unopened(MODULE);
        if let Some(migrator) = &self.migrator {
            migrator.migrate(&config, Steps::All).await?;
        }
        self.store.open(config).await
    }

    /// A context of tenant `acme` with a minute to go.
    pub(crate) fn cx(&self) -> Context {
        self.cx_of("acme")
    }

    /// A context of a tenant.
    pub(crate) fn cx_of(&self, tenant: &str) -> Context {
        let tenant = TenantId::new(tenant).unwrap();
        Context::mint(Arc::clone(&self.home), tenant, Principal::new("user:ada").unwrap())
            .with_timeout(Duration::from_secs(60))
    }

    /// Commits an item.
    pub(crate) async fn add(
        &self,
        cx: &mut Context,
        sku: &str,
        quantity: i64,
    ) -> drystone_call::Result<Item> {
        let mut tx = self.store.begin(cx).await?;
        let id = tx.new_id();
        let item = tx
            .query("insert into items (id, sku, quantity) values ($1, $2, $3) returning *")
            .bind((id, sku, quantity))
            .one()
            .await?;
        tx.commit().await?;
        Ok(item)
    }

    /// The items' names, in order.
    pub(crate) async fn skus(&self, cx: &mut Context) -> Vec<String> {
        let mut read = self.store.read(cx).await.unwrap();
        let rows: Vec<(String,)> = read.query("select sku from items order by sku").all().await.unwrap();
        rows.into_iter().map(|(sku,)| sku).collect()
    }
}

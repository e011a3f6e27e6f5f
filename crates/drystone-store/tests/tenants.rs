//! The life of tenants: created, suspended, exported, deleted, imported, moved from one database to the other.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "tenants/damage.rs"]
mod damage;
#[path = "tenants/events.rs"]
mod events;
#[path = "support/keyed.rs"]
mod keyed;
#[path = "tenants/life.rs"]
mod life;
#[path = "tenants/moves.rs"]
mod moves;
#[path = "tenants/processes.rs"]
mod processes;
#[path = "tenants/rows.rs"]
mod rows;
#[path = "tenants/status.rs"]
mod status;
#[path = "support/world.rs"]
mod world;

use std::path::PathBuf;
use std::time::Duration;

use drystone_call::TenantId;
use drystone_store::{Location, Section, Store, StoreConfig, TenantState};
use drystone_testkit::Postgres;
use world::{MODULE, World};

impl World {
    /// A store on the PostgreSQL of this process, in a database of its own.
    async fn postgres() -> Self {
        let database =
            tokio::task::spawn_blocking(|| Postgres::of_process().database()).await.unwrap().unwrap();
        Self::postgres_in(&database).await
    }

    /// The files of the module's tenants, where it is on SQLite.
    fn files(&self) -> Vec<PathBuf> {
        let Location::Sqlite { dir } = self.config().location else { return Vec::new() };
        let files = std::fs::read_dir(dir.join(MODULE).join("tenants")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    /// Closes the store and opens it with other settings.
    async fn reopen_as(&mut self, change: impl FnOnce(&mut StoreConfig)) {
        let mut config = self.config();
        change(&mut config);
        self.reopen_with(config).await.unwrap();
    }

    /// The tenants and their states, in order.
    async fn states(&self) -> Vec<(String, TenantState)> {
        let all = self.store.tenants().all().await.unwrap();
        all.into_iter().map(|one| (one.name.to_string(), one.state)).collect()
    }
}

/// A tenant's name.
fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// Waits for something that comes by itself, and not forever.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it does not come within a minute")
}

/// A tenant's section, and what it is said to hold.
async fn exported(store: &Store, name: &str) -> (Vec<u8>, Section) {
    let mut archive = Vec::new();
    let section = store.tenants().export(&tenant(name), &mut archive).await.unwrap();
    (archive, section)
}

/// Each case becomes a test on SQLite; on PostgreSQL those of a file run one after another on one server, each in a database of its own.
macro_rules! suite {
    ($($module:ident: $($case:ident)+;)+) => {
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::$module::$case(crate::World::sqlite().await).await;
                }
            )+)+
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $module() {
                    $(
                        println!("{}", stringify!($case));
                        // One future of all cases would not fit on the stack.
                        Box::pin(crate::$module::$case(crate::World::postgres().await)).await;
                    )+
                }
            )+
        }
    };
}

suite! {
    life: a_tenant_lives what_is_not_allowed_says_why a_tenant_that_nobody_created_leaves_nothing a_suspension_waits_for_those_at_work
        a_suspended_tenant_is_listed_after_reopening one_operation_at_a_time a_thousand_tenants_are_listed_fast a_deletion_that_nobody_waits_for_goes_on
        what_a_crash_left_can_be_deleted;
    damage: a_tenant_that_is_there_is_not_imported_over a_damaged_archive_leaves_nothing an_archive_that_does_not_fit_leaves_nothing
        an_import_that_was_given_up_can_be_deleted;
    events: events_go_along_and_positions_do_not;
    moves: exported_deleted_and_imported_is_equal under_another_name an_export_is_one_moment data_of_no_tenant_moves;
    status: the_status_says_how_it_is;
}

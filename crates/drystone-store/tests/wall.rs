//! The tenant wall, attacked: as tenant `acme` over the rows of tenant `other`.
//!
//! Each attack is refused or sees nothing. What the wall does not stop is written down in `docs/guide/tenants.md` under "Outside the promise"; its tests name the
//! line there, so that neither exists without the other.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "wall/native.rs"]
mod native;
#[path = "wall/outside.rs"]
mod outside;
#[path = "migrations_pg/site.rs"]
mod site;
#[path = "wall/statements.rs"]
mod statements;
#[path = "support/world.rs"]
mod world;

use drystone_testkit::Postgres;
use site::Site;
use world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_crosses_the_wall_on_sqlite() {
    for (name, attack) in statements::ATTACKS {
        println!("{name}");
        attack(World::sqlite().await, false).await;
    }
    statements::other_files_are_out_of_reach(World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_crosses_the_wall_on_postgres() {
    for (name, attack) in statements::ATTACKS {
        println!("{name}");
        let database =
            tokio::task::spawn_blocking(|| Postgres::of_process().database()).await.unwrap().unwrap();
        attack(World::postgres_in(&database).await, true).await;
    }
    println!("native connection");
    let site = native::seeded(Site::new().await).await;
    native::nothing_is_seen(&site).await;
    native::nothing_is_changed(&site).await;
    native::settings_and_roles_do_not_open_it(&site).await;
    native::code_of_the_module_does_not_open_it(&site).await;
    native::statistics_show_no_values(&site).await;
    native::what_outlives_a_transaction(&site).await;
    native::keys_do_not_tell_what_exists(&site).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_outside_the_promise_is_written_down() {
    outside::what_is_written_down_is_so(native::seeded(Site::new().await).await).await;
}

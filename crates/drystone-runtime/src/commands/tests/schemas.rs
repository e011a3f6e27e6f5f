//! `migrate`, `db status`, and what a start says when the owner has not migrated.

use drystone_call::PlatformReason;
use drystone_testkit::Postgres;

use super::super::migrate::{self, Migrate};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_migrated_by_its_owner_before_the_start() {
    let database = Postgres::of_process().database().unwrap();
    let world = World::on(&database);
    let error = world.app().start().await.unwrap_err().to_string();
    assert!(
        error.starts_with("error[DRY-R009]: the database of module `notes` is not ready for this version: "),
        "{error}"
    );
    assert!(error.contains("help: run `memo migrate` first, with store.owner_url"), "{error}");
    let no_owner = world.app().migrate().await.unwrap_err().to_string();
    assert!(no_owner.contains("store.owner_url is not set; set DRYSTONE__STORE__OWNER_URL"), "{no_owner}");

    let app = world.app().settings(&format!("[store]\nowner_url = {:?}\n", database.owner_url));
    let settings = app.load(&[]).unwrap();
    let first = migrate::run(&app, &settings, Migrate::default()).await.unwrap();
    assert_eq!(
        first,
        "notes            schema notes_shared: ran V0001__expand_rates\n\
         notes            schema notes: ran V0001__expand_notes\n\
         tags             schema tags_shared: ran V0001__expand_rates\n\
         tags             schema tags: ran V0001__expand_notes\n"
    );
    let again = migrate::run(&app, &settings, Migrate::default()).await.unwrap();
    assert_eq!(again.matches("up to date").count(), 4, "{again}");
    app.start().await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_the_processes_follow_a_command() {
    let database = Postgres::of_process().database().unwrap();
    let world = World::on(&database);
    let owner = format!("[store]\nowner_url = {:?}\n", database.owner_url);
    world.app().settings(&owner).migrate().await.unwrap();
    let running = world.start().await;
    assert!(note(&running, "notes", "acme", 1, "one").await.unwrap_err().is(PlatformReason::TenantUnknown));
    world.ok(create("acme")).await;
    note(&running, "notes", "acme", 1, "one").await.unwrap();
    world.ok(suspend("acme")).await;
    let refused = note(&running, "notes", "acme", 2, "two").await.unwrap_err();
    assert!(refused.is(PlatformReason::TenantSuspended), "{refused:?}");
    world.ok(resume("acme")).await;
    note(&running, "notes", "acme", 2, "two").await.unwrap();
    world.stop(running).await;
}

//! Moves from SQLite to PostgreSQL and back: everything arrives, and a failure leaves both sides as they were.

use drystone_store::TenantState::{Active, Suspended};
use drystone_testkit::Postgres;

use super::*;

/// A database with the schemas of the application.
async fn migrated() -> Database {
    let database = Postgres::of_process().database().unwrap();
    let world = World::on(&database);
    let owner = format!("[store]\nowner_url = {:?}\n", database.owner_url);
    world.app().settings(&owner).migrate().await.unwrap();
    database
}

async fn fill(world: &World) {
    for tenant in ["acme", "bolt"] {
        world.ok(create(tenant)).await;
    }
    let running = world.start().await;
    for (tenant, notes) in [("acme", 300), ("bolt", 1)] {
        for id in 0..notes {
            note(&running, "notes", tenant, id, "ünïcode 'quoted'\n").await.unwrap();
        }
    }
    let process = &running[0];
    let mut cx = process.context("acme", "user:test").unwrap();
    let shared = process.store("tags").unwrap().shared();
    let mut tx = shared.begin(&mut cx).await.unwrap();
    tx.query("insert into rates (name, rate) values ($1, $2)").bind(("vat", 0.19)).execute().await.unwrap();
    tx.commit().await.unwrap();
    world.stop(running).await;
}

fn sqlite(world: &World) -> String {
    format!("sqlite:{}", world.file("modules").display())
}

fn rest(archive: &str) -> &str {
    archive.split_once('\n').unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_tenants_move_to_postgres_and_back_on_two_commands() {
    let (here, database) = (World::new(), migrated().await);
    let there = World::on(&database);
    fill(&here).await;
    here.ok(suspend("bolt")).await;
    here.ok(move_to(None, &database.url)).await;
    assert_eq!(
        (here.states("acme").await, here.states("bolt").await),
        ([Some(Suspended); 2], [Some(Suspended); 2])
    );
    assert_eq!(
        (there.states("acme").await, there.states("bolt").await),
        ([Some(Active); 2], [Some(Suspended); 2])
    );

    let running = there.start().await;
    assert_eq!(notes(&running, "notes", "acme").await.unwrap().len(), 300);
    note(&running, "tags", "acme", 7, "written there").await.unwrap();
    let mut cx = running[0].context("acme", "user:test").unwrap();
    let shared = running[0].store("tags").unwrap().shared();
    let mut read = shared.read(&mut cx).await.unwrap();
    let rates: Vec<(String, f64)> = read.query("select name, rate from rates").all().await.unwrap();
    assert_eq!(rates, [("vat".to_owned(), 0.19)]);
    drop(read);
    there.stop(running).await;

    let back = World::new();
    there.ok(move_to(None, &sqlite(&back))).await;
    let running = back.start().await;
    assert_eq!(notes(&running, "tags", "acme").await.unwrap(), [(7, "written there".to_owned())]);
    back.stop(running).await;
    let (first, last) = (here.archive("bolt", "first").await, back.archive("bolt", "last").await);
    assert_eq!(rest(&first), rest(&last));
    let (first, last) = (here.archive("acme", "one").await, {
        back.ok(suspend("acme")).await;
        back.archive("acme", "two").await
    });
    let of_notes = |text: &str| text.lines().filter(|line| line.starts_with('[')).count();
    assert_eq!((of_notes(&first), of_notes(&last)), (300, 301));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_fails_leaves_both_sides_as_they_were() {
    let (here, database) = (World::new(), migrated().await);
    let there = World::on(&database);
    fill(&here).await;
    there.ok(create("bolt")).await;
    let taken = here.refused(move_to(None, &database.url)).await;
    assert!(
        taken.contains("tenant bolt is at postgres://") && taken.contains("delete it there first"),
        "{taken}"
    );
    assert_eq!((here.states("acme").await, there.states("acme").await), ([Some(Active); 2], [None; 2]));

    // The second module's table refuses what the first one took.
    let owner = drystone_store::Migrator::connect(&database.owner_url.clone().into()).await;
    drop(owner.unwrap());
    let running = here.start().await;
    note(&running, "tags", "acme", 1, "no").await.unwrap();
    here.stop(running).await;
    refuse_text(&database, "tags", "no");
    let failed = here.refused(move_to(Some("acme"), &database.url)).await;
    assert!(failed.starts_with("error[DRY-R010]: tenants move: module `tags`: "), "{failed}");
    assert!(
        failed.ends_with(
            "\n  what was imported of tenant acme is deleted again\n  tenant acme is active here again"
        ),
        "{failed}"
    );
    assert_eq!((here.states("acme").await, there.states("acme").await), ([Some(Active); 2], [None; 2]));

    let same = here.refused(move_to(Some("acme"), &sqlite(&here))).await;
    assert_eq!(same, "error[DRY-R010]: --to: that is where the data is already");
    let wrong = here.refused(move_to(Some("acme"), "mysql://x")).await;
    assert_eq!(wrong, "error[DRY-R010]: --to: the URL begins neither with `sqlite:` nor with `postgres://`");
    let empty = Postgres::of_process().database().unwrap();
    let raw = here.refused(move_to(Some("acme"), &empty.url)).await;
    assert!(
        raw.starts_with("error[DRY-R009]: the database of module `notes` is not ready for this version"),
        "{raw}"
    );
    let running = here.start().await;
    let works = here.refused(move_to(None, &database.url)).await;
    assert!(works.contains("stop the application first; main (pid "), "{works}");
    here.stop(running).await;
}

/// Makes a module's table refuse a text, as the database's owner.
fn refuse_text(database: &Database, schema: &str, text: &str) {
    let sql = format!("alter table {schema}.notes add check (text <> '{text}')");
    let psql = std::process::Command::new("psql").args([&database.owner_url, "-qc", &sql]).output().unwrap();
    assert!(psql.status.success(), "{}", String::from_utf8_lossy(&psql.stderr));
}

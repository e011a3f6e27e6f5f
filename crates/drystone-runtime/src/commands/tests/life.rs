//! The life of a tenant, through processes that run and without any.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use drystone_call::{Error, PlatformReason};
use drystone_store::TenantState::{Active, Suspended};

use super::*;
use crate::admin::peers;
use crate::tasks::START_ATTEMPTS;

const SPLIT: &str = "[processes.side]\nmodules = [\"tags\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_lives_through_the_sockets_of_two_processes() {
    let mut world = World::new();
    world.settings.push_str(SPLIT);
    let running = world.start().await;
    assert!(world.file("run/main.sock").exists() && world.file("run/side.sock").exists());

    let peers = peers(world.data.path()).await.unwrap();
    let hosts = peers.iter().map(|peer| (&*peer.about().process, &*peer.about().modules));
    assert_eq!(
        hosts.collect::<Vec<_>>(),
        [("main", &["notes".to_owned()][..]), ("side", &["tags".to_owned()])]
    );
    let elsewhere = peers[0].tenants("tags").await.unwrap_err();
    assert_eq!(elsewhere.message(), "process `main` hosts no module `tags`");

    let unknown = note(&running, "notes", "acme", 1, "one").await.unwrap_err();
    assert!(unknown.is(PlatformReason::TenantUnknown), "{unknown:?}");
    assert!(unknown.message().contains("tenants create acme"), "{unknown:?}");
    world.ok(create("acme")).await;
    world.ok(create("acme")).await;
    for module in ["notes", "tags"] {
        note(&running, module, "acme", 1, "one").await.unwrap();
    }

    world.ok(suspend("acme")).await;
    assert_eq!(world.states("acme").await, [Some(Suspended); 2]);
    for module in ["notes", "tags"] {
        let refused = note(&running, module, "acme", 2, "two").await.unwrap_err();
        assert!(refused.is(PlatformReason::TenantSuspended), "{refused:?}");
    }
    world.ok(resume("acme")).await;
    note(&running, "tags", "acme", 2, "two").await.unwrap();

    world.ok(suspend("acme")).await;
    let first = world.archive("acme", "first").await;
    world.ok(delete("acme", Some("acme"))).await;
    assert_eq!(world.states("acme").await, [None; 2]);
    world.ok(import(&world.file("first"))).await;
    assert_eq!(notes(&running, "notes", "acme").await.unwrap(), [(1, "one".to_owned())]);
    assert_eq!(notes(&running, "tags", "acme").await.unwrap().len(), 2);
    world.ok(suspend("acme")).await;
    let again = world.archive("acme", "again").await;
    assert_eq!(rest(&first), rest(&again), "equal but for the header's time");
    world.stop(running).await;
    assert!(!world.file("run/main.sock").exists());
}

fn rest(archive: &str) -> &str {
    archive.split_once('\n').unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_process_a_command_opens_the_stores_and_lets_go_of_them() {
    let world = World::new();
    world.ok(create("acme")).await;
    assert_eq!(world.states("acme").await, [Some(Active); 2]);
    let running = world.start().await;
    note(&running, "notes", "acme", 1, "one").await.unwrap();
    world.stop(running).await;
    world.ok(suspend("acme")).await;
    world.ok(export("acme", &world.file("archive"))).await;
    let other = Tenants::Import { file: world.file("archive"), name: Some("bolt".into()) };
    world.ok(other).await;
    let running = world.start().await;
    assert_eq!(notes(&running, "notes", "bolt").await.unwrap(), [(1, "one".to_owned())]);
    assert!(notes(&running, "notes", "acme").await.unwrap_err().is(PlatformReason::TenantSuspended));
    world.stop(running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_done_is_refused_with_what_to_do() {
    let world = World::new();
    world.ok(create("acme")).await;
    for (what, expected) in [
        (
            suspend("bolt"),
            "error[DRY-R010]: tenants suspend bolt: there is no tenant bolt; `memo tenants list` shows them, `memo tenants create bolt` \
             creates it",
        ),
        (
            delete("acme", Some("acme")),
            "error[DRY-R010]: tenants delete acme: the tenant is active in module `notes`; suspend it first: memo tenants suspend acme",
        ),
        (
            export("acme", &world.file("archive")),
            "error[DRY-R010]: tenants export acme: the tenant is active in module `notes`, and the modules are read one after another; suspend \
             it first (memo tenants suspend acme), or say --live if the archive need not be of one moment",
        ),
        (create("No Name"), "error[DRY-R010]: tenant \"No Name\": "),
    ] {
        let said = world.refused(what).await;
        assert!(said.starts_with(expected), "{said}\n{expected}");
    }
    assert!(!world.file("archive").exists());
    let live = Tenants::Export { name: "acme".into(), to: world.file("live"), live: true };
    world.ok(live).await;
    assert!(std::fs::read_to_string(world.file("live")).unwrap().contains("\"live\":true"));

    world.ok(suspend("acme")).await;
    for yes in [None, Some("bolt")] {
        let said = world.refused(delete("acme", yes)).await;
        assert_eq!(
            said,
            "error[DRY-R010]: tenants delete acme: this removes all data of tenant acme in notes, tags, for good; confirm with --yes acme"
        );
    }
    assert_eq!(world.states("acme").await, [Some(Suspended); 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_of_the_settings_are_there_from_the_start() {
    let mut world = World::new();
    world.settings.push_str("[tenants]\ncreate = [\"acme\"]\n");
    let running = world.start().await;
    note(&running, "notes", "acme", 1, "one").await.unwrap();
    assert!(note(&running, "notes", "bolt", 1, "one").await.unwrap_err().is(PlatformReason::TenantUnknown));
    world.stop(running).await;
    world.settings.push_str("on_first_use = true\n");
    let running = world.start().await;
    assert_eq!(notes(&running, "notes", "acme").await.unwrap().len(), 1, "created once");
    note(&running, "notes", "bolt", 1, "one").await.unwrap();
    world.stop(running).await;
    world.settings = "[tenants]\ncreate = [\"Not A Name\"]\n".to_owned();
    let error = world.app().start().await.unwrap_err().to_string();
    assert!(error.starts_with("error[DRY-R001]: built in: tenants.create: "), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_at_the_start_runs_again_when_it_lost_but_not_for_ever() {
    let world = World::new();
    let attempts = |losses: u32| {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        let app = world.app_with(move |w| {
            let runs = Arc::clone(&counted);
            w.at_start("seed", move |_| async move {
                if runs.fetch_add(1, Ordering::Relaxed) < losses {
                    Err(Error::aborted("lost"))
                } else {
                    Ok(())
                }
            });
        });
        (app, runs)
    };
    let (app, runs) = attempts(2);
    app.start().await.unwrap().stop().await;
    assert_eq!(runs.load(Ordering::Relaxed), 3);
    let (app, runs) = attempts(u32::MAX);
    let error = app.start().await.unwrap_err().to_string();
    assert_eq!(error, "error[DRY-R008]: `seed` of module `notes` did not start: lost");
    assert_eq!(runs.load(Ordering::Relaxed), START_ATTEMPTS);
}

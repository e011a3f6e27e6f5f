//! Archives that are damaged, or whole and of something else: a clear error, and nothing left behind.

use std::task::Poll;

use drystone_call::{Code, Error};
use drystone_store::{Migration, Migrations, Step, TenantState};
use futures_util::FutureExt as _;

use crate::rows::{Seeded, all, fill};
use crate::world::{MIGRATIONS, World};
use crate::{exported, soon, tenant};

/// Imports what must be refused, and sees that nothing is left.
async fn refused(world: &World, archive: &[u8]) -> Error {
    let error = world.store.tenants().import(&tenant("copy"), &mut &*archive).await.unwrap_err();
    assert_eq!(world.states().await, [("acme".to_owned(), TenantState::Active)], "{error:?}");
    assert!(!world.files().iter().any(|file| file.to_string_lossy().contains("copy")), "{error:?}");
    error
}

pub(crate) async fn a_tenant_that_is_there_is_not_imported_over(world: World) {
    fill(&world, "acme", 1, 3).await;
    let before = all(&world, &world.store, "acme").await;
    let archive = exported(&world.store, "acme").await.0;
    let error = world.store.tenants().import(&tenant("acme"), &mut archive.as_slice()).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    let expected = "tenant acme is there already (active): delete it first, or import under another name";
    assert_eq!(error.message(), expected);
    assert_eq!(all(&world, &world.store, "acme").await, before);
}

pub(crate) async fn a_damaged_archive_leaves_nothing(world: World) {
    fill(&world, "acme", 2, 3).await;
    let archive = exported(&world.store, "acme").await.0;
    let ends: Vec<usize> =
        archive.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
    for end in &ends {
        for cut in [end - 3, *end] {
            let error = refused(&world, &archive[..cut]).await;
            assert_eq!(error.code(), Code::DataLoss, "cut at {cut}: {error:?}");
        }
    }
    for (from, to) in ends.iter().zip(&ends[1..]) {
        let without = [&archive[..*from], &archive[*to..]].concat();
        refused(&world, &without).await;
        if *to + 1 < archive.len() {
            let twice = [&archive[..=*to], &archive[from + 1..]].concat();
            refused(&world, &twice).await;
        }
    }
    let mut seeded = Seeded(3);
    for _ in 0..40 {
        let mut edited = archive.clone();
        let at = usize::try_from(seeded.next()).unwrap_or_default() % edited.len();
        edited[at] ^= 1 << (seeded.next() % 7);
        let error = refused(&world, &edited).await;
        assert!([Code::DataLoss, Code::FailedPrecondition].contains(&error.code()), "{error:?}");
        assert!(error.message().starts_with("the archive"), "{error}");
    }
    let error = refused(&world, b"").await;
    let expected = "the archive's section of module stock is damaged at its line 1: the archive ends there; use another copy of it, or export again";
    assert_eq!(error.message(), expected);
    world.store.tenants().import(&tenant("copy"), &mut archive.as_slice()).await.unwrap();
}

/// The archive with a piece replaced.
fn with(archive: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(archive).unwrap();
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

pub(crate) async fn an_archive_that_does_not_fit_leaves_nothing(mut world: World) {
    fill(&world, "acme", 4, 3).await;
    let archive = exported(&world.store, "acme").await.0;
    let cases = [
        (
            "\"module\":\"stock\"",
            "\"module\":\"orders\"",
            "does not fit module stock: it is of module orders",
        ),
        ("\"format\":1", "\"format\":2", "it has format 2, and this binary reads format 1"),
        ("\"table\":\"items\"", "\"table\":\"bricks\"", "there is no table bricks here"),
        ("\"name\":\"sku\"", "\"name\":\"weight\"", "table items has no column weight here"),
        (
            ",\"V0002__expand_notes\"",
            "",
            "its data is at V0001__expand_create (1 migrations), and the data here at V0002__expand_notes (2)",
        ),
    ];
    for (from, to, expected) in cases {
        let error = refused(&world, &with(&archive, from, to)).await;
        assert_eq!(error.code(), Code::FailedPrecondition);
        assert!(error.message().contains(expected), "{error}");
    }
    // Rows of another version are not taken for rows of this one.
    let add = |all: &'static [Migration]| -> &'static [Migration] {
        let more = Migration {
            version: 3,
            step: Step::Expand,
            name: "V0003__expand_more",
            sql: "create table more (tenant text not null, id bigint not null, primary key (tenant, id))",
        };
        Vec::leak([all, &[more]].concat())
    };
    let newer =
        Migrations { sqlite: add(MIGRATIONS.sqlite), postgres: add(MIGRATIONS.postgres), ..MIGRATIONS };
    world.reopen_as(|config| config.migrations = newer).await;
    let error = refused(&world, &archive).await;
    assert!(error.message().contains("and the data here at V0003__expand_more (3)"), "{error}");
}

/// What is read again must be what was written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_trigger_changes_are_refused() {
    let mut world = World::postgres().await;
    let trigger = Migration {
        version: 3,
        step: Step::Expand,
        name: "V0003__expand_trigger",
        sql: "create function longer() returns trigger language plpgsql as $$ begin new.sku := new.sku || 'x'; return new; end $$;
              create trigger longer before insert on items for each row execute function longer();",
    };
    let postgres = Vec::leak([MIGRATIONS.postgres, &[trigger]].concat());
    world.reopen_as(|config| config.migrations = Migrations { postgres, ..MIGRATIONS }).await;
    fill(&world, "acme", 6, 3).await;
    let error = refused(&world, &exported(&world.store, "acme").await.0).await;
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(
        error
            .message()
            .contains("table items was written with 3 rows and read again with 3 that are not the same"),
        "{error}"
    );
}

/// Given up at each of its awaits in turn, it leaves nothing or a tenant that is listed and can be deleted.
pub(crate) async fn an_import_that_was_given_up_can_be_deleted(world: World) {
    fill(&world, "acme", 5, 700).await;
    let archive = exported(&world.store, "acme").await.0;
    let (tenants, copy) = (world.store.tenants(), tenant("copy"));
    let mut imported = false;
    for polls in (1..10_000).step_by(5) {
        let mut from = archive.as_slice();
        let mut importing = Box::pin(tenants.import(&copy, &mut from));
        let mut polled = 0;
        let done = std::future::poll_fn(|cx| {
            polled += 1;
            match importing.poll_unpin(cx) {
                Poll::Pending if polled >= polls => Poll::Ready(None),
                poll => poll.map(Some),
            }
        })
        .await;
        drop(importing);
        match done {
            Some(Ok(_)) => {
                imported = true;
                break;
            }
            // What was submitted when it was given up has come through since.
            Some(Err(error)) => {
                assert!([Code::AlreadyExists, Code::Aborted].contains(&error.code()), "{error:?}")
            }
            None => {}
        }
        soon(async {
            while let Err(error) = tenants.delete(&copy).await {
                match error.code() {
                    Code::NotFound => break,
                    code => assert_eq!(code, Code::Aborted, "{error:?}"),
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    assert!(imported);
    tenants.resume(&copy).await.unwrap();
    assert_eq!(all(&world, &world.store, "copy").await, all(&world, &world.store, "acme").await);
}

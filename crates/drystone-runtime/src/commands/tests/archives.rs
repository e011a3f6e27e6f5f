//! Archives that are damaged, of another application, or in the way.

use super::*;

/// A world whose tenant `acme` is suspended and archived in the file `archive`.
async fn archived() -> (World, String) {
    let world = World::new();
    world.ok(create("acme")).await;
    let running = world.start().await;
    for module in ["notes", "tags"] {
        note(&running, module, "acme", 1, "one").await.unwrap();
    }
    world.stop(running).await;
    world.ok(suspend("acme")).await;
    let text = world.archive("acme", "archive").await;
    (world, text)
}

async fn import_of(world: &World, text: &str) -> String {
    let file = world.file("damaged");
    std::fs::write(&file, text).unwrap();
    world.refused(import(&file)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_is_damaged_anywhere_leaves_nothing() {
    let (world, text) = archived().await;
    world.ok(delete("acme", Some("acme"))).await;
    let lines: Vec<&str> = text.lines().collect();
    for end in 1..lines.len() {
        let said = import_of(&world, &(lines[..end].join("\n") + "\n")).await;
        assert!(said.starts_with("error[DRY-R010]: tenants import "), "{said}");
        assert_eq!(world.states("acme").await, [None; 2], "cut after line {end}: {said}");
    }
    let second = lines.iter().position(|line| line.starts_with(r#"{"module":"tags""#)).unwrap();
    let cut = import_of(&world, &(lines[..second].join("\n") + "\n")).await;
    assert!(cut.contains("the archive is cut off: its last line is missing\n  what was imported of tenant acme is deleted again"), "{cut}");
    let edited = import_of(&world, &text.replace("\"one\"", "\"two\"")).await;
    assert!(edited.contains("module `notes`"), "{edited}");
    let without = [&lines[..second], &lines[lines.len() - 1..]].concat().join("\n") + "\n";
    let said = import_of(&world, &without).await;
    assert!(said.contains("the archive is not whole: it should have"), "{said}");
    let twice = [&lines[..second], &lines[1..]].concat().join("\n") + "\n";
    let said = import_of(&world, &twice).await;
    assert!(
        said.contains(
            "the archive has module `notes`, which this application does not have or has read already"
        ),
        "{said}"
    );
    assert_eq!(world.states("acme").await, [None; 2]);
    world.ok(import(&world.file("archive"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_does_not_belong_here_is_refused() {
    let (world, text) = archived().await;
    let there = world.refused(import(&world.file("archive"))).await;
    assert!(
        there.ends_with(
            "tenant acme is there already (suspended in module `notes`): choose another name with --as, or delete it first"
        ),
        "{there}"
    );
    for (from, to, expected) in [
        (
            "\"application\":\"memo\"",
            "\"application\":\"shop\"",
            "the archive is of application shop, and this is memo",
        ),
        ("\"format\":1,\"application\"", "\"format\":9,\"application\"", "the archive has format 9"),
        ("{\"archive\"", "{\"thing\"", "this is not an archive of a tenant"),
    ] {
        assert!(text.contains(from), "{text}");
        let said = import_of(&world, &text.replacen(from, to, 1)).await;
        assert!(said.contains(expected), "{said}");
    }
    let missing = world.refused(import(&world.file("nowhere"))).await;
    assert!(missing.contains("nowhere: No such file"), "{missing}");
    let taken = world.refused(export("acme", &world.file("archive"))).await;
    assert!(taken.contains("the file is there already; choose another name, or remove it"), "{taken}");
    assert_eq!(std::fs::read_to_string(world.file("archive")).unwrap(), text);
}

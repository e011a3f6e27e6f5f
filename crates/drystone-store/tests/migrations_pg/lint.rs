//! The rules of the catalog: each with a schema that keeps it, and a migration on top of it that breaks it, with the exact text that its author sees.
//!
//! The fixtures lie in `tests/lint/<id>`: `pass.sql` runs, `fail.sql` after it is refused with the text of `fail.txt`. `{role}` and `{owner}` stand for the roles.
//! Set `DRYSTONE_BLESS=1` to write `fail.txt` anew, and read the difference.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::site::{ITEMS, Site, shared, step, tenants};

/// Rules that no schema breaks: they are about the run of a migration or of a binary, and have tests of their own.
const OF_THE_RUN: [&str; 6] = ["DRY-M012", "DRY-M013", "DRY-M014", "DRY-M015", "DRY-M017", "DRY-M018"];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn names(path: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root(path)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().replace(".md", ""));
    names.filter(|name| name.starts_with("DRY-M")).collect()
}

fn rules() -> Vec<(String, String)> {
    names("tests/lint")
        .into_iter()
        .map(|id| (id.clone(), id.trim_start_matches("DRY-").to_lowercase()))
        .collect()
}

fn fixture(site: &Site, id: &str, file: &str) -> String {
    let module = id.trim_start_matches("DRY-").to_lowercase();
    let text = std::fs::read_to_string(root("tests/lint").join(id).join(file)).unwrap();
    text.replace("{role}", &site.role(&module)).replace("{owner}", &site.owner)
}

pub(crate) async fn every_rule_has_its_page_and_its_fixtures(_: Site) {
    let mut covered = names("tests/lint");
    covered.extend(OF_THE_RUN.map(str::to_owned));
    assert_eq!(covered, names("../../docs/errors"));
}

pub(crate) async fn a_schema_that_keeps_the_rule_is_accepted_and_one_that_breaks_it_is_told(site: Site) {
    for (id, module) in rules() {
        let one = step(1, "expand_pass", &fixture(&site, &id, "pass.sql"));
        let two = step(2, "expand_fail", &fixture(&site, &id, "fail.sql"));
        site.migrate(&module, tenants(&[one])).await.unwrap_or_else(|error| panic!("{id}: {error:?}"));
        let before = site.catalog(&module).await;
        let message = site.refusal(&module, tenants(&[one, two])).await;
        let message = message.replace(&site.role(&module), "{role}").replace(&site.owner, "{owner}") + "\n";
        let found: Vec<&str> = message.lines().skip(1).map(|line| &line[2..10]).collect();
        assert!(!found.is_empty() && found.iter().all(|other| *other == id), "{id}: {message}");
        let expected = root("tests/lint").join(&id).join("fail.txt");
        if std::env::var_os("DRYSTONE_BLESS").is_some() {
            std::fs::write(&expected, &message).unwrap();
        }
        assert_eq!(message, std::fs::read_to_string(&expected).unwrap_or_default(), "{id}");
        assert_eq!(site.catalog(&module).await, before, "{id} left something");
    }
}

pub(crate) async fn data_of_no_tenant_keeps_the_rules_that_it_has(site: Site) {
    for id in ["DRY-M007", "DRY-M008", "DRY-M009", "DRY-M010", "DRY-M016"] {
        let module = id.trim_start_matches("DRY-").to_lowercase();
        let one = step(1, "expand_pass", &fixture(&site, id, "pass.sql"));
        let two = step(2, "expand_fail", &fixture(&site, id, "fail.sql"));
        site.migrate(&module, shared(&[one])).await.unwrap_or_else(|error| panic!("{id}: {error:?}"));
        let message = site.refusal(&module, shared(&[one, two])).await;
        assert!(message.contains(&format!("is refused on schema {module}_shared:\n  {id}: ")), "{message}");
    }
    let rates =
        step(1, "expand_rates", "create table rates (currency text primary key, rate bigint not null)");
    let away = "create schema away; create table away.keys (name text primary key);
        create table more (name text references away.keys)";
    site.migrate("plain", shared(&[rates])).await.unwrap();
    let message = site.refusal("plain", shared(&[rates, step(2, "expand_away", away)])).await;
    let says = "DRY-M006: table plain_shared.more: foreign key more_name_fkey leads into schema away";
    assert!(message.contains(says), "{message}");
}

pub(crate) async fn what_others_did_to_a_schema_is_found(site: Site) {
    let one = step(1, "expand_items", ITEMS);
    site.migrate("stock", tenants(&[one])).await.unwrap();
    site.admin.batch_execute("alter table stock.items disable row level security").await.unwrap();
    let message = site.refusal("stock", tenants(&[one])).await;
    assert_eq!(
        message,
        "schema stock breaks rules before any migration ran:\n  DRY-M002: table stock.items has its row-level security off: leave it on \
         and forced, as the store sets it"
    );
    site.admin.batch_execute("alter table stock.items enable row level security").await.unwrap();
    site.admin.batch_execute(&ITEMS.replace("items", "stock.alien")).await.unwrap();
    let message = site.refusal("stock", tenants(&[one])).await;
    assert_eq!(
        message,
        format!(
            "schema stock breaks rules before any migration ran:\n  DRY-M010: stock.alien belongs to postgres: let the owner of the schema, \
             {}, create it",
            site.owner
        )
    );
}

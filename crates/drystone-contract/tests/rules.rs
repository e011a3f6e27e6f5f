//! Every rule has a contract that keeps it and one that breaks it, with the exact text that the author sees.
//!
//! The fixtures lie in `rules/<id>`: `pass.proto` has no finding, `fail.proto` has those of `fail.txt`.
//! Set `DRYSTONE_BLESS=1` to write `fail.txt` anew, and read the difference.

#[path = "support/compile.rs"]
mod compile;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use drystone_contract::{RULES, check};

use crate::compile::compile;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn findings(path: &Path) -> Vec<(&'static str, String)> {
    let name = path.file_name().expect("a fixture is a file").to_string_lossy();
    let pool = compile(&name, &read(path));
    check(&pool).into_iter().map(|finding| (finding.id, finding.to_string())).collect()
}

#[test]
fn every_rule_has_its_fixtures_and_every_fixture_its_rule() {
    let rules: BTreeSet<String> = RULES.iter().map(|rule| rule.id.to_owned()).collect();
    assert_eq!(rules.len(), RULES.len(), "an id is given out twice");
    let entries = std::fs::read_dir(fixtures()).expect("the fixtures are there");
    let found: BTreeSet<String> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(rules, found);
}

#[test]
fn contracts_that_keep_the_rule_have_no_finding() {
    for rule in RULES {
        assert_eq!(findings(&fixtures().join(rule.id).join("pass.proto")), [], "{}", rule.id);
    }
}

#[test]
fn contracts_that_break_the_rule_are_told_what_where_and_what_to_do() {
    for rule in RULES {
        let directory = fixtures().join(rule.id);
        let found = findings(&directory.join("fail.proto"));
        assert!(found.iter().any(|(id, _)| *id == rule.id), "{} found nothing: {found:?}", rule.id);
        let others: Vec<_> = found.iter().filter(|(id, _)| *id != rule.id).collect();
        assert!(others.is_empty(), "the fixture of {} breaks other rules: {others:?}", rule.id);

        let text: String = found.into_iter().map(|(_, text)| text + "\n").collect();
        let expected = directory.join("fail.txt");
        if std::env::var_os("DRYSTONE_BLESS").is_some() {
            std::fs::write(&expected, &text).expect("the fixture can be written");
        }
        assert_eq!(text, read(&expected), "{}", rule.id);
    }
}

//! The guide and what it speaks of stay together: no page escapes the compiler, no page quotes another contract than the one that is built.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_page_is_compiled() {
    let listed = read("crates/drystone/src/guide.rs");
    let pages = std::fs::read_dir(root().join("docs/guide")).expect("the guide");
    let names = pages.map(|page| page.expect("an entry").file_name().into_string().expect("a name"));
    let missing: Vec<_> =
        names.filter(|name| name != "README.md" && !listed.contains(&format!("{name:?}"))).collect();
    assert_eq!(missing, [""; 0], "list them in crates/drystone/src/guide.rs");
}

#[test]
fn no_example_is_exempt() {
    let pages = std::fs::read_dir(root().join("docs/guide")).expect("the guide");
    let pages = pages.map(|page| page.expect("an entry").path());
    for page in pages.chain([root().join("README.md")]) {
        let text = std::fs::read_to_string(&page).expect("a page");
        let exempt = text.lines().find(|line| line.starts_with("```rust") && line.contains("ignore"));
        assert_eq!(exempt, None, "{}: an example that nothing compiles", page.display());
    }
}

#[test]
fn the_contract_page_shows_the_contract_that_is_built() {
    let proto = read("crates/drystone/tests/guide/inventory/proto/guide/inventory/v1/inventory.proto");
    assert!(
        read("docs/guide/contract.md").contains(&format!("```proto\n{proto}```\n")),
        "docs/guide/contract.md"
    );
}

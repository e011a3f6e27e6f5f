//! What the generator writes: the whole text of one small contract, and what the text depends on.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use drystone_codegen::Builder;
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A directory of `.proto` files and one for the output.
struct Project {
    protos: TempDir,
    out: TempDir,
}

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        let [protos, out] = [(), ()].map(|()| TempDir::new().expect("a temporary directory can be made"));
        for (name, text) in files {
            let path = protos.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it lies in the directory"))
                .expect("a directory can be made");
            std::fs::write(path, text).expect("a file can be written");
        }
        Self { protos, out }
    }

    fn small() -> Self {
        Self::new(&[("golden/v1/small.proto", &read(&golden("small.proto")))])
    }

    fn builder(&self) -> Builder {
        Builder::new(self.protos.path()).out_dir(self.out.path())
    }

    fn build(&self) -> Vec<PathBuf> {
        self.builder().try_build().unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Set `DRYSTONE_BLESS=1` to write the golden file anew, and read the difference.
#[test]
fn the_generated_text_is_the_golden_one() {
    let project = Project::small();
    let [path] = &project.build()[..] else { panic!("one package, one file") };
    assert_eq!(path.file_name().expect("it is a file"), "golden.v1.rs");
    let text = read(path);
    if std::env::var_os("DRYSTONE_BLESS").is_some() {
        std::fs::write(golden("small.rs.golden"), &text).expect("the golden file can be written");
    }
    assert_eq!(text, read(&golden("small.rs.golden")));
}

#[test]
fn the_output_depends_on_nothing_but_the_contract() {
    let (one, two) = (Project::small(), Project::small());
    for (a, b) in one.build().iter().zip(two.build()) {
        assert_eq!(read(a), read(&b));
        let set =
            |path: &Path| std::fs::read(path.with_extension("bin")).expect("the descriptors are written");
        assert_eq!(set(a), set(&b));
        assert!(!set(a).is_empty());
    }
}

#[test]
fn what_has_not_changed_is_not_written() {
    let project = Project::small();
    let path = project.build().remove(0);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let touched = |path: &Path| std::fs::metadata(path).and_then(|it| it.modified()).expect("it has a time");
    for file in [path.clone(), path.with_extension("bin")] {
        let handle = std::fs::File::options().write(true).open(&file).expect("it can be opened");
        handle.set_modified(long_ago).expect("its time can be set");
        project.build();
        assert_eq!(touched(&file), long_ago, "{}", file.display());
    }
    std::fs::write(&path, "changed").expect("it can be written");
    project.build();
    assert_ne!(read(&path), "changed");
}

fn hash(text: &str) -> String {
    let project = Project::new(&[("golden/v1/small.proto", text)]);
    let text = read(&project.build().remove(0));
    let line = text.lines().find(|line| line.contains("descriptor_hash")).expect("the contract has a hash");
    line.trim().to_owned()
}

#[test]
fn the_hash_changes_with_what_travels_and_with_nothing_else() {
    let text = read(&golden("small.proto"));
    let first = hash(&text);
    assert_eq!(first, hash(&text.replace("// Since when.", "// From which day on.")));
    assert_eq!(first, hash(&text.replace("500ms", "2s")));
    assert_ne!(
        first,
        hash(
            &text
                .replace("string id = 1", "bytes id = 1")
                .replace("key: \"id\"", "key: \"name\"\n")
                .replace("  // Since when.", "  string name = 3;\n",)
        )
    );
    assert_ne!(first, hash(&text.replace("at = 2", "at = 3")));
}

#[test]
fn imports_come_from_include_directories_and_are_not_generated() {
    let shared = Project::new(&[(
        "shared/v1/money.proto",
        "syntax = \"proto3\";\npackage shared.v1;\nmessage Money { int64 minor_units = 1; }\n",
    )]);
    let project = Project::new(&[(
        "sale/v1/sale.proto",
        "syntax = \"proto3\";\npackage sale.v1;\nimport \"shared/v1/money.proto\";\n\
         message Sale { shared.v1.Money total = 1; map<string, shared.v1.Money> parts = 2; }\n",
    )]);
    let include = project.builder().include(shared.protos.path());
    let written =
        include.clone().package("shared.v1", "::shared_api").try_build().expect("the contract is correct");
    assert_eq!(written.len(), 1);
    assert!(read(&written[0]).contains("::core::option::Option<::shared_api::Money>"));

    let error = include.try_build().expect_err("no path is known").to_string();
    assert_eq!(
        error,
        "error: sale/v1/sale.proto uses `shared.v1.Money`, and no Rust path is known for the package `shared.v1`\n  \
         help: depend on the crate of that contract and add `.package(\"shared.v1\", \"::the_crate\")` to the builder"
    );
}

//! What `cargo metadata` and `cargo tree` say, cut down to what the checks read.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::{Result, tree};

/// A package: a member of the workspace, or something that it depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Its directory from the root of the repository; members only.
    pub(crate) directory: String,
    /// Where it comes from; members come from nowhere.
    pub(crate) source: Option<String>,
    pub(crate) licence: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A line of a package's dependencies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The features that it turns on, `default` among them unless it is turned off.
    pub(crate) features: Vec<String>,
}

/// When a dependency is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

/// The members of the workspace, by name.
pub(crate) fn members() -> Result<Vec<Package>> {
    parse(&cargo(&["metadata", "--format-version", "1", "--no-deps"])?)
}

/// Every package that the lock file names.
pub(crate) fn all() -> Result<Vec<Package>> {
    parse(&cargo(&["metadata", "--format-version", "1"])?)
}

/// Name and version of every package that some build of the workspace compiles, on any platform.
///
/// Metadata also lists packages behind optional features that nothing turns on; the tree does not.
pub(crate) fn compiled() -> Result<BTreeSet<(String, String)>> {
    let edges = "normal,build,dev";
    let text = cargo(&[
        "tree",
        "--workspace",
        "--target",
        "all",
        "--edges",
        edges,
        "--prefix",
        "none",
        "--format",
        "{p}",
    ])?;
    Ok(parse_tree(&text))
}

fn cargo(words: &[&str]) -> Result<String> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(program)
        .args(words)
        .current_dir(tree::root())
        .output()
        .map_err(|error| format!("cargo {}: cannot be run: {error}", words.join(" ")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("cargo {}: failed\n{}", words.join(" "), String::from_utf8_lossy(&output.stderr)))
}

fn parse_tree(text: &str) -> BTreeSet<(String, String)> {
    let package = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        Some((name, words.next()?.strip_prefix('v')?.to_owned()))
    };
    text.lines().filter_map(package).collect()
}

fn parse(text: &str) -> Result<Vec<Package>> {
    let json: Value =
        serde_json::from_str(text).map_err(|error| format!("cargo metadata: not JSON: {error}"))?;
    let root = json["workspace_root"].as_str().unwrap_or_default();
    let packages = json["packages"].as_array().ok_or("cargo metadata: no packages")?;
    let mut packages: Vec<Package> = packages.iter().map(|package| package_of(package, root)).collect();
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(packages)
}

fn package_of(json: &Value, root: &str) -> Package {
    let text = |name: &str| json[name].as_str().map(str::to_owned);
    let manifest = text("manifest_path").unwrap_or_default();
    let directory = manifest.trim_end_matches("Cargo.toml").strip_prefix(root).unwrap_or_default();
    let dependencies = json["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    Package {
        name: text("name").unwrap_or_default(),
        version: text("version").unwrap_or_default(),
        directory: directory.trim_matches('/').to_owned(),
        source: text("source"),
        licence: text("license"),
        dependencies: dependencies.iter().map(dependency_of).collect(),
    }
}

fn dependency_of(json: &Value) -> Dependency {
    let kind = match json["kind"].as_str() {
        Some("build") => Kind::Build,
        Some("dev") => Kind::Dev,
        _ => Kind::Normal,
    };
    let named = json["features"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = named.iter().filter_map(Value::as_str);
    let default = json["uses_default_features"].as_bool().unwrap_or(true).then_some("default");
    Dependency {
        name: json["name"].as_str().unwrap_or_default().to_owned(),
        kind,
        features: named.chain(default).map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_cut_down() {
        let text = r#"{ "workspace_root": "/r", "packages": [{
            "name": "b", "version": "1.0.0", "manifest_path": "/r/crates/b/Cargo.toml", "source": null, "license": "MIT",
            "dependencies": [
                { "name": "a", "kind": null, "features": ["x"], "uses_default_features": false },
                { "name": "c", "kind": "build", "features": [], "uses_default_features": true },
                { "name": "d", "kind": "dev" }
            ]
        }]}"#;
        let packages = parse(text).unwrap();
        assert_eq!(packages.len(), 1);
        assert_eq!((packages[0].name.as_str(), packages[0].directory.as_str()), ("b", "crates/b"));
        let kinds: Vec<Kind> = packages[0].dependencies.iter().map(|dependency| dependency.kind).collect();
        assert_eq!(kinds, [Kind::Normal, Kind::Build, Kind::Dev]);
        assert_eq!(packages[0].dependencies[0].features, ["x"]);
        assert_eq!(packages[0].dependencies[1].features, ["default"]);
    }

    #[test]
    fn a_tree_names_each_package_once() {
        let text = "a v0.1.0 (/r/a)\nserde v1.0.2\nserde v1.0.2 (*)\nsyn v2.0.1 (proc-macro)\n\n";
        let expect = [("a", "0.1.0"), ("serde", "1.0.2"), ("syn", "2.0.1")];
        assert_eq!(parse_tree(text), expect.map(|(n, v)| (n.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn the_workspace_has_this_member() {
        let members = members().unwrap();
        assert!(members.iter().any(|package| package.name == "xtask" && package.directory == "xtask"));
    }
}

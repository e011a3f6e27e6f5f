//! What the workspace may be built from: licences, banned crates, sources, and one version of what was chosen.
//!
//! `deny.toml` says the same to cargo-deny, for those who have it; this command needs nothing but cargo. A test keeps the two in step.

use std::collections::{BTreeMap, BTreeSet};

use crate::metadata::{self, Package};
use crate::tree::Tree;
use crate::{Result, conclude, licences};

/// The one registry.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Crates that nothing may bring in, and why.
const BANNED: [(&str, &str); 7] = [
    ("native-tls", "TLS is rustls, the same on every platform"),
    ("openssl", "TLS is rustls, the same on every platform"),
    ("openssl-sys", "TLS is rustls, the same on every platform"),
    ("ring", "rustls runs on aws-lc-rs; a second provider is a second set of keys and bugs"),
    ("serde_yaml", "unmaintained; take serde-saphyr"),
    ("serde_yml", "unmaintained; take serde-saphyr"),
    ("sqlx", "statements run in place on the task that holds the transaction: rusqlite and tokio-postgres"),
];

/// Chosen crates that exist twice for now, and who asks for the other version.
const TWICE: [(&str, &str); 2] = [
    ("base64", "pem, under rcgen, is at 0.23"),
    ("syn", "async-trait and clap_derive are at 3, prost and tokio's macros at 2"),
];

/// `cargo xtask deps`.
pub(crate) fn run() -> Result {
    let tree = Tree::read()?;
    let compiled = metadata::compiled()?;
    let mut packages = metadata::all()?;
    packages.retain(|package| compiled.contains(&(package.name.clone(), package.version.clone())));
    let mut findings = judge(&packages);
    findings.extend(duplicates(&packages, &chosen(tree.text("Cargo.toml").unwrap_or_default())));
    conclude("deps", &findings)
}

/// Breaches of licence, ban and source.
fn judge(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for Package { name, version, source, licence, .. } in packages {
        let licence = licence.as_deref().unwrap_or("no licence");
        if !licences::is_allowed(licence) {
            findings.push(format!("{name} {version}: {licence} is not on the list in xtask/src/licences.rs"));
        }
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| banned == name) {
            findings.push(format!(
                "{name} {version}: banned: {why}; `cargo tree -i {name}` shows who asks for it"
            ));
        }
        if let Some(source) = source.as_deref().filter(|source| *source != SOURCE) {
            findings.push(format!("{name} {version}: comes from {source}; dependencies come from crates.io"));
        }
    }
    findings
}

/// The crates that `[workspace.dependencies]` names.
fn chosen(manifest: &str) -> BTreeSet<String> {
    let table = manifest.split("\n[workspace.dependencies]\n").nth(1).unwrap_or_default();
    let lines = table.lines().take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| Some(line.split_once('=')?.0.trim().to_owned())).collect()
}

/// Chosen crates in two versions, unless [`TWICE`] knows; and entries of [`TWICE`] that are no longer true.
fn duplicates(packages: &[Package], chosen: &BTreeSet<String>) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    let twice = |name: &str| versions.get(name).is_some_and(|versions| versions.len() > 1);
    let known = |name: &str| TWICE.iter().any(|(known, _)| *known == name);
    let new = chosen.iter().filter(|name| twice(name) && !known(name));
    let new = new
        .map(|name| format!("{name}: in two versions, {:?}; see `cargo tree -d`", versions[name.as_str()]));
    let stale = TWICE.iter().filter(|(name, _)| !twice(name));
    let stale =
        stale.map(|(name, _)| format!("{name}: exists once; remove it from TWICE in xtask/src/deps.rs"));
    new.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, licence: Option<&str>, source: Option<&str>) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: licence.map(str::to_owned),
            source: source.map(str::to_owned),
            ..Package::default()
        }
    }

    #[test]
    fn licence_ban_and_source_are_judged() {
        let good = [
            package("serde", "1.0.0", Some("MIT OR Apache-2.0"), Some(SOURCE)),
            package("own", "0.1.0", Some("MIT"), None),
        ];
        assert_eq!(judge(&good), [""; 0]);
        for (bad, word) in [
            (package("x", "1.0.0", Some("GPL-3.0-only"), Some(SOURCE)), "GPL-3.0-only"),
            (package("x", "1.0.0", None, Some(SOURCE)), "no licence"),
            (package("openssl", "0.10.0", Some("MIT"), Some(SOURCE)), "banned"),
            (package("x", "1.0.0", Some("MIT"), Some("git+https://example.org/x")), "comes from"),
        ] {
            let findings = judge(std::slice::from_ref(&bad));
            assert_eq!(findings.len(), 1, "{bad:?}: {findings:?}");
            assert!(findings[0].contains(word), "{findings:?}");
        }
    }

    #[test]
    fn the_chosen_crates_are_read_from_the_manifest() {
        let manifest = "[workspace]\na = 1\n\n[workspace.dependencies]\nprost = \"0.14\"\n\nsyn = { version = \"2\" }\n[profile.dev]\nb = 1\n";
        assert_eq!(chosen(manifest), ["prost", "syn"].map(str::to_owned).into());
    }

    #[test]
    fn a_chosen_crate_exists_once() {
        let of = |names: &[(&str, &str)]| -> Vec<Package> {
            names.iter().map(|(name, version)| package(name, version, None, None)).collect()
        };
        let known: Vec<(&str, &str)> =
            TWICE.iter().flat_map(|(name, _)| [(*name, "1.0.0"), (*name, "2.0.0")]).collect();
        let chosen = ["prost", "base64"].map(str::to_owned).into();
        assert_eq!(duplicates(&of(&known), &chosen), [""; 0]);
        let mut more = known.clone();
        more.extend([("prost", "0.13.0"), ("prost", "0.14.0"), ("other", "1.0.0"), ("other", "2.0.0")]);
        let findings = duplicates(&of(&more), &chosen);
        assert!(findings.len() == 1 && findings[0].starts_with("prost: "), "{findings:?}");
        assert_eq!(duplicates(&of(&known[1..]), &chosen).len(), 1);
    }

    #[test]
    fn deny_toml_says_the_same() {
        let tree = Tree::read().unwrap();
        let deny = tree.text("deny.toml").unwrap();
        for name in BANNED.map(|(name, _)| name) {
            assert!(deny.contains(&format!("crate = \"{name}\"")), "deny.toml does not ban {name}");
        }
        for licence in licences::ALLOWED {
            assert!(deny.contains(&format!("\"{licence}\"")), "deny.toml does not allow {licence}");
        }
        assert_eq!(
            deny.matches("crate = ").count(),
            BANNED.len() + TWICE.len(),
            "deny.toml bans or skips something else"
        );
    }
}

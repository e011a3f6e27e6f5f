//! The repository's own text files, read once, as the checks see them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

/// Directories that hold what is built or run, not what is written.
const SKIPPED: [&str; 5] = ["target", "data", ".git", ".venv", "node_modules"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Text files by their path from the root, with `/` between the parts.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the repository.
    pub(crate) fn read() -> Result<Self> {
        let root = root();
        let mut tree = Self::default();
        tree.add_directory(&root, &root)?;
        Ok(tree)
    }

    fn add_directory(&mut self, root: &Path, directory: &Path) -> Result {
        let failed = |error| format!("{}: cannot be read: {error}", directory.display());
        for entry in fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if !SKIPPED.contains(&&*name) {
                    self.add_directory(root, &path)?;
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root).unwrap_or(&path);
                self.files.insert(path.to_string_lossy().replace('\\', "/"), text);
            }
        }
        Ok(())
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether a file or a directory of this path exists; the root's path is empty.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let directory = format!("{path}/");
        path.is_empty()
            || self.files.contains_key(path)
            || self.files.keys().any(|file| file.starts_with(&directory))
    }

    /// Every file.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The files whose name ends so.
    pub(crate) fn ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.all().filter(move |(path, _)| path.ends_with(end))
    }

    /// The files below a directory.
    pub(crate) fn under<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.all().filter(move |(path, _)| path.starts_with(directory))
    }

    /// A tree of these files, for tests.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Self { files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_exist_by_the_files_in_them() {
        let tree = Tree::of(&[("docs/guide/README.md", "")]);
        for path in ["", "docs", "docs/guide/", "docs/guide/README.md"] {
            assert!(tree.has(path), "{path}");
        }
        for path in ["doc", "docs/guid", "README.md"] {
            assert!(!tree.has(path), "{path}");
        }
    }

    #[test]
    fn the_repository_is_read_without_what_was_built() {
        let tree = Tree::read().unwrap();
        assert!(tree.text("xtask/src/tree.rs").is_some());
        assert_eq!(tree.under("target/").count(), 0);
    }
}

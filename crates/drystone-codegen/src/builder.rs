//! What a build script calls.

use std::path::{Path, PathBuf};

use crate::compile::compile;
use crate::error::BuildError;
use crate::package;

/// Generates the contract from every `.proto` file below `directory`, as [`Builder`] does with no further settings.
///
/// Called from a build script, it prints every mistake and ends the process when the contract cannot be built.
pub fn build(directory: impl Into<PathBuf>) {
    Builder::new(directory).build();
}

/// A contract to be generated.
#[derive(Clone, Debug)]
pub struct Builder {
    directory: PathBuf,
    includes: Vec<PathBuf>,
    packages: Vec<(String, String)>,
    out_dir: Option<PathBuf>,
}

impl Builder {
    /// Every `.proto` file below `directory`, which also is the root that imports are relative to.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), includes: Vec::new(), packages: Vec::new(), out_dir: None }
    }

    /// A further directory to find imports in. No code is generated for what it holds.
    #[must_use]
    pub fn include(mut self, directory: impl Into<PathBuf>) -> Self {
        self.includes.push(directory.into());
        self
    }

    /// Where the Rust types of another proto package are, as in `("shop.common.v1", "::shop_common_api")`.
    ///
    /// A directory may hold several packages. Each becomes a file of its own, and one that uses types of another needs
    /// the path at which the crate includes that other, as in `("shop.common.v1", "crate::common")`.
    #[must_use]
    pub fn package(mut self, package: impl Into<String>, rust_path: impl Into<String>) -> Self {
        self.packages.push((package.into(), rust_path.into()));
        self
    }

    /// Writes into `directory` and not into cargo's `OUT_DIR`.
    #[must_use]
    pub fn out_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(directory.into());
        self
    }

    /// Generates the code, and tells cargo which directories to watch.
    ///
    /// When the contract cannot be built, prints why to standard error, where cargo shows it, and ends the process.
    #[expect(
        clippy::disallowed_methods,
        reason = "a build script holds nothing that must be dropped; main stays one line"
    )]
    pub fn build(self) {
        for directory in std::iter::once(&self.directory).chain(&self.includes) {
            println!("cargo::rerun-if-changed={}", directory.display());
        }
        if let Err(error) = self.try_build() {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }

    /// Generates the code and returns the files written, one `.rs` per proto package.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, parsed or written, or when the contract breaks a rule.
    pub fn try_build(&self) -> Result<Vec<PathBuf>, BuildError> {
        let compiled = compile(&self.directory, &self.includes)?;
        let out_dir = self.target()?;
        let mut written = Vec::new();
        for package in compiled.packages() {
            let code = package::generate(&compiled, &package, &self.packages)?;
            write(&out_dir.join(format!("{package}.bin")), &code.descriptor_set)?;
            let path = out_dir.join(format!("{package}.rs"));
            write(&path, code.source.as_bytes())?;
            written.push(path);
        }
        Ok(written)
    }

    fn target(&self) -> Result<PathBuf, BuildError> {
        let given = self.out_dir.clone().or_else(|| std::env::var_os("OUT_DIR").map(PathBuf::from));
        given.ok_or_else(|| {
            let help = "OUT_DIR is not set\n  help: call this from a build script, or set `Builder::out_dir`";
            BuildError::Generate(help.to_owned())
        })
    }
}

/// Writes `content` unless it is there already, so that an unchanged contract compiles nothing anew.
fn write(path: &Path, content: &[u8]) -> Result<(), BuildError> {
    if std::fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    std::fs::write(path, content).map_err(|source| BuildError::Io { path: path.to_owned(), source })
}

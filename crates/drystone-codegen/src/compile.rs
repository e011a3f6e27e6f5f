//! Compiles `.proto` files into descriptors and holds them to the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use drystone_contract::{Finding, WELL_KNOWN_FILES, check};
use prost_reflect::{DescriptorPool, FileDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

use crate::error::BuildError;

/// A compilation that broke no rule.
pub(crate) struct Compiled {
    pub(crate) pool: DescriptorPool,
    /// Import names of the files that code is generated for.
    own: BTreeSet<String>,
}

impl Compiled {
    /// The packages that code is generated for, sorted.
    pub(crate) fn packages(&self) -> BTreeSet<String> {
        self.own_files().map(|file| file.package_name().to_owned()).collect()
    }

    /// The files of `package` that code is generated for.
    pub(crate) fn files<'a>(&'a self, package: &'a str) -> impl Iterator<Item = FileDescriptor> + 'a {
        self.own_files().filter(move |file| file.package_name() == package)
    }

    fn own_files(&self) -> impl Iterator<Item = FileDescriptor> + '_ {
        self.pool.files().filter(|file| self.own.contains(file.name()))
    }
}

/// Compiles every `.proto` file below `directory`; imports are searched there, in `includes`, and in what is embedded.
pub(crate) fn compile(directory: &Path, includes: &[PathBuf]) -> Result<Compiled, BuildError> {
    let mut sources = Vec::new();
    find(directory, &mut sources)?;
    if sources.is_empty() {
        return Err(BuildError::NoFiles(directory.to_owned()));
    }
    let mut compiler = Compiler::with_file_resolver(resolver(directory, includes));
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&sources).map_err(|error| BuildError::Compile(explain(&error, directory)))?;

    let pool = compiler.descriptor_pool();
    let findings = check(&pool);
    if !findings.is_empty() {
        return Err(BuildError::Findings(with_paths(findings, &compiler)));
    }
    let own = compiler.files().filter(|file| !file.is_import()).map(|file| file.name().to_owned()).collect();
    Ok(Compiled { pool, own })
}

/// The compiler's error with the file as a path, and with what to do where that is known.
fn explain(error: &protox::Error, directory: &Path) -> String {
    // Debug is the form of this error that carries file, line and column.
    let mut text = format!("{error:?}");
    if let Some(name) = error.file()
        && directory.join(name).exists()
        && let Some(rest) = text.strip_prefix(name)
    {
        text = format!("{}{rest}", directory.join(name).display());
    }
    if error.is_file_not_found() {
        let here = directory.display();
        text.push_str(&format!(
            "\n  help: imports are searched from `{here}`; name others with `Builder::include`"
        ));
    }
    if let Some(fields) = fields_of_annotation(&text) {
        text.push_str(&format!("\n  help: its fields are {fields}"));
    }
    text
}

/// The fields of the annotation whose value `error` calls invalid; the compiler itself does not say which it missed.
fn fields_of_annotation(error: &str) -> Option<String> {
    let (_, rest) = error.split_once("invalid value of type '")?;
    let (type_name, _) = rest.split_once('\'')?;
    let mut compiler = Compiler::with_file_resolver(resolver(Path::new(""), &[]));
    compiler.open_files(WELL_KNOWN_FILES.iter().map(|(name, _)| name)).ok()?;
    let message = compiler.descriptor_pool().get_message_by_name(type_name)?;
    let names: Vec<String> = message.fields().map(|field| format!("`{}`", field.name())).collect();
    Some(names.join(", "))
}

fn resolver(directory: &Path, includes: &[PathBuf]) -> ChainFileResolver {
    let mut chain = ChainFileResolver::new();
    chain.add(IncludeFileResolver::new(directory.to_owned()));
    for include in includes {
        chain.add(IncludeFileResolver::new(include.clone()));
    }
    chain.add(Embedded);
    chain.add(GoogleFileResolver::new());
    chain
}

/// Resolves the annotation files from the text embedded in drystone-contract.
struct Embedded;

impl FileResolver for Embedded {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let known = WELL_KNOWN_FILES.iter().find(|(file, _)| *file == name);
        let (_, text) = known.ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, text)
    }
}

fn find(directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), BuildError> {
    let fail = |source| BuildError::Io { path: directory.to_owned(), source };
    let entries: Result<Vec<_>, _> = std::fs::read_dir(directory).map_err(fail)?.collect();
    let mut paths: Vec<PathBuf> = entries.map_err(fail)?.iter().map(std::fs::DirEntry::path).collect();
    // The order of a directory is the file system's; the output must not depend on it.
    paths.sort();
    for path in paths {
        if path.is_dir() {
            find(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            found.push(path);
        }
    }
    Ok(())
}

/// Replaces import names by paths, which editors and people can open.
fn with_paths(findings: Vec<Finding>, compiler: &Compiler) -> Vec<Finding> {
    let paths: BTreeMap<&str, &Path> =
        compiler.files().filter_map(|file| Some((file.name(), file.path()?))).collect();
    let place = |mut finding: Finding| {
        if let Some(path) = paths.get(finding.file.as_str()) {
            finding.file = path.display().to_string();
        }
        finding
    };
    findings.into_iter().map(place).collect()
}

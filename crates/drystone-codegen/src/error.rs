//! Why a contract was not built.

use std::fmt;
use std::path::PathBuf;

use drystone_contract::Finding;

/// Why a contract was not built. Displays as the text that a build script prints.
#[derive(Debug)]
pub enum BuildError {
    /// The annotations break rules; never empty. File names are paths as the build script knows them.
    Findings(Vec<Finding>),
    /// A file is not protobuf, or an import is missing. The text names file, line and column.
    Compile(String),
    /// A file or directory cannot be read or written.
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory holds no `.proto` file.
    NoFiles(PathBuf),
    /// A field or method uses a type of a package for which no Rust path is known.
    UnknownPackage {
        /// The package of the type.
        package: String,
        /// The full name of the type.
        type_name: String,
        /// The file that uses it.
        file: String,
    },
    /// A library generator refused its input.
    Generate(String),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Findings(findings) => {
                for finding in findings {
                    writeln!(f, "{finding}\n")?;
                }
                let count = findings.len();
                let mistakes = if count == 1 { "mistake" } else { "mistakes" };
                write!(f, "error: the contract has {count} {mistakes}; no code was generated")
            }
            Self::Compile(message) => write!(f, "error: {message}"),
            Self::Io { path, source } => write!(f, "error: {}: {source}", path.display()),
            Self::NoFiles(path) => write!(
                f,
                "error: {0} holds no .proto file\n  help: put the contract there, or name its directory in build.rs",
                path.display()
            ),
            Self::UnknownPackage { package, type_name, file } => write!(
                f,
                "error: {file} uses `{type_name}`, and no Rust path is known for the package `{package}`\n  help: depend \
                 on the crate of that contract and add `.package(\"{package}\", \"::the_crate\")` to the builder"
            ),
            Self::Generate(message) => write!(f, "error: {message}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

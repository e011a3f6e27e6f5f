//! Migrations: forward only, checksummed, each in a transaction of its own.
//!
//! One plan serves both databases: it compares what a module brings with what a database has recorded, and says what is left to run or
//! what is wrong. Each backend only reads the record and runs the rest.

use drystone_call::{Code, Error, Result};
use sha2::{Digest as _, Sha256};

/// Whether a migration adds or takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Adds; the version before keeps running beside it.
    Expand,
    /// Takes away what no running version needs any more.
    Contract,
}

/// One migration.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The number, from 1.
    pub version: u32,
    /// Whether it adds or takes away.
    pub step: Step,
    /// The file's name without its end.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

/// A module's migrations, per dialect; made by `migrations!`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Migrations {
    /// For each tenant's data on SQLite.
    pub sqlite: &'static [Migration],
    /// For the tenants' data on PostgreSQL.
    pub postgres: &'static [Migration],
    /// For the data of no tenant on SQLite.
    pub shared_sqlite: &'static [Migration],
    /// For the data of no tenant on PostgreSQL.
    pub shared_postgres: &'static [Migration],
}

impl Migrations {
    /// A module without tables of its own.
    pub const NONE: Self = Self { sqlite: &[], postgres: &[], shared_sqlite: &[], shared_postgres: &[] };
}

/// A line of a database's record of migrations.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) version: i64,
    pub(crate) name: String,
    pub(crate) checksum: String,
}

/// SHA-256 of the statements, in hex; the ends of lines do not count.
pub(crate) fn checksum(migration: &Migration) -> String {
    use std::fmt::Write as _;

    let digest = Sha256::digest(migration.sql.replace("\r\n", "\n"));
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What is left to run on `place`.
///
/// # Errors
/// `FAILED_PRECONDITION` if an applied migration was edited or removed since.
pub(crate) fn plan<'m>(all: &'m [Migration], applied: &[Applied], place: &str) -> Result<&'m [Migration]> {
    for line in applied {
        let known = all.iter().find(|migration| i64::from(migration.version) == line.version);
        let Some(migration) = known else {
            return Err(refuse(format!(
                "{place} has applied {}, which this binary does not know: it is older than the data; run a newer one",
                line.name
            )));
        };
        if checksum(migration) != line.checksum {
            return Err(refuse(format!(
                "{} was edited after it had been applied to {place} (there it is {}): restore the file and put the change \
                 into a new migration",
                migration.name, line.name
            )));
        }
    }
    Ok(&all[applied.len().min(all.len())..])
}

/// The error of a migration that does not run.
pub(crate) fn failed(
    migration: &Migration,
    place: &str,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    refuse(format!("migration {} failed on {place}: {cause}", migration.name)).caused_by(cause)
}

fn refuse(message: String) -> Error {
    Error::new(Code::FailedPrecondition, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Migration = Migration { version: 1, step: Step::Expand, name: "V1__expand_a", sql: "create" };
    const TWO: Migration =
        Migration { version: 2, step: Step::Contract, name: "V2__contract_b", sql: "drop" };

    fn line(migration: &Migration) -> Applied {
        Applied {
            version: migration.version.into(),
            name: migration.name.to_owned(),
            checksum: checksum(migration),
        }
    }

    #[test]
    fn what_was_applied_is_not_run_again() {
        let left = |applied: &[Applied]| plan(&[ONE, TWO], applied, "here").unwrap().len();
        assert_eq!(left(&[]), 2);
        assert_eq!(left(&[line(&ONE)]), 1);
        assert_eq!(left(&[line(&ONE), line(&TWO)]), 0);
    }

    #[test]
    fn an_edited_or_unknown_migration_is_named() {
        let edited = Migration { sql: "create more", ..ONE };
        let error = plan(&[edited], &[line(&ONE)], "here").unwrap_err();
        assert!(error.message().contains("V1__expand_a was edited"), "{error}");
        let error = plan(&[ONE], &[line(&ONE), line(&TWO)], "here").unwrap_err();
        assert!(error.message().contains("V2__contract_b"), "{error}");
    }

    #[test]
    fn line_ends_do_not_count() {
        let unix = Migration { sql: "a\nb", ..ONE };
        let other = Migration { sql: "a\r\nb", ..ONE };
        assert_eq!(checksum(&unix), checksum(&other));
    }
}

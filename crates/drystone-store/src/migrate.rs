//! Migrations: forward only, checksummed, each in a transaction of its own.
//!
//! One plan serves both databases: it compares what a module brings with what a database has recorded, and says what is left to run or
//! what is wrong. Each backend only reads the record and runs the rest.
//!
//! Two versions of a module work on one database while the newer one is rolled out. So a step that a binary does not know keeps it from starting only
//! if that step took something away.

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

/// Which steps a [`crate::Migrator`] runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Steps {
    /// All that are left.
    #[default]
    All,
    /// Those before the first contract step: what runs before a new version is rolled out, while the one before still works.
    ExpandOnly,
}

/// What a [`crate::Migrator`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// The module's schemas: that of the data of no tenant, then that of the tenants' data.
    pub schemas: Vec<MigratedSchema>,
}

/// What a [`crate::Migrator`] did to one schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigratedSchema {
    /// The schema's name.
    pub schema: String,
    /// The migrations that ran, in order.
    pub ran: Vec<&'static str>,
    /// The migrations that are left because of [`Steps::ExpandOnly`], in order.
    pub held_back: Vec<&'static str>,
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

/// What is left to run on `place`. Applied steps that the binary does not know are those of a newer one, which works beside it.
///
/// # Errors
/// `FAILED_PRECONDITION` if an applied migration was edited since, or if an unknown one took something away.
pub(crate) fn plan<'m>(all: &'m [Migration], applied: &[Applied], place: &str) -> Result<&'m [Migration]> {
    for line in applied {
        match all.iter().find(|migration| i64::from(migration.version) == line.version) {
            None if takes_away(&line.name) => return Err(older_than_the_data(place, &line.name)),
            None => {}
            Some(migration) if checksum(migration) == line.checksum => {}
            Some(migration) => return Err(edited(migration, place, &line.name)),
        }
    }
    let newest = applied.iter().map(|line| line.version).max().unwrap_or(0);
    let done = all.iter().take_while(|migration| i64::from(migration.version) <= newest).count();
    Ok(&all[done..])
}

/// The steps before the first one that takes away, and the rest.
pub(crate) fn expanding(left: &[Migration]) -> (&[Migration], &[Migration]) {
    let first = left.iter().position(|migration| migration.step == Step::Contract);
    left.split_at(first.unwrap_or(left.len()))
}

/// Whether a migration takes away, by its name: all that a database has of one that the binary does not know.
fn takes_away(name: &str) -> bool {
    name.split_once("__").is_some_and(|(_, words)| words.starts_with("contract_"))
}

fn older_than_the_data(place: &str, name: &str) -> Error {
    refuse(format!(
        "DRY-M018: {place} has applied {name}, which this binary does not know and which took something away: the binary is older \
         than the data; run a newer one"
    ))
}

fn edited(migration: &Migration, place: &str, there: &str) -> Error {
    refuse(format!(
        "DRY-M013: {} was edited after it had been applied to {place} (there it is {there}): restore the file and put the change \
         into a new migration",
        migration.name
    ))
}

/// The error of a migration that does not run.
pub(crate) fn failed(
    migration: &Migration,
    place: &str,
    why: &str,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    refuse(format!(
        "DRY-M014: migration {} failed on {place} and left nothing: {why}; correct the file and migrate again",
        migration.name
    ))
    .caused_by(cause)
}

pub(crate) fn refuse(message: String) -> Error {
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
        assert!(error.message().contains("DRY-M018: here has applied V2__contract_b"), "{error}");
    }

    #[test]
    fn what_a_newer_version_added_is_no_hindrance() {
        let added = Migration { step: Step::Expand, name: "V2__expand_b", ..TWO };
        assert_eq!(plan(&[ONE], &[line(&ONE), line(&added)], "here").unwrap().len(), 0);
        assert_eq!(plan(&[], &[line(&ONE), line(&added)], "here").unwrap().len(), 0);
        let odd = Migration { name: "V2__expand_contract_terms", ..added };
        assert_eq!(plan(&[ONE], &[line(&ONE), line(&odd)], "here").unwrap().len(), 0);
    }

    #[test]
    fn expanding_ends_at_the_first_step_that_takes_away() {
        let three = Migration { version: 3, name: "V3__expand_c", ..ONE };
        let all = [ONE, TWO, three];
        let (now, later) = expanding(&all);
        assert_eq!((now.len(), later.len()), (1, 2));
        let all = [ONE, three];
        assert_eq!(expanding(&all).0.len(), 2);
    }

    #[test]
    fn line_ends_do_not_count() {
        let unix = Migration { sql: "a\nb", ..ONE };
        let other = Migration { sql: "a\r\nb", ..ONE };
        assert_eq!(checksum(&unix), checksum(&other));
    }
}

//! The statements of one migration, run so that they can neither end their transaction nor go on as somebody else.

use drystone_call::Result;
use tokio_postgres::Client;
use tokio_postgres::error::{Error as PgError, ErrorPosition, SqlState};

use crate::migrate::{self, Migration};

/// The server's own interpreter runs the text: it refuses `commit` and the like wherever they stand, which no look at the text could promise. What is
/// deferred to the commit is checked here, where the migration can still be named.
const RUN: &str =
    "do $$ begin execute current_setting('drystone.migration'); end $$; set constraints all immediate";

const GIVE: &str =
    "select set_config('drystone.migration', $1, true), current_user::text, session_user::text";

/// Runs the statements of a migration in the transaction that is open.
///
/// # Errors
/// `FAILED_PRECONDITION` if a statement fails, ends the transaction or goes on as another role.
pub(super) async fn run(client: &Client, migration: &Migration, place: &str) -> Result<()> {
    let before = client.query_one(GIVE, &[&migration.sql]).await?;
    client.batch_execute(RUN).await.map_err(|cause| refused(migration, place, cause))?;
    let after = client.query_one("select current_user::text, session_user::text", &[]).await?;
    let (was, is): ([String; 2], [String; 2]) =
        ([before.get(1), before.get(2)], [after.get(0), after.get(1)]);
    if was == is {
        return Ok(());
    }
    Err(migrate::refuse(format!(
        "DRY-M016: migration {} is refused on {place}: it goes on as role {}: remove `set role` and `set session authorization`; the owner migrates",
        migration.name, is[0]
    )))
}

fn refused(migration: &Migration, place: &str, cause: PgError) -> drystone_call::Error {
    let Some(db) = cause.as_db_error() else {
        return migrate::failed(migration, place, &cause.to_string(), cause);
    };
    if *db.code() == SqlState::FEATURE_NOT_SUPPORTED && db.routine() == Some("exec_stmt_dynexecute") {
        return migrate::refuse(format!(
            "DRY-M015: migration {} is refused on {place}: {}: remove `begin`, `commit`, `savepoint` and `copy`; a migration is one transaction, \
             and the store's",
            migration.name,
            db.message()
        ))
        .caused_by(cause);
    }
    let line = match db.position() {
        Some(ErrorPosition::Internal { position, query }) if query == migration.sql => {
            let before = query.chars().take(*position as usize).filter(|&c| c == '\n').count();
            format!("line {}: ", before + 1)
        }
        _ => String::new(),
    };
    let why = format!("{line}{} ({})", db.message(), db.code().code());
    migrate::failed(migration, place, &why, cause)
}

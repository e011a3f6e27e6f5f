//! Where the stores of a [`TestApp`](crate::TestApp) are, and the proof that they are there.

use std::path::Path;

use drystone_runtime::App;

use crate::{Database, On, Postgres};

/// What was made for the stores of one test.
#[derive(Debug)]
pub(crate) enum TestStores {
    /// Files below the data directory of the application.
    Sqlite,
    /// A database that is dropped after the test.
    Postgres(Database),
}

impl TestStores {
    /// Makes what the stores need: on PostgreSQL a database, migrated for every module of `app`.
    ///
    /// # Panics
    /// If there is no server, if it makes no database, or if a migration is refused.
    pub(crate) async fn make(on: On, app: &App, settings: &str) -> Self {
        if on == On::Sqlite {
            return Self::Sqlite;
        }
        let made = blocking(|| Postgres::of_process().database()).await;
        let database = made.unwrap_or_else(|error| panic!("the server makes no database: {error}"));
        let as_owner = format!("[store]\nurl = {:?}\nowner_url = {:?}\n", database.url, database.owner_url);
        let migrated = app.clone().settings(settings).settings(&as_owner).migrate().await;
        migrated.unwrap_or_else(|error| panic!("the migrations do not run on PostgreSQL: {error}"));
        Self::Postgres(database)
    }

    /// Which database it is.
    pub(crate) fn on(&self) -> On {
        match self {
            Self::Sqlite => On::Sqlite,
            Self::Postgres(_) => On::Postgres,
        }
    }

    /// What the running application is told.
    pub(crate) fn settings(&self) -> String {
        match self {
            Self::Sqlite => String::new(),
            Self::Postgres(database) => format!("[store]\nurl = {:?}\n", database.url),
        }
    }

    /// The databases that the running application has opened: files of SQLite, and connections at the server.
    pub(crate) async fn opened(&self, data: &Path) -> (usize, usize) {
        let files = files_below(&data.join("modules"));
        let connections = match self {
            Self::Sqlite => 0,
            Self::Postgres(database) => {
                let database = database.clone();
                let count = blocking(move || Postgres::of_process().connections(&database)).await;
                count.unwrap_or_else(|error| panic!("the server does not count its connections: {error}"))
            }
        };
        (files, connections)
    }

    /// Removes what was made.
    ///
    /// # Panics
    /// If the database cannot be dropped.
    pub(crate) async fn remove(self) {
        if let Self::Postgres(database) = self {
            let dropped = blocking(move || Postgres::of_process().drop_database(&database)).await;
            dropped.unwrap_or_else(|error| panic!("the database cannot be dropped: {error}"));
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work does not panic")
}

/// The files of SQLite below a directory; none where there is no such directory.
fn files_below(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                files_below(&path)
            } else {
                usize::from(path.extension().is_some_and(|extension| extension == "db"))
            }
        })
        .sum()
}

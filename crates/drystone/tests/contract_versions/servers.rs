//! The ledger's module against either version of its contract, and the application that serves it.

use drystone::prelude::*;
use drystone::{App, Running};
use drystone_testkit::Database;
use ledger_api::{after, before};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The module: the same code, against the one and the other version.
macro_rules! ledger {
    ($version:ident, $service:ident $(, $purpose:ident)?) => {
        struct $service(Store);

        impl $service {
            async fn add(&self, cx: &mut Context, entry: $version::Entry) -> Result<$version::Entry> {
                let mut tx = self.0.begin(cx).await?;
                let id = tx.new_id().to_string();
                tx.query("insert into entries (id, account, amount) values ($1, $2, $3)")
                    .bind((&id, &entry.account, entry.amount))
                    .execute()
                    .await?;
                tx.commit_with($version::Entry { id, ..entry }).await
            }
        }

        impl $version::Ledger for $service {
            async fn book(&self, cx: &mut Context, req: $version::BookRequest) -> Result<$version::Entry> {
                let (id, account) = (String::new(), req.account);
                self.add(cx, $version::Entry { id, account, amount: req.amount $(, $purpose: req.$purpose)? }).await
            }

            async fn book_carefully(
                &self,
                cx: &mut Context,
                req: $version::BookCarefullyRequest,
            ) -> Result<$version::Entry> {
                let (id, account) = (String::new(), req.account);
                self.add(cx, $version::Entry { id, account, amount: req.amount $(, $purpose: String::new())? }).await
            }

            async fn get_balance(
                &self,
                cx: &mut Context,
                req: $version::GetBalanceRequest,
            ) -> Result<$version::Balance> {
                let mut read = self.0.read(cx).await?;
                let (entries, total) = read
                    .query("select count(*), cast(coalesce(sum(amount), 0) as bigint) from entries where account = $1")
                    .bind((req.account,))
                    .one()
                    .await?;
                Ok($version::Balance { entries, total })
            }
        }
    };
}

ledger!(before, Before);
ledger!(after, After, purpose);

/// A version of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// As it was released first.
    Before,
    /// With a field more.
    After,
}

impl Version {
    fn module(self) -> Module {
        let module = Module::new("ledger").migrations(migrations!("tests/ledger/migrations"));
        match self {
            Self::Before => module.wire(|w| w.serve(before::LedgerServer::new(Before(w.store())))),
            Self::After => module.wire(|w| w.serve(after::LedgerServer::new(After(w.store())))),
        }
    }
}

/// Where the data is.
pub(crate) struct Place {
    dir: TempDir,
    store: String,
}

impl Place {
    /// Files of its own.
    pub(crate) fn sqlite() -> Self {
        Self { dir: TempDir::new().expect("a temporary directory"), store: String::new() }
    }

    /// A database, once the ledger's schema is there.
    pub(crate) async fn postgres(database: Database) -> Self {
        let store = format!("[store]\nurl = {:?}\n", database.url);
        let place = Self { dir: TempDir::new().expect("a temporary directory"), store };
        let owner = format!("owner_url = {:?}\n", database.owner_url);
        let app = place.app(Version::Before, &owner);
        app.migrate().await.unwrap_or_else(|error| panic!("{error}"));
        place
    }

    fn app(&self, version: Version, more: &str) -> App {
        // The versions follow one another in the files of SQLite, and stand side by side with a directory each on PostgreSQL.
        let own = if self.store.is_empty() { String::new() } else { format!("{version:?}") };
        let data = self.dir.path().join(own).display().to_string();
        let settings = format!(
            "[app]\ndata = {data:?}\ndrain = 2\n[tenants]\ncreate = [\"demo\"]\n{}{more}",
            self.store
        );
        App::new("ledger").module(version.module()).settings(&settings)
    }
}

/// An application that serves one version, on a port of its own.
pub(crate) struct Server {
    pub(crate) version: Version,
    /// Where it listens, as in `127.0.0.1:8080`.
    pub(crate) address: String,
    running: Running,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Starts it.
    pub(crate) async fn start(version: Version, place: &Place) -> Self {
        let running = place.app(version, "").start().await.unwrap_or_else(|error| panic!("{error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let router = running.router().expect("the gateway is in this process");
        let serving = tokio::spawn(axum::serve(listener, router).into_future());
        Self { version, address, running, serving }
    }

    /// Stops it, so that another can have its files.
    pub(crate) async fn stop(self) {
        self.serving.abort();
        self.running.stop().await;
    }
}

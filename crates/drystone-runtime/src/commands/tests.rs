//! The commands against real stores: in processes that run, in files that nobody owns, and on PostgreSQL.

mod archives;
mod life;
mod moves;
mod schemas;

use std::path::{Path, PathBuf};

use drystone_call::{Error, Result, TenantId};
use drystone_store::{Migration, Migrations, Step, TenantState};
use drystone_testkit::Database;
use tempfile::TempDir;

use super::everywhere::Everywhere;
use super::{Move, Tenants, tenants};
use crate::{App, Module, Running};

const NOTES: &str = "create table notes (id integer primary key, text text not null, seen blob) strict;";
const NOTES_PG: &str = "create table notes (tenant text not null, id bigint not null, text text not null, seen bytea, \
                        primary key (tenant, id));";
const RATES: &str = "create table rates (name text primary key, rate real not null) strict;";
const RATES_PG: &str = "create table rates (name text primary key, rate double precision not null);";

const fn first(name: &'static str, sql: &'static str) -> Migration {
    Migration { version: 1, step: Step::Expand, name, sql }
}

const MIGRATIONS: Migrations = Migrations {
    sqlite: &[first("V0001__expand_notes", NOTES)],
    postgres: &[first("V0001__expand_notes", NOTES_PG)],
    shared_sqlite: &[first("V0001__expand_rates", RATES)],
    shared_postgres: &[first("V0001__expand_rates", RATES_PG)],
};

/// An application of two modules with a store each, `notes` and `tags`, on a data directory of its own.
struct World {
    data: TempDir,
    settings: String,
}

impl World {
    fn new() -> Self {
        Self { data: TempDir::new().unwrap(), settings: String::new() }
    }

    /// On a database of PostgreSQL, as its processes know it.
    fn on(database: &Database) -> Self {
        let mut world = Self::new();
        world.settings = format!("[store]\nurl = {:?}\n", database.url);
        world
    }

    fn app(&self) -> App {
        self.app_with(|_| {})
    }

    fn app_with(&self, wire: impl Fn(&mut crate::Wire<'_>) + Send + Sync + 'static) -> App {
        let data = self.data.path().display().to_string();
        let with_store = |name| Module::new(name).migrations(MIGRATIONS);
        App::new("memo")
            .settings(&format!("[app]\ndata = {data:?}\ndrain = 2\n"))
            .settings(&self.settings)
            .module(with_store("notes").wire(move |w| {
                w.store();
                wire(w);
            }))
            .module(with_store("tags").wire(|w| drop(w.store())))
            .module(Module::new("plain"))
    }

    /// Starts every process of `[processes]`.
    async fn start(&self) -> Vec<Running> {
        self.app().start_topology().await.unwrap()
    }

    /// Runs a command and gives its error as a person reads it.
    async fn run(&self, what: Tenants) -> std::result::Result<(), String> {
        let app = self.app();
        let settings = app.load(&[]).unwrap();
        tenants(&app, &settings, what).await.map_err(|error| error.to_string())
    }

    async fn ok(&self, what: Tenants) {
        self.run(what).await.unwrap();
    }

    async fn refused(&self, what: Tenants) -> String {
        self.run(what).await.unwrap_err()
    }

    /// The state of a tenant in `notes` and in `tags`.
    async fn states(&self, tenant: &str) -> [Option<TenantState>; 2] {
        let app = self.app();
        let all = Everywhere::open(&app, &app.load(&[]).unwrap()).await.unwrap();
        let states = all.states(&TenantId::new(tenant).unwrap()).await.unwrap();
        let states = [states[0].1, states[1].1];
        all.close().await;
        states
    }

    /// A file of this name beside the data.
    fn file(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// Exports a suspended tenant and gives the archive's text.
    async fn archive(&self, tenant: &str, name: &str) -> String {
        let to = self.file(name);
        self.ok(export(tenant, &to)).await;
        std::fs::read_to_string(to).unwrap()
    }

    async fn stop(&self, running: Vec<Running>) {
        for process in running {
            process.stop().await;
        }
    }
}

fn create(name: &str) -> Tenants {
    Tenants::Create { name: name.to_owned() }
}

fn suspend(name: &str) -> Tenants {
    Tenants::Suspend { name: name.to_owned() }
}

fn resume(name: &str) -> Tenants {
    Tenants::Resume { name: name.to_owned() }
}

fn delete(name: &str, yes: Option<&str>) -> Tenants {
    Tenants::Delete { name: name.to_owned(), yes: yes.map(str::to_owned) }
}

fn export(name: &str, to: &Path) -> Tenants {
    Tenants::Export { name: name.to_owned(), to: to.to_owned(), live: false }
}

fn import(file: &Path) -> Tenants {
    Tenants::Import { file: file.to_owned(), name: None }
}

fn move_to(name: Option<&str>, to: &str) -> Tenants {
    Tenants::Move(Move { name: name.map(str::to_owned), all: name.is_none(), to: to.to_owned() })
}

/// Writes a note of a tenant, in the module's process among `running`.
async fn note(running: &[Running], module: &str, tenant: &str, id: i64, text: &str) -> Result<()> {
    let process = running.iter().find(|process| process.store(module).is_some());
    let process = process.ok_or_else(|| Error::not_found("no process hosts the module"))?;
    let mut cx = process.context(tenant, "user:test")?;
    let mut tx = process.store(module).expect("it was just found").begin(&mut cx).await?;
    let insert = "insert into notes (id, text, seen) values ($1, $2, $3)";
    tx.query(insert).bind((id, text, vec![0_u8, 255])).execute().await?;
    tx.commit().await
}

/// The notes of a tenant.
async fn notes(running: &[Running], module: &str, tenant: &str) -> Result<Vec<(i64, String)>> {
    let process = running.iter().find(|process| process.store(module).is_some());
    let process = process.ok_or_else(|| Error::not_found("no process hosts the module"))?;
    let mut cx = process.context(tenant, "user:test")?;
    let mut read = process.store(module).expect("it was just found").read(&mut cx).await?;
    read.query("select id, text from notes order by id").all::<(i64, String)>().await
}

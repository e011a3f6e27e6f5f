//! The command line of an application's binary.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands::migrate::Migrate;
use crate::commands::policy::{Policy, policy};
use crate::commands::{Db, Events, Tenants};
use crate::rehearsal::RehearsalSettings;
use crate::rehearse::{Rehearse, rehearse};
use crate::settings::Settings;
use crate::topology::{MAIN, Topology};
use crate::{App, StartError, commands, host, routes, up};

/// The settings file that is read when it is there and no other is named.
const SETTINGS_FILE: &str = "drystone.toml";

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    files: Files,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Files {
    /// Settings file [default: drystone.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Topology file: settings read after the settings file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) topology: Option<PathBuf>,
}

impl Files {
    /// The files to read, in order.
    pub(crate) fn list(&self) -> Vec<PathBuf> {
        let usual = PathBuf::from(SETTINGS_FILE);
        let config = self.config.clone().or_else(|| usual.exists().then_some(usual));
        config.into_iter().chain(self.topology.clone()).collect()
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all modules in this process, or one process of the topology
    Run {
        /// The process of the topology to run
        #[arg(long, value_name = "NAME")]
        process: Option<String>,
        /// With the faults of a network between modules, from one seed
        #[arg(long, value_name = "seed=7,profile=wan", num_args = 0..=1, default_missing_value = "")]
        rehearse: Option<String>,
        /// Stop when standard input ends, as it does when a parent process goes
        #[arg(long, hide = true)]
        until_stdin_ends: bool,
    },
    /// Run every process of the topology as a child of this one
    Up,
    /// Bring the stores of all modules to this version
    Migrate(Migrate),
    /// Create, suspend, list, export, import, move and delete tenants
    #[command(subcommand)]
    Tenants(Tenants),
    /// See how far events have come, and do something about those that are held back
    #[command(subcommand)]
    Events(Events),
    /// Look at the stores
    #[command(subcommand)]
    Db(Db),
    /// Run the application's invariants over many seeds, with faults between its modules
    Rehearse(Rehearse),
    /// Show how every edge is called and every method is served, and where each setting comes from
    Policy(Policy),
    /// Show modules, contracts, and the calls and events between them
    Graph {
        /// As a Mermaid flow chart
        #[arg(long)]
        mermaid: bool,
    },
    /// Show the REST routes and gRPC methods of every contract
    Routes,
    /// Show the effective settings with their origin, secrets masked
    Config,
}

/// Reads the command line and does what it says.
pub(crate) fn run(app: App) -> ExitCode {
    let command =
        Cli::command().name(app.name.to_string()).bin_name(app.name.to_string()).version(app.version.clone());
    let cli = match command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match execute(&app, cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(app: &App, cli: Cli) -> Result<(), StartError> {
    let settings = app.load(&cli.files.list())?;
    let command =
        cli.command.unwrap_or(Command::Run { process: None, rehearse: None, until_stdin_ends: false });
    match command {
        Command::Run { process, rehearse, until_stdin_ends } => {
            let (app, settings) = match rehearse {
                Some(argument) => rehearsed(app, &argument, &cli.files)?,
                None => (app.clone(), settings),
            };
            let topology = match &process {
                Some(_) => Topology::read(&settings, &app.module_names())?,
                None => Topology::whole(&app.module_names()),
            };
            let process = process.unwrap_or_else(|| MAIN.to_owned());
            block_on(host::run(&app, settings, &topology, &process, until_stdin_ends))
        }
        Command::Up => {
            let topology = Topology::read(&settings, &app.module_names())?;
            let (_, graph) = app.plan(&settings)?;
            block_on(up::run(&settings, topology, &graph, &cli.files))
        }
        Command::Migrate(what) => block_on(async {
            print!("{}", commands::migrate::run(app, &settings, what).await?);
            Ok(())
        }),
        Command::Tenants(what) => block_on(commands::tenants(app, &settings, what)),
        Command::Events(what) => block_on(commands::events(app, &settings, what)),
        Command::Db(what) => block_on(commands::db(app, &settings, what)),
        Command::Rehearse(what) => rehearse(app, &what),
        Command::Policy(what) => block_on(policy(app, &settings, what)),
        Command::Graph { mermaid } => {
            let topology = Topology::read(&settings, &app.module_names())?;
            let (_, graph) = app.plan(&settings)?;
            print!("{}", if mermaid { graph.mermaid(&topology) } else { graph.text(&topology) });
            Ok(())
        }
        Command::Routes => {
            let (plans, _) = app.plan(&settings)?;
            print!("{}", routes::table(&plans)?);
            Ok(())
        }
        Command::Config => {
            print!("{}", settings.describe());
            Ok(())
        }
    }
}

/// The application with the settings of `run --rehearse`, and its settings with them.
fn rehearsed(app: &App, argument: &str, files: &Files) -> Result<(App, Settings), StartError> {
    let mut app = app.clone();
    app.arguments.push(("--rehearse", RehearsalSettings::of_argument(argument)?));
    let settings = app.load(&files.list())?;
    Ok((app, settings))
}

/// After how many polls of tasks a worker that always has some looks at sockets and timers. tokio's own number, 61, is up to 5 ms of handlers that compute for 80 µs
/// between two awaits, by which a busy process would be late to hear, to refuse and to wake; a look costs less than a microsecond.
const LOOK_EVERY: u32 = 16;

/// Runs on a runtime with one worker a core.
fn block_on(work: impl Future<Output = Result<(), StartError>>) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .event_interval(LOOK_EVERY)
        .build()
        .map_err(|error| StartError::part("the async runtime", error))?;
    let outcome = runtime.block_on(work);
    // What still runs was given its time already.
    runtime.shutdown_background();
    outcome
}

//! The topology: which process hosts which modules.

use std::net::SocketAddr;

use drystone_transport::Reach;
use serde::Deserialize;

use crate::StartError;
use crate::settings::{Settings, joined};

/// The process that hosts the gateway and every module that no other process lists.
pub(crate) const MAIN: &str = "main";

/// `[processes.<name>]` in the settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProcessSettings {
    #[serde(default)]
    modules: Vec<String>,
    /// Where the process listens for the others; `up` chooses a free port of loopback when it is not set.
    listen: Option<SocketAddr>,
    /// Where the others find its replicas, where that is not `listen`.
    reach: Option<ReachSetting>,
}

/// `reach`: one text or a list of addresses.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ReachSetting {
    One(String),
    List(Vec<String>),
}

impl ProcessSettings {
    fn reach(&self, process: &str) -> Result<Option<Reach>, StartError> {
        let read = match &self.reach {
            None => return Ok(None),
            Some(ReachSetting::One(text)) => text.parse(),
            Some(ReachSetting::List(all)) => Reach::addresses(all),
        };
        read.map(Some)
            .map_err(|problem| StartError::Topology(format!("processes.{process}.reach: {problem}")))
    }
}

/// One process of the topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) modules: Vec<String>,
    pub(crate) listen: Option<SocketAddr>,
    /// Where its replicas are found; at `listen` when it is not set.
    pub(crate) reach: Option<Reach>,
}

/// Which process hosts which modules; `main` stands first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topology {
    pub(crate) processes: Vec<Process>,
}

impl Topology {
    /// All modules in `main`.
    pub(crate) fn whole(modules: &[String]) -> Self {
        Self {
            processes: vec![Process {
                name: MAIN.to_owned(),
                modules: modules.to_vec(),
                listen: None,
                reach: None,
            }],
        }
    }

    /// The topology of the settings.
    ///
    /// # Errors
    /// A process that lists an unknown module, a module in two processes, a process without modules.
    pub(crate) fn read(settings: &Settings, modules: &[String]) -> Result<Self, StartError> {
        let mut topology = Self { processes: Vec::new() };
        let mut main = Process { name: MAIN.to_owned(), modules: Vec::new(), listen: None, reach: None };
        for name in settings.names_below("processes") {
            let section: ProcessSettings = settings.section(&joined("processes", &name))?;
            for module in &section.modules {
                if !modules.contains(module) {
                    return Err(StartError::Topology(format!(
                        "process `{name}` lists module `{module}`, which the application does not have; it has {}",
                        modules.join(", ")
                    )));
                }
                if let Some(other) = topology.process_of(module) {
                    return Err(StartError::Topology(format!(
                        "module `{module}` is listed by process `{other}` and by process `{name}`; a module runs in one \
                         process"
                    )));
                }
            }
            let reach = section.reach(&name)?;
            let process =
                Process { name: name.clone(), modules: section.modules, listen: section.listen, reach };
            if name == MAIN {
                main = process;
            } else if process.modules.is_empty() {
                return Err(StartError::Topology(format!(
                    "process `{name}` lists no modules: set processes.{name}.modules, or remove the process"
                )));
            } else {
                topology.processes.push(process);
            }
        }
        let unlisted = modules
            .iter()
            .filter(|module| topology.process_of(module).is_none() && !main.modules.contains(module));
        main.modules.extend(unlisted.cloned().collect::<Vec<_>>());
        topology.processes.insert(0, main);
        Ok(topology)
    }

    /// The name of the process that hosts a module.
    pub(crate) fn process_of(&self, module: &str) -> Option<&String> {
        self.processes.iter().find(|p| p.modules.iter().any(|m| m == module)).map(|p| &p.name)
    }

    /// A process by name.
    ///
    /// # Errors
    /// Names the processes that there are.
    pub(crate) fn process(&self, name: &str) -> Result<&Process, StartError> {
        self.processes.iter().find(|process| process.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.processes.iter().map(|p| p.name.as_str()).collect();
            StartError::Topology(format!(
                "there is no process `{name}`; the topology has {}",
                known.join(", ")
            ))
        })
    }

    /// Whether there is more than one process.
    pub(crate) fn is_split(&self) -> bool {
        self.processes.len() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Topology, StartError> {
        let mut settings = Settings::default();
        settings.layer(text, Some("split.toml")).unwrap();
        Topology::read(&settings, &["orders", "inventory", "users"].map(str::to_owned))
    }

    #[test]
    fn unlisted_modules_are_in_main() {
        let topology =
            read("[processes.stock]\nmodules = [\"inventory\"]\nlisten = \"127.0.0.1:7001\"\n").unwrap();
        assert_eq!(topology.processes[0].modules, ["orders", "users"]);
        assert_eq!(topology.process_of("inventory").unwrap(), "stock");
        assert!(topology.is_split());
        assert!(!read("").unwrap().is_split());
    }

    #[test]
    fn replicas_are_reached_where_the_topology_says() {
        for (text, expected) in [
            ("\"dns:stock.internal:7001\"", "dns:stock.internal:7001"),
            ("\"file:replicas/stock\"", "file:replicas/stock"),
            ("[\"10.0.0.1:7001\", \"10.0.0.2:7001\"]", "10.0.0.1:7001, 10.0.0.2:7001"),
        ] {
            let topology =
                read(&format!("[processes.stock]\nmodules = [\"inventory\"]\nreach = {text}\n")).unwrap();
            let reach = topology.process("stock").unwrap().reach.as_ref().unwrap();
            assert_eq!(reach.to_string(), expected);
        }
        assert_eq!(read("").unwrap().processes[0].reach, None);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("[processes.a]\nmodules = [\"stock\"]\n", "which the application does not have"),
            (
                "[processes.a]\nmodules = [\"users\"]\n[processes.b]\nmodules = [\"users\"]\n",
                "listed by process `a`",
            ),
            ("[processes.a]\nmodules = []\n", "lists no modules"),
            ("[processes.a]\nmodule = [\"users\"]\n", "split.toml:2"),
            ("[processes.a]\nmodules = [\"users\"]\nreach = \"dns:users\"\n", "processes.a.reach"),
            ("[processes.a]\nmodules = [\"users\"]\nreach = []\n", "lists no address"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}

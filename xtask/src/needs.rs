//! What a bare Debian machine with Rust lacks for the tests, and how it gets there.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Result;

/// Something from outside that a test starts.
pub(crate) struct Need {
    what: &'static str,
    packages: &'static [&'static str],
    is_there: fn() -> bool,
}

/// PostgreSQL's server, which the store's tests start as a child process.
pub(crate) const POSTGRES: Need = Need {
    what: "PostgreSQL's server",
    packages: &["postgresql"],
    is_there: || postgres_binaries().is_some(),
};

/// The NATS server, which the tests of events start as a child process.
pub(crate) const NATS: Need =
    Need { what: "the NATS server", packages: &["nats-server"], is_there: || nats_binary().is_some() };

/// A C compiler: SQLite and the TLS library are C, and a test compiles a shim that counts fsyncs.
pub(crate) const COMPILER: Need = Need {
    what: "a C compiler",
    packages: &["gcc", "libc6-dev"],
    is_there: || succeeds("cc", &["--version"]),
};

/// Python with venv: a test makes an environment of its own and calls the shop from it.
pub(crate) const PYTHON: Need = Need {
    what: "Python 3 with venv",
    packages: &["python3", "python3-venv"],
    is_there: || succeeds("python3", &["-c", "import ensurepip, venv"]),
};

/// The client that the README's sessions use.
pub(crate) const CURL: Need =
    Need { what: "curl", packages: &["curl"], is_there: || succeeds("curl", &["--version"]) };

/// What can be done about missing packages.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    /// Run this script, with this command before it.
    Install(Vec<&'static str>, String),
    /// Say this to a person who may install.
    Ask(String),
}

/// Who is running.
struct Rights {
    is_root: bool,
    /// Whether `sudo` works without a password.
    may_sudo: bool,
}

/// Makes sure that everything is there: installs it as root or through a `sudo` that asks nothing, and otherwise fails with the one
/// line that does it.
pub(crate) fn ensure(needs: &[Need]) -> Result {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.is_there)()).collect();
    let rights = Rights { is_root: is_root(), may_sudo: succeeds("sudo", &["-n", "true"]) };
    match plan(&missing, &rights) {
        Plan::Nothing => Ok(()),
        Plan::Ask(text) => Err(text),
        Plan::Install(before, script) => {
            eprintln!("installing {}", names(&missing));
            let words = [before.as_slice(), &["sh", "-c"]].concat();
            let status = Command::new(words[0]).args(&words[1..]).arg(&script).stdin(Stdio::null()).status();
            match missing.iter().find(|need| !(need.is_there)()) {
                Some(need) => {
                    Err(format!("{} is still missing after `{}` ({status:?})", need.what, line(&missing)))
                }
                None => Ok(()),
            }
        }
    }
}

fn plan(missing: &[&Need], rights: &Rights) -> Plan {
    if missing.is_empty() {
        return Plan::Nothing;
    }
    let before = match rights {
        Rights { is_root: true, .. } => Vec::new(),
        Rights { may_sudo: true, .. } => vec!["sudo", "-n"],
        _ => {
            let line = line(missing);
            return Plan::Ask(format!(
                "the tests need {}; on Debian, install it with\n\n  {line}\n",
                names(missing)
            ));
        }
    };
    // Debian's packages start what they install, and PostgreSQL's makes a cluster before; the tests start their own and need no service. Whoever installs a
    // package asks policy-rc.d whether it may start something; a machine that has one keeps its own.
    let script = format!(
        "set -e\n\
         export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1\n\
         if [ ! -e /etc/postgresql-common/createcluster.conf ]; then\n\
         mkdir -p /etc/postgresql-common\n\
         echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf\n\
         fi\n\
         if [ ! -e /usr/sbin/policy-rc.d ]; then\n\
         printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d\n\
         chmod 755 /usr/sbin/policy-rc.d\n\
         trap 'rm -f /usr/sbin/policy-rc.d' EXIT\n\
         fi\n\
         apt-get update\n\
         apt-get install -y --no-install-recommends {}\n",
        packages(missing)
    );
    Plan::Install(before, script)
}

fn line(missing: &[&Need]) -> String {
    format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {}", packages(missing))
}

fn packages(missing: &[&Need]) -> String {
    missing.iter().flat_map(|need| need.packages).copied().collect::<Vec<_>>().join(" ")
}

fn names(missing: &[&Need]) -> String {
    missing.iter().map(|need| need.what).collect::<Vec<_>>().join(", ")
}

/// The directory of the newest PostgreSQL server that Debian installed.
pub(crate) fn postgres_binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.filter(|path| path.join("bin/initdb").is_file()).max_by_key(number)?;
    Some(newest.join("bin"))
}

/// The NATS server's program. Debian keeps it where only root's `PATH` leads.
pub(crate) fn nats_binary() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.find_map(|place| Some(place.join("nats-server")).filter(|file| file.is_file()))
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether a command can be run and exits with 0, printing nothing here.
pub(crate) fn succeeds(program: &str, words: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Rights = Rights { is_root: true, may_sudo: false };
    const SUDO: Rights = Rights { is_root: false, may_sudo: true };
    const NOBODY: Rights = Rights { is_root: false, may_sudo: false };

    #[test]
    fn nothing_is_installed_when_nothing_is_missing() {
        assert_eq!(plan(&[], &ROOT), Plan::Nothing);
    }

    #[test]
    fn root_installs_and_sudo_installs() {
        let Plan::Install(before, script) = plan(&[&POSTGRES, &PYTHON], &ROOT) else { panic!("root asks") };
        assert_eq!(before, [""; 0]);
        assert!(script.ends_with("--no-install-recommends postgresql python3 python3-venv\n"), "{script}");
        let Plan::Install(before, _) = plan(&[&PYTHON], &SUDO) else { panic!("sudo asks") };
        assert_eq!(before, ["sudo", "-n"]);
    }

    #[test]
    fn no_cluster_is_made_by_the_package() {
        let Plan::Install(_, script) = plan(&[&POSTGRES], &ROOT) else { panic!("root asks") };
        let conf = script.find("create_main_cluster = false").unwrap();
        assert!(conf < script.find("apt-get install").unwrap());
    }

    #[test]
    fn nothing_is_started_by_a_package() {
        let Plan::Install(_, script) = plan(&[&NATS], &ROOT) else { panic!("root asks") };
        assert!(script.ends_with("--no-install-recommends nats-server\n"), "{script}");
        let policy = script.find("exit 101").unwrap();
        let gone = script.find("trap 'rm -f /usr/sbin/policy-rc.d' EXIT").unwrap();
        assert!(policy < gone && gone < script.find("apt-get install").unwrap());
    }

    #[test]
    fn others_are_told_the_one_line() {
        let Plan::Ask(text) = plan(&[&POSTGRES], &NOBODY) else { panic!("installs without rights") };
        assert!(text.contains("PostgreSQL's server"), "{text}");
        assert!(text.contains("sudo apt-get install -y --no-install-recommends postgresql\n"), "{text}");
    }
}

//! Python in an environment of its own, with exactly the packages of `tests/cloudevents/requirements.txt`.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const REQUIREMENTS: &str = include_str!("requirements.txt");

/// A Python with the packages installed.
pub(crate) struct Python(PathBuf);

impl Python {
    /// The environment of an earlier run if that was completed and the requirements are the same, else a new one.
    pub(crate) fn ready() -> Self {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Tests that run at once make one environment, not two.
        let lock = File::create(tmp.join("python-events.lock")).expect("cargo makes the directory");
        lock.lock().expect("a file can be locked");
        let home = tmp.join("python-events");
        let python = Self(home.join("bin/python"));
        let stamp = home.join("requirements.installed");
        // A newer Python of the machine leaves the old environment without its interpreter.
        let starts = python.command().arg("--version").output().is_ok_and(|output| output.status.success());
        if starts && std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == REQUIREMENTS) {
            return python;
        }
        // It is there when an earlier run was interrupted, or for other requirements.
        let _ = std::fs::remove_dir_all(&home);
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(&home);
        must(venv, "", "install it with: apt-get install -y python3 python3-venv");
        let mut install = python.command();
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary=:all:",
        ]);
        install.args(["-r", "tests/cloudevents/requirements.txt"]);
        must(
            install,
            "",
            "the packages come from the Python package index, or from where pip is configured to look",
        );
        std::fs::write(stamp, REQUIREMENTS).expect("the environment was just made");
        python
    }

    /// Runs a script of the tests to its end, gives it a text to read, and gives what it said.
    ///
    /// # Panics
    /// If it fails, with what it said.
    pub(crate) fn run(&self, words: &[&str], input: &str) -> String {
        let mut command = self.command();
        command.args(words);
        must(command, input, "the script says above what is wrong")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// What the command said, once it succeeded.
fn must(mut command: Command, input: &str, remedy: &str) -> String {
    let name = format!("{command:?}");
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child: Child = streams.spawn().unwrap_or_else(|error| panic!("{name}: {error}\n{remedy}"));
    let mut stdin = child.stdin.take().expect("it was asked for");
    // A script that ends early does not read to the end; what it says will tell.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("a child can be waited for");
    let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{stdout}{stderr}\n{remedy}", output.status);
    stdout
}

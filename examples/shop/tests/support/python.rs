//! Python in an environment of its own, with exactly the packages of `tests/python/requirements.txt`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Where the application's tests are.
const HERE: &str = env!("CARGO_MANIFEST_DIR");
/// What is installed, each version pinned.
const REQUIREMENTS: &str = include_str!("../python/requirements.txt");
/// The directories with the `.proto` files, from [`HERE`].
const PROTO: [&str; 6] = [
    "../../crates/drystone-contract/proto",
    "inventory/api/proto",
    "notifications/api/proto",
    "orders/api/proto",
    "payments/api/proto",
    "users/api/proto",
];
/// The files for which stubs are made; the rest come with the packages.
const FILES: [&str; 6] = [
    "drystone/options.proto",
    "shop/inventory/v1/inventory.proto",
    "shop/notifications/v1/notifications.proto",
    "shop/orders/v1/orders.proto",
    "shop/payments/v1/payments.proto",
    "shop/users/v1/users.proto",
];

/// A Python with the packages installed.
pub(crate) struct Python(PathBuf);

impl Python {
    /// The environment of an earlier run if that was completed and the requirements are the same, else a new one.
    pub(crate) fn ready() -> Self {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Tests that run at once make one environment, not two.
        let lock = File::create(tmp.join("python-grpc.lock")).expect("cargo makes the directory");
        lock.lock().expect("a file can be locked");
        let home = tmp.join("python-grpc");
        let python = Self(home.join("bin/python"));
        let stamp = home.join("requirements.installed");
        // A newer Python of the machine leaves the old environment without its interpreter.
        let starts = python.command().arg("--version").output().is_ok_and(|output| output.status.success());
        if starts && std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == REQUIREMENTS) {
            return python;
        }
        // It is there when an earlier run was interrupted, or for other requirements.
        let _ = std::fs::remove_dir_all(&home);
        let venv = ["-m", "venv", home.to_str().expect("a path in UTF-8")];
        must(Command::new("python3").args(venv), "install it with: apt-get install -y python3 python3-venv");
        let requirements = "tests/python/requirements.txt";
        let install =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"];
        must(
            python.command().args(install).args(["-r", requirements]),
            "the packages come from the Python package index, or from where pip is configured to look",
        );
        std::fs::write(stamp, REQUIREMENTS).expect("the environment was just made");
        python
    }

    /// Stubs for the platform's options and the shop's contracts.
    pub(crate) fn stubs(&self) -> TempDir {
        let to = TempDir::new().expect("a temporary directory");
        let mut words = vec!["-m".to_owned(), "grpc_tools.protoc".to_owned()];
        words.extend(PROTO.map(|directory| format!("--proto_path={directory}")));
        words.extend(
            ["python_out", "grpc_python_out"].map(|kind| format!("--{kind}={}", to.path().display())),
        );
        words.extend(FILES.map(str::to_owned));
        must(self.command().args(words), "the contracts must be plain protobuf");
        to
    }

    /// Runs a script of the tests, with a directory of modules, and gives what it said.
    ///
    /// # Panics
    /// If it fails, with what it said.
    pub(crate) fn run(&self, words: &[&str], modules: Option<&Path>) -> String {
        let mut command = self.command();
        if let Some(modules) = modules {
            command.env("PYTHONPATH", modules);
        }
        must(command.args(words), "the script says above what is wrong")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.current_dir(HERE).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// What the command said, once it succeeded.
fn must(command: &mut Command, remedy: &str) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}\n{remedy}"));
    let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}\n{remedy}", output.status);
    stdout
}

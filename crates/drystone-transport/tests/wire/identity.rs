//! Certificates: made once, kept closed, renewed when they must be, and never printed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use drystone_transport::{DevAuthority, InternalServer, ProcessIdentity, RemoteProcess, TransportError};

use crate::world::World;

/// The environment variable that tells the other process of a test where to work.
const CHILD_DIR: &str = "DRYSTONE_TEST_AUTHORITY_DIR";

fn modules(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn everything_is_for_the_owner_only() {
    let world = World::new();
    world.process(&["orders"]);
    let dir = world.dir.path().join("certs");
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("process")), 0o700);
    let all = files(&dir);
    let names: BTreeSet<_> = all.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from([".lock", "ca.key", "ca.pem", "orders.key", "orders.pem"]));
    for file in all {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_directory_that_lies_open_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    fs::create_dir(&certs).unwrap();
    fs::set_permissions(&certs, fs::Permissions::from_mode(0o755)).unwrap();
    DevAuthority::open(&certs).unwrap();
    assert_eq!(mode(&certs), 0o700);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let world = World::new();
    let dir = world.dir.path().join("certs");
    let key = dir.join("ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = DevAuthority::open(&dir).unwrap_err();
    assert!(matches!(&error, TransportError::KeyOpen { path, mode: 0o640 } if *path == key), "{error}");
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn a_certificate_is_kept_while_it_is_good() {
    let world = World::new();
    let path = world.dir.path().join("certs/process/main.pem");
    let issue = |names: &[&str]| {
        let identity = world.authority.issue("shop", "main", &modules(names)).unwrap();
        assert_eq!(identity.modules(), modules(names));
        assert_eq!(identity.app(), "shop");
        fs::read_to_string(&path).unwrap()
    };
    let first = issue(&["orders", "users"]);
    assert_eq!(issue(&["orders", "users"]), first);
    let fewer = issue(&["orders"]);
    assert_ne!(fewer, first);

    // A certificate of an authority that is gone is of no use.
    let dir = world.dir.path().join("certs");
    fs::remove_file(dir.join("ca.pem")).unwrap();
    let reissued = issue(&["orders"]);
    assert_ne!(reissued, fewer);
    assert!(reissued.ends_with(&fs::read_to_string(dir.join("ca.pem")).unwrap()));
}

#[test]
fn a_certificate_without_its_key_is_made_again() {
    let world = World::new();
    world.process(&["orders"]);
    let dir = world.dir.path().join("certs/process");
    let before = fs::read_to_string(dir.join("orders.pem")).unwrap();
    // As a crash between the two files leaves it, with the temporary file of the interrupted write.
    fs::remove_file(dir.join("orders.key")).unwrap();
    fs::write(dir.join("orders.key.new"), "half").unwrap();
    world.process(&["orders"]);
    assert_ne!(fs::read_to_string(dir.join("orders.pem")).unwrap(), before);
    assert!(!dir.join("orders.key.new").exists());
}

#[test]
fn names_that_could_escape_are_refused() {
    let world = World::new();
    for name in ["../evil", "a/b", "", "Orders"] {
        for (app, process, module) in
            [(name, "main", "orders"), ("shop", name, "orders"), ("shop", "main", name)]
        {
            let error = world.authority.issue(app, process, &modules(&[module])).unwrap_err();
            assert!(matches!(error, TransportError::Name { .. }), "{error}");
        }
    }
    world.process(&["user_accounts"]);
}

/// The secret part of a key file, line by line.
fn secrets(key: &Path) -> Vec<String> {
    let text = fs::read_to_string(key).unwrap();
    let secrets: Vec<_> = text.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect();
    assert!(!secrets.is_empty());
    secrets
}

#[tokio::test]
async fn nothing_prints_a_key() {
    let world = World::new();
    let identity = world.process(&["orders"]);
    let server = InternalServer::bind("127.0.0.1:0", &identity).await.unwrap();
    let process = RemoteProcess::new("127.0.0.1:1", &identity);
    let module = process.module("echo").unwrap();
    let certs = world.dir.path().join("certs");
    // A chain where the key belongs, and a key whose text is damaged: errors must not quote what they met.
    let key = certs.join("process/orders.key");
    let damaged = certs.join("damaged.key");
    fs::write(&damaged, fs::read_to_string(&key).unwrap().replace("-----END", "!!!END")).unwrap();
    let swapped =
        ProcessIdentity::from_files(&key, &certs.join("ca.pem"), &certs.join("ca.pem")).unwrap_err();
    let damaged =
        ProcessIdentity::from_files(&certs.join("process/orders.pem"), &damaged, &certs.join("ca.pem"))
            .unwrap_err();
    let printed = format!(
        "{identity:#?} {:#?} {server:#?} {process:#?} {module:#?} {swapped} {swapped:?} {damaged} {damaged:?}",
        world.authority
    );
    for secret in secrets(&key).into_iter().chain(secrets(&certs.join("ca.key"))) {
        assert!(!printed.contains(&secret), "{printed}");
    }
    assert!(printed.contains("orders") && printed.contains("damaged.key"), "{printed}");
}

#[test]
fn unusable_files_are_named() {
    let world = World::new();
    world.process(&["orders"]);
    let certs = world.dir.path().join("certs");
    let (pem, key, ca) =
        (certs.join("process/orders.pem"), certs.join("process/orders.key"), certs.join("ca.pem"));
    let missing = certs.join("missing.pem");
    let empty = certs.join("empty.pem");
    fs::write(&empty, "").unwrap();
    ProcessIdentity::from_files(&pem, &key, &ca).unwrap();
    let cases = [
        ((&missing, &key, &ca), "missing.pem: could not be read"),
        ((&pem, &empty, &ca), "empty.pem: it holds nothing in PEM"),
        ((&pem, &key, &empty), "empty.pem: it holds no certificate"),
        ((&ca, &certs.join("ca.key"), &ca), "ca.pem: its first certificate names no module"),
        ((&pem, &certs.join("ca.key"), &ca), "orders.pem: "),
    ];
    for ((pem, key, ca), expected) in cases {
        let error = ProcessIdentity::from_files(pem, key, ca).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} does not say {expected}");
    }
}

#[test]
fn processes_that_start_at_once_get_one_authority() {
    let dir = tempfile::tempdir().unwrap();
    let start = |process: usize| {
        Command::new(std::env::current_exe().unwrap())
            .args(["identity::the_other_process", "--exact", "--ignored", "--test-threads=1"])
            .env(CHILD_DIR, dir.path().join("certs"))
            .env("PROCESS", format!("p{process}"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut children: Vec<_> = (0..8).map(start).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let authority = fs::read_to_string(dir.path().join("certs/ca.pem")).unwrap();
    for process in 0..8 {
        let chain = fs::read_to_string(dir.path().join(format!("certs/process/p{process}.pem"))).unwrap();
        assert!(chain.ends_with(&authority), "process {process} was given another authority");
    }
}

#[test]
#[ignore = "run by processes_that_start_at_once_get_one_authority, in a process of its own"]
fn the_other_process() {
    let dir = std::env::var(CHILD_DIR).expect("the test that starts this process sets it");
    let process = std::env::var("PROCESS").expect("the test that starts this process sets it");
    let authority = DevAuthority::open(dir).unwrap();
    authority.issue("shop", &process, &modules(&["orders"])).unwrap();
}

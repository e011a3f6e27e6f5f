//! Protected connections, to a real server with a certificate.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use drystone_call::Code;
use drystone_store::{Location, Migrator, Steps, Store, StoreConfig};
use drystone_testkit::{Postgres, ServerSetup};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::world::{MIGRATIONS, MODULE};

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A file that the server accepts as its own.
fn file(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let path = path.display().to_string();
    // As root the server runs as another user.
    let _ =
        Command::new("chown").args(["postgres:postgres", &path]).stderr(std::process::Stdio::null()).status();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_looked_at_as_the_connection_string_says() {
    let dir = TempDir::new().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (ours, other) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
    let (certificate, key) = (
        file(dir.path(), "server.pem", &certificate.pem()),
        file(dir.path(), "key.pem", &key.serialize_pem()),
    );
    let (ours, other) =
        (file(dir.path(), "ours.pem", &ours.pem()), file(dir.path(), "other.pem", &other.pem()));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = format!(
        "-c fsync=off -c listen_addresses=127.0.0.1 -c port={port} -c ssl=on -c ssl_cert_file={certificate} -c ssl_key_file={key}"
    );
    let server = tokio::task::spawn_blocking(move || {
        Postgres::start_with(&ServerSetup::default().settings(&settings))
    });
    let _server = server.await.unwrap().unwrap();
    let url = |user: &str, host: &str, rest: &str| format!("postgres://{user}@{host}:{port}/postgres{rest}");
    let home = drystone_call::Home::of_system(MODULE);
    let config = |host: &str, rest: &str| {
        StoreConfig::new(
            Location::postgres(url("test", host, rest)),
            MIGRATIONS,
            std::sync::Arc::clone(&home),
        )
    };
    let right = format!("?sslmode=verify-full&sslrootcert={ours}");
    let migrator = Migrator::connect(&url("postgres", "localhost", &right).into()).await.unwrap();
    migrator.migrate(&config("localhost", &right), Steps::All).await.unwrap();
    let open = async |host: &str, rest: String| {
        let store = Store::unopened(MODULE);
        store.open(config(host, &rest)).await.map(|()| store)
    };
    let store = open("localhost", right).await.unwrap();
    store.health().await.unwrap();
    open("127.0.0.1", format!("?sslmode=require&sslrootcert={ours}")).await.unwrap();
    open("localhost", String::new()).await.expect("plain on this host");
    for (host, rest) in [
        ("localhost", format!("?sslmode=verify-full&sslrootcert={other}")),
        ("localhost", format!("?sslmode=require&sslrootcert={other}")),
        ("127.0.0.1", format!("?sslmode=verify-full&sslrootcert={ours}")),
        ("localhost", "?sslmode=require&sslrootcert=/nowhere.pem".to_owned()),
    ] {
        let error = open(host, rest.clone()).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{host}{rest}: {error:?}");
        assert!(error.message().contains("sslrootcert"), "{error}");
    }
}

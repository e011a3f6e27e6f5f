//! What is wrong with an application is said before anything runs; what is right is shown.

#[path = "support/shop.rs"]
mod support;

use std::path::Path;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::routing::get;
use drystone::{App, Context, Error, Module, Result};
use drystone_testkit::{Program, TestApp};
use inventory_api::{
    AddStockRequest, ConfirmRequest, GetStockRequest, Inventory, InventoryClient, InventoryReason,
    InventoryServer, ListItemsRequest, ListItemsResponse, ReleaseRequest, Reservation, ReserveRequest, Stock,
    TakeBackRequest,
};
use orders_api::{OrdersClient, OrdersReason, PlaceOrderRequest};
use payments_api::{
    Charge, ChargeRequest, GetChargeRequest, Payments, PaymentsClient, PaymentsServer, RefundRequest,
};
use tempfile::TempDir;
use tower::ServiceExt as _;
use users_api::{
    CreateUserRequest, GetUserRequest, ListUsersRequest, ListUsersResponse, User, Users, UsersClient,
    UsersServer,
};

/// An inventory that knows every item and has none of it.
struct SoldOut;

fn not_here<T>() -> Result<T> {
    Err(Error::failed_precondition("the fake does not do that"))
}

impl Inventory for SoldOut {
    async fn list_items(&self, _: &mut Context, _: ListItemsRequest) -> Result<ListItemsResponse> {
        not_here()
    }
    async fn get_stock(&self, _: &mut Context, req: GetStockRequest) -> Result<Stock> {
        Ok(Stock { sku: req.sku, ..Stock::default() })
    }
    async fn add_stock(&self, _: &mut Context, _: AddStockRequest) -> Result<Stock> {
        not_here()
    }
    async fn reserve(&self, _: &mut Context, _: ReserveRequest) -> Result<Reservation> {
        Err(InventoryReason::OutOfStock.error("none left"))
    }
    async fn release(&self, _: &mut Context, _: ReleaseRequest) -> Result<Reservation> {
        not_here()
    }
    async fn confirm(&self, _: &mut Context, _: ConfirmRequest) -> Result<Reservation> {
        not_here()
    }
    async fn take_back(&self, _: &mut Context, _: TakeBackRequest) -> Result<Reservation> {
        not_here()
    }
}

/// Users of whom everyone exists.
struct Everyone;

impl Users for Everyone {
    async fn create_user(&self, _: &mut Context, _: CreateUserRequest) -> Result<User> {
        not_here()
    }
    async fn get_user(&self, _: &mut Context, req: GetUserRequest) -> Result<User> {
        Ok(User { id: req.user_id, ..User::default() })
    }
    async fn list_users(&self, _: &mut Context, _: ListUsersRequest) -> Result<ListUsersResponse> {
        not_here()
    }
}

/// A provider that is never to be asked.
struct NoPayments;

impl Payments for NoPayments {
    async fn charge(&self, _: &mut Context, _: ChargeRequest) -> Result<Charge> {
        panic!("nothing is charged for what is not there")
    }
    async fn get_charge(&self, _: &mut Context, _: GetChargeRequest) -> Result<Charge> {
        not_here()
    }
    async fn refund(&self, _: &mut Context, _: RefundRequest) -> Result<Charge> {
        not_here()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_module_runs_with_the_others_faked() {
    let app = TestApp::of(orders::module())
        .fake(InventoryServer::new(SoldOut))
        .fake(UsersServer::new(Everyone))
        .fake(PaymentsServer::new(NoPayments))
        .start()
        .await;
    let orders: OrdersClient = app.client();
    let request = PlaceOrderRequest {
        user_id: "eve".into(),
        sku: "any".into(),
        quantity: 1,
        card_token: "tok_visa".into(),
    };
    let error = orders.place_order(&app.keyed("k"), request).await.unwrap_err();
    assert!(error.is(OrdersReason::OutOfStock), "{error:?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_mounts_in_a_server_that_exists_already() {
    let data = TempDir::new().expect("a temporary directory");
    let settings = format!("[app]\ndata = {:?}\n", data.path().display().to_string());
    let shop = shop::app().settings(&settings).start().await.expect("the shop starts");
    let gateway = shop.service().expect("the gateway is in this process");
    let server = Router::new().route("/own", get(async || "own")).fallback_service(gateway);
    for (path, expected) in [("/own", "own"), ("/v1/stock/pot-clay", "\"available\":12")] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = server.clone().oneshot(request).await.expect("an answer");
        let body = to_bytes(response.into_body(), 10_000).await.expect("a body");
        assert!(String::from_utf8_lossy(&body).contains(expected), "{path}: {body:?}");
    }
    assert_eq!(shop.gateway_address(), None, "no port is opened");
    shop.stop().await;
}

/// The text with which an application refuses to start.
async fn refusal(app: App) -> String {
    let data = TempDir::new().expect("a temporary directory");
    let settings = format!("[app]\ndata = {:?}\n", data.path().display().to_string());
    let error = app.settings(&settings).start().await.expect_err("the application must not start");
    assert_eq!(
        std::fs::read_dir(data.path()).expect("the directory").count(),
        0,
        "nothing was opened: {error}"
    );
    error.to_string()
}

#[tokio::test]
async fn wiring_that_does_not_fit_is_refused_with_names_and_remedy() {
    let unserved = refusal(App::new("x").module(orders::module()).module(users::module())).await;
    assert!(
        unserved.contains("module `orders` calls shop.inventory.v1.Inventory, which no module serves"),
        "{unserved}"
    );
    let twice = |name| Module::new(name).wire(|w| w.serve(UsersServer::new(Everyone)));
    let served_twice = refusal(App::new("x").module(twice("a")).module(twice("b"))).await;
    assert!(served_twice.contains("shop.users.v1.Users is served by `a` and by `b`"), "{served_twice}");
    let same_name = refusal(App::new("x").module(users::module()).module(Module::new("users"))).await;
    assert!(same_name.contains("two modules are named `users`"), "{same_name}");
    let inventory_alone = refusal(App::new("x").module(inventory::module())).await;
    assert!(
        inventory_alone
            .contains("`inventory` handles shop.orders.v1.OrderConfirmed, which no module publishes"),
        "{inventory_alone}"
    );
    let secret = Module::new("a").wire(|w| {
        w.secret("api");
    });
    let missing = refusal(App::new("x").module(secret)).await;
    assert!(missing.contains("DRYSTONE_SECRET__A__API"), "{missing}");
    let typo =
        refusal(App::new("x").module(users::module()).settings("[modules.users]\nseed_tenan = \"d\"\n"))
            .await;
    assert!(typo.contains("seed_tenan"), "{typo}");
}

fn circle() -> App {
    let a = Module::new("a").wire(|w| {
        w.client::<InventoryClient>();
        w.serve(UsersServer::new(Everyone));
    });
    let b = Module::new("b").wire(|w| {
        w.client::<PaymentsClient>();
        w.serve(InventoryServer::new(SoldOut));
    });
    let c = Module::new("c").wire(|w| {
        w.client::<UsersClient>();
        w.serve(PaymentsServer::new(NoPayments));
    });
    App::new("x").module(a).module(b).module(c)
}

#[tokio::test]
async fn a_cycle_of_calls_needs_a_reason() {
    let error = refusal(circle()).await;
    assert!(error.contains("a -> b -> c -> a") && error.contains("[[graph.allowed_cycles]]"), "{error}");
    let allowed = "[[graph.allowed_cycles]]\nthrough = [\"a\", \"b\", \"c\"]\nreason = ";
    assert!(
        refusal(circle().settings(&format!("{allowed}\"\"\n"))).await.contains("cycle"),
        "a reason is not empty"
    );
    circle()
        .settings(&format!("{allowed}\"they are old friends\"\n"))
        .start()
        .await
        .expect("allowed")
        .stop()
        .await;
}

/// Runs the binary to its end.
fn shop(args: &[&str], env: &[(&str, &str)], dir: &Path) -> (bool, String) {
    let (status, said) = Program::start(env!("CARGO_BIN_EXE_shop"), args, env, dir).wait_for_end();
    (status.success(), said)
}

#[test]
fn the_binary_shows_graph_routes_and_settings() {
    let dir = TempDir::new().expect("a temporary directory");
    let (ok, graph) = shop(&["graph", "--topology", support::SPLIT], &[], dir.path());
    assert!(ok && graph.contains("calls  shop.inventory.v1.Inventory (inventory, remote)"), "{graph}");
    assert!(graph.contains("calls  shop.users.v1.Users (users)"), "{graph}");
    let (ok, mermaid) = shop(&["graph", "--mermaid"], &[], dir.path());
    assert!(
        ok && mermaid.starts_with("flowchart LR")
            && mermaid.contains("orders -->|shop.payments.v1.Payments| payments")
    );
    let (ok, routes) = shop(&["routes"], &[], dir.path());
    assert!(ok && routes.contains("POST") && routes.contains("/v1/orders/{order_id}:cancel"), "{routes}");
    let secret =
        [("DRYSTONE__STORE__URL", "postgres://app:hunter2@db/shop"), ("DRYSTONE__GATEWAY__TENANT", "acme")];
    let (ok, config) = shop(&["config"], &secret, dir.path());
    assert!(ok && !config.contains("hunter2"), "{config}");
    assert!(
        config.contains("gateway.tenant = \"acme\"") && config.contains("# $DRYSTONE__GATEWAY__TENANT"),
        "{config}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).expect("the directory").count(), 0, "showing opens nothing");
}

#[test]
fn the_binary_refuses_what_is_unsafe_or_misspelt() {
    let dir = TempDir::new().expect("a temporary directory");
    for (args, name, value, expected) in [
        (&["run"][..], "DRYSTONE__GATEWAY__LISTEN", "0.0.0.0:0", "refuses to listen on 0.0.0.0:0"),
        (&["run"], "DRYSTONE__GATWAY__LISTEN", "127.0.0.1:0", "`gatway.listen` is not a setting"),
        (&["run"], "DRYSTONE__MODULES__STOCK__X", "1", "a module that the application does not have"),
        (&["run"], "DRYSTONE__STORE__URL", "mysql://x", "store.url begins neither"),
        (&["run"], "DRYSTONE__CALLS__RUNNER", "carrier-pigeon", "carrier-pigeon"),
        (&["run", "--process", "moon"], "X", "", "there is no process `moon`"),
        (&["run", "--topology", "none.toml"], "X", "", "none.toml"),
        (&["run"], "DRYSTONE_LOG", "=,=", "DRYSTONE_LOG"),
        (
            &["up", "--topology", support::SPLIT],
            "DRYSTONE__PROCESSES__INVENTORY__REACH",
            "127.0.0.1:7001",
            "set processes.inventory.listen",
        ),
        (
            &["up", "--topology", support::SPLIT],
            "DRYSTONE__PROCESSES__INVENTORY__REACH",
            "dns:inventory",
            "processes.inventory.reach",
        ),
        (&["fly"], "X", "", "unrecognized subcommand"),
    ] {
        let (ok, said) = shop(args, &[(name, value)], dir.path());
        assert!(!ok && said.contains(expected), "{args:?} {name}={value}: {said}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("the directory").count(), 0, "nothing was opened");
}

#[test]
fn two_processes_never_share_a_modules_files() {
    let dir = TempDir::new().expect("a temporary directory");
    let mut first = support::run(&["run"], dir.path(), &[]);
    first.wait_for("REST and gRPC");
    let mut second = support::run(&["run"], dir.path(), &[]);
    let (status, said) = second.wait_for_end();
    assert!(!status.success() && said.contains("store of module"), "{said}");
}

#[test]
fn a_second_signal_stops_at_once() {
    use std::io::Write as _;
    let dir = TempDir::new().expect("a temporary directory");
    let mut program = support::run(&["run"], dir.path(), &[]);
    let address = program.wait_for("REST and gRPC").replace("http://", "");
    // A request whose body never comes keeps the process draining.
    let mut open = std::net::TcpStream::connect(address).expect("a connection");
    let head =
        "POST /v1/users HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n";
    open.write_all(head.as_bytes()).expect("half a request");
    program.signal(2);
    program.wait_for("main stops");
    program.signal(2);
    let (status, said) = program.wait_for_end();
    assert_eq!(status.code(), Some(130), "{said}");
}

//! The platform's own objects: a database that the previous release migrated gets what is new, and until then a process says so.

use drystone_call::{Code, Home};
use drystone_store::{Location, Migrator, Steps, Store, StoreConfig};

use crate::site::{ITEMS, Site, step, tenants};

/// Takes away what this release added, which leaves a database as the previous one made it.
fn previous(relay: &str) -> String {
    format!(
        "drop table stock.drystone_outbox, stock.drystone_scheduled, stock.drystone_inbox, stock.drystone_held, stock_shared.drystone_pumps;
         drop owned by {relay}; drop role {relay}"
    )
}

async fn refused(site: &Site) -> String {
    let error = site.open("stock", tenants(&[step(1, "expand_items", ITEMS)])).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error:?}");
    error.message().to_owned()
}

pub(crate) async fn what_the_previous_release_migrated_gets_what_is_new(site: Site) {
    let migrations = tenants(&[step(1, "expand_items", ITEMS)]);
    site.migrate("stock", migrations).await.unwrap();
    let fresh = site.catalog("stock").await;
    assert!(fresh.iter().any(|line| line.starts_with("drystone_outbox drystone_relay")), "{fresh:?}");
    site.migrate("stock", migrations).await.unwrap();
    assert_eq!(site.catalog("stock").await, fresh, "a second time changes nothing");
    site.admin.batch_execute("insert into stock.items values ('acme', 1, 'stone')").await.unwrap();
    let relay = site.role("stock_relay");
    site.admin.batch_execute(&previous(&relay)).await.unwrap();
    let remedy =
        "which this version needs: run the application's `migrate` command before this version starts";
    assert_eq!(refused(&site).await, format!("DRY-M017: schema stock_shared lacks drystone_pumps, {remedy}"));
    site.migrate("stock", migrations).await.unwrap();
    assert_eq!(site.catalog("stock").await, fresh);
    assert_eq!(site.lines("select sku from stock.items").await, ["stone"]);
    site.open("stock", migrations).await.unwrap().close().await.unwrap();
    // As a migration leaves it that was ended between the two schemas, and where somebody has removed the role.
    for (change, says) in [
        (
            "drop table stock.drystone_outbox, stock.drystone_scheduled, stock.drystone_inbox, stock.drystone_held",
            "schema stock lacks drystone_held",
        ),
        (
            &format!("drop owned by {relay}; drop role {relay}") as &str,
            "schema stock_shared lacks drystone_pumps",
        ),
    ] {
        site.admin.batch_execute(change).await.unwrap();
        assert_eq!(refused(&site).await, format!("DRY-M017: {says}, {remedy}"));
        site.migrate("stock", migrations).await.unwrap();
        assert_eq!(site.catalog("stock").await, fresh);
    }
}

pub(crate) async fn a_gate_that_was_changed_is_found(site: Site) {
    let migrations = tenants(&[step(1, "expand_items", ITEMS)]);
    site.migrate("stock", migrations).await.unwrap();
    let relay = site.role("stock_relay");
    for (change, undo, says) in [
        (
            format!("create policy drystone_relay on stock.items to {relay} using (true) with check (true)"),
            "drop policy drystone_relay on stock.items".to_owned(),
            "DRY-M003: table stock.items: its policy drystone_relay is not the one that the store made".to_owned(),
        ),
        (
            "alter policy drystone_relay on stock.drystone_inbox to public".to_owned(),
            format!("alter policy drystone_relay on stock.drystone_inbox to {relay}"),
            "DRY-M003: table stock.drystone_inbox: its policy drystone_relay is not the one that the store made".to_owned(),
        ),
        (
            format!("grant select on stock.items to {relay}"),
            format!("revoke select on stock.items from {relay}"),
            format!("DRY-M010: stock.items: SELECT is granted to {relay}: revoke it"),
        ),
        (
            format!("grant truncate on stock.drystone_outbox to {relay}"),
            format!("revoke truncate on stock.drystone_outbox from {relay}"),
            format!("DRY-M010: stock.drystone_outbox: TRUNCATE is granted to {relay}: revoke it"),
        ),
        (
            format!("grant delete on stock.drystone_outbox to {}", site.role("stock")),
            format!("revoke delete on stock.drystone_outbox from {}", site.role("stock")),
            format!("DRY-M010: stock.drystone_outbox: DELETE is granted to {}: revoke it", site.role("stock")),
        ),
        (
            format!("alter role {relay} bypassrls"),
            format!("alter role {relay} nobypassrls"),
            format!("DRY-M016: role {relay} may pass row-level security by"),
        ),
        (
            format!("grant {relay} to {}", site.role("stock")),
            format!("revoke {relay} from {}", site.role("stock")),
            format!("DRY-M016: role {} is a member of {relay}", site.role("stock")),
        ),
        (
            format!("grant {} to {relay}", site.role("stock")),
            format!("revoke {} from {relay}", site.role("stock")),
            format!("DRY-M016: role {relay} is a member of {}", site.role("stock")),
        ),
    ] {
        site.admin.batch_execute(&change).await.unwrap();
        let message = site.refusal("stock", migrations).await;
        assert!(message.contains(&says), "{change}: {message}");
        site.admin.batch_execute(&undo).await.unwrap();
        site.migrate("stock", migrations).await.unwrap_or_else(|error| panic!("{undo}: {error:?}"));
    }
    // One that is gone is put back.
    let policies =
        "select polname::text from pg_policy where polrelid = 'stock.drystone_held'::regclass order by 1";
    site.admin.batch_execute("drop policy drystone_relay on stock.drystone_held").await.unwrap();
    site.migrate("stock", migrations).await.unwrap();
    assert_eq!(site.lines(policies).await, ["drystone_owner", "drystone_relay", "drystone_tenant"]);
}

pub(crate) async fn both_roles_get_the_password(site: Site) {
    let mut config = site.config("stock", tenants(&[]));
    let Location::Postgres { password, .. } = &mut config.location else { unreachable!() };
    *password = Some("a quiet secret".into());
    site.migrator.migrate(&config, Steps::All).await.unwrap();
    let role = site.role("stock");
    let kept = format!(
        "select rolname::text from pg_authid where rolname like '{role}%' and rolpassword like 'SCRAM-SHA-256$4096:%' order by 1"
    );
    assert_eq!(site.lines(&kept).await, [role.clone(), format!("{role}_relay")]);
}

pub(crate) async fn a_name_that_cannot_be_a_role_is_refused(site: Site) {
    let migrate = async |module: &str| {
        let config = StoreConfig::new(
            Location::postgres("postgres://drystone@/shop"),
            tenants(&[]),
            Home::of_system(module),
        );
        let migrator = Migrator::connect(&site.owner_url.clone().into()).await.unwrap();
        let migrating = migrator.migrate(&config, Steps::All).await.unwrap_err();
        let opening = Store::unopened(module).open(config).await.unwrap_err();
        assert_eq!(migrating.message(), opening.message());
        assert_eq!(migrating.code(), Code::InvalidArgument);
        migrating.message().to_owned()
    };
    // 9 bytes of the user, 6 of the second role, and 49.
    let long = "m".repeat(49);
    assert_eq!(
        migrate(&long).await,
        format!(
            "the role \"drystone_{long}_relay\" has a name of more than 63 bytes: shorten the user of the connection string, or the module's name"
        )
    );
    assert_eq!(
        migrate("stock_relay").await,
        "the role \"drystone_stock_relay\" of module stock_relay would be the one that carries the events of a module stock: give the module a \
         name that does not end with _relay"
    );
    assert_eq!(
        site.lines("select rolname::text from pg_roles where rolname like 'drystone\\_%'").await,
        [""; 0]
    );
}

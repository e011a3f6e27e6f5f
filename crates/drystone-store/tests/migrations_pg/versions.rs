//! Two versions of one module: which work beside each other, in which order they may come, and when something may be taken away.

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Code, Context, Home, Principal, TenantId};
use drystone_store::{Migration, Migrations, Migrator, Steps, Store};

use crate::site::{ITEMS, Site, shared, step, tenants};

fn create() -> Migration {
    step(1, "expand_items", ITEMS)
}

fn add() -> Migration {
    step(2, "expand_note", "alter table items add column note text not null default 'none'")
}

fn take_away() -> Migration {
    step(3, "contract_sku", "alter table items drop column sku")
}

/// The version before, the next one, and the one that takes away what only the first needed.
fn versions() -> [Migrations; 3] {
    [tenants(&[create()]), tenants(&[create(), add()]), tenants(&[create(), add(), take_away()])]
}

/// Runs one statement in a transaction of a tenant.
async fn write(store: &Store, sql: &str) -> drystone_call::Result<u64> {
    let home: Arc<Home> = Home::of_system("stock");
    let mut cx = Context::mint(home, TenantId::new("acme").unwrap(), Principal::ANONYMOUS)
        .with_timeout(Duration::from_secs(60));
    let mut tx = store.begin(&mut cx).await?;
    let count = tx.query(sql).execute().await?;
    tx.commit().await.map(|()| count)
}

async fn refused(site: &Site, migrations: Migrations) -> String {
    let error = site.open("stock", migrations).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error:?}");
    error.message().to_owned()
}

pub(crate) async fn versions_work_side_by_side_in_either_order(site: Site) {
    let [before, next, _] = versions();
    site.migrate("stock", before).await.unwrap();
    let old = site.open("stock", before).await.unwrap();
    write(&old, "insert into items (id, sku) values (1, 'stone')").await.unwrap();
    assert_eq!(
        refused(&site, next).await,
        "DRY-M017: schema stock lacks V0002__expand_note, which this version needs: run the application's `migrate` command before this \
         version starts"
    );
    let migrated = site.migrate("stock", next).await.unwrap();
    assert_eq!(migrated.schemas[1].ran, ["V0002__expand_note"]);
    let new = site.open("stock", next).await.unwrap();
    write(&old, "insert into items (id, sku) values (2, 'sand')").await.unwrap();
    assert_eq!(write(&new, "update items set note = sku where note = 'none'").await.unwrap(), 2);
    // The older version's migrator comes late, and its process again: neither minds what was added.
    let migrated = site.migrate("stock", before).await.unwrap();
    assert!(migrated.schemas.iter().all(|schema| schema.ran.is_empty()));
    old.close().await.unwrap();
    let old = site.open("stock", before).await.unwrap();
    assert_eq!(write(&old, "update items set sku = 'brick' where id = 1").await.unwrap(), 1);
    old.close().await.unwrap();
    new.close().await.unwrap();
}

pub(crate) async fn what_is_held_back_is_named(site: Site) {
    let last = step(4, "expand_more", "alter table items add column more text");
    let all = tenants(&[create(), add(), take_away(), last]);
    let migrated = site.migrator.migrate(&site.config("stock", all), Steps::ExpandOnly).await.unwrap();
    let [shared, own] = migrated.schemas.as_slice() else { panic!("{migrated:?}") };
    assert_eq!((shared.schema.as_str(), own.schema.as_str()), ("stock_shared", "stock"));
    assert!(shared.ran.is_empty() && shared.held_back.is_empty());
    assert_eq!(own.ran, ["V0001__expand_items", "V0002__expand_note"]);
    assert_eq!(own.held_back, ["V0003__contract_sku", "V0004__expand_more"]);
    // A contract step that is missing keeps nobody from starting; what was to be added after it does.
    let [.., contracting] = versions();
    site.open("stock", contracting).await.unwrap().close().await.unwrap();
    assert!(refused(&site, all).await.contains("lacks V0004__expand_more"));
    let migrated = site.migrate("stock", all).await.unwrap();
    assert_eq!(migrated.schemas[1].ran, ["V0003__contract_sku", "V0004__expand_more"]);
    site.open("stock", all).await.unwrap().close().await.unwrap();
}

pub(crate) async fn a_binary_without_its_schemas_says_so(site: Site) {
    let [before, _, contracted] = versions();
    site.migrate("stock", contracted).await.unwrap();
    assert_eq!(
        refused(&site, before).await,
        "DRY-M018: schema stock has applied V0003__contract_sku, which this binary does not know and which took something away: the binary is \
         older than the data; run a newer one"
    );
    site.admin.batch_execute("drop table stock.drystone_migrations").await.unwrap();
    assert_eq!(
        refused(&site, contracted).await,
        "DRY-M017: schema stock is not there, which this version needs: run the application's `migrate` command before this version starts"
    );
}

pub(crate) async fn a_contract_step_waits_for_older_leases(site: Site) {
    let [_, next, contracting] = versions();
    site.migrate("stock", next).await.unwrap();
    let old = site.open("stock", next).await.unwrap();
    let new = site.open("stock", contracting).await.unwrap();
    let message = site.refusal("stock", contracting).await;
    let [begin, rest] = message.split(" (version 2, renewed ").collect::<Vec<_>>()[..] else {
        panic!("{message}")
    };
    assert!(
        begin.starts_with("DRY-M012: contract step V0003__contract_sku on schema stock has to wait for processes of older versions: ")
            && !begin.contains("version 3"),
        "{message}"
    );
    let says = "s ago). Stop them, or wait until they are gone (15 s after the last sign of life), and migrate again; the expand steps alone can \
                run beside them";
    assert!(rest.ends_with(says), "{message}");
    let expanded =
        site.migrator.migrate(&site.config("stock", contracting), Steps::ExpandOnly).await.unwrap();
    assert_eq!(expanded.schemas[1].held_back, ["V0003__contract_sku"]);
    write(&old, "insert into items (id, sku) values (1, 'stone')").await.unwrap();
    old.close().await.unwrap();
    let migrated = site.migrate("stock", contracting).await.unwrap();
    assert_eq!(migrated.schemas[1].ran, ["V0003__contract_sku"]);
    assert_eq!(write(&new, "update items set note = 'left'").await.unwrap(), 1);
    new.close().await.unwrap();
}

pub(crate) async fn a_lease_that_has_run_out_is_no_hindrance(site: Site) {
    let [_, next, contracting] = versions();
    let rates = step(1, "expand_rates", "create table rates (currency text primary key, old bigint)");
    let fewer = step(2, "contract_old", "alter table rates drop column old");
    let with = |base: Migrations, steps: &[Migration]| Migrations {
        shared_postgres: shared(steps).shared_postgres,
        ..base
    };
    let (next, contracting) = (with(next, &[rates]), with(contracting, &[rates, fewer]));
    site.migrate("stock", next).await.unwrap();
    // What processes leave that were killed: one just now, one a while ago.
    let leave = "insert into stock_shared.drystone_leases (id, process, version, shared_version, renewed)
        values (gen_random_uuid(), $1, 2, $2, clock_timestamp() - make_interval(secs => $3))";
    for (process, version, age) in [("killed long ago", 1_i64, 15.1_f64), ("killed just now", 2, 1.0)] {
        site.admin.execute(leave, &[&process, &version, &age]).await.unwrap();
    }
    let message = site.refusal("stock", contracting).await;
    assert!(
        message.contains("killed just now (version 2, renewed") && !message.contains("long ago"),
        "{message}"
    );
    let shared = site.lines("select name from stock_shared.drystone_migrations order by version").await;
    assert_eq!(
        shared,
        ["V0001__expand_rates", "V0002__contract_old"],
        "its own version is what counts in each schema"
    );
    let age = "update stock_shared.drystone_leases set renewed = clock_timestamp() - interval '15.1 s'";
    site.admin.batch_execute(age).await.unwrap();
    site.migrate("stock", contracting).await.unwrap();
    assert_eq!(site.lines("select process from stock_shared.drystone_leases").await, [""; 0]);
}

pub(crate) async fn a_starting_binary_waits_for_a_contract_step(site: Site) {
    let [_, next, _] = versions();
    let slow = step(3, "contract_sku", "alter table items drop column sku; select pg_advisory_xact_lock(7)");
    let contracting = tenants(&[create(), add(), slow]);
    site.migrate("stock", next).await.unwrap();
    site.admin.batch_execute("select pg_advisory_lock(7)").await.unwrap();
    let migrator = Migrator::connect(&site.owner_url.clone().into()).await.unwrap();
    let config = site.config("stock", contracting);
    let migration = tokio::spawn(async move { migrator.migrate(&config, Steps::All).await });
    until(&site, "select 1 from pg_locks where locktype = 'advisory' and not granted").await;
    let (store, config) = (Store::unopened("stock"), site.config("stock", next));
    let opening = tokio::spawn(async move { store.open(config).await });
    let waits =
        "select 1 from pg_locks where relation = 'stock_shared.drystone_leases'::regclass and not granted";
    until(&site, waits).await;
    site.admin.batch_execute("select pg_advisory_unlock(7)").await.unwrap();
    migration.await.unwrap().unwrap();
    let error = opening.await.unwrap().unwrap_err();
    assert!(error.message().starts_with("DRY-M018: "), "{error:?}");
}

/// The statement of a migration in the example of the guide.
fn of_the_guide(file: &str) -> &'static str {
    let guide = include_str!("../../../../docs/guide/migrations.md");
    let (_, after) = guide.split_once(&format!("-- {file}.sql")).expect("the guide shows the file");
    after.lines().nth(1).unwrap()
}

pub(crate) async fn the_example_of_the_guide_loses_nothing(site: Site) {
    let mut steps = vec![step(1, "expand_items", &ITEMS.replace("sku", "note"))];
    let mut before: Option<(Store, String, &str)> = None;
    let mut rows = 0;
    for (release, step_name, writes, reads) in [
        (7, "", "note", "note"),
        (8, "expand_remark", "note, remark", "note"),
        (9, "expand_fill", "note, remark", "remark"),
        (10, "contract_note", "remark", "remark"),
    ] {
        if !step_name.is_empty() {
            let version = u32::try_from(steps.len() + 1).unwrap();
            steps.push(step(version, step_name, of_the_guide(&format!("V{version:04}__{step_name}"))));
        }
        let config = site.config("stock", tenants(&steps));
        site.migrator.migrate(&config, Steps::ExpandOnly).await.unwrap();
        let store = site.open("stock", tenants(&steps)).await.unwrap();
        let values = if writes.contains(',') { "'row', 'row'" } else { "'row'" };
        let write_it = format!("insert into items (id, {writes}) values ($1, {values})");
        // Both versions write, and both see what the other has written.
        for (store, write_it, _) in before.iter().chain([&(store.clone(), write_it.clone(), reads)]) {
            rows += 1;
            write(store, &write_it.replace("$1", &rows.to_string())).await.unwrap();
        }
        for (store, _, reads) in before.iter().chain([&(store.clone(), write_it.clone(), reads)]) {
            let touched = format!("update items set id = id where {reads} = 'row'");
            assert_eq!(write(store, &touched).await.unwrap(), rows, "release {release} reads {reads}");
        }
        if let Some((older, ..)) = before.replace((store, write_it, reads)) {
            if release == 10 {
                assert!(site.refusal("stock", tenants(&steps)).await.starts_with("DRY-M012: "));
            }
            older.close().await.unwrap();
        }
        site.migrator.migrate(&config, Steps::All).await.unwrap();
    }
    let columns =
        "select string_agg(column_name, ' ' order by ordinal_position) from information_schema.columns
        where table_schema = 'stock' and table_name = 'items'";
    assert_eq!(site.lines(columns).await, ["tenant id remark"]);
}

/// Waits until a query has an answer.
async fn until(site: &Site, sql: &str) {
    for _ in 0..2000 {
        if !site.admin.query(sql, &[]).await.unwrap().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {sql}");
}

//! What a migration may do and what its owner needs: one transaction, as the owner, over the rows of all tenants.

use drystone_call::Code;
use drystone_store::{Location, Migrator, Steps};
use secrecy::SecretString;

use crate::site::{ITEMS, Site, step, tenants};

pub(crate) async fn statements_that_end_the_transaction_are_refused(site: Site) {
    let one = step(1, "expand_items", ITEMS);
    site.migrate("stock", tenants(&[one])).await.unwrap();
    let before = site.catalog("stock").await;
    for sql in [
        "create table a (tenant text not null, id bigint not null, primary key (tenant, id)); commit; create table b ()",
        "commit",
        "create table a (); rollback; begin",
        "savepoint s",
        "create table a (); /* ; */ end",
        "copy items from stdin",
    ] {
        let message = site.refusal("stock", tenants(&[one, step(2, "expand_more", sql)])).await;
        let begins = "DRY-M015: migration V0002__expand_more is refused on schema stock: ";
        assert!(message.starts_with(begins), "{sql}: {message}");
        assert_eq!(site.catalog("stock").await, before, "{sql} left something");
    }
    let hidden = "do $$ begin create table a (); commit; end $$";
    let message = site.refusal("stock", tenants(&[one, step(2, "expand_more", hidden)])).await;
    assert!(message.contains("invalid transaction termination"), "{message}");
    assert_eq!(site.catalog("stock").await, before);
    let atomic = "create function two() returns bigint begin atomic select 2; end; select '; commit;'";
    site.migrate("stock", tenants(&[one, step(2, "expand_two", atomic)])).await.unwrap();
}

pub(crate) async fn a_migration_stays_the_owner(site: Site) {
    site.migrate("stock", tenants(&[])).await.unwrap();
    let before = site.catalog("stock").await;
    let role = site.role("stock");
    let as_other = format!("grant {role} to current_user; set role {role}");
    let message = site.refusal("stock", tenants(&[step(1, "expand_as_other", &as_other)])).await;
    assert_eq!(
        message,
        format!(
            "DRY-M016: migration V0001__expand_as_other is refused on schema stock: it goes on as role {role}: remove `set role` and \
             `set session authorization`; the owner migrates"
        )
    );
    assert_eq!(site.catalog("stock").await, before);
    let memberships =
        "select format('%s %s', roleid::regrole, member::regrole) from pg_auth_members where member >= 16384";
    assert_eq!(site.lines(memberships).await, [""; 0]);
    // What a migration leaves behind in the session ends with it.
    let noisy = step(1, "expand_noisy", "set search_path = public; set session lock_timeout = 1");
    site.migrate("stock", tenants(&[noisy, step(2, "expand_items", ITEMS)])).await.unwrap();
    let tables =
        site.lines("select table_schema::text from information_schema.tables where table_name = 'items'");
    assert_eq!(tables.await, ["stock"]);
}

pub(crate) async fn a_failed_migration_says_where(site: Site) {
    let one = step(1, "expand_items", ITEMS);
    let sql = "create table a (tenant text not null, id bigint not null, primary key (tenant, id));\n\ninsert into nowhere values (1);\n";
    let message = site.refusal("stock", tenants(&[one, step(2, "expand_more", sql)])).await;
    assert_eq!(
        message,
        "DRY-M014: migration V0002__expand_more failed on schema stock and left nothing: line 3: relation \"nowhere\" does not exist (42P01); \
         correct the file and migrate again"
    );
    assert_eq!(site.lines("select name from stock.drystone_migrations").await, ["V0001__expand_items"]);
    let deferred = "create table a (tenant text not null, id bigint not null, item bigint not null, primary key (tenant, id),
        foreign key (tenant, item) references items (tenant, id) deferrable initially deferred);
        insert into a values ('acme', 1, 1)";
    let message = site.refusal("stock", tenants(&[one, step(2, "expand_more", deferred)])).await;
    assert!(message.starts_with("DRY-M014: ") && message.contains("(23503)"), "{message}");
    let edited = step(1, "expand_items", "create table other ()");
    let message = site.refusal("stock", tenants(&[edited])).await;
    assert_eq!(
        message,
        "DRY-M013: V0001__expand_items was edited after it had been applied to schema stock (there it is V0001__expand_items): restore the file \
         and put the change into a new migration"
    );
}

pub(crate) async fn a_migration_works_on_the_rows_of_all_tenants(site: Site) {
    let one = step(1, "expand_items", ITEMS);
    site.migrate("stock", tenants(&[one])).await.unwrap();
    let rows = "insert into stock.items values ('acme', 1, 'stone'), ('other', 1, 'sand')";
    site.admin.batch_execute(rows).await.unwrap();
    let fill = "alter table items add column upper text; update items set upper = upper(sku); alter table items alter column upper set not null";
    site.migrate("stock", tenants(&[one, step(2, "expand_upper", fill)])).await.unwrap();
    assert_eq!(site.lines("select upper from stock.items order by 1").await, ["SAND", "STONE"]);
    // Outside a migration the owner sees nothing, as anybody without a tenant.
    let owner = crate::site::login(&site.owner_url).await;
    let seen = owner.query("select * from stock.items", &[]).await.unwrap();
    assert!(seen.is_empty());
}

pub(crate) async fn an_owner_without_rights_is_told_which(site: Site) {
    let name = site.owner.replace("_owner", "_guest");
    site.admin.batch_execute(&format!("create role {name} login")).await.unwrap();
    let url: SecretString = site.owner_url.replace(&site.owner, &name).into();
    let guest = Migrator::connect(&url).await.unwrap();
    let error = guest.migrate(&site.config("stock", tenants(&[])), Steps::All).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(
        error.message(),
        "the owner may not make the module's role and schemas (permission denied to create role): it needs `createrole` and `create` on the \
         database, or to be a superuser"
    );
    site.migrate("stock", tenants(&[])).await.unwrap();
}

pub(crate) async fn migrators_wait_for_one_another(site: Site) {
    let sql = format!("{ITEMS}; insert into items values ('acme', 1, 'x')");
    let all = tenants(&[
        step(1, "expand_items", &sql),
        step(2, "expand_more", "update items set sku = sku || 'y'"),
    ]);
    let mut tasks = Vec::new();
    for turn in 0..12 {
        let migrator = Migrator::connect(&site.owner_url.clone().into()).await.unwrap();
        let config = site.config(["stock", "orders", "users"][turn % 3], all);
        tasks.push(tokio::spawn(async move { migrator.migrate(&config, Steps::All).await }));
    }
    let mut ran = 0;
    for task in tasks {
        let migrated = task.await.unwrap().unwrap();
        ran += migrated.schemas.iter().map(|schema| schema.ran.len()).sum::<usize>();
    }
    assert_eq!(ran, 6, "each migration ran once in each module");
    assert_eq!(site.lines("select sku from stock.items").await, ["xy"]);
    // One migrator asked twice at once.
    let config = site.config("both", all);
    let (a, b) =
        tokio::join!(site.migrator.migrate(&config, Steps::All), site.migrator.migrate(&config, Steps::All));
    assert_ne!(a.unwrap(), b.unwrap());
}

pub(crate) async fn another_database_changes_the_same_role(site: Site) {
    let mut config = site.config("stock", tenants(&[]));
    let Location::Postgres { password, .. } = &mut config.location else { unreachable!() };
    *password = Some("secret".into());
    site.migrator.migrate(&config, Steps::All).await.unwrap();
    // Roles belong to the whole server, and no lock reaches from one database to another: somebody there is in the middle of it.
    let change = format!("begin; alter role {} connection limit 50", site.role("stock"));
    site.admin.batch_execute(&change).await.unwrap();
    let watch = crate::site::login(&site.database.owner_url).await;
    let waits = async {
        let waiting =
            "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%alter role%'";
        for turn in 0.. {
            assert!(turn < 2000, "the migrator never came to the role");
            if !watch.query(waiting, &[]).await.unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        site.admin.batch_execute("commit").await.unwrap();
    };
    let (migrated, ()) = tokio::join!(site.migrator.migrate(&config, Steps::All), waits);
    migrated.unwrap();
}

pub(crate) async fn a_password_is_given_and_never_sent(site: Site) {
    site.admin.batch_execute(&format!("alter role {} set log_statement = 'all'", site.owner)).await.unwrap();
    let migrator = Migrator::connect(&site.owner_url.clone().into()).await.unwrap();
    let mut config = site.config("stock", tenants(&[]));
    let Location::Postgres { password, .. } = &mut config.location else { unreachable!() };
    *password = Some("a quiet secret".into());
    migrator.migrate(&config, Steps::All).await.unwrap();
    let kept = site
        .lines(&format!("select rolpassword from pg_authid where rolname = '{}'", site.role("stock")))
        .await;
    assert!(kept[0].starts_with("SCRAM-SHA-256$4096:"), "{kept:?}");
    let log = &site.lines("select pg_read_file(current_setting('data_directory') || '/../log')").await[0];
    assert!(log.contains("create schema if not exists \"stock\""), "the log has the statements");
    assert!(!log.contains("a quiet secret"));
}

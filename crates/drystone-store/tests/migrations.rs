//! Migrations on PostgreSQL: who may run them, what they may leave behind, and which versions of a module work beside one another.
//!
//! The owner of these tests is no superuser: it has `createrole` and `create` on its database, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "migrations_pg/lint.rs"]
mod lint;
#[path = "migrations_pg/owner.rs"]
mod owner;
#[path = "migrations_pg/platform.rs"]
mod platform;
#[path = "migrations_pg/rights.rs"]
mod rights;
#[path = "migrations_pg/site.rs"]
mod site;
#[path = "migrations_pg/versions.rs"]
mod versions;

use site::Site;

/// Runs the cases of a subject one after another on one server, each in a database of its own.
macro_rules! run {
    ($subject:ident: $($case:ident)+) => {
        $(
            println!("{}", stringify!($case));
            $subject::$case(Site::new().await).await;
        )+
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_breaks_a_rule_is_told_which_and_leaves_nothing() {
    run! {
        lint: every_rule_has_its_page_and_its_fixtures a_schema_that_keeps_the_rule_is_accepted_and_one_that_breaks_it_is_told
            data_of_no_tenant_keeps_the_rules_that_it_has what_others_did_to_a_schema_is_found
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_migrates_in_one_transaction_beside_others() {
    run! {
        owner: statements_that_end_the_transaction_are_refused a_migration_stays_the_owner a_failed_migration_says_where
            a_migration_works_on_the_rows_of_all_tenants an_owner_without_rights_is_told_which migrators_wait_for_one_another
            another_database_changes_the_same_role a_password_is_given_and_never_sent
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_modules_role_has_what_it_needs_and_nothing_else() {
    run! {
        rights: a_role_has_what_it_needs_and_nothing_else a_role_reaches_nothing_of_another_module
            a_relay_sees_the_events_of_all_tenants_and_nothing_else nobody_becomes_a_relay
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platform_brings_its_own_objects_along() {
    run! {
        platform: what_the_previous_release_migrated_gets_what_is_new a_gate_that_was_changed_is_found both_roles_get_the_password
            a_name_that_cannot_be_a_role_is_refused
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_work_side_by_side_until_something_is_taken_away() {
    run! {
        versions: versions_work_side_by_side_in_either_order what_is_held_back_is_named a_binary_without_its_schemas_says_so
            a_contract_step_waits_for_older_leases a_lease_that_has_run_out_is_no_hindrance a_starting_binary_waits_for_a_contract_step
            the_example_of_the_guide_loses_nothing
    }
}

//! What a store promises to a module, run on SQLite and on PostgreSQL by the same functions.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "conformance/ends.rs"]
mod ends;
#[path = "conformance/events.rs"]
mod events;
#[path = "conformance/isolation.rs"]
mod isolation;
#[path = "support/keyed.rs"]
mod keyed;
#[path = "conformance/queue.rs"]
mod queue;
#[path = "conformance/rows.rs"]
mod rows;
#[path = "conformance/walls.rs"]
mod walls;
#[path = "support/world.rs"]
mod world;

use drystone_store::Location;
use drystone_testkit::Postgres;
use world::World;

impl World {
    /// A store on the PostgreSQL of this process, in a database of its own.
    async fn postgres() -> Self {
        let database =
            tokio::task::spawn_blocking(|| Postgres::of_process().database()).await.unwrap().unwrap();
        Self::postgres_in(&database).await
    }

    /// Whether the store is on PostgreSQL.
    fn is_on_postgres(&self) -> bool {
        matches!(self.config().location, Location::Postgres { .. })
    }
}

/// Each case becomes a test on SQLite; on PostgreSQL they run one after another on one server, each in a database of its own.
macro_rules! suite {
    ($($module:ident: $($case:ident)+;)+) => {
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::$module::$case(crate::World::sqlite().await).await;
                }
            )+)+
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn postgres() {
            $($(
                println!("{}", stringify!($case));
                let world = World::postgres().await;
                assert!(world.is_on_postgres());
                $module::$case(world).await;
            )+)+
        }
    };
}

suite! {
    rows: values_come_back_as_they_went values_may_be_absent rows_map_by_name parameters_bind_by_number a_row_that_does_not_fit
        rows_are_counted newtypes_are_columns one_means_one;
    ends: a_commit_is_there_after_reopening what_is_dropped_is_gone a_repeated_call_is_one_effect a_key_with_another_payload
        a_key_in_use a_refusal_is_replayed a_refusal_without_a_key an_answer_without_a_record
        a_snapshot_does_not_move a_transaction_held_too_long write_skew_does_not_happen read_committed_locks_rows_where_asked keys_of_shared_data_are_found
        a_failed_statement_ends_the_transaction times_are_whole_microseconds;
    isolation: write_skew_is_the_same_for_callers no_update_is_lost no_phantom_takes_the_seat;
    queue: queued_statements_run_in_order a_queued_failure_shows_at_the_next_step a_queued_failure_shows_at_the_commit
        a_refusal_takes_the_place_of_a_queued_failure;
    events: an_announcement_comes_after_the_commit an_announcement_outlives_its_caller what_did_not_commit_is_not_announced
        announcements_wait_for_each_who_listens an_event_is_queued_by_its_parts it_says_which_database_it_is_on a_transaction_says_how_long_it_is_held
        a_transaction_across_tenants_sees_their_events_and_nothing_else a_transaction_across_tenants_carries_events_on
        a_transaction_across_tenants_can_tell_what_is_settled;
    walls: tenants_see_their_own shared_data_is_of_no_tenant a_conflict_is_already_exists a_broken_rule_is_a_failed_precondition
        control_is_refused several_statements_are_refused a_snapshot_does_not_write migrations_run_once
        an_edited_migration_is_refused an_older_binary_works_until_something_is_taken_away callers_see_no_sql a_slow_statement_meets_the_deadline
        an_unopened_store_says_so a_closed_store_says_so tenants_are_visited_in_turn;
}

//! The module's roles and schemas, and the rights that the roles have: those that they need and no others.
//!
//! The role that a process logs in as owns nothing, so that the wall holds for it, and sees no other module's schema. The owner needs neither the rights of a
//! superuser nor of the database's owner: `createrole` and `create` on the database do.
//!
//! A second role carries the module's events from the outbox and to the handlers, for all tenants: it passes the wall of the tables of events, by a policy of its own, and
//! has no right to any other table of the module.

use drystone_call::Result;
use postgres_protocol::password::scram_sha_256;
use tokio_postgres::Client;
use tokio_postgres::error::{Error as PgError, SqlState};

use super::names::{Names, literal, quoted};
use crate::migrate;

/// How often two migrators of two databases may get in each other's way: roles belong to the whole server, and no lock reaches from one database to another.
const TRIES: usize = 10;

/// What the roles may do with each relation of a schema; `here` is the schema and the roles. The lint compares with the same list.
pub(super) const WANTED: &str = "
wanted as (
    select c.oid, c.relname, c.relkind, case
        when c.relkind = 'S' then array['USAGE']
        when c.relname = 'drystone_migrations' then array['SELECT']
        when c.relname in ('drystone_idempotency', 'drystone_inbox') then array['SELECT', 'INSERT', 'DELETE']
        when c.relname = 'drystone_outbox' then array['SELECT', 'INSERT']
        else array['SELECT', 'INSERT', 'UPDATE', 'DELETE'] end as privileges,
    case
        when c.relname = 'drystone_outbox_seq_seq' then array['USAGE', 'SELECT']
        when c.relname in ('drystone_outbox', 'drystone_inbox', 'drystone_held', 'drystone_scheduled', 'drystone_pumps')
            then array['SELECT', 'INSERT', 'UPDATE', 'DELETE']
        else array[]::text[] end as relayed
    from here join pg_class c on c.relnamespace = here.schema and c.relkind in ('r', 'p', 'v', 'S')
)";

/// The statements that give the role its rights. What an extension brought is the extension's.
const GRANTS: &str = "
select format('grant %s on %s %I.%I to %I', array_to_string(privileges, ', '),
    case relkind when 'S' then 'sequence' else 'table' end, here.name, relname, here.rolname)
from here, wanted
union all
select format('grant %s on %s %I.%I to %I', array_to_string(relayed, ', '),
    case relkind when 'S' then 'sequence' else 'table' end, here.name, relname, here.relayname)
from here, wanted where relayed <> '{}'
union all
select format('revoke all on routine %1$I.%2$I(%3$s) from public; grant execute on routine %1$I.%2$I(%3$s) to %4$I',
    here.name, p.proname, pg_get_function_identity_arguments(p.oid), here.rolname)
from here join pg_proc p on p.pronamespace = here.schema
where not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')";

/// Makes the roles and the schemas.
///
/// # Errors
/// `FAILED_PRECONDITION` if the owner lacks a right, named.
pub(super) async fn create(client: &Client, names: &Names, password: Option<&[u8]>) -> Result<()> {
    let sql = statements(names, password);
    for _ in 1..TRIES {
        match client.batch_execute(&sql).await {
            Err(cause) if is_a_race(&cause) => client.batch_execute("rollback").await?,
            done => return ended(client, done).await,
        }
    }
    let done = client.batch_execute(&sql).await;
    ended(client, done).await
}

async fn ended(client: &Client, done: Result<(), PgError>) -> Result<()> {
    let Err(cause) = done else { return Ok(()) };
    client.batch_execute("rollback").await?;
    if cause.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return Err(cause.into());
    }
    let said = cause.as_db_error().map_or_else(String::new, |db| db.message().to_owned());
    Err(migrate::refuse(format!(
        "the owner may not make the module's role and schemas ({said}): it needs `createrole` and `create` on the database, or to be a superuser"
    ))
    .caused_by(cause))
}

/// Two transactions changed one row of a catalog that all databases share.
fn is_a_race(cause: &PgError) -> bool {
    matches!(
        cause.code(),
        Some(&(SqlState::INTERNAL_ERROR | SqlState::UNIQUE_VIOLATION | SqlState::DUPLICATE_OBJECT))
    )
}

/// One migrator of this database at a time. What only the database's owner may do is left out where somebody else owns it.
fn statements(names: &Names, password: Option<&[u8]>) -> String {
    let Names { role, relay, schema, shared } = names;
    let make = [role, relay].map(|name| make(name, password)).concat();
    format!(
        "begin;
         select pg_advisory_xact_lock(hashtextextended('drystone roles', 0));
         {make}
         create schema if not exists {schema}; create schema if not exists {shared};
         grant usage on schema {schema}, {shared} to {role}, {relay};
         do $$ begin
             if pg_has_role(current_user, (select datdba from pg_database where datname = current_database()), 'usage') then
                 execute format('revoke temporary on database %I from public', current_database());
                 execute format('grant connect on database %I to %I, %I', current_database(), {role_name}, {relay_name});
             end if;
         end $$;
         commit",
        role_name = literal(role),
        relay_name = literal(relay),
        role = quoted(role),
        relay = quoted(relay),
        schema = quoted(schema),
        shared = quoted(shared),
    )
}

/// Makes a role if it is not there.
fn make(role: &str, password: Option<&[u8]>) -> String {
    let (name, role) = (literal(role), quoted(role));
    // The server is sent what it keeps, never the password: its log may have every statement.
    let password = password.map_or_else(String::new, |password| {
        format!("alter role {role} password {};", literal(&scram_sha_256(password)))
    });
    format!(
        "do $$ begin
             if not exists (select from pg_roles where rolname = {name}) then create role {role} login; end if;
         end $$;
         {password}"
    )
}

/// Gives the roles their rights on everything in a schema.
pub(super) async fn grant(client: &Client, names: &Names, schema: &str) -> Result<()> {
    let sql = format!("with {HERE}, {WANTED} {GRANTS}");
    for row in client.query(&sql, &[&schema, &names.role]).await? {
        client.batch_execute(row.get(0)).await?;
    }
    Ok(())
}

/// The schema `$1`, the module's role `$2`, and the one that carries its events.
pub(super) const HERE: &str = "
here as (
    select n.oid as schema, n.nspname as name, n.nspowner as owner, r.oid as role, r.rolname, l.oid as relay, l.rolname as relayname
    from pg_namespace n, pg_roles r, pg_roles l where n.nspname = $1 and r.rolname = $2 and l.rolname = $2 || '_relay'
)";

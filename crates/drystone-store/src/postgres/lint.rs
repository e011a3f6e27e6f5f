//! What a schema must look like after a migration, read from the catalog inside the migration's transaction, so that one that is refused leaves nothing.
//!
//! The catalog says what a migration did, however it was written: the text of the statements is not looked at. Each rule is a query of its own that finds what
//! breaks it, says it in a sentence, and has a page in `docs/errors/`.

use drystone_call::Result;
use tokio_postgres::Client;

use super::names::Names;
use super::platform::Kind;
use super::roles::{HERE, WANTED};

/// A rule and the query of its findings.
struct Rule {
    id: &'static str,
    /// Whether it holds in the schema of no tenant too.
    shared: bool,
    findings: &'static str,
}

/// Tables that belong to tenants, and their tenant's column if they have one.
const TABLES: &str = "
tables as (
    select c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relowner, a.attnum as tenant, a.attnotnull, a.atttypid, a.attcollation,
        c.relname in ('drystone_outbox', 'drystone_inbox', 'drystone_held', 'drystone_scheduled') as is_relayed
    from here join pg_class c on c.relnamespace = here.schema and c.relkind in ('r', 'p') and c.relname <> 'drystone_migrations'
    left join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped
)";

/// What the wall itself needs: whose rows they are, and that the owner may put it up.
const BEFORE_THE_WALL: &[Rule] = &[
    Rule {
        id: "DRY-M001",
        shared: false,
        findings: "
select format('table %s.%s has no column `tenant`: add `tenant text not null` and let its keys begin with it, or create it in migrations/shared if its rows are of no tenant', name, relname)
from here, tables where tenant is null
union all
select format('table %s.%s: its column `tenant` may be null, and a row without a tenant is nobody''s: declare it `not null`', name, relname)
from here, tables where not attnotnull
union all
select format('table %s.%s: its column `tenant` is %s: a tenant''s name is `text`', name, relname, format_type(atttypid, null))
from here, tables where atttypid <> 'text'::regtype
union all
select format('table %s.%s: the collation of its column `tenant` takes different names for equal: leave it out', name, relname)
from here, tables join pg_collation l on l.oid = attcollation where not l.collisdeterministic",
    },
    Rule {
        id: "DRY-M010",
        shared: true,
        findings: "
select format('%s.%s belongs to %s: let the owner of the schema, %s, create it', name, o.named, pg_get_userbyid(o.owned), pg_get_userbyid(owner))
from here, (
    select relname::text, relowner, relnamespace from pg_class where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    union all
    select proname || '()', proowner, pronamespace from pg_proc p
    where not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
) o (named, owned, space)
where space = schema and owned <> owner",
    },
];

const RULES: &[Rule] = &[
    Rule {
        id: "DRY-M002",
        shared: false,
        findings: "
select format('table %s.%s has its row-level security %s: leave it on and forced, as the store sets it', name, relname,
    case when relrowsecurity then 'not forced' else 'off' end)
from here, tables where tenant is not null and not (relrowsecurity and relforcerowsecurity)",
    },
    Rule {
        id: "DRY-M003",
        shared: false,
        findings: "
select format('table %s.%s: its policy %s is not the one that the store made: leave it as it is', here.name, relname, p.polname)
from here, tables t join pg_policy p on p.polrelid = t.oid and p.polname in ('drystone_tenant', 'drystone_owner', 'drystone_relay')
cross join lateral (values ('drystone_tenant', 0::oid, '(tenant = NULLIF(current_setting(''app.tenant''::text, true), ''''::text))'),
    ('drystone_owner', t.relowner, '(current_setting(''drystone.migrating''::text, true) = ''on''::text)'),
    ('drystone_relay', here.relay, 'true')) made (name, role, rule)
where made.name = p.polname and not ((made.name <> 'drystone_relay' or is_relayed) and p.polpermissive and p.polcmd = '*' and p.polroles = array[made.role]
    and pg_get_expr(p.polqual, p.polrelid) = made.rule and coalesce(pg_get_expr(p.polwithcheck, p.polrelid), made.rule) = made.rule)
union all
select format('table %s.%s has lost its policy %s: leave it in place', here.name, relname, made.name)
from here, tables t, (values ('drystone_tenant'), ('drystone_owner'), ('drystone_relay')) made (name)
where tenant is not null and (made.name <> 'drystone_relay' or is_relayed) and not exists (select from pg_policy p where p.polrelid = t.oid and p.polname = made.name)
union all
select format('table %s.%s: its policy %s lets rows through that are not the tenant''s: drop it, or create it `as restrictive`', name, relname, p.polname)
from here, tables t join pg_policy p on p.polrelid = t.oid
where p.polpermissive and p.polname not in ('drystone_tenant', 'drystone_owner', 'drystone_relay')",
    },
    Rule {
        id: "DRY-M004",
        shared: false,
        findings: "
select format('table %s.%s: %s %s does not begin with `tenant`, so that one tenant''s rows stand in the way of another''s: make it (tenant, ...)', name, t.relname,
    case when i.indisprimary then 'primary key' else 'unique index' end, x.relname)
from here, tables t join pg_index i on i.indrelid = t.oid and i.indisunique join pg_class x on x.oid = i.indexrelid
where tenant is not null and i.indkey[0] <> tenant
-- One sequence numbers it for all tenants, and the store alone writes to it.
and x.relname <> 'drystone_outbox_pkey'",
    },
    Rule {
        id: "DRY-M005",
        shared: false,
        findings: "
select format('table %s.%s: exclusion constraint %s compares rows of different tenants: add `tenant with =`', name, relname, c.conname)
from here, tables t join pg_constraint c on c.conrelid = t.oid and c.contype = 'x'
where tenant is not null and not exists (
    select from unnest(c.conkey, c.conexclop) e (col, op) where e.col = tenant and e.op = 'pg_catalog.=(text,text)'::regoperator)",
    },
    Rule {
        id: "DRY-M006",
        shared: true,
        findings: "
select format('table %s.%s: foreign key %s leads into schema %s: keep the key without the constraint; a module''s two schemas, as other modules, are apart',
    here.name, t.relname, c.conname, n.nspname)
from here, tables t join pg_constraint c on c.conrelid = t.oid and c.contype = 'f'
join pg_class o on o.oid = c.confrelid join pg_namespace n on n.oid = o.relnamespace
where o.relnamespace <> here.schema
union all
select format('table %s.%s: foreign key %s does not lead with `tenant` on both sides, so that it reaches other tenants'' rows: make it (tenant, ...) references %s (tenant, ...)',
    here.name, t.relname, c.conname, o.relname)
from here, tables t join pg_constraint c on c.conrelid = t.oid and c.contype = 'f' and c.conparentid = 0 join tables o on o.oid = c.confrelid
where t.tenant is not null and not $3 and (c.conkey[1] <> t.tenant or c.confkey[1] is distinct from o.tenant)",
    },
    Rule {
        id: "DRY-M007",
        shared: true,
        findings: "
select format('view %s.%s shows the rows of all tenants, since it reads as its owner: create it `with (security_invoker = true)`', name, c.relname)
from here join pg_class c on c.relnamespace = here.schema and c.relkind = 'v'
where not coalesce((select option_value::boolean from pg_options_to_table(c.reloptions) where option_name = 'security_invoker'), false)",
    },
    Rule {
        id: "DRY-M008",
        shared: true,
        findings: "
select format('%s %s.%s cannot have a wall: keep a table of the tenant''s rows instead',
    case c.relkind when 'm' then 'materialized view' else 'foreign table' end, name, c.relname)
from here join pg_class c on c.relnamespace = here.schema and c.relkind in ('m', 'f')",
    },
    Rule {
        id: "DRY-M009",
        shared: true,
        findings: "
select format('function %s.%s runs with the rights of its owner: create it without `security definer`', name, p.proname)
from here join pg_proc p on p.pronamespace = here.schema where p.prosecdef
union all
select format('table %s.%s: rule %s runs with the rights of its owner: use a trigger', name, c.relname, r.rulename)
from here join pg_class c on c.relnamespace = here.schema join pg_rewrite r on r.ev_class = c.oid where r.rulename <> '_RETURN'",
    },
    Rule {
        id: "DRY-M010",
        shared: true,
        findings: "
select distinct format('%s.%s: %s is granted to %s%s: revoke it; the store gives the module''s role what it needs', name, o.named, a.privilege_type,
    case when a.grantee = 0 then 'public' else pg_get_userbyid(a.grantee)::text end, case when a.is_grantable then ' with the right to grant it' else '' end)
from here cross join lateral (
    select c.relname::text, c.relacl, array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'USAGE'], array[]::text[], c.oid from pg_class c where c.relnamespace = schema
    union all
    select c.relname || '.' || t.attname, t.attacl, '{}', '{}', null from pg_class c join pg_attribute t on t.attrelid = c.oid where c.relnamespace = schema
    union all
    select p.proname || '()', p.proacl, array['EXECUTE'], '{}', null from pg_proc p where p.pronamespace = schema
    and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
    union all
    select 'the schema', nspacl, array['USAGE'], array['USAGE'], null from pg_namespace n where n.oid = schema
) o (named, acl, allowed, relayed, relation)
cross join lateral aclexplode(o.acl) a left join wanted w on w.oid = o.relation
where a.grantee <> owner
and not (a.grantee = role and a.privilege_type = any (coalesce(w.privileges, o.allowed)) and not a.is_grantable)
and not (a.grantee = relay and a.privilege_type = any (coalesce(w.relayed, o.relayed)) and not a.is_grantable)",
    },
    Rule {
        id: "DRY-M011",
        shared: false,
        findings: "
select format('table %s.%s has no primary key: add one that begins with `tenant`', name, relname)
from here, tables t where tenant is not null and not exists (select from pg_index i where i.indrelid = t.oid and i.indisprimary)",
    },
    Rule {
        id: "DRY-M016",
        shared: true,
        findings: "
select format('role %s may %s: alter it so that it may not; the wall holds for plain roles only', r.rolname, m.may)
from here join pg_roles r on r.oid in (here.role, here.relay)
cross join lateral (values (rolsuper, 'do everything'), (rolbypassrls, 'pass row-level security by'), (rolcreaterole, 'create roles'),
    (rolcreatedb, 'create databases'), (rolreplication, 'replicate')) m (has, may)
where m.has
union all
select format('role %s is a member of %s, and has its rights: revoke that', pg_get_userbyid(m.member), pg_get_userbyid(m.roleid))
from here join pg_auth_members m on m.member in (here.role, here.relay)",
    },
];

/// What keeps the wall from being put up: everything else builds on it.
pub(super) async fn obstacles(client: &Client, names: &Names, kind: Kind) -> Result<Vec<String>> {
    look(client, names, kind, BEFORE_THE_WALL).await
}

/// What is wrong with a schema, each with the rule's id, in a fixed order.
pub(super) async fn findings(client: &Client, names: &Names, kind: Kind) -> Result<Vec<String>> {
    look(client, names, kind, RULES).await
}

async fn look(client: &Client, names: &Names, kind: Kind, rules: &[Rule]) -> Result<Vec<String>> {
    let (schema, is_shared) = (kind.schema(names), kind == Kind::Shared);
    let mut found = Vec::new();
    for rule in rules.iter().filter(|rule| rule.shared || !is_shared) {
        let sql = format!(
            "with {HERE}, {WANTED}, {TABLES}, asked as (select $3::boolean) select * from ({}) found (what) order by 1",
            rule.findings
        );
        let rows = client.query(&sql, &[&schema, &names.role, &is_shared]).await?;
        for row in rows {
            found.push(format!("{}: {}", rule.id, row.try_get::<_, &str>(0)?));
        }
    }
    Ok(found)
}

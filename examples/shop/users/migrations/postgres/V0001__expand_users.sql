-- Text compares by its bytes, as on SQLite, so that pages and letter case are the same on both.
create table users (
    tenant text not null,
    id text collate "C" not null,
    email text collate "C" not null,
    display_name text not null,
    created bigint not null,
    primary key (tenant, id)
);

-- Letter case does not tell two addresses apart.
create unique index users_email on users (tenant, lower(email));
create index users_created on users (tenant, created, id);

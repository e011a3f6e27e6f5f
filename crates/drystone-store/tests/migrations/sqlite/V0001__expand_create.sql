create table items (
    id uuid primary key,
    sku text not null unique,
    quantity bigint not null check (quantity >= 0)
);
create table lines (
    id bigint primary key,
    item uuid not null references items (id)
);
create table kinds (
    id bigint primary key,
    big bigint,
    small integer,
    words text,
    raw bytea,
    yes boolean,
    real double precision,
    ident uuid,
    at timestamptz,
    doc jsonb
);

-- Text compares by its bytes, as on SQLite, so that pages are the same on both.
create table orders (
    tenant text not null,
    id text collate "C" not null,
    user_id text collate "C" not null,
    sku text collate "C" not null,
    quantity integer not null check (quantity > 0),
    currency_code text not null,
    total_minor bigint not null,
    state integer not null,
    decline_reason text not null default '',
    created bigint not null,
    primary key (tenant, id)
);

create index orders_created on orders (tenant, created desc, id desc);

create table orders (
    tenant text not null,
    id text not null,
    user_id text not null,
    sku text not null,
    quantity integer not null check (quantity > 0),
    currency_code text not null,
    total_minor bigint not null,
    state integer not null,
    decline_reason text not null default '',
    created bigint not null,
    primary key (tenant, id)
);

create index orders_created on orders (tenant, created desc, id desc);

create table outbox (
    tenant text not null,
    seq bigint not null generated always as identity,
    topic text not null,
    key text not null,
    payload bytea not null,
    created bigint not null,
    primary key (tenant, seq)
);

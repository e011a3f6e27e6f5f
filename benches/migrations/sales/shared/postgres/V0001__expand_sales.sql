-- The same tables as the tenants have, without their wall: `place` stands where `tenant` does.
create table orders (
    place text not null default 'here',
    id text not null,
    user_id text not null,
    sku text not null,
    quantity integer not null check (quantity > 0),
    currency_code text not null,
    total_minor bigint not null,
    state integer not null,
    decline_reason text not null default '',
    created bigint not null,
    primary key (place, id)
);

create index orders_created on orders (place, created desc, id desc);

create table outbox (
    place text not null default 'here',
    seq bigint not null generated always as identity,
    topic text not null,
    key text not null,
    payload bytea not null,
    created bigint not null,
    primary key (place, seq)
);

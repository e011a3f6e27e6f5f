create table orders (
    id text primary key,
    user_id text not null,
    sku text not null,
    quantity integer not null check (quantity > 0),
    currency_code text not null,
    total_minor integer not null,
    state integer not null,
    decline_reason text not null default '',
    created integer not null
) strict;

create index orders_created on orders (created desc, id desc);

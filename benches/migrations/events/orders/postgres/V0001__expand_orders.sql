create table orders (
    tenant text not null,
    id text not null,
    user_id text not null,
    sku text not null,
    quantity integer not null check (quantity > 0),
    currency_code text not null,
    total_minor bigint not null,
    created bigint not null,
    primary key (tenant, id)
);

create table orders (
    id text primary key,
    user_id text not null,
    sku text not null,
    quantity integer not null check (quantity > 0),
    currency_code text not null,
    total_minor integer not null,
    created integer not null
) strict;

create table stock (
    sku text primary key,
    title text not null,
    currency_code text not null,
    price_minor integer not null check (price_minor >= 0),
    available integer not null check (available >= 0),
    reserved integer not null default 0 check (reserved >= 0)
) strict;

create table reservations (
    id text primary key,
    sku text not null references stock (sku),
    quantity integer not null check (quantity > 0),
    currency_code text not null,
    price_minor integer not null,
    state integer not null
) strict;

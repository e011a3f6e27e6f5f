create table charges (
    id text primary key,
    order_id text not null,
    currency_code text not null,
    amount_minor integer not null check (amount_minor > 0),
    state integer not null,
    created integer not null
) strict;

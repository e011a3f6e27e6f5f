create table packed (
    order_id text primary key,
    sku text not null,
    total integer not null
) strict;

create table low_items (
    sku text primary key references stock (sku)
) strict;

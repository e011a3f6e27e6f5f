create table stock (
    sku       text primary key,
    available integer not null check (available >= 0),
    reserved  integer not null default 0
) strict;
create table orders (
    id       text primary key,
    sku      text not null,
    quantity integer not null
) strict;

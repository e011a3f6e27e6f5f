-- Text compares by its bytes, as on SQLite, so that pages are the same on both.
create table stock (
    tenant text not null,
    sku text collate "C" not null,
    title text not null,
    currency_code text not null,
    price_minor bigint not null check (price_minor >= 0),
    available integer not null check (available >= 0),
    reserved integer not null default 0 check (reserved >= 0),
    primary key (tenant, sku)
);

create table reservations (
    tenant text not null,
    id text collate "C" not null,
    sku text collate "C" not null,
    quantity integer not null check (quantity > 0),
    currency_code text not null,
    price_minor bigint not null,
    state integer not null,
    primary key (tenant, id),
    foreign key (tenant, sku) references stock (tenant, sku)
);

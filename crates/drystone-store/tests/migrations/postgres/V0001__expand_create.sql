create table items (
    tenant text not null,
    id uuid not null,
    sku text not null,
    quantity bigint not null check (quantity >= 0),
    primary key (tenant, id),
    unique (tenant, sku)
);
create table lines (
    tenant text not null,
    id bigint not null,
    item uuid not null,
    primary key (tenant, id),
    foreign key (tenant, item) references items (tenant, id)
);
create table kinds (
    tenant text not null,
    id bigint not null,
    big bigint,
    small integer,
    words text,
    raw bytea,
    yes boolean,
    real double precision,
    ident uuid,
    at timestamptz,
    doc jsonb,
    primary key (tenant, id)
);

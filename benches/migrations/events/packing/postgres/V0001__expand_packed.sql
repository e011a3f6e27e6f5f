create table packed (
    tenant text not null,
    order_id text not null,
    sku text not null,
    total bigint not null,
    primary key (tenant, order_id)
);

create table items (tenant text not null, id bigint not null, sku text not null default '', primary key (tenant, id));
create table lines (
    tenant text not null,
    id bigint not null,
    item bigint not null,
    primary key (tenant, id),
    constraint lines_item foreign key (tenant, item) references items (tenant, id)
);

create table low_items (
    tenant text not null,
    sku text collate "C" not null,
    primary key (tenant, sku),
    foreign key (tenant, sku) references stock (tenant, sku)
);

create table items (tenant text not null, id bigint not null, sku text not null, primary key (tenant, id), unique (tenant, sku));
create unique index items_any_case on items (tenant, lower(sku));
create index items_by_sku on items (sku);

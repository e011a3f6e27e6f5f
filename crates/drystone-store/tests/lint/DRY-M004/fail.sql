alter table items add constraint items_sku unique (sku);
create unique index items_lower on items (lower(sku)) where id > 0;
create table turned (tenant text not null, id bigint not null, primary key (id, tenant));

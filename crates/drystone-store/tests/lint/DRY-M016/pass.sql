create table items (tenant text not null, id bigint not null, sku text not null default '', primary key (tenant, id));

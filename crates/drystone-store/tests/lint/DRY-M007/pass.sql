create table items (tenant text not null, id bigint not null, sku text not null default '', primary key (tenant, id));
create view skus with (security_invoker = true) as select sku from items;

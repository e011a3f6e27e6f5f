create table items (tenant text not null, id bigint not null, sku text not null default '', primary key (tenant, id));
create sequence numbers;
create function half(number bigint) returns bigint language sql immutable as 'select number / 2';
grant select on items to "{role}";

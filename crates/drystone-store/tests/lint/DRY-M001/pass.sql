create table items (tenant text not null, id bigint not null, sku text not null default '', primary key (tenant, id));
create table parted (tenant text not null, id bigint not null, primary key (tenant, id)) partition by hash (tenant);
create table parted_0 partition of parted for values with (modulus 1, remainder 0);

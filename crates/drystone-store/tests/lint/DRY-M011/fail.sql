create table heap (tenant text not null, id bigint not null, unique (tenant, id));

create extension btree_gist;
create table stays (
    tenant text not null,
    id bigint not null,
    room bigint not null,
    nights daterange not null,
    primary key (tenant, id),
    exclude using gist (tenant with =, room with =, nights with &&)
);

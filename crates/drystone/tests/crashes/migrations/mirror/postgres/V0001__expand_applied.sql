create table applied (
    tenant  text not null,
    account text collate "C" not null,
    place   bigint not null,
    n       bigint not null,
    text    text not null,
    later   bigint not null,
    primary key (tenant, account, place)
);
create table failing (
    tenant text not null,
    prefix text collate "C" not null,
    primary key (tenant, prefix)
);

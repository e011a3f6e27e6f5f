create table accounts (
    tenant  text not null,
    account text collate "C" not null,
    last    bigint not null,
    primary key (tenant, account)
);
create table entries (
    tenant  text not null,
    account text collate "C" not null,
    n       bigint not null,
    text    text not null,
    later   bigint not null,
    primary key (tenant, account, n)
);

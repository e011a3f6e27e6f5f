create table entries (
    tenant  text not null,
    id      text collate "C" not null,
    account text collate "C" not null,
    amount  bigint not null,
    memo    text not null,
    primary key (tenant, id)
);

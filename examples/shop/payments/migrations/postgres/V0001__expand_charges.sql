create table charges (
    tenant text not null,
    id text collate "C" not null,
    order_id text collate "C" not null,
    currency_code text not null,
    amount_minor bigint not null check (amount_minor > 0),
    state integer not null,
    created bigint not null,
    primary key (tenant, id)
);

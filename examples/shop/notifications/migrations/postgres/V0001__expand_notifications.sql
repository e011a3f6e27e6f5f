-- Text compares by its bytes, as on SQLite, so that pages are the same on both.
create table notifications (
    tenant text not null,
    subject text collate "C" not null,
    number bigint not null,
    kind integer not null,
    user_id text collate "C" not null,
    order_id text collate "C" not null,
    sku text collate "C" not null,
    text text not null,
    created bigint not null,
    primary key (tenant, subject, number)
);

create index notifications_created on notifications (tenant, created desc, subject desc, number desc);

-- An order is placed, confirmed and cancelled once.
create unique index notifications_of_order on notifications (tenant, order_id, kind) where order_id <> '';

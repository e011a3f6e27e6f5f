create table notifications (
    subject text not null,
    number integer not null,
    kind integer not null,
    user_id text not null,
    order_id text not null,
    sku text not null,
    text text not null,
    created integer not null,
    primary key (subject, number)
) strict;

create index notifications_created on notifications (created desc, subject desc, number desc);

-- An order is placed, confirmed and cancelled once.
create unique index notifications_of_order on notifications (order_id, kind) where order_id <> '';

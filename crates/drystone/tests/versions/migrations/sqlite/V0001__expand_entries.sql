create table entries (
    id      text primary key,
    account text not null,
    amount  integer not null,
    memo    text not null
) strict;

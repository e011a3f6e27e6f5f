create table accounts (
    account text primary key,
    last    integer not null
) strict;
create table entries (
    account text not null,
    n       integer not null,
    text    text not null,
    later   integer not null,
    primary key (account, n)
) strict;

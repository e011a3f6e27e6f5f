create table entries (
    place integer primary key,
    account text not null,
    n integer not null,
    unique (account, n)
);

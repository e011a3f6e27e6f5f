create table accounts (
    account text primary key,
    n integer not null
);
create table entries (
    place integer primary key,
    account text not null
);

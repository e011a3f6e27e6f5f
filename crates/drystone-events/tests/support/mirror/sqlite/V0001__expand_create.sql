create table applied (
    place integer primary key,
    account text not null,
    n integer not null
);
create table poison (
    account text primary key
);

create table applied (
    account text not null,
    place   integer not null,
    n       integer not null,
    text    text not null,
    later   integer not null,
    primary key (account, place)
) strict;
create table failing (prefix text primary key) strict;

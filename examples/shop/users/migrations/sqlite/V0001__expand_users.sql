create table users (
    id text primary key,
    email text not null,
    display_name text not null,
    created integer not null
) strict;

-- Letter case does not tell two addresses apart.
create unique index users_email on users (lower(email));
create index users_created on users (created, id);

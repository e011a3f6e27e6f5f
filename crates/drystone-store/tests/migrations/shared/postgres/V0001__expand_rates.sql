create table rates (currency text primary key, rate bigint not null);

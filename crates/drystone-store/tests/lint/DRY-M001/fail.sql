create table orphans (id bigint primary key);
create table vague (tenant text, id bigint not null, unique (tenant, id));
create table numbered (tenant bigint not null, id bigint not null, primary key (tenant, id));
create collation any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create table blurred (tenant text collate any_case not null, id bigint not null, primary key (tenant, id));
create table orphans_in_parts (id bigint primary key) partition by hash (id);

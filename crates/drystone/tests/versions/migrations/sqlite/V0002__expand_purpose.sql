alter table entries add column purpose text not null default '';

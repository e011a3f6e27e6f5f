alter table items add column note text not null default '';

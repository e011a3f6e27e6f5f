alter table stays add constraint stays_alone exclude using gist (nights with &&);
alter table stays add constraint stays_apart exclude using gist (tenant with <>, nights with &&);

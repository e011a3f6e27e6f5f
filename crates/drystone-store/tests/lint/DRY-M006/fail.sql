alter table lines add column other text;
alter table lines add constraint lines_other foreign key (other, item) references items (tenant, id);
alter table lines add constraint lines_turned foreign key (item, tenant) references items (id, tenant);
alter table lines add constraint lines_away foreign key (tenant) references m006_shared.drystone_tenants (name);

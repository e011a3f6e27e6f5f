alter policy drystone_tenant on items using (true);
drop policy drystone_owner on parted;
create policy open on parted_0 for select using (true);

alter table items disable row level security;
alter table parted_0 no force row level security;

create function peek() returns bigint language sql security definer as 'select count(*) from items';
create rule heard as on insert to items do also select count(*) from items;

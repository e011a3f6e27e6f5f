grant select on items to public;
grant truncate on items to "{role}";
grant delete on items to "{role}" with grant option;
grant update (sku) on items to public;
grant execute on function half to public;

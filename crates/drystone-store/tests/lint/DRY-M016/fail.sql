alter role "{role}" createdb;
grant "{owner}" to "{role}";

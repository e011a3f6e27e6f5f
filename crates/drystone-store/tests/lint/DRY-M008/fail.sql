create materialized view counts as select count(*) from items;

create view all_skus as select sku from items;
alter view skus set (security_invoker = false);

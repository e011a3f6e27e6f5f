alter table entries drop column memo;

-- The names of the tables of a SQLite file.
select name
from sqlite_master
where type = 'table'

-- factor_catalog: one row per factor: its name, title, family, unit, and which values are harder.
create table factor_catalog as
select position, factor, title, family, phase, unit, harder, description, undefined
from staging.factor_catalog

-- The revision of MLflow's schema.
select version_num
from alembic_version

-- All factors in their order.
from factor_catalog order by position

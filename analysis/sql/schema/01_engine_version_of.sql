-- engine_version_of(logged): the engine's version as a number; 1 before it was logged.
create macro engine_version_of(logged) as coalesce(try_cast(logged as bigint), 1)

-- What needs what. Partition clones of indexes and triggers are ordered the other way round.
SELECT classid AS class, objid AS oid, objsubid AS sub, refclassid AS other_class, refobjid AS other_oid,
    refobjsubid AS other_sub, deptype AS kind
FROM pg_catalog.pg_depend WHERE objid >= 16384 AND deptype NOT IN ('P', 'S')

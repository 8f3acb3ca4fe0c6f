-- The owners of what has one.
SELECT n.tableoid AS class, n.oid, n.nspowner::pg_catalog.regrole AS quoted, pg_catalog.pg_get_userbyid(n.nspowner) AS name
    FROM pg_catalog.pg_namespace n WHERE {user_schema}
UNION ALL SELECT c.tableoid, c.oid, c.relowner::pg_catalog.regrole, pg_catalog.pg_get_userbyid(c.relowner)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE {user_schema} AND (c.relkind IN ('r', 'p', 'v', 'm') OR c.relkind = 'S' AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d WHERE d.classid = c.tableoid AND d.objid = c.oid AND d.deptype = 'i'))
UNION ALL SELECT t.tableoid, t.oid, t.typowner::pg_catalog.regrole, pg_catalog.pg_get_userbyid(t.typowner)
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
    WHERE {user_schema} AND (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c')
UNION ALL SELECT p.tableoid, p.oid, p.proowner::pg_catalog.regrole, pg_catalog.pg_get_userbyid(p.proowner)
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE {user_schema} AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = p.tableoid AND d.objid = p.oid AND d.deptype = 'i')
UNION ALL SELECT s.tableoid, s.oid, s.stxowner::pg_catalog.regrole, pg_catalog.pg_get_userbyid(s.stxowner)
    FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace WHERE {user_schema}
UNION ALL SELECT d.tableoid, d.oid, d.datdba::pg_catalog.regrole, pg_catalog.pg_get_userbyid(d.datdba)
    FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()

-- What is set on objects by ALTER: the statement that sets it, and the one that takes it back.
WITH user_relations AS (
    SELECT c.*, c.tableoid AS class, c.oid AS id, c.oid::pg_catalog.regclass AS qualified,
        CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS word
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE {user_schema}),
columns AS (
    SELECT r.class, r.id, a.attnum, a.attname, a.attstorage, a.attoptions, t.typstorage,
        (pg_catalog.to_jsonb(a) ->> 'attstattarget')::int AS target, pg_catalog.to_jsonb(a) ->> 'attcompression' AS compression,
        pg_catalog.format('ALTER %s %s%s ALTER COLUMN %I ', r.word,
            CASE WHEN r.relkind = 'm' THEN '' ELSE 'ONLY ' END, r.qualified, a.attname) AS alter
    FROM user_relations r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.id
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE r.relkind IN ('r', 'p', 'm') AND a.attnum > 0 AND NOT a.attisdropped)
SELECT class, id AS oid, attnum AS sub, '2 statistics' AS key, alter || 'SET STATISTICS ' || target AS set,
    alter || 'SET STATISTICS -1' AS reset FROM columns WHERE target >= 0
UNION ALL SELECT class, id, attnum, '2 storage', alter || 'SET STORAGE ' || s.name, alter || 'SET STORAGE ' || d.name
    FROM columns, (VALUES ('p', 'PLAIN'), ('e', 'EXTERNAL'), ('x', 'EXTENDED'), ('m', 'MAIN')) s(letter, name),
        (VALUES ('p', 'PLAIN'), ('e', 'EXTERNAL'), ('x', 'EXTENDED'), ('m', 'MAIN')) d(letter, name)
    WHERE attstorage <> typstorage AND s.letter = attstorage AND d.letter = typstorage
UNION ALL SELECT class, id, attnum, '2 compression', alter || 'SET COMPRESSION ' ||
        CASE compression WHEN 'p' THEN 'pglz' ELSE 'lz4' END, alter || 'SET COMPRESSION default'
    FROM columns WHERE compression IN ('p', 'l')
UNION ALL SELECT class, id, attnum, '2 option ' || o.option_name,
        alter || pg_catalog.format('SET (%I=%L)', o.option_name, o.option_value),
        alter || pg_catalog.format('RESET (%I)', o.option_name)
    -- The minor releases of 2026 keep a mark of their own there, which changes with every statement on the table.
    FROM columns, pg_catalog.pg_options_to_table(attoptions) o WHERE o.option_name <> 'pg_attver'
UNION ALL SELECT class, id, 0, '2 option ' || o.option_name,
        pg_catalog.format('ALTER %s %s SET (%I=%L)', word, qualified, o.option_name, o.option_value),
        pg_catalog.format('ALTER %s %s RESET (%I)', word, qualified, o.option_name)
    FROM user_relations, pg_catalog.pg_options_to_table(reloptions) o WHERE relkind IN ('r', 'p', 'm')
UNION ALL SELECT r.class, r.id, 0, '2 option toast.' || o.option_name,
        pg_catalog.format('ALTER %s %s SET (toast.%I=%L)', word, qualified, o.option_name, o.option_value),
        pg_catalog.format('ALTER %s %s RESET (toast.%I)', word, qualified, o.option_name)
    FROM user_relations r JOIN pg_catalog.pg_class t ON t.oid = r.reltoastrelid,
        pg_catalog.pg_options_to_table(t.reloptions) o WHERE r.relkind IN ('r', 'm')
UNION ALL SELECT r.class, r.id, 0, '2 option ' || o.option_name,
        pg_catalog.format('ALTER INDEX %s SET (%I=%L)', r.qualified, o.option_name, o.option_value),
        pg_catalog.format('ALTER INDEX %s RESET (%I)', r.qualified, o.option_name)
    FROM user_relations r JOIN pg_catalog.pg_constraint k ON k.conindid = r.id AND k.contype IN ('p', 'u', 'x'),
        pg_catalog.pg_options_to_table(r.reloptions) o WHERE r.relkind IN ('i', 'I')
UNION ALL SELECT class, id, 0, '2 row security', 'ALTER TABLE ' || qualified || ' ENABLE ROW LEVEL SECURITY',
        'ALTER TABLE ' || qualified || ' DISABLE ROW LEVEL SECURITY' FROM user_relations WHERE relrowsecurity
UNION ALL SELECT class, id, 0, '2 row security forced', 'ALTER TABLE ' || qualified || ' FORCE ROW LEVEL SECURITY',
        'ALTER TABLE ' || qualified || ' NO FORCE ROW LEVEL SECURITY' FROM user_relations WHERE relforcerowsecurity
UNION ALL SELECT class, id, 0, '2 persistence', pg_catalog.format('ALTER %s %s SET UNLOGGED', word, qualified),
        pg_catalog.format('ALTER %s %s SET LOGGED', word, qualified)
    FROM user_relations r WHERE relpersistence = 'u' AND (relkind = 'r' OR relkind = 'S' AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d WHERE d.classid = r.class AND d.objid = r.id AND d.deptype = 'i'))
UNION ALL SELECT class, id, 0, '2 replica identity', 'ALTER TABLE ' || qualified || ' REPLICA IDENTITY ' ||
        CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END,
        'ALTER TABLE ' || qualified || ' REPLICA IDENTITY DEFAULT'
    FROM user_relations WHERE relkind IN ('r', 'p', 'm') AND relreplident IN ('f', 'n')
UNION ALL SELECT r.class, r.id, 0, '2 replica identity',
        pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', x.indrelid::pg_catalog.regclass, r.relname),
        pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', x.indrelid::pg_catalog.regclass)
    FROM user_relations r JOIN pg_catalog.pg_index x ON x.indexrelid = r.id WHERE x.indisreplident
UNION ALL SELECT r.class, r.id, 0, '2 clustered',
        pg_catalog.format('ALTER %s %s CLUSTER ON %I', t.word, t.qualified, r.relname),
        pg_catalog.format('ALTER %s %s SET WITHOUT CLUSTER', t.word, t.qualified)
    FROM user_relations r JOIN pg_catalog.pg_index x ON x.indexrelid = r.id
    JOIN user_relations t ON t.id = x.indrelid WHERE x.indisclustered
UNION ALL SELECT r.class, r.id, 0, '2 statistics ' || a.attnum,
        pg_catalog.format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', r.qualified, a.attnum,
            pg_catalog.to_jsonb(a) ->> 'attstattarget'),
        pg_catalog.format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS -1', r.qualified, a.attnum)
    FROM user_relations r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.id
    WHERE r.relkind IN ('i', 'I') AND (pg_catalog.to_jsonb(a) ->> 'attstattarget')::int >= 0
UNION ALL SELECT t.tableoid, t.oid, 0, '2 enabled', pg_catalog.format('ALTER TABLE %s %s TRIGGER %I', r.qualified,
        CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, t.tgname),
        pg_catalog.format('ALTER TABLE %s ENABLE TRIGGER %I', r.qualified, t.tgname)
    FROM pg_catalog.pg_trigger t JOIN user_relations r ON r.id = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'O' AND t.tgparentid = 0
UNION ALL SELECT u.tableoid, u.oid, 0, '2 enabled', pg_catalog.format('ALTER TABLE %s %s RULE %I', r.qualified,
        CASE u.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, u.rulename),
        pg_catalog.format('ALTER TABLE %s ENABLE RULE %I', r.qualified, u.rulename)
    FROM pg_catalog.pg_rewrite u JOIN user_relations r ON r.id = u.ev_class WHERE u.ev_enabled <> 'O'
UNION ALL SELECT r.class, r.id, 0, '2 owned by', pg_catalog.format('ALTER SEQUENCE %s OWNED BY %s.%I', r.qualified,
        d.refobjid::pg_catalog.regclass, a.attname), pg_catalog.format('ALTER SEQUENCE %s OWNED BY NONE', r.qualified)
    FROM user_relations r JOIN pg_catalog.pg_depend d ON d.classid = r.class AND d.objid = r.id AND d.deptype = 'a'
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE r.relkind = 'S' AND d.refclassid = r.class AND d.refobjsubid > 0
UNION ALL SELECT r.class, r.id, 0, '9 populated', 'REFRESH MATERIALIZED VIEW ' || qualified,
        'REFRESH MATERIALIZED VIEW ' || qualified || ' WITH NO DATA'
    FROM user_relations r WHERE relkind = 'm' AND relispopulated
UNION ALL SELECT s.tableoid, s.oid, 0, '2 statistics', pg_catalog.format('ALTER STATISTICS %I.%I SET STATISTICS %s',
        n.nspname, s.stxname, pg_catalog.to_jsonb(s) ->> 'stxstattarget'),
        pg_catalog.format('ALTER STATISTICS %I.%I SET STATISTICS -1', n.nspname, s.stxname)
    FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
    WHERE {user_schema} AND (pg_catalog.to_jsonb(s) ->> 'stxstattarget')::int >= 0
UNION ALL SELECT t.tableoid, t.oid, 0, '2 default', pg_catalog.format('ALTER DOMAIN %I.%I SET DEFAULT %s', n.nspname,
        t.typname, COALESCE(pg_catalog.pg_get_expr(t.typdefaultbin, 0), pg_catalog.quote_literal(t.typdefault))),
        pg_catalog.format('ALTER DOMAIN %I.%I DROP DEFAULT', n.nspname, t.typname)
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE {user_schema} AND t.typtype = 'd' AND t.typdefault IS NOT NULL
UNION ALL SELECT t.tableoid, t.oid, 0, '2 not null', pg_catalog.format(CASE WHEN k.conname <> t.typname || '_not_null'
            OR EXISTS (SELECT FROM pg_catalog.pg_constraint o
                WHERE o.conname = k.conname AND o.connamespace = k.connamespace AND o.oid <> k.oid)
        THEN 'ALTER DOMAIN %I.%I ADD CONSTRAINT %I NOT NULL' ELSE 'ALTER DOMAIN %I.%I SET NOT NULL' END, n.nspname, t.typname,
        k.conname), pg_catalog.format('ALTER DOMAIN %I.%I DROP NOT NULL', n.nspname, t.typname)
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_constraint k ON k.contypid = t.oid AND k.contype = 'n'
    WHERE {user_schema} AND t.typtype = 'd' AND t.typnotnull

-- What users made and this program does not know how to keep.
WITH found(class, oid) AS (
    SELECT tableoid, oid FROM pg_catalog.pg_cast
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_collation
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_conversion
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_language
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_operator
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_opclass
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_opfamily
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_am
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_ts_config
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_ts_dict
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_ts_parser
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_ts_template
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_foreign_data_wrapper
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_foreign_server
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_user_mapping
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_publication
    UNION ALL SELECT s.tableoid, s.oid FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d
        ON d.oid = s.subdbid WHERE d.datname = pg_catalog.current_database()
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_event_trigger
    UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_transform
    UNION ALL SELECT 'pg_catalog.pg_largeobject'::pg_catalog.regclass, oid FROM pg_catalog.pg_largeobject_metadata
    UNION ALL SELECT c.tableoid, c.oid FROM pg_catalog.pg_class c
        WHERE c.relkind NOT IN ('r', 'p', 'v', 'm', 'S', 'i', 'I', 't', 'c')
    UNION ALL SELECT t.tableoid, t.oid FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
        WHERE t.typtype NOT IN ('e', 'd', 'r', 'm', 'c') AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid)
    UNION ALL SELECT p.tableoid, p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
        WHERE p.prokind NOT IN ('f', 'p', 'w', 'a') OR p.prokind <> 'a' AND NOT l.lanpltrusted AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend d WHERE d.classid = p.tableoid AND d.objid = p.oid AND d.deptype = 'i')
        OR p.proleakproof
    UNION ALL SELECT k.tableoid, k.oid FROM pg_catalog.pg_constraint k
        WHERE k.contype NOT IN ('c', 'f', 'p', 'u', 'x', 't', 'n')
    UNION ALL SELECT c.tableoid, c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('pg_catalog', 'information_schema') AND c.relkind <> 't'
    UNION ALL SELECT t.tableoid, t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
        WHERE n.nspname IN ('pg_catalog', 'information_schema') AND t.typrelid = 0
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid)
    UNION ALL SELECT p.tableoid, p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname IN ('pg_catalog', 'information_schema')
    UNION ALL SELECT d.classid, d.objid FROM pg_catalog.pg_depend d WHERE d.deptype = 'x'
    UNION ALL SELECT d.classid, d.objid FROM pg_catalog.pg_depend d WHERE d.classid NOT IN (
        SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace
            AND c.relname IN ('pg_amop', 'pg_amproc', 'pg_attrdef', 'pg_cast', 'pg_class', 'pg_collation', 'pg_constraint',
            'pg_conversion', 'pg_default_acl', 'pg_event_trigger', 'pg_extension', 'pg_foreign_data_wrapper',
            'pg_foreign_server', 'pg_language', 'pg_largeobject', 'pg_namespace', 'pg_opclass', 'pg_operator',
            'pg_opfamily', 'pg_policy', 'pg_proc', 'pg_publication', 'pg_publication_rel', 'pg_publication_namespace',
            'pg_rewrite', 'pg_statistic_ext', 'pg_subscription', 'pg_transform', 'pg_trigger', 'pg_ts_config', 'pg_ts_dict',
            'pg_ts_parser', 'pg_ts_template', 'pg_type', 'pg_user_mapping', 'pg_am')))
SELECT DISTINCT i.type || ' ' || COALESCE(i.identity, f.oid::text) AS name
FROM found f CROSS JOIN LATERAL pg_catalog.pg_identify_object(f.class, f.oid, 0) i
LEFT JOIN pg_catalog.pg_class c ON f.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = f.oid
WHERE f.oid >= 16384
    AND COALESCE(c.relpersistence, 'p') <> 't'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = f.class AND d.objid = f.oid AND d.deptype IN ('e', 'i'))
UNION ALL SELECT 'security label on ' || pg_catalog.concat_ws(' ', l.objtype, l.objname)
    FROM pg_catalog.pg_seclabels l WHERE l.objtype NOT IN ('role', 'tablespace')
UNION ALL SELECT 'typed table ' || c.oid::pg_catalog.regclass FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE {user_schema} AND c.reloftype <> 0
UNION ALL SELECT 'tablespace of ' || c.oid::pg_catalog.regclass FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE {user_schema} AND c.reltablespace <> 0
UNION ALL SELECT 'invalid index ' || c.oid::pg_catalog.regclass FROM pg_catalog.pg_index x
    JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE {user_schema} AND NOT (x.indisvalid AND x.indisready AND x.indislive)
UNION ALL SELECT DISTINCT 'disabled trigger of constraint ' || pg_catalog.quote_ident(k.conname) || ' on '
        || k.conrelid::pg_catalog.regclass
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint
    JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
    WHERE {user_schema} AND t.tgisinternal AND t.tgenabled <> 'O'
UNION ALL SELECT 'other state of inherited trigger ' || pg_catalog.quote_ident(t.tgname) || ' on '
        || t.tgrelid::pg_catalog.regclass
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_trigger p ON p.oid = t.tgparentid
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE {user_schema} AND NOT t.tgisinternal AND t.tgenabled <> p.tgenabled
UNION ALL SELECT 'not enforced constraint ' || pg_catalog.quote_ident(k.conname) || ' on ' || k.conrelid::pg_catalog.regclass
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
    WHERE {user_schema} AND (pg_catalog.to_jsonb(k) ->> 'conenforced')::boolean = false
UNION ALL SELECT 'temporal constraint ' || pg_catalog.quote_ident(k.conname) || ' on ' || k.conrelid::pg_catalog.regclass
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
    WHERE {user_schema} AND (pg_catalog.to_jsonb(k) ->> 'conperiod')::boolean
UNION ALL SELECT 'foreign key ' || pg_catalog.quote_ident(k.conname) || ' of partition ' || k.conrelid::pg_catalog.regclass
        || ', validated otherwise than that of its parent'
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_constraint p ON p.oid = k.conparentid
    JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
    WHERE {user_schema} AND k.contype = 'f' AND k.convalidated <> p.convalidated
UNION ALL SELECT 'NOT NULL constraint ' || pg_catalog.quote_ident(k.conname) || ' on ' || k.conrelid::pg_catalog.regclass
        || ', otherwise than that of its parent'
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
    JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
    -- The first parent gives its name.
    CROSS JOIN LATERAL (SELECT p.conname, p.convalidated FROM pg_catalog.pg_inherits h
        JOIN pg_catalog.pg_constraint p ON p.conrelid = h.inhparent AND p.contype = 'n' AND NOT p.connoinherit
        JOIN pg_catalog.pg_attribute b ON b.attrelid = p.conrelid AND b.attnum = p.conkey[1]
        WHERE h.inhrelid = k.conrelid AND b.attname = a.attname ORDER BY h.inhseqno LIMIT 1) p
    -- What is also the table's own has a line for its name, and a partition has one for each column.
    WHERE {user_schema} AND k.contype = 'n' AND k.coninhcount > 0 AND NOT (
        (p.conname = k.conname OR k.conislocal OR c.relispartition)
        AND CASE WHEN k.conislocal THEN k.convalidated ELSE k.convalidated = p.convalidated END)
UNION ALL SELECT 'canonical function of range type ' || r.rngtypid::pg_catalog.regtype FROM pg_catalog.pg_range r
    WHERE r.rngtypid >= 16384 AND r.rngcanonical::pg_catalog.oid <> 0 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = r.rngtypid AND d.deptype = 'e')
UNION ALL SELECT 'grant option used by ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantor)) || ' on '
        || g.name
    FROM (SELECT 'table ' || c.oid::pg_catalog.regclass AS name, c.relowner AS owner, c.relacl AS acl
            FROM pg_catalog.pg_class c WHERE c.oid >= 16384
        UNION ALL SELECT 'schema ' || pg_catalog.quote_ident(n.nspname), n.nspowner, n.nspacl
            FROM pg_catalog.pg_namespace n WHERE n.oid >= 16384
        UNION ALL SELECT 'function ' || p.oid::pg_catalog.regprocedure, p.proowner, p.proacl
            FROM pg_catalog.pg_proc p WHERE p.oid >= 16384
        UNION ALL SELECT 'column of ' || a.attrelid::pg_catalog.regclass, c.relowner, a.attacl
            FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
            WHERE a.attrelid >= 16384 AND a.attacl IS NOT NULL) g, pg_catalog.aclexplode(g.acl) e
    WHERE e.grantor <> g.owner
ORDER BY 1

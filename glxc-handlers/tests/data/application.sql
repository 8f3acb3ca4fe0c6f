-- An application's schema with everything that ordinary applications use.
CREATE EXTENSION citext;
CREATE EXTENSION hstore WITH SCHEMA public;
CREATE EXTENSION btree_gist;
CREATE SCHEMA shop AUTHORIZATION app_owner;
COMMENT ON SCHEMA shop IS 'the shop''s own';
CREATE SCHEMA "Odd Schema";
GRANT USAGE ON SCHEMA shop TO app_reader, "App Writer";
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.hstore(text, text) TO app_reader;

CREATE TYPE shop.status AS ENUM ('new', 'paid', 'it''s "odd"', 'shipped');
COMMENT ON TYPE shop.status IS E'line one\nline two \\ end';
CREATE TYPE shop.address AS (street text, zip varchar(10) COLLATE "C", since date);
COMMENT ON COLUMN shop.address.zip IS 'postal code';
CREATE DOMAIN shop.email AS public.citext CONSTRAINT has_at CHECK (position('@' in VALUE) > 0);
CREATE DOMAIN shop.positive AS integer DEFAULT 1 NOT NULL CHECK (VALUE > 0);
COMMENT ON CONSTRAINT has_at ON DOMAIN shop.email IS 'not much of a check';
CREATE TYPE shop.floatrange AS RANGE (subtype = float8, subtype_diff = float8mi);
GRANT USAGE ON TYPE shop.status TO app_reader;
REVOKE USAGE ON TYPE shop.address FROM PUBLIC;

CREATE SEQUENCE shop.invoice_number AS integer START 1000 INCREMENT 10 MAXVALUE 99999 CACHE 5 CYCLE;
CREATE SEQUENCE shop.countdown INCREMENT -1;
COMMENT ON SEQUENCE shop.invoice_number IS 'invoices';

CREATE FUNCTION shop.slug(t text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT lower(regexp_replace(t, '[^a-z]+', '-', 'gi')) $$;
CREATE FUNCTION shop.slug(n integer, suffix text DEFAULT 'x') RETURNS text LANGUAGE sql IMMUTABLE
    RETURN n::text || suffix;
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = shop, pg_temp AS $body$
BEGIN
    NEW.changed := now();
    -- a comment with $$ in it
    RETURN NEW;
END $body$;
CREATE FUNCTION shop.next_invoice() RETURNS integer LANGUAGE sql AS $$ SELECT nextval('shop.invoice_number')::integer $$;
CREATE PROCEDURE shop.cleanup(days integer, INOUT removed bigint) LANGUAGE plpgsql AS $$
BEGIN DELETE FROM shop.log WHERE at < now() - days * interval '1 day'; removed := 0; END $$;
CREATE FUNCTION shop.add(state bigint, v bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT state + coalesce(v, 0)';
CREATE AGGREGATE shop.total(bigint) (SFUNC = shop.add, STYPE = bigint, INITCOND = '0', COMBINEFUNC = shop.add, PARALLEL = SAFE);
COMMENT ON FUNCTION shop.slug(text) IS 'for urls';
COMMENT ON AGGREGATE shop.total(bigint) IS 'a sum';
REVOKE EXECUTE ON FUNCTION shop.next_invoice() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shop.next_invoice() TO app_reader WITH GRANT OPTION;

CREATE TABLE shop.customer (
    id bigint GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 5) PRIMARY KEY,
    email shop.email NOT NULL UNIQUE,
    name text COLLATE "C" NOT NULL,
    slug text GENERATED ALWAYS AS (shop.slug(name)) STORED,
    home shop.address,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    attributes public.hstore,
    changed timestamptz DEFAULT now(),
    active boolean DEFAULT true,
    CONSTRAINT name_not_empty CHECK (name <> '')
) WITH (autovacuum_enabled = false, fillfactor = 80, toast.autovacuum_enabled = false);
ALTER TABLE shop.customer ALTER COLUMN name SET STATISTICS 500, ALTER COLUMN tags SET STORAGE EXTERNAL,
    ALTER COLUMN name SET (n_distinct = -0.5);
COMMENT ON TABLE shop.customer IS 'who buys';
COMMENT ON COLUMN shop.customer.email IS 'unique; see '' quotes';
COMMENT ON CONSTRAINT name_not_empty ON shop.customer IS 'no ghosts';
CREATE TRIGGER touch BEFORE UPDATE ON shop.customer FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION shop.touch();
CREATE TRIGGER touch_always BEFORE INSERT ON shop.customer FOR EACH ROW EXECUTE FUNCTION shop.touch();
ALTER TABLE shop.customer ENABLE ALWAYS TRIGGER touch_always;
COMMENT ON TRIGGER touch ON shop.customer IS 'keeps changed';
CREATE INDEX customer_lower ON shop.customer (lower(name) text_pattern_ops, id DESC NULLS LAST) INCLUDE (active) WHERE active;
CREATE INDEX customer_tags ON shop.customer USING gin (tags);
COMMENT ON INDEX shop.customer_lower IS 'for search';
CREATE STATISTICS shop.customer_stats (dependencies, ndistinct) ON name, active FROM shop.customer;
ALTER TABLE shop.customer CLUSTER ON customer_pkey;
GRANT SELECT, INSERT ON shop.customer TO app_reader;
GRANT UPDATE (name, active) ON shop.customer TO "App Writer";

CREATE TABLE shop.product (
    sku text PRIMARY KEY,
    title varchar(100) NOT NULL,
    price numeric(10,2) DEFAULT 9.99 NOT NULL CHECK (price >= 0),
    kind varchar(10) CHECK (kind IN ('a', 'b')),
    data jsonb DEFAULT '{"a": 1}',
    parent text REFERENCES shop.product ON DELETE SET NULL
);
ALTER TABLE shop.product OWNER TO app_owner;
CREATE TABLE shop.orders (
    id serial PRIMARY KEY,
    customer bigint NOT NULL,
    status shop.status DEFAULT 'new' NOT NULL,
    invoice integer DEFAULT shop.next_invoice(),
    amount shop.positive,
    placed timestamptz DEFAULT '2020-01-01 12:00:00+02',
    CONSTRAINT orders_customer FOREIGN KEY (customer) REFERENCES shop.customer (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT orders_invoice UNIQUE (invoice) DEFERRABLE
);
CREATE TABLE shop.line (
    order_id integer REFERENCES shop.orders ON UPDATE CASCADE,
    position smallint GENERATED BY DEFAULT AS IDENTITY,
    sku text NOT NULL,
    amount integer DEFAULT 1,
    PRIMARY KEY (order_id, position)
);
ALTER TABLE shop.line ADD CONSTRAINT line_sku FOREIGN KEY (sku) REFERENCES shop.product NOT VALID;
ALTER TABLE shop.line ADD CONSTRAINT line_amount CHECK (amount > 0) NOT VALID;
ALTER TABLE shop.line REPLICA IDENTITY FULL;
CREATE TABLE shop.booking (
    room integer, during tstzrange,
    EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (room IS NOT NULL)
);
CREATE TABLE shop.log (
    at timestamptz NOT NULL, level integer NOT NULL, message text DEFAULT 'none', PRIMARY KEY (at, level)
) PARTITION BY RANGE (at);
CREATE TABLE shop.log_2020 PARTITION OF shop.log FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE shop.log_2021 PARTITION OF shop.log (message DEFAULT 'other') FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY LIST (level);
CREATE TABLE shop.log_2021_1 PARTITION OF shop.log_2021 FOR VALUES IN (1, 2);
CREATE TABLE shop.log_2021_rest PARTITION OF shop.log_2021 DEFAULT;
CREATE TABLE shop.log_old (message text, level integer NOT NULL, at timestamptz NOT NULL);
ALTER TABLE shop.log ATTACH PARTITION shop.log_old FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE INDEX log_message ON shop.log (message);
ALTER INDEX shop.log_2020_message_idx RENAME TO "renamed index";
CREATE TRIGGER log_touch AFTER INSERT ON shop.log FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE TABLE shop.log_reference (at timestamptz, level integer, FOREIGN KEY (at, level) REFERENCES shop.log);
CREATE TABLE shop.hashed (s shop.status, v text) PARTITION BY HASH (s);
CREATE TABLE shop.hashed_0 PARTITION OF shop.hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE shop.hashed_1 PARTITION OF shop.hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE shop.base (a integer DEFAULT 1 NOT NULL, b text, CONSTRAINT a_positive CHECK (a > 0));
CREATE TABLE shop.derived (c date, b text DEFAULT 'own') INHERITS (shop.base);
CREATE UNLOGGED TABLE shop.session (id uuid DEFAULT gen_random_uuid() NOT NULL, data bytea, n integer GENERATED ALWAYS AS IDENTITY);
CREATE UNIQUE INDEX session_id ON shop.session (id);
ALTER TABLE shop.session REPLICA IDENTITY USING INDEX session_id;
CREATE TABLE shop.empty ();
CREATE TABLE "Odd Schema"."Odd ""Table"" with
newline" ("select" integer PRIMARY KEY, "Käse 🧀" text DEFAULT E'tab\tand ''quote''', "a.b" integer REFERENCES "Odd Schema"."Odd ""Table"" with
newline");
CREATE INDEX "index ""x""" ON "Odd Schema"."Odd ""Table"" with
newline" ("Käse 🧀");
COMMENT ON COLUMN "Odd Schema"."Odd ""Table"" with
newline"."Käse 🧀" IS 'x';
CREATE TABLE public."order" ("user" text PRIMARY KEY, "table" text[] NOT NULL);
CREATE TABLE public.bag (v jsonb, p point);

CREATE VIEW shop.active_customers WITH (security_barrier = true) AS SELECT id, name, email FROM shop.customer WHERE active
    WITH LOCAL CHECK OPTION;
CREATE VIEW shop.order_totals AS SELECT o.id, o.status, count(*) AS lines, shop.total(l.amount::bigint) AS total
    FROM shop.orders o JOIN shop.line l ON l.order_id = o.id GROUP BY o.id;
CREATE VIEW shop.over_totals AS SELECT * FROM shop.order_totals WHERE total > 10;
ALTER VIEW shop.active_customers ALTER COLUMN name SET DEFAULT 'nobody';
COMMENT ON COLUMN shop.order_totals.total IS 'in cents';
CREATE RULE no_delete AS ON DELETE TO shop.active_customers DO INSTEAD NOTHING;
CREATE RULE log_product AS ON INSERT TO shop.product WHERE new.price > 1000 DO ALSO INSERT INTO shop.log VALUES (now(), 1, new.sku);
CREATE TRIGGER view_insert INSTEAD OF INSERT ON shop.over_totals FOR EACH ROW EXECUTE FUNCTION shop.touch();
CREATE MATERIALIZED VIEW shop.summary WITH (fillfactor = 90) AS SELECT status, count(*) AS n FROM shop.orders GROUP BY status;
CREATE UNIQUE INDEX summary_status ON shop.summary (status);
CREATE MATERIALIZED VIEW shop.empty_summary AS SELECT n + 1 AS m FROM shop.summary WITH NO DATA;
CREATE FUNCTION shop.customers_of(s shop.status) RETURNS SETOF shop.customer LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT c.* FROM shop.customer c JOIN shop.orders o ON o.customer = c.id WHERE o.status = s;
END;
CREATE CONSTRAINT TRIGGER check_line AFTER INSERT OR UPDATE OF amount ON shop.line DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION shop.touch();
ALTER TABLE shop.line DISABLE TRIGGER check_line;

ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE shop.orders FORCE ROW LEVEL SECURITY;
CREATE POLICY own_orders ON shop.orders FOR SELECT TO app_reader, "App Writer" USING (customer::text = current_setting('app.customer', true));
CREATE POLICY no_big ON shop.orders AS RESTRICTIVE FOR INSERT WITH CHECK (amount < 1000);
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA shop GRANT SELECT ON TABLES TO app_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT SELECT ON shop.order_totals TO app_reader;
REVOKE ALL ON shop.session FROM postgres;
GRANT USAGE ON SEQUENCE shop.orders_id_seq TO app_reader;
ALTER FUNCTION shop.next_invoice() OWNER TO app_owner;
ALTER TYPE shop.status OWNER TO app_owner;
ALTER VIEW shop.order_totals OWNER TO app_owner;

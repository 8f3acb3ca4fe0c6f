-- A shop of some fifteen tables with one value of every kind.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE point3 AS (x int, y numeric, z text);
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
CREATE DOMAIN positive AS numeric(12, 2) NOT NULL CHECK (VALUE > 0);

CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email email NOT NULL UNIQUE,
    name text NOT NULL,
    last_seen timestamptz,
    mood mood DEFAULT 'ok'
);
INSERT INTO customers (email, name, last_seen, mood) VALUES
    ('ada@example.org', 'Ada', '2024-02-29 12:00:00.123456+02', 'happy'),
    ('grace@example.org', E'Grace\tHopper\nUSN', NULL, 'ok'),
    ('linus@example.org', E'back\\slash \\N', 'infinity', 'sad');

CREATE TABLE orders (
    id serial PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers ON DELETE CASCADE,
    placed date NOT NULL DEFAULT '2024-01-01',
    note varchar(20)
);
INSERT INTO orders (customer_id, placed, note) SELECT 1 + n % 3, date '2024-01-01' + n, 'order ' || n FROM generate_series(1, 40) n;

CREATE TABLE products (
    sku char(8) PRIMARY KEY,
    title text NOT NULL,
    price positive,
    price_with_tax numeric GENERATED ALWAYS AS (price * 1.19) STORED
);
INSERT INTO products (sku, title, price) VALUES ('A1', 'Nut', 1.50), ('A10', 'Bolt', 2), ('B', 'Gear', 1234567.89);

CREATE TABLE items (
    order_id int REFERENCES orders ON DELETE CASCADE,
    line smallint,
    sku char(8) REFERENCES products DEFERRABLE INITIALLY DEFERRED,
    amount int NOT NULL CHECK (amount > 0),
    PRIMARY KEY (order_id, line)
);
INSERT INTO items SELECT o, l, (ARRAY['A1', 'A10', 'B'])[1 + (o + l) % 3], o * l FROM generate_series(1, 40) o, generate_series(1, 2) l;

CREATE TABLE every_type (
    id int PRIMARY KEY,
    i2 smallint, i8 bigint, num numeric, num_limited numeric(10, 3), f4 real, f8 double precision,
    cash money, txt text, chars char(5), vchars varchar(5), nam name, onechar "char",
    bytes bytea, yes boolean, day date, tim time, timtz timetz, ts timestamp, tstz timestamptz, span interval,
    uu uuid, js json, jsb jsonb, x xml, pt point, ln line, sg lseg, bx box, pth path, poly polygon, circ circle,
    host inet, net cidr, mac macaddr, mac8 macaddr8, bits bit(4), vbits bit varying(9),
    vec tsvector, query tsquery, ints int[], texts text[][], moods mood[], comp point3, comps point3[],
    r4 int4range, rn numrange, rts tstzrange, multi int4multirange, oi oid, cls regclass, lsn pg_lsn, snap pg_snapshot
);
INSERT INTO every_type VALUES
(1, -32768, 9223372036854775807, 'NaN', 1.5, 'NaN', '-Infinity', '$1,234.56', E'tab\tnew\nline\\', 'ab', 'cd', 'n', 'c',
 '\x00ff5c0a', true, 'infinity', '24:00', '12:00:00+05:30', '-infinity', '4713-01-01 00:00:00+00 BC', '1 mon 2 days -03:00:00.5',
 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"b": 1,  "a": 1.0}', '{"b": 1, "a": 1.00}', '<a>x</a>', '(1,-0)', '{1,2,3}',
 '[(0,0),(1,1)]', '(1,1),(0,0)', '[(0,0),(1,1)]', '((0,0),(1,1),(1,0))', '<(0,0),2>', '10.1.2.3/8', '10.0.0.0/8',
 '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', B'1010', B'1', $$'it''s' b:2A$$, 'a & !b', '{1,NULL,-3}', '{{a,"b c"},{NULL,""}}',
 '{sad,happy}', ROW(1, 1.0, E'q"\\'), ARRAY[ROW(NULL, 2.50, '')::point3], '[1,5)', '(,2.5]', '[2024-01-01 00:00+01,)',
 '{[1,2),[5,9)}', 4294967295, 'customers', '16/B374D848', '10:20:10,14,15'),
(2, NULL, NULL, 'Infinity', -0.001, '-0', '0.1', '-$0.01', '', '', '', '', '', '', false, '0044-03-15 BC', '00:00:00.000001',
 '00:00-12', '2000-01-01', '2000-01-01 00:00:00.1+00', '-1 year', NULL, 'null', 'null', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
 '::1', '::/0', NULL, NULL, B'0000', B'', '', NULL, '{}', '{}', '{}', NULL, '{}', 'empty', 'empty', NULL, '{}', 0, NULL, NULL, NULL),
(3, 0, 0, 1.0, 1, 1e-30, 1e300, NULL, '\N', NULL, NULL, NULL, '\', NULL, NULL, '10000-01-01', NULL, NULL, NULL, NULL, '30 days', NULL,
 NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '[2:3]={7,8}', NULL, NULL,
 NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE by_numeric (k numeric PRIMARY KEY, v text);
INSERT INTO by_numeric VALUES ('NaN', 'nan'), ('-Infinity', 'low'), ('Infinity', 'high'), (1.00, 'one'), (-1e20, 'deep'), (0.5e-10, 'tiny'), (10, 'ten'), (9, 'nine');
CREATE TABLE by_float (k float8 PRIMARY KEY, v text);
INSERT INTO by_float VALUES ('NaN', ''), ('-Infinity', ''), ('-0', ''), (1e-300, ''), (1e22, ''), (12345678.5, ''), ('Infinity', '');
CREATE TABLE by_text (k text PRIMARY KEY, v int);
INSERT INTO by_text VALUES ('a', 1), ('B', 2), ('ä', 3), ('', 4), (E'a\tb', 5), ('a b', 6), (E'a\nb', 7), ('ab', 8), ('日本', 9), ('A', 10);
CREATE TABLE by_time (k timestamptz PRIMARY KEY, v int);
INSERT INTO by_time VALUES ('2024-01-01 00:00:00+00', 1), ('2024-01-01 00:00:00.5+00', 2), ('infinity', 3), ('0001-01-01 00:00:00+00 BC', 4), ('12024-01-01 00:00+00', 5);
CREATE TABLE by_all (e mood, u uuid, d date, b boolean, y bytea, p positive, PRIMARY KEY (e, u, d, b, y, p));
INSERT INTO by_all SELECT (ARRAY['sad', 'ok', 'happy'])[1 + n % 3]::mood, md5(n::text)::uuid, date '2024-01-01' + n, n % 2 = 0,
    decode(lpad(to_hex(n), 2, '0'), 'hex'), n FROM generate_series(1, 30) n;

CREATE TABLE log (at timestamp, message json);
INSERT INTO log VALUES ('2024-01-01', '{"a":1}'), ('2024-01-01', '{"a":1}'), ('2024-01-01', '{"a":1}'), (NULL, NULL), (NULL, '{"a":1.0}');

CREATE TABLE events (id int, day date, what text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE events_2023 PARTITION OF events FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
INSERT INTO events SELECT n, date '2023-12-20' + n, 'event ' || n FROM generate_series(1, 20) n;
CREATE TABLE event_notes (id int PRIMARY KEY, event_id int, day date, FOREIGN KEY (event_id, day) REFERENCES events);
INSERT INTO event_notes VALUES (1, 1, '2023-12-21'), (2, 20, '2024-01-09'), (3, NULL, NULL);

CREATE TABLE slots (
    id int PRIMARY KEY, place int, during int4range,
    CONSTRAINT slots_place UNIQUE (place) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT slots_during EXCLUDE USING gist (during WITH &&) DEFERRABLE
);
INSERT INTO slots SELECT n, n * 10, int4range(n * 10, n * 10 + 5) FROM generate_series(1, 6) n;

CREATE TABLE nullable (a int UNIQUE, b text);
INSERT INTO nullable VALUES (NULL, 'x'), (NULL, 'x'), (2, NULL), (1, '');
CREATE UNLOGGED TABLE session (id uuid PRIMARY KEY, data jsonb);
INSERT INTO session VALUES ('00000000-0000-0000-0000-000000000001', '{}');
CREATE TABLE "Odd ""name"". ä/.git" ("select" int PRIMARY KEY, "a	b" text);
INSERT INTO "Odd ""name"". ä/.git" VALUES (1, 'x');
CREATE TABLE empty (id int PRIMARY KEY, v text);

CREATE TABLE places (id int PRIMARY KEY, name text);
CREATE TABLE cities (mayor text, PRIMARY KEY (id)) INHERITS (places);
INSERT INTO places VALUES (1, 'sea'), (2, 'hill');
INSERT INTO cities VALUES (1, 'Rome', 'R'), (3, 'Oslo', NULL);
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE tree (id int PRIMARY KEY, above int REFERENCES tree);
INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2);
CREATE MATERIALIZED VIEW order_count AS SELECT count(*) FROM orders;

CREATE TABLE audit (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
    INSERT INTO public.audit VALUES (TG_OP || ' ' || TG_TABLE_NAME); RETURN NULL; END$$;
CREATE TRIGGER t_origin AFTER INSERT OR UPDATE OR DELETE ON customers FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER t_always AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE orders ENABLE ALWAYS TRIGGER t_always;
CREATE TRIGGER t_replica AFTER INSERT OR UPDATE OR DELETE ON products FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE products ENABLE REPLICA TRIGGER t_replica;
CREATE SEQUENCE countdown INCREMENT -2 START 100 MINVALUE -100 MAXVALUE 100;
SELECT nextval('countdown'), nextval('countdown');

-- An ordinary application: 15 tables, 50,000 rows, and one of everything that such a schema has.
\set ON_ERROR_STOP on
SELECT setseed(0.5);
CREATE TYPE order_status AS ENUM ('open', 'paid', 'shipped', 'returned');
CREATE DOMAIN email AS text CHECK (VALUE ~ '^[^@ ]+@[^@ ]+$');
CREATE TYPE address AS (street text, city text, zip varchar(10));
CREATE TABLE country (code char(2) PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE customer (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    mail email,
    country char(2) REFERENCES country,
    home address,
    born date,
    balance numeric(12,2) NOT NULL DEFAULT 0 CHECK (balance > -1000000),
    created timestamptz NOT NULL DEFAULT '2026-01-01 00:00:00+00'
);
CREATE INDEX customer_lower_name ON customer (lower(name));
CREATE TABLE category (id serial PRIMARY KEY, parent int REFERENCES category, name text NOT NULL, UNIQUE (parent, name));
CREATE TABLE product (
    id serial PRIMARY KEY,
    category int NOT NULL REFERENCES category ON DELETE RESTRICT,
    name text NOT NULL,
    price numeric(10,2) NOT NULL,
    vat real NOT NULL DEFAULT 0.19,
    gross numeric GENERATED ALWAYS AS (price * 1.19) STORED,
    tags text[],
    data jsonb,
    picture bytea
);
CREATE INDEX product_tags ON product USING gin (tags);
CREATE TABLE warehouse (code text PRIMARY KEY, place point, open_at time);
CREATE TABLE stock (
    product int REFERENCES product ON DELETE CASCADE,
    warehouse text REFERENCES warehouse ON UPDATE CASCADE,
    amount int NOT NULL DEFAULT 0,
    PRIMARY KEY (warehouse, product)
);
CREATE TABLE orders (
    id bigserial PRIMARY KEY,
    customer bigint NOT NULL REFERENCES customer,
    status order_status NOT NULL DEFAULT 'open',
    placed timestamptz NOT NULL,
    note text
);
CREATE INDEX orders_open ON orders (customer) WHERE status = 'open';
CREATE TABLE order_line (
    order_id bigint REFERENCES orders ON DELETE CASCADE,
    position int,
    product int NOT NULL REFERENCES product,
    amount int NOT NULL CHECK (amount > 0),
    PRIMARY KEY (order_id, position)
);
CREATE TABLE payment (
    id uuid PRIMARY KEY,
    order_id bigint REFERENCES orders DEFERRABLE INITIALLY DEFERRED,
    paid_at timestamp,
    amount numeric(12,2)
);
CREATE TABLE voucher (code varchar(20) PRIMARY KEY, valid daterange NOT NULL, percent smallint);
CREATE TABLE ledger (happened timestamptz, who text, what text);
COMMENT ON TABLE ledger IS 'a table without a key: ''equal'' lines stay';
CREATE TABLE setting (key text PRIMARY KEY, value xml);
CREATE TABLE measurement (at date NOT NULL, sensor int NOT NULL, value double precision, PRIMARY KEY (at, sensor))
    PARTITION BY RANGE (at);
CREATE TABLE measurement_2025 PARTITION OF measurement FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE measurement_2026 PARTITION OF measurement FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE "Odd Name" ("Mixed Case" int PRIMARY KEY, "quote""d" text);
CREATE TABLE account (name text PRIMARY KEY, amount bigint NOT NULL);
CREATE UNLOGGED TABLE session (token text PRIMARY KEY, seen inet);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.ledger VALUES (now(), current_user, TG_TABLE_NAME || ' ' || TG_OP);
    RETURN NEW;
END
$$;
CREATE TRIGGER orders_touch AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
CREATE FUNCTION total(bigint) RETURNS numeric LANGUAGE sql STABLE AS
    'SELECT sum(l.amount * p.price) FROM public.order_line l JOIN public.product p ON p.id = l.product WHERE l.order_id = $1';
CREATE PROCEDURE close_old(before date) LANGUAGE sql AS 'UPDATE public.orders SET status = ''shipped'' WHERE placed < before';
CREATE VIEW open_orders AS SELECT o.id, c.name, total(o.id) AS total FROM orders o JOIN customer c ON c.id = o.customer
    WHERE o.status = 'open';
CREATE MATERIALIZED VIEW sales AS SELECT p.category, sum(l.amount) AS sold FROM order_line l
    JOIN product p ON p.id = l.product GROUP BY p.category;
CREATE UNIQUE INDEX sales_category ON sales (category);
CREATE ROLE shop_reader;
GRANT SELECT ON customer, orders TO shop_reader;
GRANT USAGE ON SCHEMA public TO shop_reader;
ALTER TABLE customer OWNER TO shop_reader;

INSERT INTO country VALUES ('DE', 'Germany'), ('FR', 'France'), ('IT', 'Italy');
INSERT INTO customer (name, mail, country, home, born, balance)
    SELECT 'Customer ' || n, 'c' || n || '@example.org', (ARRAY['DE','FR','IT'])[1 + n % 3],
           ROW('Street ' || n, E'City\twith tab', n::text)::address, date '1950-01-01' + n, n / 7.0
    FROM generate_series(1, 5000) n;
INSERT INTO category (parent, name) VALUES (NULL, 'all'), (1, 'books'), (1, 'tea'), (3, 'green');
INSERT INTO product (category, name, price, tags, data, picture)
    SELECT 1 + n % 4, 'Product ' || n, n * 0.37, ARRAY['t' || n % 5, NULL, 'with "quote"'],
           jsonb_build_object('n', n, 'text', E'line\nbreak'), decode(md5(n::text), 'hex')
    FROM generate_series(1, 1000) n;
INSERT INTO warehouse VALUES ('north', '(1,2)', '08:00'), ('south', '(-1.5,0)', '09:30');
INSERT INTO stock SELECT n, w, n % 17 FROM generate_series(1, 1000) n, unnest(ARRAY['north', 'south']) w;
INSERT INTO orders (customer, status, placed, note)
    SELECT 1 + n * 7 % 5000, (enum_range(NULL::order_status))[1 + n % 4],
           timestamptz '2025-01-01 00:00:00+00' + n * interval '1 hour', CASE WHEN n % 3 = 0 THEN NULL ELSE 'note ' || n END
    FROM generate_series(1, 10000) n;
INSERT INTO order_line SELECT o, p, 1 + (o * p) % 1000, p FROM generate_series(1, 10000) o, generate_series(1, 2) p;
INSERT INTO payment SELECT md5(n::text)::uuid, n, timestamp '2026-02-03 04:05:06.789', n FROM generate_series(1, 3000) n;
INSERT INTO voucher SELECT 'V' || n, daterange(date '2026-01-01' + n, NULL), n % 100 FROM generate_series(1, 100) n;
INSERT INTO ledger SELECT timestamptz '2026-01-01 00:00:00+00', 'x', 'equal lines' FROM generate_series(1, 20);
INSERT INTO setting VALUES ('a', '<a>1</a>'), ('b', NULL);
INSERT INTO measurement SELECT date '2025-06-01' + n % 500, n, random() - 0.5 FROM generate_series(1, 9000) n;
INSERT INTO "Odd Name" VALUES (1, E'back\\slash'), (2, '');
INSERT INTO account SELECT 'account ' || n, 1000 FROM generate_series(1, 100) n;
INSERT INTO session VALUES ('abc', '10.0.0.1/8');
REFRESH MATERIALIZED VIEW sales;

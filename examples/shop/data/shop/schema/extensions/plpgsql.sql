CREATE EXTENSION plpgsql WITH SCHEMA pg_catalog VERSION '1.0';
COMMENT ON EXTENSION plpgsql IS 'PL/pgSQL procedural language';

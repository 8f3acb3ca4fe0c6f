CREATE TABLE customers (id int PRIMARY KEY, name varchar(40) NOT NULL, boss int, UNIQUE by_name (name), CONSTRAINT of_boss FOREIGN KEY (boss) REFERENCES customers (id) ON DELETE CASCADE);
CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY, customer int NOT NULL, total decimal(10,2) NOT NULL DEFAULT 0 CHECK (total >= 0), note text, at timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(), CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE ON UPDATE CASCADE) AUTO_INCREMENT = 40;
INSERT INTO customers VALUES (1, 'ada', NULL), (2, 'grace', 1);
SET time_zone = '+00:00';
INSERT INTO orders VALUES (1, 1, 10.5, 'first', '2001-02-03 04:05:06'), (2, 2, 3, NULL, '2001-02-03 04:05:06');
CREATE FUNCTION taxed(x decimal(10,2)) RETURNS decimal(10,2) DETERMINISTIC COMMENT 'with tax' RETURN x * 1.2;
CREATE PROCEDURE clean(IN days int) MODIFIES SQL DATA BEGIN delete from orders where at < now() - interval days day; END;
CREATE VIEW of_ada AS SELECT id, total FROM orders WHERE customer = 1;
CREATE VIEW a_look AS SELECT id, taxed(total) AS taxed FROM of_ada;
CREATE TRIGGER `first` BEFORE INSERT ON `orders` FOR EACH ROW SET NEW.note = CONCAT(IFNULL(NEW.note, ''), ' first');
CREATE TRIGGER `second` BEFORE INSERT ON `orders` FOR EACH ROW PRECEDES first BEGIN SET NEW.note = 'second'; SET NEW.total = NEW.total + 1; END;
SET time_zone = '+05:00', sql_mode = 'ANSI_QUOTES';
CREATE EVENT `Nightly /` ON SCHEDULE EVERY '1:30' HOUR_MINUTE STARTS '2001-02-03 04:05:06' ENDS '2037-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE COMMENT 'it''s ENABLE' DO DELETE FROM orders WHERE "total" < 0 AND note = ' ON COMPLETION 😀';
SET time_zone = '+00:00', sql_mode = '';
CREATE EVENT once ON SCHEDULE AT '2037-12-31 23:00:00' DO BEGIN DELETE FROM orders; SET @x = '?'; END

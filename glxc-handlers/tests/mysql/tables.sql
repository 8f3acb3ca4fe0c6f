CREATE TABLE people (id int PRIMARY KEY, name varchar(20) NOT NULL UNIQUE, boss int, seen timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(), FOREIGN KEY (boss) REFERENCES people (id) ON DELETE CASCADE);
CREATE TABLE letters (id int PRIMARY KEY, person int, body text, CONSTRAINT of_person FOREIGN KEY (person) REFERENCES people (id) ON DELETE CASCADE);
CREATE TABLE codes (c varchar(3) PRIMARY KEY, n int CHECK (n >= 0));
CREATE TABLE log (line varchar(20));
CREATE TABLE numbered (id int AUTO_INCREMENT PRIMARY KEY);
INSERT INTO people VALUES (1, 'ada', NULL, '2001-01-01'), (2, 'grace', 1, '2001-01-01'), (3, 'edsger', NULL, '2001-01-01');
INSERT INTO letters VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c');
INSERT INTO codes VALUES ('a', 1), ('b', 2);
INSERT INTO log VALUES ('x'), ('x')

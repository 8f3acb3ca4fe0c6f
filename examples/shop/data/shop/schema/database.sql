CREATE DATABASE current_database TEMPLATE template0
    ENCODING 'UTF8'
    LC_COLLATE 'C.UTF-8'
    LC_CTYPE 'C.UTF-8';
ALTER DATABASE current_database OWNER TO shop;

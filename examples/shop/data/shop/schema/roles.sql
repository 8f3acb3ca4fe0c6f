CREATE ROLE shop;
CREATE ROLE "www-data";

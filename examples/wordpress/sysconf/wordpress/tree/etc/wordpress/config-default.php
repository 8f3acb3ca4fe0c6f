<?php
// The web server logs in to the database as itself, by the socket.
define('DB_NAME', 'wordpress');
define('DB_USER', 'www-data');
define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:/run/mysqld/mysqld.sock');
define('DB_CHARSET', 'utf8mb4');

require '/etc/wordpress/secret.php';

// Where this container happens to be: the address is no part of the data. Write the name of your site here instead once it has one.
$site = 'http://' . ($_SERVER['SERVER_ADDR'] ?? 'localhost');
define('WP_HOME', $site);
define('WP_SITEURL', $site);

// Programs come from Debian and from the repository, not from the page.
define('DISALLOW_FILE_MODS', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
define('WP_HTTP_BLOCK_EXTERNAL', true);
// What is due is done by cron and not by visitors: a page that is only read changes no data.
define('DISABLE_WP_CRON', true);

//! MariaDB and MySQL are different databases: what differs between them is asked here.

use crate::{Error, Result};

/// Whose server it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Product {
    #[default]
    MariaDb,
    MySql,
}

/// What every session sets, whatever the server says. The text form of values and definitions depends on most of it, and
/// so does what a statement means.
const SETTINGS: &[(&str, &str)] = &[
    ("time_zone", "'+00:00'"),
    // What columns hold is sent as it is: a conversion would make `?` of what does not fit.
    ("character_set_results", "NULL"),
    ("sql_quote_show_create", "1"),
    ("explicit_defaults_for_timestamp", "1"),
    ("foreign_key_checks", "1"),
    ("unique_checks", "1"),
    ("autocommit", "1"),
    ("completion_type", "'NO_CHAIN'"),
    ("sql_auto_is_null", "0"),
    ("sql_safe_updates", "0"),
    ("sql_select_limit", "DEFAULT"),
    ("sql_notes", "1"),
    ("sql_warnings", "0"),
    ("max_error_count", "65535"),
    ("default_storage_engine", "InnoDB"),
    ("net_read_timeout", "3600"),
    ("net_write_timeout", "3600"),
    ("wait_timeout", "86400"),
];

const OF_MARIADB: &[(&str, &str)] = &[
    ("old_mode", "'UTF8_IS_UTF8MB3'"),
    ("check_constraint_checks", "1"),
    ("tx_isolation", "'REPEATABLE-READ'"),
    ("tx_read_only", "0"),
    ("max_statement_time", "0"),
];

const OF_MYSQL: &[(&str, &str)] = &[
    ("transaction_isolation", "'REPEATABLE-READ'"),
    ("transaction_read_only", "0"),
    ("max_execution_time", "0"),
    // Numbers of tables are those of now, and not of a day ago.
    ("information_schema_stats_expiry", "0"),
    // A table has the key that its definition says: one that the server made is seen, and none is added.
    ("show_gipk_in_create_table_and_information_schema", "1"),
    ("sql_generate_invisible_primary_key", "0"),
    ("sql_require_primary_key", "0"),
    ("restrict_fk_on_non_standard_key", "0"),
    ("show_create_table_skip_secondary_engine", "0"),
    ("show_create_table_verbosity", "0"),
    ("default_collation_for_utf8mb4", "utf8mb4_0900_ai_ci"),
];

/// What an account must have been granted on everything, of what MySQL lists one by one.
const RIGHTS: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "PROCESS",
    "REFERENCES",
    "INDEX",
    "ALTER",
    "SUPER",
    "LOCK TABLES",
    "EXECUTE",
    "CREATE VIEW",
    "SHOW VIEW",
    "CREATE ROUTINE",
    "ALTER ROUTINE",
    "EVENT",
    "TRIGGER",
    "ALLOW_NONEXISTENT_DEFINER",
    "BACKUP_ADMIN",
    "CONNECTION_ADMIN",
    "SET_ANY_DEFINER",
    "SHOW_ROUTINE",
    "SYSTEM_USER",
    "SYSTEM_VARIABLES_ADMIN",
    "XA_RECOVER_ADMIN",
];

impl Product {
    /// Refuses a server that nobody tried, and one whose RENAME TABLE does not survive a crash as a whole.
    pub fn of(version: &str) -> Result<Self> {
        let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u32>().ok());
        let number = (numbers.next().flatten(), numbers.next().flatten());
        match version.contains("MariaDB") {
            true if number >= (Some(10), Some(6)) => Ok(Product::MariaDb),
            false if number >= (Some(9), Some(7)) => Ok(Product::MySql),
            _ => Err(Error::Unsupported {
                what: format!("the server {version}; only MariaDB from 10.6 on and MySQL from 9.7 on is"),
            }),
        }
    }

    /// As it calls itself.
    pub fn name(self) -> &'static str {
        match self {
            Product::MariaDb => "MariaDB",
            Product::MySql => "MySQL",
        }
    }

    /// What every session sets, but for its modes and how long it waits.
    pub fn settings(self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        let own = match self {
            Product::MariaDb => OF_MARIADB,
            Product::MySql => OF_MYSQL,
        };
        SETTINGS.iter().chain(own)
    }

    /// What is off while a whole state is loaded. (MySQL has no rows that violate a check.)
    pub fn checks(self) -> &'static [&'static str] {
        match self {
            Product::MariaDb => &["foreign_key_checks", "check_constraint_checks"],
            Product::MySql => &["foreign_key_checks"],
        }
    }

    /// Asks since when the server is up, and how far its log of InnoDB is. (The status of MySQL tells that of a while ago.)
    pub fn log_position(self) -> &'static str {
        match self {
            Product::MariaDb => {
                "SELECT CONCAT_WS(' ', VERSION(), @@datadir, CAST(UNIX_TIMESTAMP() - up.VARIABLE_VALUE AS INT), \
                 log.VARIABLE_VALUE) FROM information_schema.GLOBAL_STATUS up, information_schema.GLOBAL_STATUS log \
                 WHERE up.VARIABLE_NAME = 'UPTIME' AND log.VARIABLE_NAME = 'INNODB_LSN_CURRENT'"
            }
            Product::MySql => {
                "SELECT CONCAT_WS(' ', VERSION(), @@datadir, CAST(UNIX_TIMESTAMP() - up.VARIABLE_VALUE AS SIGNED), \
                 log.STORAGE_ENGINES->>'$.InnoDB.LSN') FROM performance_schema.global_status up, \
                 performance_schema.log_status log WHERE up.VARIABLE_NAME = 'Uptime'"
            }
        }
    }

    /// Whether what `SHOW GRANTS` lists are all rights.
    pub fn has_all_rights(self, grants: &[String]) -> bool {
        if self == Product::MariaDb {
            return grants.iter().any(|grant| grant.starts_with("GRANT ALL PRIVILEGES ON *.* "));
        }
        let everywhere = |grant: &String| Some(grant.strip_prefix("GRANT ")?.split_once(" ON *.* TO ")?.0.to_owned());
        let lists: Vec<String> = grants.iter().filter_map(everywhere).collect();
        let granted: Vec<&str> = lists.iter().flat_map(|list| list.split(',')).map(str::trim).collect();
        // What is granted may be taken back for one database.
        RIGHTS.iter().all(|right| granted.contains(right)) && !grants.iter().any(|grant| grant.starts_with("REVOKE "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_taken() {
        for version in ["10.11.19-MariaDB-0+deb12u1", "11.8.6-MariaDB", "10.6.1-MariaDB-log"] {
            assert_eq!(Product::of(version).unwrap(), Product::MariaDb, "{version}");
        }
        assert_eq!(Product::of("9.7.4-2").unwrap(), Product::MySql);
        for version in ["8.4.0", "9.6.0", "5.7.44-log", "10.5.9-MariaDB", "MariaDB", ""] {
            assert!(Product::of(version).is_err(), "{version}");
        }
    }

    #[test]
    fn one_right_that_lacks_is_too_few() {
        let grants = |rights: &[&str]| vec![format!("GRANT {} ON *.* TO `root`@`localhost`", rights.join(", "))];
        assert!(Product::MySql.has_all_rights(&grants(RIGHTS)));
        assert!(!Product::MySql.has_all_rights(&grants(&RIGHTS[1..])));
        assert!(!Product::MariaDb.has_all_rights(&grants(RIGHTS)));
        let mut revoked = grants(RIGHTS);
        revoked.push("REVOKE SELECT ON `shop`.* FROM `root`@`localhost`".into());
        assert!(!Product::MySql.has_all_rights(&revoked));
    }
}

//! The options of a MySQL state.

use std::path::PathBuf;

use super::recover::MARKS;
use crate::engine::Rules;
use crate::{Error, Result, Settings};

/// Databases that are the server's own.
const SYSTEM: [&str; 4] = ["mysql", "information_schema", "performance_schema", "sys"];

/// Which server and database, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub socket: PathBuf,
    pub user: String,
    pub password_file: Option<PathBuf>,
    pub database: String,
    pub rules: Rules,
}

impl Target {
    /// Reads the options of a state.
    pub fn new(settings: &Settings) -> Result<Self> {
        let mut reader = settings.options.reader();
        let database = reader.text("database")?.ok_or_else(|| Error::option("database", "is missing"))?;
        let socket = reader.text("socket")?.unwrap_or("/run/mysqld/mysqld.sock");
        let user = reader.text("user")?.unwrap_or("root");
        let password_file = reader.text("password_file")?.map(PathBuf::from);
        reader.table("tables")?;
        let rules = Rules::of(&settings.options)?;
        reader.finish()?;
        check_database(database)?;
        if user.is_empty() || user.contains('\0') {
            return Err(Error::option("user", "must be a name"));
        }
        if !socket.starts_with('/') {
            return Err(Error::option("socket", "must be the absolute path of the server's unix socket"));
        }
        Ok(Target { socket: socket.into(), user: user.into(), password_file, database: database.into(), rules })
    }
}

fn check_database(name: &str) -> Result<()> {
    if name.is_empty() || name.chars().count() > 64 || name.contains('\0') || name.ends_with(' ') {
        return Err(Error::option("database", "must be a name of 1 to 64 characters"));
    }
    let lower = name.to_lowercase();
    if SYSTEM.contains(&lower.as_str()) || lower == MARKS || lower.starts_with("glxc_new_") {
        return Err(Error::option("database", "is one of the server's own or of this program's"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, StatePath, Value};

    fn target(options: Options) -> Result<Target> {
        Target::new(&Settings::new("shop", StatePath::new("data/shop").unwrap(), options))
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn defaults_are_the_local_socket() {
        let target = target(Options::new().with("database", text("shop"))).unwrap();
        assert_eq!(target.socket, PathBuf::from("/run/mysqld/mysqld.sock"));
        assert_eq!((target.user.as_str(), target.password_file), ("root", None));
    }

    #[test]
    fn wrong_options_are_named() {
        let message = |options| target(options).unwrap_err().to_string();
        assert_eq!(message(Options::new()), "`database`: is missing");
        for name in ["", "mysql", "SYS", "glxc", "glxc_new_x", "x "] {
            assert!(message(Options::new().with("database", text(name))).starts_with("`database`: "), "{name}");
        }
        let shop = || Options::new().with("database", text("shop"));
        assert!(message(shop().with("socket", text("run"))).starts_with("`socket`: "));
        assert!(message(shop().with("sokcet", text("/run"))).contains("did you mean `socket`?"));
    }
}

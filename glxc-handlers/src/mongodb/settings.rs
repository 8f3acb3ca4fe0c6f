//! The options of a MongoDB state.

use std::path::PathBuf;

use crate::{Error, Result, Settings};

/// Databases that are the server's own.
const SYSTEM: [&str; 3] = ["admin", "config", "local"];

/// Which server and database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub socket: PathBuf,
    pub database: String,
}

impl Target {
    /// Reads the options of a state.
    pub fn new(settings: &Settings) -> Result<Self> {
        let mut reader = settings.options.reader();
        let database = reader.text("database")?.ok_or_else(|| Error::option("database", "is missing"))?;
        let socket = reader.text("socket")?.unwrap_or("/tmp/mongodb-27017.sock");
        reader.finish()?;
        let unfit = |c: char| matches!(c, '/' | '\\' | '.' | ' ' | '"' | '$' | '\0');
        if database.is_empty() || database.len() > 63 || database.contains(unfit) {
            return Err(Error::option("database", "must be a name of 1 to 63 bytes, without any of `/\\. \"$`"));
        }
        if SYSTEM.contains(&database.to_lowercase().as_str()) {
            return Err(Error::option("database", "is one of the server's own"));
        }
        if !socket.starts_with('/') {
            return Err(Error::option("socket", "must be the absolute path of the server's unix socket"));
        }
        Ok(Target { socket: socket.into(), database: database.into() })
    }
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
    fn wrong_options_are_named() {
        let shop = || Options::new().with("database", text("shop"));
        assert_eq!(target(shop()).unwrap().socket, PathBuf::from("/tmp/mongodb-27017.sock"));
        let message = |options| target(options).unwrap_err().to_string();
        assert_eq!(message(Options::new()), "`database`: is missing");
        for name in ["", "admin", "Config", "a.b", "a b", "$x"] {
            assert!(message(Options::new().with("database", text(name))).starts_with("`database`: "), "{name}");
        }
        assert!(message(shop().with("socket", text("run"))).starts_with("`socket`: "));
        assert!(message(shop().with("sokcet", text("/run"))).contains("did you mean `socket`?"));
    }
}

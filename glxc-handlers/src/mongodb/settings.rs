//! The options of a MongoDB state.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::engine::Rules;
use crate::{Error, Result, Settings};

/// Databases that are the server's own.
const SYSTEM: [&str; 3] = ["admin", "config", "local"];

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Socket(PathBuf),
    /// A port of the loopback.
    Port(u16),
}

impl Place {
    /// The address of a port. No name is looked up.
    pub fn address(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// The server by a name of its own. MongoDB names its socket after the port that it has beside it.
    pub fn claim(&self) -> String {
        match self {
            Place::Port(port) => format!("/tmp/mongodb-{port}.sock"),
            Place::Socket(socket) => socket.display().to_string(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Socket(socket) => write!(f, "{}", socket.display()),
            Place::Port(port) => write!(f, "{}", Place::address(*port)),
        }
    }
}

/// An account of the database `admin`, and the file with its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub user: String,
    pub password_file: PathBuf,
}

/// Which server and database, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub place: Place,
    pub database: String,
    /// Who logs in, and the file with the password; else nobody does.
    pub login: Option<Login>,
    pub rules: Rules,
}

impl Target {
    /// Reads the options of a state.
    pub fn new(settings: &Settings) -> Result<Self> {
        let mut reader = settings.options.reader();
        let database = reader.text("database")?.ok_or_else(|| Error::option("database", "is missing"))?;
        let place = place(reader.text("socket")?, reader.integer("port")?)?;
        let login = login(reader.text("user")?, reader.text("password_file")?)?;
        reader.table("collections")?;
        let rules = Rules::of_collections(&settings.options)?;
        reader.finish()?;
        let unfit = |c: char| matches!(c, '/' | '\\' | '.' | ' ' | '"' | '$' | '\0');
        if database.is_empty() || database.len() > 63 || database.contains(unfit) {
            return Err(Error::option("database", "must be a name of 1 to 63 bytes, without any of `/\\. \"$`"));
        }
        if SYSTEM.contains(&database.to_lowercase().as_str()) {
            return Err(Error::option("database", "is one of the server's own"));
        }
        Ok(Target { place, database: database.into(), login, rules })
    }
}

fn login(user: Option<&str>, password_file: Option<&str>) -> Result<Option<Login>> {
    match (user, password_file) {
        (None, None) => Ok(None),
        (Some(""), _) => Err(Error::option("user", "must be a name")),
        (Some(user), Some(file)) if file.starts_with('/') => {
            Ok(Some(Login { user: user.into(), password_file: file.into() }))
        }
        (Some(_), Some(_)) => Err(Error::option("password_file", "must be the absolute path of a file")),
        (Some(_), None) => Err(Error::option("user", "needs `password_file` too")),
        (None, Some(_)) => Err(Error::option("password_file", "needs `user` too")),
    }
}

fn place(socket: Option<&str>, port: Option<i64>) -> Result<Place> {
    match (socket, port) {
        (Some(_), Some(_)) => Err(Error::option("port", "names a server, and so does `socket`: one of both is enough")),
        (None, Some(port)) => match u16::try_from(port) {
            Ok(port) if port > 0 => Ok(Place::Port(port)),
            _ => Err(Error::option("port", "must be a number from 1 to 65535")),
        },
        (socket, None) => match socket.unwrap_or("/tmp/mongodb-27017.sock") {
            socket if socket.starts_with('/') => Ok(Place::Socket(socket.into())),
            _ => Err(Error::option("socket", "must be the absolute path of the server's unix socket")),
        },
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
        assert_eq!(target(shop()).unwrap().place, Place::Socket("/tmp/mongodb-27017.sock".into()));
        assert_eq!(target(shop().with("port", Value::Integer(27018))).unwrap().place, Place::Port(27018));
        let message = |options| target(options).unwrap_err().to_string();
        assert_eq!(message(Options::new()), "`database`: is missing");
        for name in ["", "admin", "Config", "a.b", "a b", "$x"] {
            assert!(message(Options::new().with("database", text(name))).starts_with("`database`: "), "{name}");
        }
        assert!(message(shop().with("socket", text("run"))).starts_with("`socket`: "));
        for port in [0, -1, 65536] {
            assert!(message(shop().with("port", Value::Integer(port))).starts_with("`port`: must be"), "{port}");
        }
        let both = shop().with("port", Value::Integer(27017)).with("socket", text("/run/a"));
        assert!(message(both).contains("one of both is enough"));
        let login = |user, file| shop().with("user", text(user)).with("password_file", text(file));
        assert_eq!(target(login("ada", "/root/p")).unwrap().login.unwrap().user, "ada");
        assert!(message(login("", "/root/p")).starts_with("`user`: must be a name"));
        assert!(message(login("ada", "p")).contains("absolute path"));
        assert!(message(shop().with("user", text("ada"))).contains("needs `password_file`"));
        assert!(message(shop().with("password_file", text("/root/p"))).contains("needs `user`"));
        let rules = |rule| shop().with("collections", Value::Table(Options::new().with("log", rule)));
        target(rules(text("ignore"))).unwrap();
        let fields = Value::Table(Options::new().with("ignore", Value::List(vec![text("seen")])));
        let wrong = "`collections.log`: must be \"schema\" or \"ignore\"; a document is kept as a whole";
        assert_eq!(message(rules(fields)), wrong);
        assert!(message(shop().with("sokcet", text("/run"))).contains("did you mean `socket`?"));
    }
}

//! The options of a PostgreSQL state.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::engine::Rules;
use crate::{Error, Result, Settings};

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// The folder of its unix socket.
    Socket(PathBuf),
    /// Its address. Never a name: a statically linked program can not look one up.
    Address(IpAddr),
}

/// Which server and database, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub server: Server,
    pub port: u16,
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
        let (socket, host) = (reader.text("socket")?, reader.text("host")?);
        let port = port(reader.integer("port")?)?;
        let user = reader.text("user")?.unwrap_or("postgres");
        let password_file = reader.text("password_file")?.map(PathBuf::from);
        reader.table("tables")?;
        let rules = Rules::of(&settings.options)?;
        reader.finish()?;
        name("database", database)?;
        name("user", user)?;
        let server = server(socket, host)?;
        Ok(Target { server, port, user: user.into(), password_file, database: database.into(), rules })
    }
}

/// PostgreSQL cuts longer names off, silently.
fn name(key: &str, name: &str) -> Result<()> {
    match name.is_empty() || name.len() > 63 || name.contains('\0') {
        true => Err(Error::option(key, "must be a name of 1 to 63 bytes")),
        false => Ok(()),
    }
}

fn port(port: Option<i64>) -> Result<u16> {
    match u16::try_from(port.unwrap_or(5432)) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Error::option("port", "must be from 1 to 65535")),
    }
}

fn server(socket: Option<&str>, host: Option<&str>) -> Result<Server> {
    match (socket, host) {
        (Some(_), Some(_)) => Err(Error::option("host", "stands beside `socket`; give one of them")),
        (None, Some("localhost")) => Ok(Server::Address([127, 0, 0, 1].into())),
        (None, Some(host)) => {
            let wrong = |_| Error::option("host", "must be an IP address or `localhost`");
            host.parse().map(Server::Address).map_err(wrong)
        }
        (socket, None) => match socket.unwrap_or("/var/run/postgresql") {
            folder if folder.starts_with('/') => Ok(Server::Socket(folder.into())),
            _ => Err(Error::option("socket", "must be the absolute path of a folder")),
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
    fn defaults_are_the_local_socket() {
        let target = target(Options::new().with("database", text("shop"))).unwrap();
        assert_eq!(target.server, Server::Socket("/var/run/postgresql".into()));
        assert_eq!((target.port, target.user.as_str()), (5432, "postgres"));
    }

    #[test]
    fn wrong_options_are_named() {
        let shop = || Options::new().with("database", text("shop"));
        let message = |options| target(options).unwrap_err().to_string();
        assert_eq!(message(Options::new()), "`database`: is missing");
        assert!(message(shop().with("port", Value::Integer(0))).starts_with("`port`: "));
        assert!(message(shop().with("host", text("db.example"))).starts_with("`host`: "));
        assert!(message(shop().with("socket", text("run"))).starts_with("`socket`: "));
        assert!(message(shop().with("sokcet", text("/run"))).contains("did you mean `socket`?"));
        let tables = Options::new().with("public.x", text("skip"));
        assert!(message(shop().with("tables", Value::Table(tables))).starts_with("`tables.public.x`: must be"));
    }

    #[test]
    fn localhost_becomes_an_address() {
        let target = target(Options::new().with("database", text("shop")).with("host", text("localhost"))).unwrap();
        assert_eq!(target.server, Server::Address([127, 0, 0, 1].into()));
    }
}

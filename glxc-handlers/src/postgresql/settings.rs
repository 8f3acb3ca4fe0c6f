//! The options of a PostgreSQL state.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::{Error, Options, Result, Settings, Value};

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

/// What a state says about a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Its definition only; its rows stay as they are.
    Schema,
    /// Neither read nor dropped.
    Ignore,
    /// Without these columns; their live values stay.
    Without(Vec<String>),
}

/// The rules for tables: patterns of `schema.table`, in which `*` stands for anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules(Vec<(String, Rule)>);

impl Rules {
    /// The rules among the options of a state.
    pub fn of(options: &Options) -> Result<Self> {
        options.reader().table("tables")?.map(Rules::new).transpose().map(Option::unwrap_or_default)
    }

    fn new(options: &Options) -> Result<Self> {
        options
            .iter()
            .map(|(pattern, value, line)| Ok((pattern.into(), rule(pattern, value, line)?)))
            .collect::<Result<_>>()
            .map(|mut rules: Vec<(String, Rule)>| {
                // A name before a pattern, a longer pattern before a shorter one.
                rules.sort_by_key(|(pattern, _)| (pattern.contains('*'), std::cmp::Reverse(pattern.len())));
                Rules(rules)
            })
    }

    /// The rule for a table. A name goes before a pattern, a longer pattern before a shorter one.
    pub fn rule(&self, schema: &str, table: &str) -> Option<&Rule> {
        let name = format!("{schema}.{table}");
        self.0.iter().find(|(pattern, _)| matches(pattern, &name)).map(|(_, rule)| rule)
    }

    /// Whether the rows of a table are part of the state.
    pub fn has_rows(&self, schema: &str, table: &str) -> bool {
        !matches!(self.rule(schema, table), Some(Rule::Schema | Rule::Ignore))
    }

    /// Whether the table is left out altogether.
    pub fn ignores(&self, schema: &str, table: &str) -> bool {
        matches!(self.rule(schema, table), Some(Rule::Ignore))
    }

    /// The columns that are left out.
    pub fn without(&self, schema: &str, table: &str) -> &[String] {
        match self.rule(schema, table) {
            Some(Rule::Without(columns)) => columns,
            _ => &[],
        }
    }
}

fn rule(pattern: &str, value: &Value, line: Option<u64>) -> Result<Rule> {
    let wrong = |message: &str| Error::Options { key: format!("tables.{pattern}"), line, message: message.into() };
    match value {
        Value::Text(text) if text == "schema" => Ok(Rule::Schema),
        Value::Text(text) if text == "ignore" => Ok(Rule::Ignore),
        Value::Table(table) => {
            let mut reader = table.reader();
            let columns = reader.texts("ignore")?.ok_or_else(|| wrong("must name columns: { ignore = [\"name\"] }"))?;
            reader.finish()?;
            Ok(Rule::Without(columns.into_iter().map(String::from).collect()))
        }
        _ => Err(wrong("must be \"schema\", \"ignore\" or { ignore = [\"column\"] }")),
    }
}

/// Whether a pattern, in which `*` stands for any text, matches a whole name.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StatePath;

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

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name) in [("a.b", "a.b"), ("a.*", "a.b"), ("*", "a.b"), ("*.b*d", "a.bcd"), ("a.**", "a.")] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a.b", "a.bc"), ("a.*c", "a.b"), ("ab*ba", "aba"), ("", "a"), ("*x*", "abc")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_name_goes_before_a_pattern() {
        let rules = Options::new()
            .with("public.*", text("ignore"))
            .with("public.session*", text("schema"))
            .with("public.session", Value::Table(Options::new().with("ignore", Value::List(vec![text("x")]))));
        let rules = Rules::new(&rules).unwrap();
        assert_eq!(rules.without("public", "session"), ["x"]);
        assert_eq!(rules.rule("public", "session2"), Some(&Rule::Schema));
        assert!(rules.ignores("public", "other") && !rules.has_rows("public", "session2"));
        assert_eq!(rules.rule("shop", "x"), None);
    }
}

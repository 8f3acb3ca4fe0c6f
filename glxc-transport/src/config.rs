//! `glxc.toml`: what a container is and which states it has.

use glxc_handlers::{Direction, Options, OptionsReader, Settings, StatePath, Value};
use toml::de::{DeTable, DeValue};

/// The name of the file at the top of a repository.
pub const FILE: &str = "glxc.toml";

/// A `glxc.toml` that can not be used. The message names the file and, where known, the line.
#[derive(Debug, thiserror::Error)]
#[error("glxc.toml{}: {message}", .line.map_or(String::new(), |line| format!(":{line}")))]
pub struct ConfigError {
    /// The line, counted from 1.
    pub line: Option<u64>,
    /// What is wrong.
    pub message: String,
}

/// The settings of a repository.
///
/// ```
/// let text = r#"
/// [container]
/// release = "bookworm"
/// memory = "2G"
///
/// [state.uploads]
/// handler = "files"
/// path = "data/uploads"
/// root = "/var/lib/shop/uploads"
/// "#;
/// let config = glxc_transport::Config::parse(text).unwrap();
/// assert_eq!(config.container.memory, Some(2 << 30));
/// assert_eq!(config.states[0].path.to_string(), "data/uploads");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the container is.
    pub container: Container,
    /// What a push prints at its end, if it is to print a URL.
    pub url: Option<Url>,
    /// Whether live changes that were never pulled decline a push.
    pub push: PushPolicy,
    /// The states, in the order of their names.
    pub states: Vec<StateConfig>,
}

/// The `[container]` table. Only numbers and words of `[a-z0-9][a-z0-9._-]*`, since they travel to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The template; `debian` unless said otherwise.
    pub template: String,
    /// The distribution's release.
    pub release: Option<String>,
    /// The machine architecture, in the distribution's words.
    pub arch: Option<String>,
    /// The limit of memory, in bytes.
    pub memory: Option<u64>,
    /// The limit of processors, in thousandths.
    pub cpus: Option<u64>,
    /// The limit of processes and threads.
    pub processes: Option<u64>,
    /// Whether it starts with the host.
    pub autostart: bool,
}

/// The `[url]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The port.
    pub port: u16,
    /// The path, starting with `/`, of printable ASCII without space.
    pub path: String,
}

/// The `push.policy` key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PushPolicy {
    /// Live changes that the push does not touch stay, and are the next pull's commit.
    #[default]
    Merge,
    /// Any live change that was never pulled declines a push.
    Strict,
}

/// A `[state.NAME]` table.
#[derive(Clone, Debug, PartialEq)]
pub struct StateConfig {
    /// The kind of handler.
    pub handler: String,
    /// Where its files stand in the repository.
    pub path: StatePath,
    /// What the handler is made from: name, path, direction, its own options. (The branch is the container's.)
    pub settings: Settings,
    /// The line of the table.
    pub line: Option<u64>,
}

impl StateConfig {
    /// The name of the state.
    pub fn name(&self) -> &str {
        &self.settings.state
    }
}

impl Config {
    /// Reads the text of a `glxc.toml`.
    ///
    /// # Errors
    /// [`ConfigError`] with the line, for syntax, unknown keys (with the nearest known one), values out of range,
    /// invalid names, and paths of states that nest or collide.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let lines = Lines::new(text);
        let document = DeTable::parse(text).map_err(|error| ConfigError {
            line: error.span().map(|span| lines.of(span.start)),
            message: error.message().to_owned(),
        })?;
        let top = convert_table(document.get_ref(), &lines)?;
        let mut reader = top.reader();
        let empty = Options::new();
        let container = Container::read(reader.table("container")?.unwrap_or(&empty))?;
        let url = reader.table("url")?.map(Url::read).transpose()?;
        let push = PushPolicy::read(reader.table("push")?.unwrap_or(&empty))?;
        let states = read_states(reader.table("state")?.unwrap_or(&empty))?;
        reader.finish()?;
        Ok(Config { container, url, push, states })
    }

    /// The state of a name.
    pub fn state(&self, name: &str) -> Option<&StateConfig> {
        self.states.iter().find(|state| state.name() == name)
    }
}

impl Container {
    fn read(table: &Options) -> Result<Self, ConfigError> {
        let mut reader = table.reader();
        let word = |key: &'static str, reader: &mut OptionsReader<'_>| -> Result<Option<String>, ConfigError> {
            let Some(text) = reader.text(key)? else { return Ok(None) };
            match is_word(text) {
                true => Ok(Some(text.to_owned())),
                false => Err(wrong(table, key, "must be of a-z, 0-9, `.`, `_`, `-` and begin with a letter or digit")),
            }
        };
        let container = Container {
            template: word("template", &mut reader)?.unwrap_or_else(|| "debian".into()),
            release: word("release", &mut reader)?,
            arch: word("arch", &mut reader)?,
            memory: read_memory(table, &mut reader)?,
            cpus: read_cpus(table, &mut reader)?,
            processes: match reader.integer("processes")? {
                Some(n @ 16..=1_000_000) => Some(n as u64),
                Some(_) => return Err(wrong(table, "processes", "must be between 16 and 1000000")),
                None => None,
            },
            autostart: reader.boolean("autostart")?.unwrap_or(false),
        };
        reader.finish()?;
        Ok(container)
    }
}

fn read_memory(table: &Options, reader: &mut OptionsReader<'_>) -> Result<Option<u64>, ConfigError> {
    let Some(text) = reader.text("memory")? else { return Ok(None) };
    let (number, unit) = text.split_at(text.len() - text.bytes().rev().take_while(u8::is_ascii_alphabetic).count());
    let shift = match unit {
        "K" => Some(10),
        "M" => Some(20),
        "G" => Some(30),
        _ => None,
    };
    let bytes = shift.and_then(|shift| number.parse::<u64>().ok()?.checked_mul(1 << shift));
    match bytes.filter(|bytes| (64 << 20..=64 << 40).contains(bytes)) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(wrong(table, "memory", "must be a size like `512M` or `2G`, at least 64M")),
    }
}

fn read_cpus(table: &Options, reader: &mut OptionsReader<'_>) -> Result<Option<u64>, ConfigError> {
    match reader.integer("cpus")? {
        Some(n @ 1..=1024) => Ok(Some(n as u64 * 1000)),
        Some(_) => Err(wrong(table, "cpus", "must be between 1 and 1024")),
        None => Ok(None),
    }
}

impl Url {
    fn read(table: &Options) -> Result<Self, ConfigError> {
        let mut reader = table.reader();
        let port = match reader.integer("port")?.unwrap_or(80) {
            port @ 1..=65535 => port as u16,
            _ => return Err(wrong(table, "port", "must be between 1 and 65535")),
        };
        let path = reader.text("path")?.unwrap_or("/").to_owned();
        if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong(table, "path", "must begin with `/` and be printable ASCII without a space"));
        }
        reader.finish()?;
        Ok(Url { port, path })
    }
}

impl PushPolicy {
    fn read(table: &Options) -> Result<Self, ConfigError> {
        let mut reader = table.reader();
        let policy = match reader.text("policy")? {
            None | Some("merge") => PushPolicy::Merge,
            Some("strict") => PushPolicy::Strict,
            Some(_) => return Err(wrong(table, "policy", "must be `merge` or `strict`")),
        };
        reader.finish()?;
        Ok(policy)
    }
}

fn read_states(table: &Options) -> Result<Vec<StateConfig>, ConfigError> {
    let mut states: Vec<StateConfig> = Vec::new();
    for (name, value, line) in table.iter() {
        let at = |message: String| ConfigError { line, message };
        if !is_name(name) {
            return Err(at(format!("`{}` is no name for a state", name.escape_debug())));
        }
        let Value::Table(options) = value else { return Err(at(format!("`state.{name}` must be a table"))) };
        let state = read_state(name, options, line)?;
        let collision = states.iter().find(|other| nest(&other.path, &state.path));
        if let Some(other) = collision {
            return Err(at(format!("`state.{name}` and `state.{}` have paths that nest or collide", other.name())));
        }
        states.push(state);
    }
    Ok(states)
}

fn read_state(name: &str, options: &Options, line: Option<u64>) -> Result<StateConfig, ConfigError> {
    let mut reader = options.reader();
    let missing = |key: &str| ConfigError { line, message: format!("`state.{name}` has no `{key}`") };
    let handler = reader.text("handler")?.ok_or_else(|| missing("handler"))?.to_owned();
    let path = reader.text("path")?.ok_or_else(|| missing("path"))?;
    let direction = match reader.text("direction")? {
        None | Some("both") => Direction::Both,
        Some("push") => Direction::Push,
        Some(_) => return Err(wrong(options, "direction", "must be `both` or `push`")),
    };
    let path = state_path(path).ok_or_else(|| {
        wrong(options, "path", "must be a folder beneath the repository, not `sysconf`, `glxc.toml` or `.git...`")
    })?;
    let mut own = options.clone();
    for key in ["handler", "path", "direction"] {
        own.take(key);
    }
    let settings = Settings { direction, ..Settings::new(name, path.clone(), own) };
    Ok(StateConfig { handler, path, settings, line })
}

/// Printable ASCII without what git, shells or case-insensitive file systems would read otherwise.
fn state_path(path: &str) -> Option<StatePath> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-');
    let path = StatePath::new(path.trim_end_matches('/')).ok().filter(|_| path.bytes().all(plain))?;
    let reserved = |part: &[u8]| part.starts_with(b"-") || part.to_ascii_lowercase().starts_with(b".git");
    let top = path.components().next().unwrap_or_default().to_ascii_lowercase();
    let taken = top == b"sysconf" || top == FILE.as_bytes();
    (!taken && !path.components().any(reserved)).then_some(path)
}

fn nest(a: &StatePath, b: &StatePath) -> bool {
    let lower =
        |path: &StatePath| StatePath::new(path.as_bytes().to_ascii_lowercase()).unwrap_or_else(|_| path.clone());
    let (a, b) = (lower(a), lower(b));
    a.is_within(&b) || b.is_within(&a)
}

/// Whether a text is a name of a state, a container or a remote: `[A-Za-z0-9][A-Za-z0-9_.-]{0,62}` without `..`.
pub fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    first && text.len() <= 63 && text.bytes().all(rest) && !text.contains("..")
}

fn is_word(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.bytes().next().is_some_and(letter)
        && text.len() <= 63
        && text.bytes().all(|b| letter(b) || matches!(b, b'.' | b'_' | b'-'))
}

fn wrong(table: &Options, key: &str, message: &str) -> ConfigError {
    let line = table.iter().find(|(k, _, _)| *k == key).and_then(|(_, _, line)| line);
    ConfigError { line, message: format!("`{key}`: {message}") }
}

impl From<glxc_handlers::Error> for ConfigError {
    fn from(error: glxc_handlers::Error) -> Self {
        match error {
            glxc_handlers::Error::Options { key, line, message } if !key.is_empty() => {
                ConfigError { line, message: format!("`{key}`: {message}") }
            }
            glxc_handlers::Error::Options { line, message, .. } => ConfigError { line, message },
            other => ConfigError { line: None, message: other.to_string() },
        }
    }
}

/// Where lines begin, to turn an offset into a line.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        Lines(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1).collect())
    }

    fn of(&self, offset: usize) -> u64 {
        self.0.partition_point(|begin| *begin <= offset) as u64 + 1
    }
}

fn convert_table(table: &DeTable<'_>, lines: &Lines) -> Result<Options, ConfigError> {
    let mut options = Options::new();
    for (key, value) in table {
        let line = lines.of(key.span().start);
        let value = convert(value.get_ref(), lines).map_err(|error| match error {
            Unusable::Below(error) => error,
            Unusable::Kind(kind) => ConfigError {
                line: Some(line),
                message: format!("`{}`: {kind} is of no use here", key.get_ref().escape_debug()),
            },
        })?;
        options.set(key.get_ref().as_ref(), value, Some(line));
    }
    Ok(options)
}

#[derive(Debug)]
enum Unusable {
    Kind(&'static str),
    Below(ConfigError),
}

fn convert(value: &DeValue<'_>, lines: &Lines) -> Result<Value, Unusable> {
    Ok(match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Value::Integer(parsed.map_err(|_| Unusable::Kind("a number of this size"))?)
        }
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| convert(item.get_ref(), lines)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Value::Table(convert_table(table, lines).map_err(Unusable::Below)?),
        DeValue::Float(_) => return Err(Unusable::Kind("a number with a fraction")),
        DeValue::Datetime(_) => return Err(Unusable::Kind("a date")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_text_is_settings_or_an_error(text in "([a-z.\\[\\]\"'= #0-9{},\n-]|container|state|path|é){0,60}") {
            if let Err(error) = Config::parse(&text) {
                assert!(error.line.is_none_or(|line| line >= 1 && line <= text.lines().count() as u64 + 1));
            }
        }
    }

    fn error(text: &str) -> String {
        Config::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn an_empty_file_is_a_debian_container() {
        let config = Config::parse("").unwrap();
        assert_eq!(config.container.template, "debian");
        assert!(config.states.is_empty() && config.url.is_none());
    }

    #[test]
    fn reads_the_documented_example() {
        let config = Config::parse(include_str!("../tests/data/documented.toml")).unwrap();
        assert_eq!(config.states.iter().map(StateConfig::name).collect::<Vec<_>>(), ["code", "shop", "uploads"]);
        assert_eq!(config.state("code").unwrap().settings.direction, Direction::Push);
        let tables = config.state("shop").unwrap().settings.options.reader().table("tables").unwrap().cloned();
        assert_eq!(tables.unwrap().iter().count(), 3);
        assert_eq!(config.url, Some(Url { port: 80, path: "/".into() }));
    }

    #[test]
    fn names_the_line_and_the_nearest_key() {
        assert_eq!(
            error("[container]\n\nmemroy = \"2G\"\n"),
            "glxc.toml:3: `memroy`: unknown key; did you mean `memory`?"
        );
        assert_eq!(error("[container]\nmemory = 2\n"), "glxc.toml:2: `memory`: must be a text, not a number");
        assert_eq!(error("[state.a]\npath = \"x\"\n"), "glxc.toml:1: `state.a` has no `handler`");
        assert!(error("[container\n").starts_with("glxc.toml:1: "));
    }

    #[test]
    fn refuses_values_that_could_reach_a_container_config() {
        for release in ["2G\\nlxc.hook.pre-start = /tmp/x", "/tmp/evil", "..", "-x", "A", ""] {
            let text = format!("[container]\nrelease = \"{release}\"\n");
            assert!(error(&text).starts_with("glxc.toml:2: `release`: must be of a-z"), "{release:?}");
        }
        for memory in ["2", "G", "-2G", "2T", "1.5G", "1K", "99999999999999999999G", "2Gé", ""] {
            let text = format!("[container]\nmemory = \"{memory}\"\n");
            assert!(error(&text).starts_with("glxc.toml:2: `memory`: "), "{memory:?}");
        }
        // The keeper takes no less.
        let memory = |text: &str| Config::parse(&format!("[container]\nmemory = \"{text}\"\n"));
        assert_eq!(memory("64M").unwrap().container.memory, Some(64 << 20));
        let least = "glxc.toml:2: `memory`: must be a size like `512M` or `2G`, at least 64M";
        assert_eq!(memory("63M").unwrap_err().to_string(), least);
        assert!(error("[url]\npath = \"/\\u001b[2J\"\n").starts_with("glxc.toml:2: `path`"));
    }

    #[test]
    fn paths_stay_apart() {
        let two = |a: &str, b: &str| {
            format!("[state.a]\nhandler=\"files\"\npath=\"{a}\"\n[state.b]\nhandler=\"files\"\npath=\"{b}\"\n")
        };
        for (a, b) in [("data", "data"), ("data", "data/x"), ("data/x", "data"), ("Data", "data/x")] {
            assert!(error(&two(a, b)).contains("nest or collide"), "{a} {b}");
        }
        assert!(Config::parse(&two("data/x", "data/xy")).is_ok());
        for bad in ["", "/", "/a", "..", "a/../b", "sysconf", "sysconf/x", "glxc.toml", ".git", "a/.gitx", "a b", "-a"]
        {
            let text = two(bad, "data");
            assert!(error(&text).starts_with("glxc.toml:3: `path`: "), "{bad:?}: {}", error(&text));
        }
    }

    #[test]
    fn names_are_plain() {
        for good in ["a", "demo", "a.b-c_d", "0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "-n", "a/b", "a b", "a\n", "é", "a..b", &"x".repeat(64)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}

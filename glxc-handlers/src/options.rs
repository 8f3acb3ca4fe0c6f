//! Options of a state, as they stand in `glxc.toml`, without any type of a TOML crate.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// A value of an option.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// A list.
    List(Vec<Value>),
    /// A table.
    Table(Options),
}

impl Value {
    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// A table of options, each with its line in the file.
#[derive(Clone, Debug, Default)]
pub struct Options(BTreeMap<String, (Value, Option<u64>)>);

/// Equal where the values are; lines do not count.
impl PartialEq for Options {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|((a, (v, _)), (b, (w, _)))| a == b && v == w)
    }
}

impl Options {
    /// No options.
    pub fn new() -> Self {
        Options::default()
    }

    /// Sets an option.
    pub fn set(&mut self, key: impl Into<String>, value: Value, line: Option<u64>) {
        self.0.insert(key.into(), (value, line));
    }

    /// The same, for building a table in one expression.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: Value) -> Self {
        self.set(key, value, None);
        self
    }

    /// Takes an option out.
    pub fn take(&mut self, key: &str) -> Option<(Value, Option<u64>)> {
        self.0.remove(key)
    }

    /// All options in the order of their names, with their lines.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value, Option<u64>)> {
        self.0.iter().map(|(key, (value, line))| (key.as_str(), value, *line))
    }

    /// Begins to read them; [`Reader::finish`] refuses what was not asked for.
    pub fn reader(&self) -> Reader<'_> {
        Reader { options: self, known: Vec::new() }
    }
}

/// Reads options by name and remembers the names, so that any other is an error with the nearest known one.
///
/// ```
/// use glxc_handlers::{Options, Value};
/// let options = Options::new().with("rooot", Value::Text("/srv".into()));
/// let mut reader = options.reader();
/// assert_eq!(reader.text("root").unwrap(), None);
/// assert_eq!(reader.finish().unwrap_err().to_string(), "`rooot`: unknown key; did you mean `root`?");
/// ```
#[derive(Debug)]
pub struct Reader<'a> {
    options: &'a Options,
    known: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    fn get(&mut self, key: &'static str) -> Option<(&'a Value, Option<u64>)> {
        self.known.push(key);
        self.options.0.get(key).map(|(value, line)| (value, *line))
    }

    fn typed<T>(
        &mut self, key: &'static str, kind: &str, take: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some((value, line)) = self.get(key) else { return Ok(None) };
        let wrong =
            || Error::Options { key: key.into(), line, message: format!("must be {kind}, not {}", value.kind()) };
        take(value).map(Some).ok_or_else(wrong)
    }

    /// A text.
    ///
    /// # Errors
    /// [`Error::Options`] where it is something else. The same holds for the other kinds.
    pub fn text(&mut self, key: &'static str) -> Result<Option<&'a str>> {
        self.typed(key, "a text", |v| if let Value::Text(t) = v { Some(t.as_str()) } else { None })
    }

    /// A number.
    ///
    /// # Errors
    /// See [`Reader::text`].
    pub fn integer(&mut self, key: &'static str) -> Result<Option<i64>> {
        self.typed(key, "a number", |v| if let Value::Integer(n) = v { Some(*n) } else { None })
    }

    /// True or false.
    ///
    /// # Errors
    /// See [`Reader::text`].
    pub fn boolean(&mut self, key: &'static str) -> Result<Option<bool>> {
        self.typed(key, "true or false", |v| if let Value::Boolean(b) = v { Some(*b) } else { None })
    }

    /// A table.
    ///
    /// # Errors
    /// See [`Reader::text`].
    pub fn table(&mut self, key: &'static str) -> Result<Option<&'a Options>> {
        self.typed(key, "a table", |v| if let Value::Table(t) = v { Some(t) } else { None })
    }

    /// A list of texts.
    ///
    /// # Errors
    /// See [`Reader::text`].
    pub fn texts(&mut self, key: &'static str) -> Result<Option<Vec<&'a str>>> {
        self.typed(key, "a list of texts", |v| {
            let Value::List(items) = v else { return None };
            items.iter().map(|item| if let Value::Text(t) = item { Some(t.as_str()) } else { None }).collect()
        })
    }

    /// Refuses every option that was not asked for.
    ///
    /// # Errors
    /// [`Error::Options`] with the line and the nearest known key.
    pub fn finish(self) -> Result<()> {
        let unknown = self.options.iter().find(|(key, _, _)| !self.known.contains(key));
        let Some((key, _, line)) = unknown else { return Ok(()) };
        let hint = match nearest(key, &self.known) {
            Some(known) => format!("; did you mean `{known}`?"),
            None => String::new(),
        };
        Err(Error::Options { key: key.into(), line, message: format!("unknown key{hint}") })
    }
}

/// The known name that is most like `name`, if one is like it at all (for "did you mean").
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|candidate| (distance(name, candidate), *candidate));
    scored.min().filter(|(d, candidate)| *d <= 1 + candidate.len().max(name.len()) / 3).map(|(_, c)| c)
}

/// The Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_kinds_name_the_line() {
        let mut options = Options::new();
        options.set("port", Value::Text("x".into()), Some(7));
        let error = options.reader().integer("port").unwrap_err();
        assert_eq!(error.to_string(), "glxc.toml:7: `port`: must be a number, not a text");
    }

    #[test]
    fn nothing_like_it_is_no_hint() {
        assert_eq!(nearest("memory", &["memroy", "cpus"]), Some("memroy"));
        assert_eq!(nearest("zzzzzz", &["memory", "cpus"]), None);
    }

    #[test]
    fn lines_do_not_count_for_equality() {
        let mut a = Options::new();
        let mut b = Options::new();
        a.set("x", Value::Integer(1), Some(1));
        b.set("x", Value::Integer(1), Some(2));
        assert_eq!(a, b);
        b.set("x", Value::Integer(2), Some(2));
        assert_ne!(a, b);
    }
}

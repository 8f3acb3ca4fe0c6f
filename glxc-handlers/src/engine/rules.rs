//! What a state says about tables: which of them, and what of them, is no part of it.

use crate::{Error, Options, Result, Value};

/// What a state says about a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Its definition only; its rows stay as they are.
    Schema,
    /// Neither read nor dropped.
    Ignore,
    /// Without these columns; their live values stay.
    Without(Vec<String>),
}

/// The rules for tables or collections: patterns of the names of tables (`schema.table` where there are schemas), in which `*` stands for anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules(Vec<(String, Rule)>);

impl Rules {
    /// The rules among the options of a state.
    #[cfg(any(feature = "postgresql", feature = "mysql"))]
    pub fn of(options: &Options) -> Result<Self> {
        Rules::read(options, "tables", true)
    }

    /// The rules for collections: what is in a document is not left out.
    #[cfg(feature = "mongodb")]
    pub fn of_collections(options: &Options) -> Result<Self> {
        Rules::read(options, "collections", false)
    }

    fn read(options: &Options, key: &'static str, has_columns: bool) -> Result<Self> {
        let Some(rules) = options.reader().table(key)? else { return Ok(Rules::default()) };
        rules
            .iter()
            .map(|(pattern, value, line)| {
                let wrong =
                    |message: &str| Error::Options { key: format!("{key}.{pattern}"), line, message: message.into() };
                Ok((pattern.into(), rule(value, has_columns, wrong)?))
            })
            .collect::<Result<_>>()
            .map(|mut rules: Vec<(String, Rule)>| {
                // A name before a pattern, a longer pattern before a shorter one.
                rules.sort_by_key(|(pattern, _)| (pattern.contains('*'), std::cmp::Reverse(pattern.len())));
                Rules(rules)
            })
    }

    /// The rule for a table. A name goes before a pattern, a longer pattern before a shorter one.
    pub fn rule(&self, table: &[&str]) -> Option<&Rule> {
        let name = table.join(".");
        self.0.iter().find(|(pattern, _)| matches(pattern, &name)).map(|(_, rule)| rule)
    }

    /// Whether the rows of a table are part of the state.
    pub fn has_rows(&self, table: &[&str]) -> bool {
        !matches!(self.rule(table), Some(Rule::Schema | Rule::Ignore))
    }

    /// Whether the table is left out altogether.
    pub fn ignores(&self, table: &[&str]) -> bool {
        matches!(self.rule(table), Some(Rule::Ignore))
    }

    /// What is left out of a table that is called so and has these columns, as a line.
    pub fn note(&self, table: &[&str], called: &str, has: impl Fn(&str) -> bool) -> Option<String> {
        match self.rule(table)? {
            Rule::Schema => Some(format!("{called}: its definition only")),
            Rule::Ignore => Some(format!("{called}: ignored")),
            Rule::Without(columns) => {
                let names: Vec<&str> = columns.iter().map(String::as_str).filter(|name| has(name)).collect();
                (!names.is_empty()).then(|| format!("{called}: without {}", names.join(", ")))
            }
        }
    }

    /// The columns that are left out.
    #[cfg(any(feature = "postgresql", feature = "mysql"))]
    pub fn without(&self, table: &[&str]) -> &[String] {
        match self.rule(table) {
            Some(Rule::Without(columns)) => columns,
            _ => &[],
        }
    }
}

fn rule(value: &Value, has_columns: bool, wrong: impl Fn(&str) -> Error) -> Result<Rule> {
    match value {
        Value::Text(text) if text == "schema" => Ok(Rule::Schema),
        Value::Text(text) if text == "ignore" => Ok(Rule::Ignore),
        Value::Table(table) if has_columns => {
            let mut reader = table.reader();
            let columns = reader.texts("ignore")?.ok_or_else(|| wrong("must name columns: { ignore = [\"name\"] }"))?;
            reader.finish()?;
            Ok(Rule::Without(columns.into_iter().map(String::from).collect()))
        }
        _ if has_columns => Err(wrong("must be \"schema\", \"ignore\" or { ignore = [\"column\"] }")),
        _ => Err(wrong("must be \"schema\" or \"ignore\"; a document is kept as a whole")),
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

    fn text(text: &str) -> Value {
        Value::Text(text.into())
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
        let rules = Rules::read(&Options::new().with("tables", Value::Table(rules)), "tables", true).unwrap();
        assert_eq!(rules.rule(&["public", "session"]), Some(&Rule::Without(vec!["x".into()])));
        assert_eq!(rules.rule(&["public", "session2"]), Some(&Rule::Schema));
        assert!(rules.ignores(&["public", "other"]) && !rules.has_rows(&["public", "session2"]));
        assert_eq!(rules.rule(&["shop", "x"]), None);
    }
}

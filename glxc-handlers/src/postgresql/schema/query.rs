//! Reading catalogs as text.

use std::str::FromStr;

use postgres::{GenericClient, SimpleQueryMessage, SimpleQueryRow};

use crate::{Error, Result};

/// Runs a query and gives its rows.
pub(crate) fn rows(client: &mut impl GenericClient, sql: &str) -> Result<Vec<Row>> {
    let messages = client.simple_query(sql).map_err(Error::engine("read the catalogs"))?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(Row(row)),
        _ => None,
    });
    Ok(rows.collect())
}

/// One row of a catalog.
pub(crate) struct Row(SimpleQueryRow);

impl Row {
    /// A value that may be NULL.
    pub(crate) fn opt(&self, name: &str) -> Result<Option<&str>> {
        self.0.try_get(name).map_err(Error::engine(format!("read column {name} of a catalog")))
    }

    /// A value that is never NULL.
    pub(crate) fn text(&self, name: &str) -> Result<&str> {
        self.opt(name)?.ok_or_else(|| unexpected(name, "NULL"))
    }

    /// A value that is never NULL, as a text of its own.
    pub(crate) fn string(&self, name: &str) -> Result<String> {
        Ok(self.text(name)?.to_owned())
    }

    /// A boolean.
    pub(crate) fn flag(&self, name: &str) -> Result<bool> {
        match self.text(name)? {
            "t" => Ok(true),
            "f" => Ok(false),
            other => Err(unexpected(name, other)),
        }
    }

    /// A number.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<T> {
        let text = self.text(name)?;
        text.parse().map_err(|_| unexpected(name, text))
    }

    /// A `"char"`; a space where it is empty.
    pub(crate) fn letter(&self, name: &str) -> Result<char> {
        Ok(self.text(name)?.chars().next().unwrap_or(' '))
    }
}

fn unexpected(name: &str, value: &str) -> Error {
    let message = format!("unexpected value {} of {name} in a catalog", value.escape_debug());
    Error::Engine { context: message, source: "this server's catalogs are not as documented".into() }
}

//! The first line of every part.

use std::collections::BTreeSet;

use super::{BadRow, excerpt, key};
use crate::bson;

/// The version of the format that this crate writes, and the newest that it reads.
pub const VERSION: u32 = 1;

const MAGIC: &str = "#glxc-rows ";

/// The longest first line, in bytes. It is held several times over, so it is not for a pushed file to choose.
pub(super) const LONGEST: u64 = 1 << 20;
/// As many columns as a table of any engine can have.
const MOST_COLUMNS: usize = 4096;
/// More columns than a key of any engine can have: each is looked for in every line.
const MOST_KEY_COLUMNS: usize = 64;

/// How the values of a key column are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Comparator {
    /// `n`: numbers by value, at any precision.
    Number,
    /// `b`: unescaped bytes.
    Bytes,
    /// `bson`: documents by their `_id`, as [`crate::bson`] reads them, in the order of BSON.
    Document,
}

impl Comparator {
    /// All of them, by what stands behind the number of a column.
    const ALL: [(&str, Comparator); 3] =
        [("bson", Comparator::Document), ("n", Comparator::Number), ("b", Comparator::Bytes)];

    fn word(self) -> &'static str {
        match self {
            Comparator::Number => "n",
            Comparator::Bytes => "b",
            Comparator::Document => "bson",
        }
    }
}

/// What the first line of a part says: the columns, and which of them are the key.
///
/// A table without a key is a *bag*: its whole lines are compared, and equal lines stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The names of the columns, in the order of the values in a line.
    pub columns: Vec<String>,
    /// The key: indexes of columns, in the order of the key, with their comparators.
    pub key: Vec<(usize, Comparator)>,
}

impl Header {
    /// The line, without a newline.
    ///
    /// ```
    /// use glxc_handlers::rows::{Comparator, Header};
    /// let header = Header { columns: vec!["id".into(), "name".into()], key: vec![(0, Comparator::Number)] };
    /// assert_eq!(header.to_line(), "#glxc-rows 1\tkey=1n\tid\tname");
    /// assert_eq!(Header::parse(header.to_line().as_bytes()).unwrap(), header);
    /// ```
    pub fn to_line(&self) -> String {
        let key = self.key.iter().map(|(column, how)| format!("{}{}", column + 1, how.word()));
        let key = match self.key.is_empty() {
            true => "bag".to_owned(),
            false => format!("key={}", key.collect::<Vec<_>>().join(",")),
        };
        let columns = self.columns.iter().map(|name| format!("\t{}", escape(name)));
        format!("{MAGIC}{VERSION}\t{key}{}", columns.collect::<String>())
    }

    /// Reads the line, without a newline. Only what [`Header::to_line`] writes is a header.
    ///
    /// # Errors
    /// [`BadRow`] where it is none, or one of a newer version.
    pub fn parse(line: &[u8]) -> Result<Self, BadRow> {
        let bad = |what: String| BadRow(format!("{what} in the first line"));
        let text = std::str::from_utf8(line).map_err(|_| bad("invalid UTF-8".into()))?;
        let rest = text.strip_prefix(MAGIC).ok_or_else(|| BadRow("not a row file: no `#glxc-rows` line".into()))?;
        let mut fields = rest.split('\t');
        check_version(fields.next().unwrap_or_default())?;
        let key = parse_key(fields.next().unwrap_or_default()).ok_or_else(|| bad("an invalid key".into()))?;
        let columns = fields.map(unescape).collect::<Option<Vec<_>>>();
        let columns = columns.ok_or_else(|| bad("an invalid column name".into()))?;
        let header = Header { columns, key };
        header.check().map_err(|what| bad(what.0))?;
        if header.to_line() != text {
            return Err(bad("another spelling than GLXC's".into()));
        }
        Ok(header)
    }

    /// Checks that the key names columns, each once, that no two columns have one name, and that there are not too many.
    ///
    /// # Errors
    /// [`BadRow`] with what is wrong.
    pub fn check(&self) -> Result<(), BadRow> {
        for (count, most, what) in
            [(self.columns.len(), MOST_COLUMNS, "columns"), (self.key.len(), MOST_KEY_COLUMNS, "columns of the key")]
        {
            if count > most {
                return Err(BadRow(format!("{count} {what}, of at most {most}")));
            }
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.columns.iter().find(|column| !seen.insert(*column)) {
            return Err(BadRow(format!("column `{}` twice", twice.escape_debug())));
        }
        for (at, (column, _)) in self.key.iter().enumerate() {
            if *column >= self.columns.len() || self.key[..at].iter().any(|(other, _)| other == column) {
                return Err(BadRow(format!("key column {} twice or not there", column + 1)));
            }
        }
        Ok(())
    }

    /// Appends the key of a line as bytes whose plain order is that of the key. Nothing where there is no key.
    ///
    /// # Errors
    /// [`BadRow`] where a value is not what its comparator compares, or the line has no such column.
    pub fn push_key(&self, line: &[u8], key: &mut Vec<u8>) -> Result<(), BadRow> {
        for (column, comparator) in &self.key {
            let field = line.split(|b| *b == b'\t').nth(*column);
            let field = field.ok_or_else(|| BadRow(format!("column {} is missing", column + 1)))?;
            let named = |bad: BadRow| BadRow(format!("column `{}`: {}", self.columns[*column].escape_debug(), bad.0));
            key::push(field, *comparator, key).map_err(named)?;
        }
        Ok(())
    }

    /// The key of a line for a message, as `id=17`; of a bag, the beginning of the line. Values are shortened.
    pub fn name_row(&self, line: &[u8]) -> String {
        let field = |column: usize| line.split(|b| *b == b'\t').nth(column).unwrap_or_default();
        match self.key.is_empty() {
            true => format!("row `{}`", excerpt(line)),
            false => {
                let named = self.key.iter().map(|(column, how)| match how {
                    Comparator::Document => format!("_id={}", excerpt(&bson::id_text(field(*column)))),
                    _ => format!("{}={}", self.columns[*column].escape_debug(), excerpt(field(*column))),
                });
                named.collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// Whether keys of both can be compared: the same columns by name, in the same order, compared alike.
    pub fn same_key(&self, other: &Header) -> bool {
        let named = |header: &Header| -> Vec<_> {
            header.key.iter().map(|(column, how)| (header.columns[*column].clone(), *how)).collect()
        };
        named(self) == named(other)
    }

    /// Checks everything about a line but its key.
    pub(super) fn check_line(&self, line: &[u8]) -> Result<(), BadRow> {
        if std::str::from_utf8(line).is_err() {
            return Err(BadRow("invalid UTF-8".into()));
        }
        if line.ends_with(b"\r") {
            return Err(BadRow("the line ends with a carriage return; row files have plain newlines".into()));
        }
        if let Some(byte) = line.iter().find(|b| matches!(b, 0 | b'\n')) {
            return Err(BadRow(format!("a raw byte {byte:02x}; it must be escaped")));
        }
        let tabs = line.iter().filter(|b| **b == b'\t').count();
        match self.columns.len() {
            0 if line.is_empty() => Ok(()),
            columns if columns > 0 && tabs + 1 == columns => Ok(()),
            _ if is_conflict(line) => Err(BadRow("an unresolved merge conflict".into())),
            columns => {
                let values = if line.is_empty() { 0 } else { tabs + 1 };
                Err(BadRow(format!("{values} values, but {columns} columns")))
            }
        }
    }
}

fn is_conflict(line: &[u8]) -> bool {
    [&b"<<<<<<<"[..], b"=======", b">>>>>>>", b"|||||||"].iter().any(|marker| line.starts_with(marker))
}

fn check_version(text: &str) -> Result<(), BadRow> {
    match text.parse::<u32>() {
        Ok(VERSION) => Ok(()),
        Ok(newer) if newer > VERSION => {
            Err(BadRow(format!("row file format {newer} is newer than this glxc; upgrade it")))
        }
        _ => Err(BadRow("no format version in the first line".into())),
    }
}

fn parse_key(text: &str) -> Option<Vec<(usize, Comparator)>> {
    if text == "bag" {
        return Some(Vec::new());
    }
    let column = |part: &str| {
        let named = |(word, comparator)| Some((part.strip_suffix(word)?, comparator));
        let (number, comparator) = Comparator::ALL.into_iter().find_map(named)?;
        Some((number.parse::<usize>().ok()?.checked_sub(1)?, comparator))
    };
    text.strip_prefix("key=")?.split(',').map(column).collect()
}

/// The letters behind a backslash, and what they stand for.
const ESCAPES: [(char, char); 7] =
    [('\\', '\\'), ('b', '\u{8}'), ('f', '\u{c}'), ('n', '\n'), ('r', '\r'), ('t', '\t'), ('v', '\u{b}')];

/// A text as a value in a line: `\\`, backspace, form feed, newline, carriage return, tab and vertical tab escaped.
pub fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        match ESCAPES.iter().find(|(_, plain)| *plain == c) {
            Some((letter, _)) => escaped.extend(['\\', *letter]),
            None => escaped.push(c),
        }
    }
    escaped
}

/// The text of a value that [`escape`] wrote; `None` for any other.
pub fn unescape(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        name.push(match c {
            '\\' => {
                let letter = chars.next()?;
                ESCAPES.iter().find(|(l, _)| *l == letter)?.1
            }
            c => c,
        });
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn says_what_is_wrong() {
        for (line, message) in [
            ("id\tname", "not a row file"),
            ("#glxc-rows 2\tkey=1n\tid", "newer than this glxc"),
            ("#glxc-rows x\tkey=1n\tid", "no format version"),
            ("#glxc-rows 1", "an invalid key"),
            ("#glxc-rows 1\tkey=\tid", "an invalid key"),
            ("#glxc-rows 1\tkey=0n\tid", "an invalid key"),
            ("#glxc-rows 1\tkey=1x\tid", "an invalid key"),
            ("#glxc-rows 1\tkey=2n\tid", "key column 2 twice or not there"),
            ("#glxc-rows 1\tkey=1n,1b\tid", "key column 1 twice or not there"),
            ("#glxc-rows 1\tbag\tid\tid", "column `id` twice"),
            ("#glxc-rows 1\tbag\ta\\x", "an invalid column name"),
            ("#glxc-rows 1\tkey=01n\tid", "another spelling"),
            ("#glxc-rows 01\tkey=1n\tid", "another spelling"),
        ] {
            let error = Header::parse(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(message), "{line:?}: {error}");
        }
    }

    #[test]
    fn names_rows_for_people() {
        let header = Header::parse(b"#glxc-rows 1\tkey=2b,1n\tid\tkind").unwrap();
        assert_eq!(header.name_row(b"17\tx\\ty"), "kind=x\\ty id=17");
        let bag = Header::parse(b"#glxc-rows 1\tbag\tid").unwrap();
        assert_eq!(bag.name_row("é".repeat(90).as_bytes()), format!("row `{}…`", "é".repeat(60)));
    }

    proptest! {
        #[test]
        fn any_names_come_back(
            columns in proptest::collection::btree_set("[a\\\\\t\n\rkey=1bn,é#]{0,6}", 0..6), key in any::<[bool; 6]>(),
        ) {
            let columns: Vec<String> = columns.into_iter().collect();
            let how = |column: usize| if column.is_multiple_of(2) { Comparator::Number } else { Comparator::Bytes };
            let key = (0..columns.len()).rev().filter(|c| key[*c]).map(|c| (c, how(c))).collect();
            let header = Header { columns, key };
            let line = header.to_line();
            prop_assert!(!line.contains('\n') && !line.contains('\r'));
            prop_assert_eq!(Header::parse(line.as_bytes()).unwrap(), header);
        }
    }
}

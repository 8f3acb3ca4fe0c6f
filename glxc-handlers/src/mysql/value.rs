//! Values of columns: how they are read, how they stand in row files, and how they are written.
//!
//! A value stands in a file in the text form of `LOAD DATA`, as the server prints it, with three exceptions, where what it
//! prints is less than what it holds. FLOAT and DOUBLE stand with all their digits, BIT as a number; and bytes that are no
//! text (BINARY, BLOB, GEOMETRY, VECTOR) stand in hexadecimal. Text whose bytes do not fit its character set, so that a conversion
//! would lose them, stands as `\x` and the bytes in hexadecimal; `\x` alone is the value of an ENUM that is none of its labels.

use super::session::Row;
use super::sql::ident;
use crate::rows::Comparator;
use crate::{Error, Result, engine};

/// How the values of a column are read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Integers, decimals and years.
    Number,
    /// FLOAT and DOUBLE, whose text may have fewer digits than the value.
    Float,
    /// BIT, whose text is no text.
    Bit,
    /// Dates, times and addresses: ASCII text.
    Plain,
    /// Bytes that are no text.
    Bytes,
    /// Text in a character set; of an ENUM, whose value may be none of its labels.
    Text { charset: String, label: bool },
    /// JSON of MySQL: the text of a parsed value. (That of MariaDB is text.)
    Json,
}

/// The types of JSON values that their text tells. Others of MySQL (dates, DECIMAL, BLOB) become another one by way of text.
const JSON_TYPES: &str = "'NULL', 'BOOLEAN', 'INTEGER', 'UNSIGNED INTEGER', 'DOUBLE', 'STRING', 'ARRAY', 'OBJECT'";

/// Whether a JSON value of MySQL has a part of a type that its text does not tell.
fn is_opaque(column: &str) -> String {
    let part = |path: &str| {
        format!(
            "EXISTS (SELECT 1 FROM JSON_TABLE({column}, '{path}' COLUMNS (part JSON PATH '$')) parts \
             WHERE JSON_TYPE(part) NOT IN ({JSON_TYPES}))"
        )
    };
    let whole = format!("IFNULL(JSON_TYPE({column}) NOT IN ({JSON_TYPES}), FALSE)");
    format!("({whole} OR {} OR {})", part("$**.*"), part("$**[*]"))
}

/// An expression as its bytes.
fn binary(expression: &str) -> String {
    format!("CAST({expression} AS BINARY)")
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    pub kind: Kind,
    /// It is computed by the server, and stands in no file.
    pub generated: bool,
    pub nullable: bool,
    /// It is left out of the files, since the settings of the state say so.
    pub left_out: bool,
}

/// What the server says of a column, as its kind; `None` for a type that this handler does not know.
pub(super) fn kind(data_type: &str, charset: &str) -> Option<Kind> {
    Some(match data_type {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year" => Kind::Number,
        "float" | "double" => Kind::Float,
        "bit" => Kind::Bit,
        "date" | "datetime" | "timestamp" | "time" | "uuid" | "inet4" | "inet6" => Kind::Plain,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Kind::Bytes,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
        | "geometrycollection" | "geomcollection" | "vector" => Kind::Bytes,
        "json" => Kind::Json,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set"
            if !charset.is_empty() =>
        {
            Kind::Text { charset: charset.into(), label: data_type == "enum" }
        }
        _ => return None,
    })
}

/// Room behind a value, so that what follows a large one does not double the statement.
const SLACK: usize = 4096;

/// Character sets whose bytes are those of UTF-8, as far as they are valid.
const UNICODE: [&str; 3] = ["utf8mb4", "utf8mb3", "ascii"];

impl Column {
    /// How files order its values.
    pub fn comparator(&self) -> Comparator {
        match self.kind {
            Kind::Number | Kind::Float | Kind::Bit => Comparator::Number,
            _ => Comparator::Bytes,
        }
    }

    /// Whether the server orders its values as files do.
    pub fn sorts_alike(&self) -> bool {
        self.kind == Kind::Number
    }

    /// What to select of it, as many expressions as [`Column::push`] takes.
    pub fn select(&self, alias: &str) -> Vec<String> {
        let column = format!("{alias}.{}", ident(&self.name));
        match &self.kind {
            Kind::Number | Kind::Plain | Kind::Bytes => vec![column],
            Kind::Float => vec![format!("{column} + 0e0")],
            Kind::Bit => vec![format!("{column} + 0")],
            Kind::Json => vec![is_opaque(&column), column],
            Kind::Text { charset, label } => {
                let mut all = Vec::new();
                if *label {
                    all.push(format!("{column} + 0"));
                }
                if !UNICODE.contains(&charset.as_str()) {
                    let text = format!("CONVERT({column} USING utf8mb4)");
                    all.push(format!(
                        "{} <=> {}",
                        binary(&format!("CONVERT({text} USING {charset})")),
                        binary(&column)
                    ));
                    all.push(text);
                }
                all.push(column);
                all
            }
        }
    }

    /// Appends a value to a line, from what was selected. `None` where its text would not be all of it.
    pub fn push(&self, values: &mut impl Iterator<Item = Option<Vec<u8>>>, line: &mut Vec<u8>) -> Option<()> {
        let mut next = || values.next().flatten();
        match &self.kind {
            Kind::Number | Kind::Float | Kind::Bit | Kind::Plain => push_text(next().as_deref(), line),
            Kind::Bytes => match next() {
                None => push_text(None, line),
                Some(bytes) => push_hex(&bytes, line),
            },
            Kind::Json => {
                (next().as_deref() == Some(b"0")).then_some(())?;
                push_text(next().as_deref(), line);
            }
            Kind::Text { charset, label } => {
                let is_none_of_the_labels = *label && next().as_deref() == Some(b"0");
                let unicode = UNICODE.contains(&charset.as_str());
                let converted = (!unicode).then(|| (next().as_deref() == Some(b"1"), next()));
                let raw = next();
                match (raw, converted) {
                    (None, _) => push_text(None, line),
                    (Some(_), _) if is_none_of_the_labels => line.extend(b"\\x"),
                    (Some(raw), None) if is_text(charset, &raw) => push_text(Some(&raw), line),
                    (Some(_), Some((true, Some(text)))) if std::str::from_utf8(&text).is_ok() => {
                        push_text(Some(&text), line);
                    }
                    (Some(raw), _) => {
                        line.extend(b"\\x");
                        push_hex(&raw, line);
                    }
                }
            }
        }
        Some(())
    }

    /// A value of a file in SQL. `None` where the server would not take it as exactly that value.
    pub fn literal(&self, field: &[u8]) -> Option<String> {
        let mut sql = String::new();
        self.push_literal(field, &mut sql)?;
        Some(sql)
    }

    /// The same, behind what is there: values may be large.
    pub fn push_literal(&self, field: &[u8], sql: &mut String) -> Option<()> {
        let text = std::str::from_utf8(field).ok()?;
        let mut push = |parts: &[&str]| {
            sql.reserve(parts.iter().map(|part| part.len()).sum::<usize>() + SLACK);
            parts.iter().for_each(|part| sql.push_str(part));
        };
        if text == "\\N" {
            push(&["NULL"]);
            return Some(());
        }
        match &self.kind {
            Kind::Number if is_number(text) => push(&[text]),
            Kind::Float => {
                let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
                (is_number(mantissa) && is_number(exponent)).then_some(())?;
                push(&[mantissa, "e", exponent]);
            }
            Kind::Bit if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => push(&[text]),
            Kind::Plain | Kind::Json => return push_quoted(text, sql),
            Kind::Bytes if is_hex(text) => push(&["x'", text, "'"]),
            Kind::Text { charset, label } => match text.strip_prefix("\\x") {
                None => return push_quoted(text, sql),
                Some("") if *label => push(&["0"]),
                Some("") => return None,
                Some(hex) if !is_hex(hex) => return None,
                Some(hex) if UNICODE.contains(&charset.as_str()) => push(&["x'", hex, "'"]),
                Some(hex) => push(&["CONVERT(x'", hex, "' USING ", charset, ")"]),
            },
            _ => return None,
        }
        Some(())
    }

    /// A value of a file that is to be handed over in pieces, where it is longer than one. `None` where the server would not
    /// take it as exactly that value, too.
    pub fn large<'a>(&'a self, field: &'a [u8], piece: usize) -> Option<Large<'a>> {
        if field.len() <= piece {
            return None;
        }
        let text = std::str::from_utf8(field).ok()?;
        match &self.kind {
            Kind::Bytes => is_hex(text).then_some(Large { rest: text, piece, hex: true, charset: None }),
            Kind::Json => is_escaped(text).then_some(Large { rest: text, piece, hex: false, charset: None }),
            Kind::Text { charset, .. } => match text.strip_prefix("\\x") {
                None => is_escaped(text).then_some(Large { rest: text, piece, hex: false, charset: None }),
                Some(rest) => {
                    let charset = Some(charset.as_str()).filter(|charset| !UNICODE.contains(charset));
                    is_hex(rest).then_some(Large { rest, piece, hex: true, charset })
                }
            },
            _ => None,
        }
    }

    /// The condition that it has exactly the value of a file: what stands before that, and behind.
    pub fn is(&self, field: &[u8]) -> (String, String) {
        let column = ident(&self.name);
        let behind = |behind: &str| String::from(behind);
        match &self.kind {
            Kind::Number | Kind::Plain => (format!("{column} <=> "), behind("")),
            Kind::Float => (format!("{column} + 0e0 <=> "), behind("")),
            Kind::Bit => (format!("{column} + 0 <=> "), behind("")),
            Kind::Bytes => (format!("{} <=> ", binary(&column)), behind("")),
            Kind::Text { .. } if self.is_no_label(field) => (format!("{column} + 0 <=> "), behind("")),
            Kind::Text { .. } if field.starts_with(b"\\x") || field == b"\\N" => {
                (format!("{} <=> CAST(", binary(&column)), behind(" AS BINARY)"))
            }
            Kind::Text { charset, .. } => {
                (format!("{} <=> CAST(CONVERT(", binary(&column)), format!(" USING {charset}) AS BINARY)"))
            }
            Kind::Json => {
                let text = binary(&format!("CONVERT({column} USING utf8mb4)"));
                (format!("NOT {} AND {text} <=> CAST(", is_opaque(&column)), behind(" AS BINARY)"))
            }
        }
    }

    /// Whether the value of a file is that of an ENUM which is none of its labels. Strict mode does not take it.
    pub fn is_no_label(&self, field: &[u8]) -> bool {
        matches!(self.kind, Kind::Text { label: true, .. }) && field == b"\\x"
    }
}

/// A large value of a file: an iterator over constants, which follow one another in it.
#[derive(Debug)]
pub(super) struct Large<'a> {
    rest: &'a str,
    piece: usize,
    hex: bool,
    charset: Option<&'a str>,
}

impl Large<'_> {
    /// What stands for the value in SQL, where a variable holds all its pieces.
    pub fn expression(&self, variable: &str) -> String {
        self.charset.map_or(variable.into(), |charset| format!("CONVERT({variable} USING {charset})"))
    }
}

impl Iterator for Large<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut end = (self.piece & !1).min(self.rest.len());
        while !self.rest.is_char_boundary(end) {
            end -= 1;
        }
        // Not within an escape, which takes two bytes.
        let slashes = self.rest[..end].bytes().rev().take_while(|byte| *byte == b'\\').count();
        let (piece, rest) = self.rest.split_at(end - slashes % 2);
        self.rest = rest;
        if piece.is_empty() {
            return None;
        }
        let mut sql = String::new();
        match self.hex {
            true => sql.extend(["x'", piece, "'"]),
            false => push_quoted(piece, &mut sql)?,
        }
        Some(sql)
    }
}

/// The line of a row, from what was selected of its columns.
pub(super) fn line(columns: &[&Column], row: Row) -> Result<Vec<u8>> {
    let mut line = Vec::with_capacity(row.iter().flatten().map(Vec::len).sum::<usize>() + columns.len());
    let mut values = row.into_iter();
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            line.push(b'\t');
        }
        column.push(&mut values, &mut line).ok_or_else(|| {
            let before: String = String::from_utf8_lossy(&line).chars().take(60).collect();
            let (name, before) = (column.name.escape_debug(), before.escape_debug());
            let what = format!(
                "the JSON value of the column {name} in the row `{before}...`: a part of it is of a type that its text does not \
                 tell (a date or a DECIMAL, say)"
            );
            Error::Unsupported { what }
        })?;
    }
    Ok(line)
}

/// Whether bytes of a column are text in its character set, and come back as such.
fn is_text(charset: &str, bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match charset {
        "ascii" => text.is_ascii(),
        "utf8mb3" => text.chars().all(|c| c <= '\u{ffff}'),
        _ => true,
    }
}

/// The bytes behind a backslash, and what they stand for.
const ESCAPES: [(u8, u8); 7] =
    [(b'\\', b'\\'), (b'0', 0), (b'b', 8), (b'n', b'\n'), (b'r', b'\r'), (b't', b'\t'), (b'Z', 0x1a)];

fn push_text(value: Option<&[u8]>, line: &mut Vec<u8>) {
    let Some(value) = value else { return line.extend(b"\\N") };
    for byte in value {
        match ESCAPES.iter().find(|(_, plain)| plain == byte) {
            Some((letter, _)) => line.extend([b'\\', *letter]),
            None => line.push(*byte),
        }
    }
}

/// A text as a value in a line.
pub(super) fn escape(text: &str) -> String {
    let mut line = Vec::with_capacity(text.len());
    push_text(Some(text.as_bytes()), &mut line);
    String::from_utf8_lossy(&line).into_owned()
}

/// The text of a value, where it is not NULL and holds only escapes that [`escape`] gives.
pub(super) fn unescape(value: &[u8]) -> Option<String> {
    engine::unescape(value, &ESCAPES)
}

/// A text as a constant. What is escaped in a file is escaped in SQL alike. `None` for any other escape.
fn push_quoted(text: &str, sql: &mut String) -> Option<()> {
    is_escaped(text).then_some(())?;
    sql.reserve(text.len() + SLACK);
    sql.push('\'');
    for (at, part) in text.split('\'').enumerate() {
        if at > 0 {
            sql.push_str("''");
        }
        sql.push_str(part);
    }
    sql.push('\'');
    Some(())
}

/// Whether a text has only escapes that are known.
fn is_escaped(text: &str) -> bool {
    let mut letters = text.bytes();
    while let Some(byte) = letters.next() {
        if byte == b'\\' && !letters.next().is_some_and(|letter| ESCAPES.iter().any(|(known, _)| *known == letter)) {
            return false;
        }
    }
    true
}

fn push_hex(bytes: &[u8], line: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    line.reserve(bytes.len() * 2);
    for byte in bytes {
        line.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
}

/// Digits with a sign before and a point within.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    [whole, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(data_type: &str, charset: &str) -> Column {
        Column {
            name: "c".into(),
            kind: kind(data_type, charset).unwrap(),
            generated: false,
            nullable: true,
            left_out: false,
        }
    }

    fn field(column: &Column, values: &[Option<&[u8]>]) -> String {
        let mut line = Vec::new();
        column.push(&mut values.iter().map(|value| value.map(<[u8]>::to_vec)), &mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn what_is_no_text_stands_in_hexadecimal() {
        let (ascii, latin, label) = (column("text", "ascii"), column("text", "latin1"), column("enum", "utf8mb4"));
        assert_eq!(field(&column("blob", ""), &[Some(b"a\xff")]), "61FF");
        assert_eq!(field(&ascii, &[Some(b"a\\")]), "a\\\\");
        assert_eq!(field(&ascii, &[Some(b"\xe9")]), "\\xE9");
        assert_eq!(field(&latin, &[Some(b"1"), Some("é".as_bytes()), Some(b"\xe9")]), "é");
        assert_eq!(field(&latin, &[Some(b"0"), Some(b"?"), Some(b"\xe9")]), "\\xE9");
        assert_eq!(field(&column("text", "utf8mb3"), &[Some("😀".as_bytes())]), "\\xF09F9880");
        assert_eq!(field(&label, &[Some(b"0"), Some(b"")]), "\\x");
        assert_eq!(field(&label, &[Some(b"1"), Some(b"")]), "");
        assert_eq!(field(&label, &[None, None]), "\\N");
    }

    #[test]
    fn a_value_that_the_server_would_change_is_none() {
        let no = |data_type: &str, charset: &str, value: &str| {
            assert_eq!(column(data_type, charset).literal(value.as_bytes()), None, "{data_type} {value}");
        };
        for value in ["", "1 ", "0x1", "1e3", "1-1", "a", ".5", "--1", "1); --"] {
            no("int", "", value);
        }
        for value in ["", "e", "1e", "1e1.", "nan", "1e1e1"] {
            no("double", "", value);
        }
        for value in ["F", "ff", "0G", "\\xFF"] {
            no("blob", "", value);
        }
        for value in ["\\x", "\\xF", "\\q", "\\"] {
            no("text", "utf8mb4", value);
        }
        assert_eq!(column("double", "").literal(b"0.1").as_deref(), Some("0.1e0"));
        assert_eq!(column("text", "latin1").literal(b"\\xE9").as_deref(), Some("CONVERT(x'E9' USING latin1)"));
    }

    proptest! {
        #[test]
        fn pieces_are_the_whole(text in "[a\\\\é😀\t']{0,40}", piece in 4_usize..9) {
            let (column, field) = (column("text", "utf8mb4"), escape(&text));
            let Some(large) = column.large(field.as_bytes(), piece) else {
                prop_assert!(field.len() <= piece);
                return Ok(());
            };
            let pieces: Vec<String> = large.collect();
            prop_assert!(pieces.iter().all(|sql| sql.len() <= 2 + 2 * piece));
            let inner: String = pieces.iter().map(|sql| &sql[1..sql.len() - 1]).collect();
            prop_assert_eq!(format!("'{inner}'"), column.literal(field.as_bytes()).unwrap());
        }

        #[test]
        fn values_come_back(text in "[a\\\\\\PC\t\n\r\u{8}\0\u{1a}]{0,12}") {
            let escaped = escape(&text);
            prop_assert!(!escaped.contains(['\t', '\n', '\r', '\0']));
            prop_assert_eq!(unescape(escaped.as_bytes()), Some(text));
        }
    }
}

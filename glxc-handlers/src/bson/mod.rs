//! Documents as lines of text: BSON as canonical Extended JSON, byte for byte, and its order.
//!
//! A document that has an exact text is one line of Extended JSON (version 2, canonical), its fields in stored order. One that has
//! none (a name twice, text that is not UTF-8, a field named like a type) is `base64:` and its bytes in base64. So every document has
//! one line, and every such line gives its document back.
//!
//! ```
//! use glxc_handlers::bson;
//! let document = b"\x11\0\0\0\x10_id\0\x07\0\0\0\x0ae\0\0";
//! let line = bson::to_line(document)?;
//! assert_eq!(line, br#"{"_id":{"$numberInt":"7"},"e":null}"#);
//! assert_eq!(bson::from_line(&line)?, document);
//! # Ok::<(), bson::BadDocument>(())
//! ```

pub(crate) mod base64;
#[cfg(feature = "mongodb")]
mod build;
mod decimal;
mod key;
mod parse;
mod text;

#[cfg(feature = "mongodb")]
pub(crate) use build::Builder;
pub(crate) use key::push_id;

/// What stands before the base64 of a document that has no exact text.
const MARK: &[u8] = b"base64:";

/// Deeper documents have no text; servers take 100 levels.
const DEEPEST: usize = 250;

/// A line that is no document, or bytes that are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadDocument(String);

type Result<T = ()> = std::result::Result<T, BadDocument>;

fn bad<T>(what: impl Into<String>) -> Result<T> {
    Err(BadDocument(what.into()))
}

/// The kinds of values, as BSON numbers them.
mod kind {
    pub const DOUBLE: u8 = 0x01;
    pub const TEXT: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const ARRAY: u8 = 0x04;
    pub const BINARY: u8 = 0x05;
    pub const UNDEFINED: u8 = 0x06;
    pub const OBJECT_ID: u8 = 0x07;
    pub const BOOLEAN: u8 = 0x08;
    pub const DATE: u8 = 0x09;
    pub const NULL: u8 = 0x0a;
    pub const REGEX: u8 = 0x0b;
    pub const DB_POINTER: u8 = 0x0c;
    pub const CODE: u8 = 0x0d;
    pub const SYMBOL: u8 = 0x0e;
    pub const SCOPED_CODE: u8 = 0x0f;
    pub const INT32: u8 = 0x10;
    pub const TIMESTAMP: u8 = 0x11;
    pub const INT64: u8 = 0x12;
    pub const DECIMAL: u8 = 0x13;
    pub const MAX_KEY: u8 = 0x7f;
    pub const MIN_KEY: u8 = 0xff;
}

/// The line of a document, without a newline. The same document gives the same line.
///
/// # Errors
/// [`BadDocument`] where the bytes are no BSON.
pub fn to_line(document: &[u8]) -> Result<Vec<u8>> {
    check(document)?;
    let mut line = Vec::with_capacity(document.len() * 2);
    // What text can not say shows when it is read again.
    if text::push(document, &mut line).is_some() && from_line(&line).is_ok_and(|back| back == document) {
        return Ok(line);
    }
    line.clear();
    line.extend_from_slice(MARK);
    base64::encode(document, &mut line);
    Ok(line)
}

/// The document of a line. Besides the lines that [`to_line`] writes it takes spaces between the words and plain numbers: whole
/// ones are an `int32` where they fit, else an `int64`, others are a `double`.
///
/// # Errors
/// [`BadDocument`] where the line is no document, with the byte where it ends to be one.
pub fn from_line(line: &[u8]) -> Result<Vec<u8>> {
    match line.strip_prefix(MARK) {
        None => parse::document(line),
        Some(text) => {
            let document = base64::decode(text).ok_or_else(|| BadDocument("not base64".into()))?;
            check(&document)?;
            Ok(document)
        }
    }
}

/// A field of a document or an array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'b> {
    pub kind: u8,
    pub name: &'b [u8],
    pub value: &'b [u8],
}

#[cfg(feature = "mongodb")]
impl<'b> Element<'b> {
    /// A text.
    pub fn text(&self) -> Option<&'b str> {
        let text = std::str::from_utf8(text_of(self.value)).ok();
        text.filter(|_| self.kind == kind::TEXT)
    }

    /// A whole number, of whatever type.
    pub fn number(&self) -> Option<i64> {
        Some(match self.kind {
            kind::INT32 => i32::from_le_bytes(self.value.try_into().ok()?).into(),
            kind::INT64 => i64::from_le_bytes(self.value.try_into().ok()?),
            kind::DOUBLE => f64::from_le_bytes(self.value.try_into().ok()?) as i64,
            kind::BOOLEAN => self.value[0].into(),
            _ => return None,
        })
    }

    /// A document or an array.
    pub fn document(&self) -> Option<&'b [u8]> {
        matches!(self.kind, kind::DOCUMENT | kind::ARRAY).then_some(self.value)
    }
}

/// The first field of a name.
#[cfg(feature = "mongodb")]
pub(crate) fn field<'b>(document: &'b [u8], name: &str) -> Option<Element<'b>> {
    elements(document).ok()?.map_while(Result::ok).find(|element| element.name == name.as_bytes())
}

/// The key of a document: that of its `_id`.
#[cfg(feature = "mongodb")]
pub(crate) fn key_of(document: &[u8]) -> Result<Vec<u8>> {
    let mut key = Vec::new();
    push_id(id(document)?, &mut key)?;
    Ok(key)
}

/// The fields of a document, in their order.
pub(crate) fn elements(document: &[u8]) -> Result<Elements<'_>> {
    match (int32(document), document) {
        (Some(length), [_, _, _, _, rest @ .., 0]) if length == document.len() => Ok(Elements { rest }),
        _ => bad("not BSON: a document of another length than it says"),
    }
}

/// See [`elements`].
#[derive(Clone, Debug)]
pub(crate) struct Elements<'b> {
    rest: &'b [u8],
}

impl<'b> Elements<'b> {
    fn take(&mut self) -> Option<Element<'b>> {
        let (&kind, rest) = self.rest.split_first()?;
        let name = &rest[..rest.iter().position(|byte| *byte == 0)?];
        let rest = &rest[name.len() + 1..];
        let value = rest.get(..length(kind, rest)?)?;
        self.rest = &rest[value.len()..];
        Some(Element { kind, name, value })
    }
}

impl<'b> Iterator for Elements<'b> {
    type Item = Result<Element<'b>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let element = self.take();
        if element.is_none() {
            self.rest = &[];
        }
        Some(element.ok_or_else(|| BadDocument("not BSON: a value that is cut off, or of an unknown type".into())))
    }
}

/// How many of these bytes are a value.
fn length(kind: u8, bytes: &[u8]) -> Option<usize> {
    let text = |bytes: &[u8]| {
        let length = int32(bytes)?.checked_add(4)?;
        (length > 4 && bytes.get(length - 1) == Some(&0)).then_some(length)
    };
    let name = |bytes: &[u8]| bytes.iter().position(|byte| *byte == 0).map(|at| at + 1);
    Some(match kind {
        kind::UNDEFINED | kind::NULL | kind::MIN_KEY | kind::MAX_KEY => 0,
        kind::BOOLEAN => 1,
        kind::INT32 => 4,
        kind::DOUBLE | kind::DATE | kind::TIMESTAMP | kind::INT64 => 8,
        kind::OBJECT_ID => 12,
        kind::DECIMAL => 16,
        kind::TEXT | kind::CODE | kind::SYMBOL => text(bytes)?,
        kind::DB_POINTER => text(bytes)? + 12,
        kind::DOCUMENT | kind::ARRAY | kind::SCOPED_CODE => int32(bytes)?,
        kind::BINARY => int32(bytes)?.checked_add(5)?,
        kind::REGEX => {
            let pattern = name(bytes)?;
            pattern + name(&bytes[pattern..])?
        }
        _ => return None,
    })
}

/// The bytes of a text with its length before and a zero behind.
fn text_of(value: &[u8]) -> &[u8] {
    value.get(4..value.len().saturating_sub(1)).unwrap_or_default()
}

/// The code of a value with a scope, and the scope.
fn scoped(value: &[u8]) -> Result<(&[u8], &[u8])> {
    let inner = value.get(4..).unwrap_or_default();
    match length(kind::CODE, inner).filter(|length| int32(value) == Some(value.len()) && *length <= inner.len()) {
        Some(length) => Ok((text_of(&inner[..length]), &inner[length..])),
        None => bad("not BSON: code with a scope that is cut off"),
    }
}

fn int32(bytes: &[u8]) -> Option<usize> {
    usize::try_from(i32::from_le_bytes(bytes.get(..4)?.try_into().ok()?)).ok()
}

/// Whether bytes are a document, at any depth.
fn check(document: &[u8]) -> Result {
    let mut open = vec![document];
    while let Some(document) = open.pop() {
        for element in elements(document)? {
            let Element { kind, value, .. } = element?;
            match kind {
                kind::DOCUMENT | kind::ARRAY => open.push(value),
                kind::SCOPED_CODE => open.push(scoped(value)?.1),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The text of the `_id` of a line, for a message; of what has none, the line.
pub(crate) fn id_text(line: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let pushed = from_line(line).ok().and_then(|document| text::push_value(id(&document).ok()?, DEEPEST, &mut text));
    if pushed.is_some() { text } else { line.to_vec() }
}

/// The `_id` of a document, which servers keep as its first field.
pub(crate) fn id(document: &[u8]) -> Result<Element<'_>> {
    match elements(document)?.next().transpose()? {
        Some(element) if element.name == b"_id" => Ok(element),
        _ => bad("its first field must be `_id`"),
    }
}

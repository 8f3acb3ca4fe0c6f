//! Keys as rows, and rows as keys.

use std::collections::{BTreeMap, BTreeSet};

use glxc_handlers::rows::{self, Comparator, Header, Limits, Reader, Writer, escape, unescape};
use glxc_handlers::{Cx, Error, Mode, Result, Sink, StatePath, Tree};

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    String(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Zset(BTreeMap<Vec<u8>, f64>),
}

/// A key's value, and its end in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub value: Value,
    pub expires: Option<i64>,
}

/// Keys by name.
pub type Items = BTreeMap<Vec<u8>, Item>;

fn path(text: &str) -> Result<StatePath> {
    StatePath::new(text).map_err(Error::carrier("name a file"))
}

fn header() -> Header {
    let columns = ["key", "kind", "part", "value"].map(String::from).to_vec();
    Header { columns, key: (0..3).map(|column| (column, Comparator::Bytes)).collect() }
}

/// Bytes as text that shows what can be shown. Each text comes from one row of bytes only.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c == '%' || glxc_handlers::text::is_unsafe(c) {
                true => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text += &format!("%{byte:02x}")),
                false => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| text += &format!("%{byte:02x}"));
    }
    text
}

/// The bytes, where it is the text that [`encode`] gives.
fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = after;
            }
            byte => bytes.push(*byte),
        }
    }
    (encode(&bytes) == text).then_some(bytes)
}

/// Writes keys as files.
pub fn write(items: &Items, sink: &mut dyn Sink) -> Result<()> {
    sink.put(&path(".gitattributes")?, rows::gitattributes().as_bytes())?;
    let mut lines: Vec<[String; 4]> = Vec::new();
    for (key, item) in items {
        let mut line = |kind: &str, part: String, value: String| {
            lines.push([encode(key), kind.into(), part, value].map(|text| escape(&text).to_string()));
        };
        match &item.value {
            Value::String(value) => line("string", String::new(), encode(value)),
            Value::Hash(fields) => fields.iter().for_each(|(field, value)| line("hash", encode(field), encode(value))),
            Value::List(elements) => {
                elements.iter().enumerate().for_each(|(place, e)| line("list", format!("{place:010}"), encode(e)));
            }
            Value::Set(members) => members.iter().for_each(|member| line("set", encode(member), String::new())),
            Value::Zset(members) => {
                members.iter().for_each(|(member, score)| line("zset", encode(member), score.to_string()));
            }
        }
        if let Some(expires) = item.expires {
            line("expires", String::new(), expires.to_string());
        }
    }
    // The order of the encoded and unescaped texts, which is that of the format.
    lines.sort_by_cached_key(|line| line[..3].iter().map(|text| unescape(text)).collect::<Vec<_>>());
    let mut writer = Writer::new(sink, path("keys")?, &header(), Limits::default())?;
    lines.iter().try_for_each(|line| writer.line(line.join("\t").as_bytes()))?;
    writer.finish().map(drop)
}

/// Reads and checks files.
pub fn read(tree: &dyn Tree, cx: &Cx<'_>) -> Result<Items> {
    let (attributes, folder) = (path(".gitattributes")?, path("keys")?);
    let unexpected = |path: &StatePath| *path != attributes && !path.is_within(&folder);
    if let Some(entry) = tree.entries().iter().find(|e| unexpected(&e.path) || e.mode != Mode::File) {
        return Err(Error::input(&entry.path, None, "not expected in this state"));
    }
    let (found, _) = rows::check(tree, &folder, Limits::default(), cx)?;
    if found != header() {
        let first = tree.within(&folder).first().map_or(&folder, |entry| &entry.path);
        return Err(Error::input(first, 1, "other columns than key, kind, part and value"));
    }
    let mut rows = Vec::new();
    let mut reader = Reader::new(tree, &folder, Limits::default())?;
    while let Some(line) = reader.next()? {
        let wrong = |message: String| Error::input(line.file, line.number, message);
        let row = Row::read(line.bytes).map_err(&wrong)?;
        rows.push((row, line.file.clone(), line.number));
    }
    // However a person ordered them: the elements of a list in their order, the end of a key behind what it holds.
    rows.sort_by(|(a, ..), (b, ..)| {
        (&a.key, a.kind == "expires", &a.part).cmp(&(&b.key, b.kind == "expires", &b.part))
    });
    let mut items = Items::new();
    for (row, file, line) in rows {
        row.add_to(&mut items).map_err(|message| Error::input(&file, line, message))?;
    }
    Ok(items)
}

struct Row {
    key: Vec<u8>,
    kind: String,
    part: String,
    value: String,
}

impl Row {
    fn read(line: &[u8]) -> Result<Row, String> {
        let line = std::str::from_utf8(line).map_err(|_| "is not UTF-8")?;
        let values = line.split('\t').map(|value| unescape(value).ok_or("an unknown escape, or NULL"));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let [key, kind, part, value] = <[String; 4]>::try_from(values).map_err(|_| "not four columns")?;
        let key = bytes(&key)?;
        Ok(Row { key, kind, part, value })
    }

    fn add_to(self, items: &mut Items) -> Result<(), String> {
        let (kind, part, value) = (self.kind.as_str(), self.part.as_str(), self.value.as_str());
        if matches!(kind, "string" | "expires") && !part.is_empty() || kind == "set" && !value.is_empty() {
            return Err(format!("a column that a {kind} does not have"));
        }
        if kind == "expires" {
            let expires = value.parse().ok().filter(|time| *time > 0 && value == format!("{time}"));
            let expires = Some(expires.ok_or("not a time in milliseconds")?);
            items.get_mut(&self.key).ok_or("a key that ends and holds nothing")?.expires = expires;
            return Ok(());
        }
        let empty = match kind {
            "string" => Value::String(Vec::new()),
            "hash" => Value::Hash(BTreeMap::new()),
            "list" => Value::List(Vec::new()),
            "set" => Value::Set(BTreeSet::new()),
            "zset" => Value::Zset(BTreeMap::new()),
            _ => return Err(format!("unknown kind `{}`", kind.escape_debug())),
        };
        let item = items.entry(self.key).or_insert(Item { value: empty, expires: None });
        match (&mut item.value, kind) {
            (Value::String(there), "string") => *there = bytes(value)?,
            (Value::Hash(fields), "hash") => drop(fields.insert(bytes(part)?, bytes(value)?)),
            (Value::List(elements), "list") if part == format!("{:010}", elements.len()) => {
                elements.push(bytes(value)?)
            }
            (Value::List(elements), "list") => return Err(format!("not the place {:010}", elements.len())),
            (Value::Set(members), "set") => drop(members.insert(bytes(part)?)),
            (Value::Zset(members), "zset") => {
                let score = value.parse::<f64>().ok().filter(|score| !score.is_nan()).ok_or("not a score")?;
                members.insert(bytes(part)?, score);
            }
            _ => return Err("a key of two kinds".into()),
        }
        Ok(())
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    decode(text).ok_or_else(|| "write `%xx` for `%` and for what can not be shown, and for nothing else".into())
}

/// A name for people.
pub fn shown(key: &[u8]) -> String {
    encode(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back_and_no_text_stands_for_the_same() {
        for bytes in [&b""[..], b"a b", b"%", b"\0\xff\xc3", "\u{e9}\u{202e}\n\t\\".as_bytes()] {
            assert_eq!(decode(&encode(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(encode(b"50%\x00\xff\n"), "50%25%00%ff%0a");
        for other in ["%41", "%", "%4", "%FF", "%zz", "\n"] {
            assert_eq!(decode(other), None, "{other}");
        }
    }
}

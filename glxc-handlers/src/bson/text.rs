//! BSON to canonical Extended JSON.

use std::io::Write;

use super::{DEEPEST, Element, base64, decimal, elements, kind, scoped, text_of};

/// Appends the text of a document. `None` where it has none; that a text which is there says all is for its reader to find.
pub(super) fn push(document: &[u8], out: &mut Vec<u8>) -> Option<()> {
    push_document(document, DEEPEST, out)
}

fn push_document(document: &[u8], depth: usize, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'{');
    for (number, element) in elements(document).ok()?.enumerate() {
        let element = element.ok()?;
        out.extend_from_slice(if number > 0 { b"," } else { b"" });
        push_text(element.name, out)?;
        out.push(b':');
        push_value(element, depth.checked_sub(1)?, out)?;
    }
    out.push(b'}');
    Some(())
}

fn push_array(array: &[u8], depth: usize, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'[');
    for (number, element) in elements(array).ok()?.enumerate() {
        out.extend_from_slice(if number > 0 { b"," } else { b"" });
        push_value(element.ok()?, depth.checked_sub(1)?, out)?;
    }
    out.push(b']');
    Some(())
}

/// Appends the text of a value, whatever its name is.
pub(super) fn push_value(element: Element<'_>, depth: usize, out: &mut Vec<u8>) -> Option<()> {
    let value = element.value;
    match element.kind {
        kind::DOUBLE => wrap(out, "numberDouble", &double(f64::from_le_bytes(value.try_into().ok()?))),
        kind::TEXT => push_text(text_of(value), out)?,
        kind::DOCUMENT => push_document(value, depth, out)?,
        kind::ARRAY => push_array(value, depth, out)?,
        kind::BINARY => push_binary(value, out)?,
        kind::UNDEFINED => out.extend_from_slice(br#"{"$undefined":true}"#),
        kind::OBJECT_ID => wrap(out, "oid", &hex(value)),
        kind::BOOLEAN => out.extend_from_slice(if value == [0] { b"false" } else { b"true" }),
        kind::DATE => {
            out.extend_from_slice(br#"{"$date":"#);
            wrap(out, "numberLong", &int64(value)?.to_string());
            out.push(b'}');
        }
        kind::NULL => out.extend_from_slice(b"null"),
        kind::REGEX => {
            let mut parts = value.split(|byte| *byte == 0);
            out.extend_from_slice(br#"{"$regularExpression":{"pattern":"#);
            push_text(parts.next()?, out)?;
            out.extend_from_slice(br#","options":"#);
            push_text(parts.next()?, out)?;
            out.extend_from_slice(b"}}");
        }
        kind::DB_POINTER => {
            let (name, id) = value.split_at_checked(value.len().checked_sub(12)?)?;
            out.extend_from_slice(br#"{"$dbPointer":{"$ref":"#);
            push_text(text_of(name), out)?;
            out.extend_from_slice(br#","$id":"#);
            wrap(out, "oid", &hex(id));
            out.extend_from_slice(b"}}");
        }
        kind::CODE => push_named(out, "code", text_of(value))?,
        kind::SYMBOL => push_named(out, "symbol", text_of(value))?,
        kind::SCOPED_CODE => {
            let (code, scope) = scoped(value).ok()?;
            out.extend_from_slice(br#"{"$code":"#);
            push_text(code, out)?;
            out.extend_from_slice(br#","$scope":"#);
            push_document(scope, depth, out)?;
            out.push(b'}');
        }
        kind::INT32 => wrap(out, "numberInt", &i32::from_le_bytes(value.try_into().ok()?).to_string()),
        kind::TIMESTAMP => {
            let bits = u64::from_le_bytes(value.try_into().ok()?);
            let (time, increment) = (bits >> 32, bits as u32);
            write!(out, r#"{{"$timestamp":{{"t":{time},"i":{increment}}}}}"#).ok()?;
        }
        kind::INT64 => wrap(out, "numberLong", &int64(value)?.to_string()),
        kind::DECIMAL => wrap(out, "numberDecimal", &decimal::to_text(value.try_into().ok()?)?),
        kind::MIN_KEY => out.extend_from_slice(br#"{"$minKey":1}"#),
        kind::MAX_KEY => out.extend_from_slice(br#"{"$maxKey":1}"#),
        _ => return None,
    }
    Some(())
}

/// Appends a value whose text needs no escape, in the wrapper of its type.
fn wrap(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend_from_slice(format!(r#"{{"${name}":"{text}"}}"#).as_bytes());
}

fn push_named(out: &mut Vec<u8>, name: &str, text: &[u8]) -> Option<()> {
    out.extend_from_slice(format!(r#"{{"${name}":"#).as_bytes());
    push_text(text, out)?;
    out.push(b'}');
    Some(())
}

/// The old binary has a length of its own inside, which the text leaves out.
fn push_binary(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let subtype = *value.get(4)?;
    let bytes = value.get(if subtype == 2 { 9 } else { 5 }..)?;
    out.extend_from_slice(br#"{"$binary":{"base64":""#);
    base64::encode(bytes, out);
    write!(out, r#"","subType":"{subtype:02x}"}}}}"#).ok()
}

fn push_text(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    std::str::from_utf8(text).ok()?;
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0..0x20 => write!(out, "\\u{byte:04x}").ok()?,
            byte => out.push(byte),
        }
    }
    out.push(b'"');
    Some(())
}

/// The shortest text of this number, with a point or an exponent.
fn double(number: f64) -> String {
    match number {
        number if number.is_nan() => "NaN".into(),
        number if number.is_infinite() => if number > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        number => format!("{number:?}"),
    }
}

fn int64(value: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(value.try_into().ok()?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! The order of values: keys whose plain order is that of BSON under the simple collation.

use super::{Element, Result, bad, decimal, elements, kind, scoped, text_of};
use crate::rows::push_number;

/// Behind the last field; before every other class.
const END: u8 = 0;
/// Before every number.
const NOT_A_NUMBER: u8 = 0;

/// No `_id` is nested deeper; servers take 100 levels.
const DEEPEST: usize = 250;

/// Appends the key of an `_id`.
pub(crate) fn push_id(id: Element<'_>, key: &mut Vec<u8>) -> Result {
    if matches!(id.kind, kind::ARRAY | kind::REGEX | kind::UNDEFINED) {
        return bad("its `_id` is an array, a regular expression or undefined");
    }
    push(id, DEEPEST, key)
}

/// What is compared first, as the server orders types.
fn class(kind: u8) -> u8 {
    match kind {
        kind::MIN_KEY => 1,
        kind::UNDEFINED => 2,
        kind::NULL => 3,
        kind::DOUBLE | kind::INT32 | kind::INT64 | kind::DECIMAL => 4,
        kind::TEXT | kind::SYMBOL => 5,
        kind::DOCUMENT => 6,
        kind::ARRAY => 7,
        kind::BINARY => 8,
        kind::OBJECT_ID => 9,
        kind::BOOLEAN => 10,
        kind::DATE => 11,
        kind::TIMESTAMP => 12,
        kind::REGEX => 13,
        kind::DB_POINTER => 14,
        kind::CODE => 15,
        kind::SCOPED_CODE => 16,
        _ => 17,
    }
}

fn push(element: Element<'_>, depth: usize, key: &mut Vec<u8>) -> Result {
    key.push(class(element.kind));
    push_value(element, depth, key)
}

fn push_value(element: Element<'_>, depth: usize, key: &mut Vec<u8>) -> Result {
    let value = element.value;
    let reversed = || value.iter().rev().copied();
    match element.kind {
        kind::DOUBLE | kind::INT32 | kind::INT64 | kind::DECIMAL => return push_any_number(element, key),
        kind::TEXT | kind::SYMBOL | kind::CODE => push_text(text_of(value), key),
        kind::DOCUMENT | kind::ARRAY => return push_fields(value, depth, key),
        kind::BINARY => {
            key.extend(value[..4].iter().rev());
            key.extend_from_slice(&value[4..]);
        }
        kind::DATE => {
            let start = key.len();
            key.extend(reversed());
            key[start] ^= 0x80;
        }
        kind::TIMESTAMP => key.extend(reversed()),
        kind::DB_POINTER => {
            key.extend_from_slice(&(value.len() as u32).to_be_bytes());
            key.extend_from_slice(value);
        }
        kind::SCOPED_CODE => {
            let (code, scope) = scoped(value)?;
            push_text(code, key);
            return push_fields(scope, depth, key);
        }
        // These are compared as they stand: a regular expression is two texts, each with a zero behind it.
        _ => key.extend_from_slice(value),
    }
    Ok(())
}

/// Field by field: the types, the names, the values.
fn push_fields(document: &[u8], depth: usize, key: &mut Vec<u8>) -> Result {
    let Some(depth) = depth.checked_sub(1) else { return bad("its `_id` is nested too deep") };
    for element in elements(document)? {
        let element = element?;
        key.push(class(element.kind));
        key.extend_from_slice(element.name);
        key.push(0);
        push_value(element, depth, key)?;
    }
    key.push(END);
    Ok(())
}

/// A longer text is behind the one that it begins with, whatever follows.
fn push_text(text: &[u8], key: &mut Vec<u8>) {
    for &byte in text {
        key.push(byte);
        if byte == 0 {
            key.push(0xff);
        }
    }
    key.extend([0, 0]);
}

/// Numbers of all types by their exact value.
fn push_any_number(element: Element<'_>, key: &mut Vec<u8>) -> Result {
    let value = element.value;
    let eight = || value.try_into().map(u64::from_le_bytes).unwrap_or_default();
    let text = match element.kind {
        kind::INT32 => value.try_into().map(i32::from_le_bytes).unwrap_or_default().to_string(),
        kind::INT64 => eight().cast_signed().to_string(),
        // All digits of a double: there are 767 at most.
        kind::DOUBLE => match f64::from_bits(eight()) {
            number if number.is_finite() => format!("{number:.766e}"),
            number => number.to_string(),
        },
        _ => match value.try_into().ok().and_then(decimal::to_text) {
            Some(text) => text,
            None => odd_decimal(value),
        },
    };
    match text.as_str() {
        "NaN" => key.push(NOT_A_NUMBER),
        text if push_number(text.as_bytes(), key).is_some() => {}
        _ => return bad("its `_id` holds a number that can not be compared"),
    }
    Ok(())
}

/// What a decimal without a text of its own is: a NaN, an infinity, or a zero whose coefficient is too large.
fn odd_decimal(value: &[u8]) -> String {
    match value.last().copied().unwrap_or_default() {
        top if top & 0x7c == 0x7c => "NaN".into(),
        top if top & 0x7c == 0x78 => if top & 0x80 == 0 { "Infinity" } else { "-Infinity" }.into(),
        _ => "0".into(),
    }
}

//! Keys of rows as bytes whose plain order is the order of the rows.

use super::{BadRow, Comparator};
use crate::bson;

const INFINITY_BELOW: u8 = 1;
const NEGATIVE: u8 = 2;
const ZERO: u8 = 3;
const POSITIVE: u8 = 4;
const INFINITY_ABOVE: u8 = 5;
const NAN: u8 = 6;
/// After every value, as PostgreSQL sorts it.
const NULL: u8 = 0xff;
/// Before the bytes of a `b` value, to keep it apart from NULL.
const BYTES: u8 = 1;

/// No engine writes an exponent near it; a bound keeps the arithmetic exact.
const LARGEST_EXPONENT: i64 = 1_000_000_000;

/// Appends the key of one field.
pub(super) fn push(field: &[u8], comparator: Comparator, key: &mut Vec<u8>) -> Result<(), BadRow> {
    if field == b"\\N" && comparator != Comparator::Document {
        key.push(NULL);
        return Ok(());
    }
    match comparator {
        Comparator::Bytes => push_bytes(field, key),
        Comparator::Number => {
            push_number(field, key).ok_or_else(|| BadRow(format!("not a number: `{}`", super::excerpt(field))))?;
        }
        Comparator::Document => {
            let pushed = bson::from_line(field).and_then(|document| bson::push_id(bson::id(&document)?, key));
            pushed.map_err(|bad| BadRow(bad.to_string()))?;
        }
    }
    Ok(())
}

/// The unescaped bytes, each zero byte followed by `ff`, and two zero bytes as the end.
fn push_bytes(field: &[u8], key: &mut Vec<u8>) {
    key.push(BYTES);
    let mut rest = field.iter();
    while let Some(&byte) = rest.next() {
        let byte = if byte == b'\\' { rest.next().map_or(b'\\', |c| unescaped(*c)) } else { byte };
        key.push(byte);
        if byte == 0 {
            key.push(0xff);
        }
    }
    key.extend([0, 0]);
}

/// The byte that stands behind a backslash and `c`, in COPY text and in LOAD DATA text.
fn unescaped(c: u8) -> u8 {
    match c {
        b'0' => 0,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'Z' => 0x1a,
        other => other,
    }
}

/// A class, then for finite numbers `0.DIGITS * 10^EXPONENT`: the exponent with its sign bit flipped, the digits plus one,
/// and a zero byte; all complemented where the number is negative.
pub(crate) fn push_number(text: &[u8], key: &mut Vec<u8>) -> Option<()> {
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let is = |word: &str| unsigned.eq_ignore_ascii_case(word.as_bytes());
    if is("infinity") || is("inf") {
        key.push(if negative { INFINITY_BELOW } else { INFINITY_ABOVE });
        return Some(());
    }
    if is("nan") && unsigned.len() == text.len() {
        key.push(NAN);
        return Some(());
    }
    push_finite(negative, unsigned, key)
}

fn push_finite(negative: bool, text: &[u8], key: &mut Vec<u8>) -> Option<()> {
    let end = text.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(text.len());
    let (mantissa, exponent) = (&text[..end], exponent(text.get(end + 1..))?);
    let point = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
    let (whole, fraction) = (&mantissa[..point], mantissa.get(point + 1..).unwrap_or_default());
    let digits = || whole.iter().chain(fraction);
    if whole.is_empty() && fraction.is_empty() || !digits().all(u8::is_ascii_digit) {
        return None;
    }
    let Some(first) = digits().position(|d| *d != b'0') else {
        key.push(ZERO);
        return Some(());
    };
    let in_fraction = fraction.iter().rposition(|d| *d != b'0').map(|at| at + whole.len());
    let last = in_fraction.or_else(|| whole.iter().rposition(|d| *d != b'0')).unwrap_or(first);
    let exponent = exponent + whole.len() as i64 - first as i64;
    key.push(if negative { NEGATIVE } else { POSITIVE });
    let start = key.len();
    key.extend((exponent as u64 ^ 1 << 63).to_be_bytes());
    key.extend(digits().take(last + 1).skip(first).map(|d| d - b'0' + 1));
    key.push(0);
    if negative {
        key[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    Some(())
}

/// The number behind the `e`; zero where there is no `e`.
fn exponent(text: Option<&[u8]>) -> Option<i64> {
    let Some(text) = text else { return Some(0) };
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let value = if text[0] == b'-' { -value } else { value };
    (-LARGEST_EXPONENT..=LARGEST_EXPONENT).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    fn key(field: &str, comparator: Comparator) -> Vec<u8> {
        let mut key = Vec::new();
        push(field.as_bytes(), comparator, &mut key).unwrap();
        key
    }

    #[test]
    fn numbers_in_their_order() {
        let rising = [
            "-Infinity",
            "-1e400",
            "-12.5",
            "-12",
            "-1",
            "-0.5",
            "-1e-400",
            "0",
            "1e-400",
            "0.05",
            "0.5",
            "1",
            "1.00001",
            "9",
            "10",
            "12345678901234567890123",
            "1e400",
            "inf",
            "NaN",
            "\\N",
        ];
        for pair in rising.windows(2) {
            assert!(key(pair[0], Comparator::Number) < key(pair[1], Comparator::Number), "{pair:?}");
        }
    }

    #[test]
    fn equal_numbers_are_equal_keys() {
        for (a, b) in [("1", "1.00"), ("-0", "0"), ("+1e2", "100"), ("0.001", "1E-3"), (".5", "0.50"), ("5.", "5")] {
            assert_eq!(key(a, Comparator::Number), key(b, Comparator::Number), "{a} {b}");
        }
    }

    #[test]
    fn refuses_what_is_no_number() {
        for bad in
            ["", "-", ".", "e5", "1e", "1e+", "1 ", "0x1", "1.2.3", "--1", "-nan", "1e99999999999", "infinit", "\\N "]
        {
            assert!(push(bad.as_bytes(), Comparator::Number, &mut Vec::new()).is_err(), "{bad:?}");
        }
    }

    /// Schoolbook compare of `digits * 10^exponent`, by padding both to one exponent.
    fn model(a: (bool, &str, i32), b: (bool, &str, i32)) -> Ordering {
        let lowest = a.2.min(b.2);
        let magnitude = |(_, digits, exponent): (bool, &str, i32)| {
            let padded = format!("{digits}{}", "0".repeat((exponent - lowest) as usize));
            format!("{:0>80}", padded)
        };
        let (x, y) = (magnitude(a), magnitude(b));
        let zero = |text: &str| text.bytes().all(|d| d == b'0');
        let sign = |negative: bool, text: &str| {
            if zero(text) {
                0
            } else if negative {
                -1
            } else {
                1
            }
        };
        let (s, t) = (sign(a.0, &x), sign(b.0, &y));
        s.cmp(&t).then_with(|| if s < 0 { y.cmp(&x) } else { x.cmp(&y) })
    }

    fn spelled((negative, digits, exponent): (bool, &str, i32), point: usize) -> String {
        let at = point.min(digits.len());
        let shifted = exponent + (digits.len() - at) as i32;
        format!("{}{}.{}e{shifted}", if negative { "-" } else { "" }, &digits[..at], &digits[at..])
    }

    proptest! {
        #[test]
        fn numbers_as_the_model(
            a in (any::<bool>(), "[0-9]{1,12}", -20..20i32), b in (any::<bool>(), "[0-9]{1,12}", -20..20i32),
            p in 0..12usize, q in 0..12usize, same in any::<bool>(),
        ) {
            let b = if same { (b.0, a.1.clone(), a.2 + 1) } else { b };
            let (a, b) = ((a.0, a.1.as_str(), a.2), (b.0, b.1.as_str(), b.2));
            let (x, y) = (key(&spelled(a, p), Comparator::Number), key(&spelled(b, q), Comparator::Number));
            prop_assert_eq!(x.cmp(&y), model(a, b));
        }

        #[test]
        fn bytes_as_unescaped(a in "[a\\t\\\\\0bN]{0,5}", b in "[a\\t\\\\\0bN]{0,5}", c in "[ab]{0,3}", d in "[ab]{0,3}") {
            let escaped = |text: &str| text.replace('\\', "\\\\").replace('\t', "\\t").replace('\0', "\\0");
            let both = |x: &str, y: &str| [key(&escaped(x), Comparator::Bytes), key(&escaped(y), Comparator::Bytes)].concat();
            prop_assert_eq!(both(&a, &c).cmp(&both(&b, &d)), (a.as_bytes(), c.as_bytes()).cmp(&(b.as_bytes(), d.as_bytes())));
            prop_assert!(both(&a, &c) < [key(&escaped(&a), Comparator::Bytes), key("\\N", Comparator::Bytes)].concat());
        }
    }
}

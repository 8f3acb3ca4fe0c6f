//! Documents as lines of text, and back.
#![allow(missing_docs, dead_code, clippy::print_stdout, clippy::print_stderr)]

use std::cmp::Ordering;

use glxc_handlers::bson::{from_line, to_line};
use glxc_handlers::rows::{Comparator, Header};
use proptest::prelude::*;

mod common;
use common::battery::{Builder, battery, ids};

fn text(document: &[u8]) -> String {
    String::from_utf8(to_line(document).unwrap()).unwrap()
}

fn key(line: &[u8]) -> Vec<u8> {
    let (header, mut key) = (header(), Vec::new());
    header.push_key(line, &mut key).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)));
    key
}

fn header() -> Header {
    Header { columns: vec!["document".into()], key: vec![(0, Comparator::Document)] }
}

#[test]
fn every_value_comes_back_to_the_byte() {
    let battery = battery();
    assert_eq!(battery.len(), 54);
    let mut exact = 0;
    for (number, (name, document)) in battery.iter().enumerate() {
        let line = to_line(document).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(from_line(&line).unwrap() == *document, "{name}");
        assert!(!line.contains(&b'\t') && !line.contains(&b'\n') && !line.ends_with(b"\r"), "{name}");
        assert!(std::str::from_utf8(&line).is_ok_and(|text| !text.contains('\0')), "{name}");
        // The documents are numbered, which is their order.
        assert!(number == 0 || key(&to_line(&battery[number - 1].1).unwrap()) < key(&line), "{name}");
        exact += usize::from(line.starts_with(b"{"));
    }
    assert_eq!(exact, 49, "the others have no exact text");
}

#[test]
fn texts_are_canonical() {
    let value = |name: &str| {
        let found = battery().into_iter().find(|(other, _)| *other == name);
        let line = text(&found.unwrap_or_else(|| panic!("no {name}")).1);
        line.split_once(r#","v":"#).map_or(line.clone(), |(_, rest)| rest.strip_suffix('}').unwrap().to_owned())
    };
    for (name, wanted) in [
        ("double", r#"{"$numberDouble":"2.75"}"#),
        ("double whole", r#"{"$numberDouble":"1.0"}"#),
        ("double -0", r#"{"$numberDouble":"-0.0"}"#),
        ("double nan", r#"{"$numberDouble":"NaN"}"#),
        ("double -inf", r#"{"$numberDouble":"-Infinity"}"#),
        ("text with zero", r#""a\u0000b""#),
        ("text escapes", r#""\"\\/\b\f\n\r\t\u001b\u001f\u007f""#.replace("\\u007f", "\u{7f}").as_str()),
        ("binary 00", r#"{"$binary":{"base64":"AAEC/w==","subType":"00"}}"#),
        ("binary 02", r#"{"$binary":{"base64":"AAEC/w==","subType":"02"}}"#),
        ("binary 80", r#"{"$binary":{"base64":"AAEC/w==","subType":"80"}}"#),
        ("object id", r#"{"$oid":"000102030405060708090aff"}"#),
        ("date before 1970", r#"{"$date":{"$numberLong":"-1"}}"#),
        ("date far", r#"{"$date":{"$numberLong":"9223372036854775807"}}"#),
        ("regex", r#"{"$regularExpression":{"pattern":"^a/\"","options":"im"}}"#),
        ("pointer", r#"{"$dbPointer":{"$ref":"db.c","$id":{"$oid":"000102030405060708090aff"}}}"#),
        ("code", r#"{"$code":"f()"}"#),
        ("symbol", r#"{"$symbol":"s"}"#),
        ("code with scope", r#"{"$code":"f()","$scope":{"a":{"$numberInt":"1"}}}"#),
        ("int32", r#"{"$numberInt":"-2147483648"}"#),
        ("timestamp", r#"{"$timestamp":{"t":4294967295,"i":7}}"#),
        ("int64", r#"{"$numberLong":"-9223372036854775808"}"#),
        ("decimal", r#"{"$numberDecimal":"1.50"}"#),
        ("undefined", r#"{"$undefined":true}"#),
        ("min key", r#"{"$minKey":1}"#),
        ("max key", r#"{"$maxKey":1}"#),
        ("arrays", r#"[[],[[null]],{"$numberInt":"1"}]"#),
    ] {
        assert_eq!(value(name), wanted, "{name}");
    }
    for name in ["duplicate names", "named like a type", "text not UTF-8", "nan payload", "array with other keys"] {
        assert!(value(name).starts_with("base64:"), "{name}");
    }
}

#[test]
fn what_a_person_writes_is_read() {
    let document = |line: &str| text(&from_line(line.as_bytes()).unwrap());
    assert_eq!(
        document(r#" { "_id" : 1 , "a" : [ 1.5 , 3000000000 , -1e3 , true ] , "b" : { } } "#),
        r#"{"_id":{"$numberInt":"1"},"a":[{"$numberDouble":"1.5"},{"$numberLong":"3000000000"},{"$numberDouble":"-1000.0"},true],"b":{}}"#
    );
    assert_eq!(document(r#"{"_id":"\ud83d\ude00\u00e9\/"}"#), "{\"_id\":\"😀é/\"}");
    for (line, words) in [
        ("", "no value at byte 1"),
        ("1", "not an object"),
        ("{", "no `\"` at byte 2"),
        (r#"{"a":1"#, "no `}` at byte 7"),
        (r#"{"a":1}{"#, "more than one object at byte 8"),
        (r#"{"a":tru}"#, "no value at byte 6"),
        (r#"{"a":99999999999999999999}"#, "is no number that fits at byte 6"),
        (r#"{"a":1e999}"#, "is no number that fits"),
        (r#"{"a":"x"#, "a text without an end"),
        ("{\"a\":\"\t\"}", "a control character"),
        (r#"{"a":"\x"}"#, "an unknown escape"),
        (r#"{"a":"\ud83d"}"#, "half a character"),
        (r#"{"a":"\udc00"}"#, "half a character"),
        (r#"{"a\u0000":1}"#, "a name with a zero"),
        (r#"{"a":1,"b":2,"a":3}"#, "a name that is there twice before at byte 19"),
        (r#"{"a":{"$oid":"00"}}"#, "`$oid` at byte 7: not 24 hex digits"),
        (r#"{"a":{"$oid":"000102030405060708090aff00"}}"#, "not 24 hex digits"),
        (r#"{"a":{"$numberInt":"2147483648"}}"#, "not a number of 32 bits"),
        (r#"{"a":{"$numberInt":"01"}}"#, "not a number of 32 bits"),
        (r#"{"a":{"$numberInt":"1","b":1}}"#, "no `}`"),
        (r#"{"a":{"$numberDouble":"1e999"}}"#, "not a number"),
        (r#"{"a":{"$numberDouble":"inf"}}"#, "not a number"),
        (r#"{"a":{"$date":"2020-01-01"}}"#, "`$date` at byte 7: no `{`"),
        (r#"{"a":{"$uuid":"x"}}"#, "write it as `$binary`"),
        (r#"{"a":{"$scope":{}}}"#, "not as Extended JSON has it"),
        (r#"{"a":{"$binary":{"base64":"QQ","subType":"00"}}}"#, "not base64"),
        (r#"{"a":{"$binary":{"base64":"QQ==","subType":"0"}}}"#, "not two hex digits"),
        (r#"{"a":{"$undefined":false}}"#, "not as Extended JSON has it"),
        (r#"{"a":{"$timestamp":{"t":4294967296,"i":0}}}"#, "`t` is no number of 32 bits"),
        (r#"{"a":{"$regularExpression":{"pattern":"\u0000","options":""}}}"#, "a zero in it"),
        ("base64:QQ", "not base64"),
        ("base64:QUJD", "not BSON"),
    ] {
        let error = from_line(line.as_bytes()).expect_err(line).to_string();
        assert!(error.contains(words), "{line}: {error}");
    }
    let deep = format!("{}{}", r#"{"a":"#.repeat(100_000), "1");
    assert!(from_line(deep.as_bytes()).unwrap_err().to_string().contains("nested too deep"));
}

#[test]
fn depth_is_no_bound_for_a_document() {
    for depth in [100, 249, 300, 100_000] {
        let mut document = Builder::new().int32("a", 1).done();
        for _ in 0..depth {
            document = Builder::new().document("a", &document).done();
            if depth > 1000 && document.len() > 200_000 {
                break;
            }
        }
        let line = to_line(&document).unwrap();
        assert_eq!(line.starts_with(b"base64:"), depth >= 250, "{depth}");
        assert!(from_line(&line).unwrap() == document);
    }
}

#[test]
fn ids_have_the_order_of_bson() {
    let ids = ids();
    assert!(ids.len() >= 40);
    for pair in ids.windows(2) {
        let [one, other] = [0, 1].map(|at: usize| to_line(&pair[at]).unwrap());
        assert_eq!(
            key(&one).cmp(&key(&other)),
            Ordering::Less,
            "{:?}",
            pair.iter().map(|d| text(d)).collect::<Vec<_>>()
        );
    }
    // Numbers of one value are one key, whatever their type.
    let number = |builder: Builder| key(&to_line(&builder.done()).unwrap());
    let one = number(Builder::new().int32("_id", 1));
    assert_eq!(one, number(Builder::new().int64("_id", 1)));
    assert_eq!(one, number(Builder::new().double("_id", 1.0)));
    assert_eq!(number(Builder::new().double("_id", 0.0)), number(Builder::new().double("_id", -0.0)));
    assert_eq!(number(Builder::new().text("_id", "a")), number(Builder::new().value("_id", 0x0e, b"\x02\0\0\0a\0")));
}

#[test]
fn a_row_needs_an_id() {
    for (line, words) in [
        (r#"{"a":1}"#, "its first field must be `_id`"),
        (r#"{"a":1,"_id":2}"#, "its first field must be `_id`"),
        (r#"{}"#, "its first field must be `_id`"),
        (r#"{"_id":[1]}"#, "an array, a regular expression or undefined"),
        (r#"{"_id":{"$undefined":true}}"#, "an array, a regular expression or undefined"),
        ("\\N", "no value"),
    ] {
        let error = header().push_key(line.as_bytes(), &mut Vec::new()).unwrap_err().to_string();
        assert!(error.starts_with("column `document`: ") && error.contains(words), "{line}: {error}");
    }
    assert_eq!(header().name_row(br#"{"_id":{"$numberInt":"7"},"a":1}"#), r#"_id={"$numberInt":"7"}"#);
    assert_eq!(header().to_line(), "#glxc-rows 1\tkey=1bson\tdocument");
    assert_eq!(Header::parse(b"#glxc-rows 1\tkey=1bson\tdocument").unwrap(), header());
}

/// A value of any type, at any depth.
fn value() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let text =
        |kind: u8| move |text: Vec<u8>| (kind, [&(text.len() as i32 + 1).to_le_bytes()[..], &text, &[0]].concat());
    let name = || prop::collection::vec(1u8.., 0..5);
    let texts = prop_oneof![any::<String>().prop_map(String::into_bytes), any::<Vec<u8>>()];
    let leaf = prop_oneof![
        any::<u64>().prop_map(|bits| (0x01, bits.to_le_bytes().to_vec())),
        (texts, prop::sample::select(vec![0x02u8, 0x0d, 0x0e])).prop_map(move |(bytes, kind)| text(kind)(bytes)),
        (any::<Vec<u8>>(), any::<u8>()).prop_map(|(bytes, subtype)| (
            0x05,
            [&(bytes.len() as i32).to_le_bytes()[..], &[subtype], &bytes].concat()
        )),
        prop::sample::select(vec![0x06u8, 0x0a, 0x7f, 0xff]).prop_map(|kind| (kind, Vec::new())),
        any::<[u8; 12]>().prop_map(|id| (0x07, id.to_vec())),
        any::<u8>().prop_map(|byte| (0x08, vec![byte])),
        (any::<i64>(), prop::sample::select(vec![0x09u8, 0x11, 0x12]))
            .prop_map(|(number, kind)| (kind, number.to_le_bytes().to_vec())),
        (name(), name()).prop_map(|(a, b)| (0x0b, [&a[..], &[0], &b, &[0]].concat())),
        any::<i32>().prop_map(|number| (0x10, number.to_le_bytes().to_vec())),
        any::<[u8; 16]>().prop_map(|bits| (0x13, bits.to_vec())),
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        let names = prop_oneof![
            "[a-c.]{0,2}|\\$(oid|date|code|numberInt|ref)",
            prop::collection::vec(1u8.., 0..3).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        ];
        let fields = prop::collection::vec((names, inner), 0..5);
        (fields, prop::sample::select(vec![3u8, 4, 4])).prop_map(|(fields, kind)| {
            let numbered = |(number, (name, value)): (usize, (String, _))| {
                (if kind == 4 && name != "." { number.to_string() } else { name }, value)
            };
            (kind, document(fields.into_iter().enumerate().map(numbered).collect()))
        })
    })
}

fn document(fields: Vec<(String, (u8, Vec<u8>))>) -> Vec<u8> {
    let mut builder = Builder::new();
    for (name, (kind, value)) in fields {
        builder = builder.value(&name.replace('\0', ""), kind, &value);
    }
    builder.done()
}

proptest! {
    #[test]
    fn any_document_comes_back(fields in prop::collection::vec(("[a-z$]{0,3}", value()), 0..6)) {
        let document = document(fields);
        let line = to_line(&document).unwrap();
        prop_assert!(!line.contains(&b'\t') && !line.contains(&b'\n') && !line.contains(&0));
        prop_assert!(std::str::from_utf8(&line).is_ok());
        prop_assert_eq!(from_line(&line).unwrap(), document);
    }

    #[test]
    fn no_bytes_are_a_panic(bytes in any::<Vec<u8>>(), text in "[\\{\\}\\[\\]\":,$a-z0-9\\\\ .-]{0,40}") {
        if let Ok(line) = to_line(&bytes) {
            prop_assert_eq!(from_line(&line).unwrap(), bytes);
        }
        if let Ok(document) = from_line(text.as_bytes()) {
            let line = to_line(&document).unwrap();
            prop_assert_eq!(from_line(&line).unwrap(), document);
        }
    }

    #[test]
    fn numbers_are_compared_by_their_exact_value(a in any::<i64>(), near in -3i64..3, places in 0u32..3) {
        let b = a.saturating_add(near);
        let long = |number: i64| key(&to_line(&Builder::new().int64("_id", number).done()).unwrap());
        prop_assert_eq!(long(a).cmp(&long(b)), a.cmp(&b));
        let double = a as f64;
        let doubled = key(&to_line(&Builder::new().double("_id", double).done()).unwrap());
        prop_assert_eq!(doubled.cmp(&long(b)), (double as i128).cmp(&i128::from(b)));
        let line = format!(r#"{{"_id":{{"$numberDecimal":"{b}.{}"}}}}"#, "0".repeat(places as usize));
        prop_assert_eq!(key(line.replace(".\"", "\"").as_bytes()), long(b));
    }

    #[test]
    fn texts_are_compared_as_bytes(a in "[ab\0]{0,4}", b in "[ab\0é]{0,4}") {
        let text = |text: &str| key(&to_line(&Builder::new().text("_id", text).done()).unwrap());
        prop_assert_eq!(text(&a).cmp(&text(&b)), a.as_bytes().cmp(b.as_bytes()));
    }
}

//! Names of objects as names of files.
//!
//! A database calls a table what it likes: `Orders` and `orders`, `../x`, `.git`, or 63 bytes of emoji. [`encode`] makes
//! a file name of such a name that is readable where it can be, different for different names even on file systems that
//! ignore case or Unicode normalization, and harmless to git and to any system where somebody checks it out.
//!
//! ```
//! use glxc_handlers::names;
//! assert_eq!(names::encode_all(&["public", "orders"]), "public.orders");
//! assert_eq!(names::encode("Order Items"), "+order%20+items");
//! assert_eq!(names::encode(".git"), "%2egit");
//! assert_eq!(names::decode("+order%20+items").as_deref(), Some("Order Items"));
//! ```

use std::fmt::Write;

use siphasher::sip128::SipHasher24;

/// The longest name that [`encode`] gives, in bytes: an extension still fits into the 255 of most file systems.
pub const LONGEST: usize = 240;

/// Names that Windows takes for devices, whatever the extension.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// The file name of an object's name.
///
/// Kept are `a-z 0-9 _ - ( ) ,` and plain letters beyond ASCII; `+x` stands for `X`; every other byte becomes `%xx`.
/// So a `.` never comes out of a name, and can separate names and extensions. The empty name is `%`. What would be longer than
/// [`LONGEST`] is cut, and ends in `~` and a hash of the whole name.
pub fn encode(name: &str) -> String {
    encode_all(&[name])
}

/// The file name of a qualified name: its encoded parts with `.` between them, at most [`LONGEST`] bytes in all.
pub fn encode_all(names: &[&str]) -> String {
    let encoded = names.iter().map(|name| encode_whole(name)).collect::<Vec<_>>().join(".");
    if encoded.len() <= LONGEST { encoded } else { shortened(&encoded) }
}

/// The object's name of a file name. `None` where [`encode`] gives no such file name, or gave it by cutting.
pub fn decode(file: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(file.len());
    let mut rest = file.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' if file.len() == 1 => {}
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            b'+' => bytes.push(rest.next()?.to_ascii_uppercase()),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok().filter(|name| encode(name) == file)
}

/// The names of a file name that [`encode_all`] gave. `None` as for [`decode`].
pub fn decode_all(file: &str) -> Option<Vec<String>> {
    // A longer one would have been cut.
    if file.len() > LONGEST { None } else { file.split('.').map(decode).collect() }
}

fn encode_whole(name: &str) -> String {
    if name.is_empty() {
        return "%".into();
    }
    let mut encoded = String::with_capacity(name.len() + 8);
    let device = is_device(name);
    for (at, c) in name.char_indices() {
        match c {
            _ if at == 0 && (device || c == '-') => percent(&mut encoded, c),
            'a'..='z' | '0'..='9' | '_' | '-' | '(' | ')' | ',' => encoded.push(c),
            'A'..='Z' => encoded.extend(['+', c.to_ascii_lowercase()]),
            c if is_plain_letter(c) => encoded.push(c),
            c => percent(&mut encoded, c),
        }
    }
    encoded
}

fn percent(encoded: &mut String, c: char) {
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        let _ = write!(encoded, "%{byte:02x}");
    }
}

/// Letters that are their own lower case and no part of whose alphabet here folds or normalizes to another: none of
/// `ß ς µ`, no combining marks, no conjoining or compatibility forms.
fn is_plain_letter(c: char) -> bool {
    matches!(c,
        'à'..='ö' | 'ø'..='ÿ' | 'α'..='ρ' | 'σ'..='ω' | 'а'..='я' | 'ё'
        | 'ぁ'..='ゖ' | 'ァ'..='ヺ' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

fn is_device(name: &str) -> bool {
    let numbered =
        |port: &str| name.strip_prefix(port).is_some_and(|n| n.len() == 1 && n.as_bytes()[0].is_ascii_digit());
    DEVICES.contains(&name) || numbered("com") || numbered("lpt")
}

/// A readable beginning and 128 bits of hash. No other name has a `~`.
fn shortened(encoded: &str) -> String {
    let room = LONGEST - 33;
    let mut end = (0..=room).rev().find(|at| encoded.is_char_boundary(*at)).unwrap_or(0);
    // never half an escape
    if let Some(escape) = encoded[..end].rfind(['%', '+']) {
        let length = if encoded.as_bytes()[escape] == b'%' { 3 } else { 2 };
        if escape + length > end {
            end = escape;
        }
    }
    let hash = u128::from(SipHasher24::new().hash(encoded.as_bytes()));
    format!("{}~{hash:032x}", &encoded[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_well() {
        for (name, file) in [
            ("orders", "orders"),
            ("Orders", "+orders"),
            ("größe", "grö%c3%9fe"),
            ("заказ", "заказ"),
            ("", "%"),
            ("%", "%25"),
            ("..", "%2e%2e"),
            (".git", "%2egit"),
            ("git~1", "git%7e1"),
            ("a/b", "a%2fb"),
            ("con", "%63on"),
            ("com1", "%63om1"),
            ("-rf", "%2drf"),
            ("e\u{301}", "e%cc%81"),
            ("\u{212b}", "%e2%84%ab"),
        ] {
            assert_eq!(encode(name), file);
            assert_eq!(decode(file).as_deref(), Some(name));
        }
    }

    #[test]
    fn decodes_only_what_encode_gives() {
        for file in ["", "A", "%2E", "%6f", "+", "+1", "%f", "a.b", "con", "~", "%ff", "a~0"] {
            assert_eq!(decode(file), None, "{file}");
        }
        assert_eq!(decode_all("public.a%2eb"), Some(vec!["public".into(), "a.b".into()]));
    }

    #[test]
    fn long_names_stay_apart() {
        let (a, b) = ("Я".repeat(63), format!("{}x", "Я".repeat(62)));
        let files = [encode(&a), encode(&b), encode_all(&[&a, &a]), encode_all(&[&a, &b])];
        for (i, file) in files.iter().enumerate() {
            assert!(file.len() <= LONGEST && file.len() > LONGEST - 40, "{file}");
            assert!(file.contains('~') && decode(file).is_none());
            assert!(files[..i].iter().all(|other| other != file));
        }
    }

    /// What a case-insensitive, normalizing file system makes of a name, as far as names of the strategy go.
    fn folded(file: &str) -> String {
        file.to_lowercase().replace("e\u{301}", "é").replace('ß', "ss").replace(['ς', 'ſ'], "s")
    }

    #[test]
    fn an_escape_is_never_cut() {
        for start in ["", "a", "ab"] {
            let file = encode(&format!("{start}{}", "\u{1f600}".repeat(62)));
            let (prefix, _) = file.split_once('~').unwrap();
            assert_eq!((prefix.len() - start.len()) % 3, 0, "{file}");
        }
    }

    fn encoded(names: &[String]) -> String {
        encode_all(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn injective_even_folded(
            a in "[a-cA-C.~%+éÉße\u{301}ſsς /-]{0,6}|\\PC{0,90}", b in "[a-cA-C.~%+éÉße\u{301}ſsς /-]{0,6}",
        ) {
            prop_assert!(a == b || folded(&encode(&a)) != folded(&encode(&b)), "{} {}", encode(&a), encode(&b));
        }

        #[test]
        fn harmless_and_reversible(name in any::<String>()) {
            let file = encode(&name);
            prop_assert!(!file.is_empty() && file.len() <= LONGEST);
            prop_assert!(!file.contains(['.', '/', '\0', '\\', ':', ' ']) && !file.starts_with('-'));
            prop_assert!(file.chars().all(|c| !crate::text::is_unsafe(c)));
            prop_assert!(file.contains('~') || decode(&file) == Some(name));
        }

        #[test]
        fn any_file_name_is_that_of_its_names_or_of_none(
            file in "\\PC{0,20}|[a-c.%+~2eé]{0,12}|[a-z]{1,130}(\\.[a-z]{1,130}){0,2}",
        ) {
            prop_assert!(decode(&file).is_none_or(|name| encode(&name) == file));
            prop_assert!(decode_all(&file).is_none_or(|names| encoded(&names) == file), "{file}");
        }

        #[test]
        fn qualified_names_come_back_and_stay_apart(
            a in prop::collection::vec("[a-cA.~%é]{0,4}|\\PC{0,80}", 1..4),
            b in prop::collection::vec("[a-cA.~%é]{0,4}|\\PC{0,80}", 1..4),
        ) {
            let (file, other) = (encoded(&a), encoded(&b));
            prop_assert!(file.len() <= LONGEST);
            prop_assert!(file.contains('~') || decode_all(&file).as_ref() == Some(&a), "{file}");
            prop_assert_eq!(a == b, folded(&file) == folded(&other), "{} {}", file, other);
        }
    }
}

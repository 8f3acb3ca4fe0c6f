//! Names in a live folder as names in a repository.
//!
//! Unlike names of objects (see [`crate::names`]) these are names of files already, and most stay as they are: dots, spaces
//! and capital letters are common here. Encoded is only what git, the case of letters or an encoding would spoil.

use std::collections::HashMap;
use std::fmt::Write;

use crate::text;

/// The longest component that a checkout can hold.
const LONGEST: usize = 255;

/// The names of one folder, encoded. What a name becomes depends on the others only where they differ by case alone.
pub(super) fn encode_siblings<'n>(names: impl Iterator<Item = &'n [u8]> + Clone) -> Vec<String> {
    let mut folded: HashMap<String, u32> = HashMap::new();
    names.clone().for_each(|name| *folded.entry(text::folded(name)).or_default() += 1);
    names.map(|name| encode(name, folded[&text::folded(name)] > 1)).collect()
}

/// A name that stands for itself only.
#[cfg(test)]
fn encode_alone(name: &[u8]) -> String {
    encode(name, false)
}

fn encode(name: &[u8], collides: bool) -> String {
    let mut encoded = String::with_capacity(name.len());
    let mut piece = 0;
    let mut push = |encoded: &mut String, text: &str| {
        if encoded.len() - piece + text.len() >= LONGEST {
            encoded.push_str("%/");
            piece = encoded.len();
            // the piece may not look like git's either
            return encoded.push_str(if text == "." { "%2e" } else { text });
        }
        encoded.push_str(text);
    };
    let special = starts_like_git(name);
    let mut at = 0;
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            let tilde = c == '~' && name.get(at + 1).is_some_and(u8::is_ascii_digit);
            let spoiled = at == 0 && special || tilde || is_spoiled(c) || collides && !is_folded(c);
            match spoiled {
                true => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push(&mut encoded, &percent(byte))),
                false => push(&mut encoded, c.encode_utf8(&mut [0; 4])),
            }
            at += c.len_utf8();
        }
        for byte in chunk.invalid() {
            push(&mut encoded, &percent(*byte));
            at += 1;
        }
    }
    encoded
}

/// The target of a link, which is no name of a file here.
pub(super) fn encode_target(target: &[u8]) -> String {
    let mut encoded = String::with_capacity(target.len());
    for chunk in target.utf8_chunks() {
        for c in chunk.valid().chars() {
            match is_spoiled(c) {
                true => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| encoded.push_str(&percent(byte))),
                false => encoded.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| encoded.push_str(&percent(*byte)));
    }
    encoded
}

/// The path, or the target, of an encoded one. `None` where it is none.
pub(super) fn decode(encoded: &str) -> Option<Vec<u8>> {
    let joined = encoded.replace("%/", "");
    let mut decoded = Vec::with_capacity(joined.len());
    let mut rest = joined.bytes();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let lower = |d: &u8| d.is_ascii_digit() || (b'a'..=b'f').contains(d);
                let text = std::str::from_utf8(&digits).ok().filter(|_| digits.iter().all(lower))?;
                let byte = u8::from_str_radix(text, 16).ok()?;
                // these two never are part of a name
                (!matches!(byte, b'/' | 0)).then_some(byte)?
            }
            byte => byte,
        });
    }
    Some(decoded)
}

fn percent(byte: u8) -> String {
    let mut text = String::with_capacity(3);
    let _ = write!(text, "%{byte:02x}");
    text
}

/// git refuses such names, or means something by them.
fn starts_like_git(name: &[u8]) -> bool {
    name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b".git"))
}

/// Escapes of ours, what terminals and row files take amiss, what Windows takes for a `/`, and marks that normalization
/// would join with the letter before.
fn is_spoiled(c: char) -> bool {
    matches!(c, '%' | '\\' | '\u{300}'..='\u{36f}' | '\u{1100}'..='\u{11ff}' | '\u{3099}' | '\u{309a}')
        || text::is_unsafe(c)
}

fn is_folded(c: char) -> bool {
    c.to_uppercase().flat_map(char::to_lowercase).eq([c])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn most_names_stay() {
        for name in ["IMG_1234.JPG", "a b (1).txt", "größe.pdf", ".htaccess", "backup~", "日本.txt", "a:b?"] {
            assert_eq!(encode_alone(name.as_bytes()), name);
        }
    }

    #[test]
    fn spoiled_names_are_encoded() {
        for (name, encoded) in [
            (&b".git"[..], "%2egit"),
            (b".GitIgnore", "%2eGitIgnore"),
            (b"git~1", "git%7e1"),
            (b"100%", "100%25"),
            (b"a\\b", "a%5cb"),
            (b"a\nb", "a%0ab"),
            (b"caf\xe9", "caf%e9"),
            ("cafe\u{301}".as_bytes(), "cafe%cc%81"),
            (".g\u{200c}it".as_bytes(), ".g%e2%80%8cit"),
        ] {
            assert_eq!(encode_alone(name), encoded);
            assert_eq!(decode(encoded).as_deref(), Some(name));
        }
        let siblings = encode_siblings([&b"Readme"[..], b"README", b"readme", b"Other"].into_iter());
        assert_eq!(siblings, ["%52eadme", "%52%45%41%44%4d%45", "readme", "Other"]);
        assert_eq!(encode_target("../ü\n\u{301}".as_bytes()), "../ü%0a%cc%81");
    }

    #[test]
    fn a_long_name_is_continued() {
        let name = [&[0xff; 84][..], b"ab.gitx"].concat();
        let encoded = format!("{}ab%/%2egitx", "%ff".repeat(84));
        assert_eq!((encode_alone(&name), decode(&encoded)), (encoded, Some(name)));
    }

    #[test]
    fn what_is_no_encoding_is_refused() {
        for bad in ["%", "a%2", "%2F", "%2f", "%00", "%zz", "%+1"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn siblings_stay_apart_and_come_back(
            names in proptest::collection::btree_set(proptest::collection::vec(prop_oneof![
                Just(b'.'), Just(b'g'), Just(b'G'), Just(b'i'), Just(b't'), Just(b'%'), Just(b'~'), Just(b'1'), 1..=46u8, 48..=255u8,
            ], 1..12), 0..6),
            long in proptest::collection::vec(128..=255u8, 0..255),
        ) {
            let mut names: BTreeSet<Vec<u8>> = names.into_iter().filter(|name| name != b"." && name != b"..").collect();
            if !long.is_empty() { names.insert(long); }
            let encoded = encode_siblings(names.iter().map(Vec::as_slice));
            let folded: BTreeSet<String> = encoded.iter().map(|name| name.to_uppercase().to_lowercase()).collect();
            prop_assert_eq!(folded.len(), names.len(), "{:?}", encoded);
            for (name, encoded) in names.iter().zip(&encoded) {
                prop_assert_eq!(decode(encoded), Some(name.clone()));
                for piece in encoded.split('/') {
                    prop_assert!(!piece.is_empty() && piece.len() <= LONGEST);
                    prop_assert!(!piece.to_lowercase().starts_with(".git"));
                }
            }
        }
    }
}

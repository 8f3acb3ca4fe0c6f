//! Bytes as base64, with padding; no other spelling is read.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the text of bytes.
pub(crate) fn encode(bytes: &[u8], text: &mut Vec<u8>) {
    text.reserve(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let [first, second, third] = match *chunk {
            [first, second, third] => [first, second, third],
            [first, second] => [first, second, 0],
            _ => [chunk[0], 0, 0],
        };
        let letters = [first >> 2, first << 4 | second >> 4, second << 2 | third >> 6, third];
        let [a, b, c, d] = letters.map(|letter| LETTERS[usize::from(letter & 63)]);
        match chunk.len() {
            1 => text.extend_from_slice(&[a, b, b'=', b'=']),
            2 => text.extend_from_slice(&[a, b, c, b'=']),
            _ => text.extend_from_slice(&[a, b, c, d]),
        }
    }
}

/// The bytes of a text.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let letters = &text[..text.len() - padding];
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in letters.chunks(4) {
        let bits = match *chunk {
            [a, b, c, d] => value(a)? << 18 | value(b)? << 12 | value(c)? << 6 | value(d)?,
            [a, b, c] => value(a)? << 18 | value(b)? << 12 | value(c)? << 6,
            [a, b] => value(a)? << 18 | value(b)? << 12,
            _ => return None,
        };
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
        // What is left over in the last letter is zero.
        if bits & (0xff_ffff >> (8 * (chunk.len() - 1))) != 0 {
            return None;
        }
    }
    Some(bytes)
}

fn value(letter: u8) -> Option<u32> {
    Some(match letter {
        b'A'..=b'Z' => u32::from(letter - b'A'),
        b'a'..=b'z' => u32::from(letter - b'a') + 26,
        b'0'..=b'9' => u32::from(letter - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_spellings_are_refused() {
        for text in ["QQ", "QQ=", "QR==", "QUJ=", "QQ==QQ==", "Q===", "Q Q=", "====", "QUJD\n"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
        assert_eq!(decode(b"QUI="), Some(b"AB".to_vec()));
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in any::<Vec<u8>>()) {
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            prop_assert_eq!(decode(&text), Some(bytes));
        }
    }
}

//! Extended JSON to BSON.

use std::collections::HashSet;

use super::{BadDocument, DEEPEST, Result, bad, base64, decimal, kind};

/// The names that begin a value of another type than an object.
const TYPES: [&str; 17] = [
    "$numberDouble",
    "$numberInt",
    "$numberLong",
    "$numberDecimal",
    "$oid",
    "$date",
    "$binary",
    "$undefined",
    "$regularExpression",
    "$dbPointer",
    "$code",
    "$scope",
    "$symbol",
    "$timestamp",
    "$minKey",
    "$maxKey",
    "$uuid",
];

/// The document of a whole line.
pub(super) fn document(line: &[u8]) -> Result<Vec<u8>> {
    let text = std::str::from_utf8(line).map_err(|_| BadDocument("invalid UTF-8".into()))?;
    let mut parser = Parser { text, at: 0, out: Vec::with_capacity(line.len() / 2) };
    match parser.value(DEEPEST + 1)? {
        kind::DOCUMENT => {}
        _ => return bad("not an object"),
    }
    parser.skip_blanks();
    if parser.at < text.len() { parser.fail("more than one object") } else { Ok(parser.out) }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    out: Vec<u8>,
}

impl Parser<'_> {
    fn fail<T>(&self, what: impl AsRef<str>) -> Result<T> {
        bad(format!("{} at byte {}", what.as_ref(), self.at + 1))
    }

    fn skip_blanks(&mut self) {
        self.at += self.text[self.at..].bytes().take_while(|byte| *byte == b' ').count();
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_blanks();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes behind a sign, where it is next.
    fn takes(&mut self, sign: u8) -> bool {
        let is_next = self.peek() == Some(sign);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, sign: u8) -> Result {
        if self.takes(sign) { Ok(()) } else { self.fail(format!("no `{}`", char::from(sign))) }
    }

    /// Appends a value, and tells its kind.
    fn value(&mut self, depth: usize) -> Result<u8> {
        let Some(depth) = depth.checked_sub(1) else { return self.fail("nested too deep") };
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => {
                let text = self.string()?;
                self.push_text(text.as_bytes());
                Ok(kind::TEXT)
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<u8> {
        for (word, kind, value) in
            [("null", kind::NULL, &[][..]), ("true", kind::BOOLEAN, &[1]), ("false", kind::BOOLEAN, &[0])]
        {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                self.out.extend_from_slice(value);
                return Ok(kind);
            }
        }
        self.fail("no value")
    }

    fn number(&mut self) -> Result<u8> {
        let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
        let text = &self.text[self.at..];
        let text = &text[..text.bytes().take_while(|byte| is_part(byte)).count()];
        if let Ok(number) = text.parse::<i32>() {
            self.out.extend_from_slice(&number.to_le_bytes());
            self.at += text.len();
            return Ok(kind::INT32);
        }
        if let Ok(number) = text.parse::<i64>() {
            self.out.extend_from_slice(&number.to_le_bytes());
            self.at += text.len();
            return Ok(kind::INT64);
        }
        let is_whole = !text.contains(['.', 'e', 'E']);
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() && !is_whole => {
                self.out.extend_from_slice(&number.to_le_bytes());
                self.at += text.len();
                Ok(kind::DOUBLE)
            }
            _ => self.fail(format!("`{text}` is no number that fits")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<u8> {
        self.expect(b'{')?;
        let start = self.begin();
        if !self.takes(b'}') {
            let at = self.at;
            let mut name = self.name()?;
            if TYPES.contains(&name.as_str()) {
                self.out.truncate(start);
                let kind = self.typed(&name, depth).map_err(|error| self.within(&name, at, error))?;
                self.expect(b'}')?;
                return Ok(kind);
            }
            let mut names = HashSet::new();
            loop {
                self.field(&name, depth)?;
                if !names.insert(name) {
                    return self.fail("a name that is there twice before");
                }
                if !self.takes(b',') {
                    break;
                }
                name = self.name()?;
            }
            self.expect(b'}')?;
        }
        self.end(start)?;
        Ok(kind::DOCUMENT)
    }

    fn array(&mut self, depth: usize) -> Result<u8> {
        self.expect(b'[')?;
        let start = self.begin();
        if !self.takes(b']') {
            for number in 0.. {
                self.field(&u32::to_string(&number), depth)?;
                if !self.takes(b',') {
                    break;
                }
            }
            self.expect(b']')?;
        }
        self.end(start)?;
        Ok(kind::ARRAY)
    }

    /// Makes room for the length of what follows.
    fn begin(&mut self) -> usize {
        self.out.extend_from_slice(&[0; 4]);
        self.out.len() - 4
    }

    fn end(&mut self, start: usize) -> Result {
        self.out.push(0);
        self.set_length(start, self.out.len() - start)
    }

    fn set_length(&mut self, at: usize, length: usize) -> Result {
        match i32::try_from(length) {
            Ok(length) => {
                self.out[at..at + 4].copy_from_slice(&length.to_le_bytes());
                Ok(())
            }
            Err(_) => self.fail("too long"),
        }
    }

    /// The name of a field, which has no zero, and its colon.
    fn name(&mut self) -> Result<String> {
        let name = self.string()?;
        if name.contains('\0') {
            return self.fail("a name with a zero");
        }
        self.expect(b':')?;
        Ok(name)
    }

    fn field(&mut self, name: &str, depth: usize) -> Result {
        let kind = self.out.len();
        self.out.push(0);
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(0);
        self.out[kind] = self.value(depth)?;
        Ok(())
    }

    /// A field that must be next in a wrapper: its name, and the text that it has.
    fn text_field(&mut self, name: &str) -> Result<String> {
        match self.name()? == name {
            true => self.string(),
            false => self.fail(format!("no `{name}`")),
        }
    }

    fn within(&self, name: &str, at: usize, error: BadDocument) -> BadDocument {
        BadDocument(format!("`{name}` at byte {}: {}", at + 1, error.0))
    }

    /// Appends the value behind the name of its type.
    fn typed(&mut self, name: &str, depth: usize) -> Result<u8> {
        match name {
            "$numberDouble" => self.double(),
            "$numberInt" => {
                let number: i32 = self.parsed("a number of 32 bits")?;
                self.out.extend_from_slice(&number.to_le_bytes());
                Ok(kind::INT32)
            }
            "$numberLong" => {
                let number: i64 = self.parsed("a number of 64 bits")?;
                self.out.extend_from_slice(&number.to_le_bytes());
                Ok(kind::INT64)
            }
            "$numberDecimal" => {
                let number = decimal::of_text(&self.string()?);
                let number = number.ok_or_else(|| BadDocument("not a decimal number that fits".into()))?;
                self.out.extend_from_slice(&number);
                Ok(kind::DECIMAL)
            }
            "$oid" => self.object_id(),
            "$date" => self.date(),
            "$binary" => self.binary(),
            "$regularExpression" => self.regex(),
            "$dbPointer" => self.db_pointer(),
            "$code" => self.code(depth),
            "$symbol" => {
                let text = self.string()?;
                self.push_text(text.as_bytes());
                Ok(kind::SYMBOL)
            }
            "$timestamp" => self.timestamp(),
            "$undefined" if self.peek() == Some(b't') => self.word().map(|_| self.out.pop()).map(|_| kind::UNDEFINED),
            "$minKey" if self.takes(b'1') => Ok(kind::MIN_KEY),
            "$maxKey" if self.takes(b'1') => Ok(kind::MAX_KEY),
            "$uuid" => bad("write it as `$binary`"),
            _ => bad("not as Extended JSON has it"),
        }
    }

    fn parsed<T: std::str::FromStr + ToString>(&mut self, what: &str) -> Result<T> {
        let text = self.string()?;
        match text.parse::<T>() {
            Ok(number) if number.to_string() == text => Ok(number),
            _ => bad(format!("not {what}")),
        }
    }

    fn double(&mut self) -> Result<u8> {
        let text = self.string()?;
        let number = match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text if text.bytes().all(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) => {
                text.parse().ok().filter(|number: &f64| number.is_finite())
            }
            _ => None,
        };
        let number = number.ok_or_else(|| BadDocument("not a number".into()))?;
        self.out.extend_from_slice(&number.to_le_bytes());
        Ok(kind::DOUBLE)
    }

    fn object_id(&mut self) -> Result<u8> {
        let text = self.string()?;
        let digit = |at: usize| char::from(*text.as_bytes().get(at)?).to_digit(16).map(|digit| digit as u8);
        for at in 0..12 {
            let Some(byte) = digit(2 * at).zip(digit(2 * at + 1)).map(|(high, low)| high << 4 | low) else {
                return bad("not 24 hex digits");
            };
            self.out.push(byte);
        }
        if text.len() == 24 { Ok(kind::OBJECT_ID) } else { bad("not 24 hex digits") }
    }

    fn date(&mut self) -> Result<u8> {
        self.expect(b'{')?;
        if self.name()? != "$numberLong" {
            return bad("no `$numberLong`");
        }
        self.typed("$numberLong", 0)?;
        self.expect(b'}')?;
        Ok(kind::DATE)
    }

    fn binary(&mut self) -> Result<u8> {
        self.expect(b'{')?;
        let bytes = base64::decode(self.text_field("base64")?.as_bytes());
        let bytes = bytes.ok_or_else(|| BadDocument("not base64".into()))?;
        self.expect(b',')?;
        let subtype = self.text_field("subType")?;
        self.expect(b'}')?;
        let Some(subtype) = u8::from_str_radix(&subtype, 16).ok().filter(|byte| format!("{byte:02x}") == subtype)
        else {
            return bad("`subType` is not two hex digits");
        };
        let start = self.begin();
        self.out.push(subtype);
        if subtype == 2 {
            let inner = self.begin();
            self.set_length(inner, bytes.len())?;
        }
        self.out.extend_from_slice(&bytes);
        self.set_length(start, self.out.len() - start - 5)?;
        Ok(kind::BINARY)
    }

    fn regex(&mut self) -> Result<u8> {
        self.expect(b'{')?;
        let pattern = self.text_field("pattern")?;
        self.expect(b',')?;
        let options = self.text_field("options")?;
        self.expect(b'}')?;
        for text in [pattern, options] {
            if text.contains('\0') {
                return bad("a zero in it");
            }
            self.out.extend_from_slice(text.as_bytes());
            self.out.push(0);
        }
        Ok(kind::REGEX)
    }

    fn db_pointer(&mut self) -> Result<u8> {
        self.expect(b'{')?;
        let name = self.text_field("$ref")?;
        self.push_text(name.as_bytes());
        self.expect(b',')?;
        if self.name()? != "$id" {
            return bad("no `$id`");
        }
        self.expect(b'{')?;
        if self.name()? != "$oid" {
            return bad("no `$oid`");
        }
        self.object_id()?;
        self.expect(b'}')?;
        self.expect(b'}')?;
        Ok(kind::DB_POINTER)
    }

    fn code(&mut self, depth: usize) -> Result<u8> {
        let code = self.string()?;
        if !self.takes(b',') {
            self.push_text(code.as_bytes());
            return Ok(kind::CODE);
        }
        if self.name()? != "$scope" {
            return bad("no `$scope`");
        }
        let start = self.begin();
        self.push_text(code.as_bytes());
        if self.value(depth)? != kind::DOCUMENT {
            return bad("`$scope` is no object");
        }
        self.set_length(start, self.out.len() - start)?;
        Ok(kind::SCOPED_CODE)
    }

    fn timestamp(&mut self) -> Result<u8> {
        self.expect(b'{')?;
        let mut halves = [0u32; 2];
        for (half, name) in halves.iter_mut().zip(["t", "i"]) {
            if name == "i" {
                self.expect(b',')?;
            }
            if self.name()? != name {
                return bad(format!("no `{name}`"));
            }
            self.skip_blanks();
            let text = &self.text[self.at..];
            let text = &text[..text.bytes().take_while(u8::is_ascii_digit).count()];
            *half = text.parse().map_err(|_| BadDocument(format!("`{name}` is no number of 32 bits")))?;
            self.at += text.len();
        }
        self.expect(b'}')?;
        let [time, increment] = halves;
        self.out.extend_from_slice(&(u64::from(time) << 32 | u64::from(increment)).to_le_bytes());
        Ok(kind::TIMESTAMP)
    }

    /// Appends a text with its length before and a zero behind.
    fn push_text(&mut self, text: &[u8]) {
        // A line is shorter than what would not fit.
        self.out.extend_from_slice(&(text.len() as i32 + 1).to_le_bytes());
        self.out.extend_from_slice(text);
        self.out.push(0);
    }

    fn string(&mut self) -> Result<String> {
        self.expect(b'"')?;
        let mut string = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\') else {
                return self.fail("a text without an end");
            };
            string.push_str(&rest[..end]);
            self.at += end + 1;
            match rest.as_bytes()[end] {
                b'"' => return Ok(string),
                b'\\' => string.push(self.escape()?),
                _ => return self.fail("a control character"),
            }
        }
    }

    /// The character of an escape whose backslash was read.
    fn escape(&mut self) -> Result<char> {
        let letter = self.text.as_bytes().get(self.at).copied();
        self.at += 1;
        Ok(match letter {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unit(),
            _ => {
                self.at -= 1;
                return self.fail("an unknown escape");
            }
        })
    }

    /// The character of `\u`, and of the second one that belongs to it.
    fn unit(&mut self) -> Result<char> {
        let first = self.four()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or(()).or_else(|()| self.fail("half a character"));
        }
        if !self.text[self.at..].starts_with("\\u") {
            return self.fail("half a character");
        }
        self.at += 2;
        match self.four()? {
            second @ 0xdc00..0xe000 => char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
                .ok_or(())
                .or_else(|()| self.fail("half a character")),
            _ => self.fail("half a character"),
        }
    }

    fn four(&mut self) -> Result<u32> {
        let digits = self.text.get(self.at..self.at + 4);
        match digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            Some(digits) => {
                self.at += 4;
                u32::from_str_radix(digits, 16).or_else(|_| self.fail("no hex digits"))
            }
            None => self.fail("not four hex digits"),
        }
    }
}

//! Documents of every type, byte by byte and without a library.

/// Puts a document together.
#[derive(Clone, Debug, Default)]
pub struct Builder(Vec<u8>);

impl Builder {
    pub fn new() -> Self {
        Builder(vec![0; 4])
    }

    /// One that goes on behind the fields of a document.
    pub fn of(document: &[u8]) -> Self {
        Builder(document[..document.len() - 1].to_vec())
    }

    /// A field as its bytes are.
    pub fn value(mut self, name: &str, kind: u8, value: &[u8]) -> Self {
        self.0.push(kind);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        self.0.extend_from_slice(value);
        self
    }

    pub fn int32(self, name: &str, number: i32) -> Self {
        self.value(name, 0x10, &number.to_le_bytes())
    }

    pub fn int64(self, name: &str, number: i64) -> Self {
        self.value(name, 0x12, &number.to_le_bytes())
    }

    pub fn double(self, name: &str, number: f64) -> Self {
        self.value(name, 0x01, &number.to_le_bytes())
    }

    pub fn text(self, name: &str, text: &str) -> Self {
        self.value(name, 0x02, &string(text.as_bytes()))
    }

    pub fn document(self, name: &str, document: &[u8]) -> Self {
        self.value(name, 0x03, document)
    }

    pub fn done(mut self) -> Vec<u8> {
        self.0.push(0);
        let length = self.0.len() as i32;
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as i32 + 1).to_le_bytes()[..], text, &[0]].concat()
}

fn binary(subtype: u8, bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as i32).to_le_bytes()[..], &[subtype], bytes].concat()
}

fn decimal(bits: u128) -> Vec<u8> {
    bits.to_le_bytes().to_vec()
}

const ID: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255];

/// The 54 documents that every server and every line must keep, by name: `{_id: NUMBER, v: VALUE}`.
pub fn battery() -> Vec<(&'static str, Vec<u8>)> {
    let bytes = [0, 1, 2, 255];
    let one = Builder::new().int32("a", 1).done();
    let array = |values: &[(u8, &[u8])]| {
        let values = values.iter().enumerate();
        values.fold(Builder::new(), |b, (at, (kind, value))| b.value(&at.to_string(), *kind, value)).done()
    };
    let none = array(&[]);
    let nested = array(&[(4, &none), (4, &array(&[(4, &array(&[(10, &[])]))])), (16, &1i32.to_le_bytes())]);
    let code = [&string(b"f()")[..], &one].concat();
    let scoped = [&(code.len() as i32 + 4).to_le_bytes()[..], &code].concat();
    let deep = (0..98).fold(one.clone(), |inner, _| Builder::new().document("d", &inner).done());
    let double = |number: f64| (1, number.to_le_bytes().to_vec());
    let values: Vec<(&str, (u8, Vec<u8>))> = vec![
        ("double", double(2.75)),
        ("double whole", double(1.0)),
        ("double -0", double(-0.0)),
        ("double nan", double(f64::NAN)),
        ("double inf", double(f64::INFINITY)),
        ("double -inf", double(f64::NEG_INFINITY)),
        ("double least", double(5e-324)),
        ("double large", double(f64::MAX)),
        ("nan payload", (1, 0x7ff8_0000_0000_1234u64.to_le_bytes().to_vec())),
        ("text", (2, string("grüße 😀 \u{2028}".as_bytes()))),
        ("text empty", (2, string(b""))),
        ("text with zero", (2, string(b"a\0b"))),
        ("text escapes", (2, string(b"\"\\/\x08\x0c\n\r\t\x1b\x1f\x7f"))),
        ("text not UTF-8", (2, string(b"a\xff\xc3"))),
        ("document", (3, one.clone())),
        ("document empty", (3, Builder::new().done())),
        ("arrays", (4, nested)),
        ("array with other keys", (4, Builder::new().int32("7", 1).int32("x", 2).done())),
        ("binary 00", (5, binary(0, &bytes))),
        ("binary empty", (5, binary(0, b""))),
        ("binary 01", (5, binary(1, &bytes))),
        ("binary 02", (5, binary(2, &[&4i32.to_le_bytes()[..], &bytes].concat()))),
        ("binary 03", (5, binary(3, &[7; 16]))),
        ("binary 04", (5, binary(4, &[8; 16]))),
        ("binary 05", (5, binary(5, &[9; 16]))),
        ("binary 06", (5, binary(6, &bytes))),
        ("binary 07", (5, binary(7, &bytes))),
        ("binary 08", (5, binary(8, &bytes))),
        ("binary 09", (5, binary(9, &[0x27, 0, 1, 2]))),
        ("binary 80", (5, binary(0x80, &bytes))),
        ("binary ff", (5, binary(0xff, &bytes))),
        ("undefined", (6, vec![])),
        ("object id", (7, ID.to_vec())),
        ("true", (8, vec![1])),
        ("false", (8, vec![0])),
        ("date before 1970", (9, (-1i64).to_le_bytes().to_vec())),
        ("date far", (9, i64::MAX.to_le_bytes().to_vec())),
        ("null", (10, vec![])),
        ("regex", (11, b"^a/\"\0im\0".to_vec())),
        ("pointer", (12, [&string(b"db.c")[..], &ID].concat())),
        ("code", (13, string(b"f()"))),
        ("symbol", (14, string(b"s"))),
        ("code with scope", (15, scoped)),
        ("int32", (16, i32::MIN.to_le_bytes().to_vec())),
        ("timestamp", (17, (0xffff_ffff_0000_0007u64).to_le_bytes().to_vec())),
        ("timestamp 0", (17, vec![0; 8])),
        ("int64", (18, i64::MIN.to_le_bytes().to_vec())),
        ("decimal", (19, decimal(0x303c << 112 | 150))),
        ("min key", (255, vec![])),
        ("max key", (127, vec![])),
        ("100 levels", (3, deep)),
    ];
    let mut all: Vec<(&'static str, Vec<u8>)> = Vec::new();
    for (name, (kind, value)) in values {
        let number = all.len() as i32;
        all.push((name, Builder::new().int32("_id", number).value("v", kind, &value).done()));
    }
    let numbered = |all: &Vec<_>| Builder::new().int32("_id", all.len() as i32);
    let duplicate = numbered(&all).int32("a", 1).text("a", "2").int32("a", 3).done();
    all.push(("duplicate names", duplicate));
    let typed = Builder::new().text("$oid", "x").int32("$date", 1).done();
    let typed = numbered(&all).document("v", &typed).done();
    all.push(("named like a type", typed));
    let odd = numbered(&all).int32("", 1).int32("a.b", 2).int32("$c", 3).int32("__proto__", 4).done();
    all.push(("odd names", odd));
    all
}

/// Documents whose `_id` rises in the order of BSON.
pub fn ids() -> Vec<Vec<u8>> {
    let id = || Builder::new();
    let document = |builder: Builder| id().document("_id", &builder.done()).done();
    let bin = |subtype: u8, bytes: &[u8]| id().value("_id", 5, &binary(subtype, bytes)).done();
    let large = 9_007_199_254_740_993i64;
    vec![
        id().value("_id", 255, b"").done(),
        id().value("_id", 10, b"").done(),
        id().double("_id", f64::NAN).done(),
        id().double("_id", f64::NEG_INFINITY).done(),
        id().int64("_id", i64::MIN).done(),
        id().int32("_id", -2).done(),
        id().double("_id", -1.5).done(),
        id().double("_id", -5e-324).done(),
        id().double("_id", 0.0).done(),
        id().value("_id", 19, &decimal(0x303c << 112 | 1)).done(),
        id().double("_id", 0.1).done(),
        id().int32("_id", 1).done(),
        id().value("_id", 19, &decimal(0x303c << 112 | 150)).done(),
        id().int32("_id", 2).done(),
        id().int32("_id", 10).done(),
        id().double("_id", (large - 1) as f64).done(),
        id().int64("_id", large).done(),
        id().double("_id", f64::MAX).done(),
        id().double("_id", f64::INFINITY).done(),
        id().text("_id", "").done(),
        id().text("_id", "A").done(),
        id().text("_id", "a").done(),
        id().text("_id", "a\0").done(),
        id().text("_id", "aa").done(),
        id().text("_id", "b").done(),
        id().text("_id", "é").done(),
        document(id()),
        document(id().int32("a", 1)),
        document(id().int32("a", 1).int32("b", 0)),
        document(id().int32("a", 2)),
        document(id().int32("b", 1)),
        document(id().text("a", "x")),
        document(id().document("a", &id().done())),
        bin(0, b""),
        bin(4, b""),
        bin(0, b"\0"),
        bin(0, b"\x01"),
        bin(0, b"\0\0"),
        id().value("_id", 7, &ID).done(),
        id().value("_id", 7, &[1; 12]).done(),
        id().value("_id", 8, &[0]).done(),
        id().value("_id", 8, &[1]).done(),
        id().value("_id", 9, &(-1i64).to_le_bytes()).done(),
        id().value("_id", 9, &1i64.to_le_bytes()).done(),
        id().value("_id", 17, &1u64.to_le_bytes()).done(),
        id().value("_id", 17, &u64::MAX.to_le_bytes()).done(),
        id().value("_id", 127, b"").done(),
    ]
}

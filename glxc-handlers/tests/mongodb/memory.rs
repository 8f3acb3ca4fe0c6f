//! How much memory it takes.

use glxc_handlers::{bson, mongodb};

use crate::common::battery::Builder;
use crate::common::memory::{self, MIB, Peaks};
use crate::common::mongodb::shared;

#[test]
fn a_large_collection_passes_through() {
    let Some(server) = shared() else { return };
    let mut client = server.connect();
    for start in (0..60_000).step_by(1000) {
        let document =
            |number: i32| Builder::new().int32("_id", number).text("t", &format!("{number} ").repeat(200)).done();
        client.insert("memory_many", "items", &(start..start + 1000).map(document).collect::<Vec<_>>());
    }
    let peaks = Peaks::of(&server.socket(), "memory_many", |line| {
        let document = bson::from_line(line.as_bytes()).ok()?;
        let number = i32::from_le_bytes(document[9..13].try_into().unwrap());
        (number % 1000 == 0).then(|| format!("{{\"_id\":{{\"$numberInt\":\"{number}\"}}}}"))
    });
    assert!(peaks.bytes > 60 * MIB && peaks.changed == 60, "{peaks:?}");
    peaks.hold(TIMES);
}

#[test]
fn large_documents_pass_through() {
    let Some(server) = shared() else { return };
    let mut client = server.connect();
    for number in 0..4 {
        let document = Builder::new().int32("_id", number).text("t", &"0123456789abcde ".repeat(15 << 16)).done();
        client.insert("memory_large", "items", &[document]);
    }
    let peaks = Peaks::of(&server.socket(), "memory_large", |line| {
        line.starts_with("{\"_id\":{\"$numberInt\":\"1\"}").then(|| line.replacen("0123", "3210", 1))
    });
    assert!(peaks.largest >= 15 * MIB && peaks.changed == 1, "{peaks:?}");
    peaks.hold(TIMES);
}

/// A push holds both sides of a document, as lines and as documents.
const TIMES: fn(&str) -> u64 = |step| if step == "push" { 7 } else { 4 };

#[test]
fn child() {
    memory::child(mongodb::make);
}

//! The live database as files.

use glxc_handlers::{Error, MemoryTree, bson};

use crate::common::battery::{Builder, battery, ids};
use crate::harness::{Subject, assert_same, chain, text};

/// The lines of all documents of a collection, in the order of the files' first part.
fn lines(tree: &MemoryTree, file: &str) -> Vec<String> {
    text(tree, file).lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn every_value_comes_back_to_the_byte() {
    let Some(subject) = Subject::empty("battery") else { return };
    let documents: Vec<Vec<u8>> = battery().into_iter().map(|(_, document)| document).collect();
    subject.connect().insert("battery", "values", &documents);
    // The server itself keeps them, whatever order it has.
    let sorted = |mut documents: Vec<Vec<u8>>| {
        documents.sort();
        documents
    };
    assert!(sorted(subject.connect().all("battery", "values")) == sorted(documents.clone()));
    let tree = subject.export();
    let exported: Vec<Vec<u8>> =
        lines(&tree, "data/values/rows.tsv").iter().map(|line| bson::from_line(line.as_bytes()).unwrap()).collect();
    assert_eq!(exported.len(), 54);
    assert!(exported == documents, "in the order of their numbers, byte by byte");
    let copy = Subject::empty("battery_copy").unwrap();
    copy.must_push(None, &tree);
    assert_same(&copy.export(), &tree);
    assert!(sorted(copy.connect().all("battery_copy", "values")) == sorted(documents));
}

#[test]
fn the_order_is_that_of_the_server() {
    let Some(subject) = Subject::empty("ordered") else { return };
    let mut documents = ids();
    documents.reverse();
    subject.connect().insert("ordered", "ids", &documents);
    documents.reverse();
    let tree = subject.export();
    let exported: Vec<Vec<u8>> =
        lines(&tree, "data/ids/rows.tsv").iter().map(|line| bson::from_line(line.as_bytes()).unwrap()).collect();
    assert!(exported == documents, "{}", text(&tree, "data/ids/rows.tsv"));
}

#[test]
fn definitions_are_files() {
    let Some(subject) = Subject::of(
        "defined",
        &[
            r#"{"create":"empty"}"#,
            r#"{"insert":"Shop.items","documents":[{"_id":1,"a":1,"b":2}]}"#,
            r#"{"createIndexes":"Shop.items","indexes":[{"key":{"b":-1,"a":1},"name":"z"},{"key":{"a":1},"name":"a","unique":true}]}"#,
        ],
    ) else {
        return;
    };
    let tree = subject.export();
    let paths: Vec<String> = tree.files().keys().map(ToString::to_string).collect();
    assert_eq!(
        paths,
        [
            ".gitattributes",
            "data/+shop%2eitems/rows.tsv",
            "data/empty/rows.tsv",
            "schema/collections/+shop%2eitems.jsonl",
            "schema/collections/empty.jsonl"
        ]
    );
    assert_eq!(text(&tree, "data/empty/rows.tsv"), "#glxc-rows 1\tkey=1bson\tdocument\n");
    assert_eq!(
        text(&tree, "schema/collections/+shop%2eitems.jsonl"),
        r#"{"collection":"Shop.items","options":{}}
{"v":{"$numberInt":"2"},"key":{"a":{"$numberInt":"1"}},"name":"a","unique":true}
{"v":{"$numberInt":"2"},"key":{"b":{"$numberInt":"-1"},"a":{"$numberInt":"1"}},"name":"z"}
"#
    );
    let copy = Subject::empty("defined_copy").unwrap();
    copy.must_push(None, &tree);
    assert_same(&copy.export(), &tree);
}

#[test]
fn many_documents_come_in_parts() {
    let Some(subject) = Subject::empty("many") else { return };
    let mut client = subject.connect();
    let line = |number: i32| format!(r#"{{"_id":{number},"text":"{}"}}"#, "x".repeat(200));
    for start in (0..20_000).step_by(1000) {
        let documents: Vec<Vec<u8>> =
            (start..start + 1000).map(|number| bson::from_line(line(number).as_bytes()).unwrap()).collect();
        client.insert("many", "items", &documents);
    }
    let tree = subject.export();
    let parts = tree.files().keys().filter(|path| path.to_string().starts_with("data/items/")).count();
    assert!(parts > 1, "{parts}");
    let copy = Subject::empty("many_copy").unwrap();
    copy.must_push(None, &tree);
    assert_same(&copy.export(), &tree);
}

#[test]
fn what_would_be_lost_is_an_error() {
    let Some(subject) = Subject::of("odd", &[r#"{"insert":"glxc_new_1","documents":[{"_id":1}]}"#]) else { return };
    // Only what has the name of an operation is ours.
    assert!(subject.export().files().keys().any(|path| path.to_string() == "data/glxc_new_1/rows.tsv"));
    let gone = Subject::empty("gone").unwrap();
    assert_eq!(gone.export().files().len(), 1);
    let mut options = glxc_handlers::Options::new();
    options.set("database", glxc_handlers::Value::Text("x".into()), None);
    options.set("socket", glxc_handlers::Value::Text("/nowhere".into()), None);
    let settings = glxc_handlers::Settings::new("x", glxc_handlers::StatePath::new("x").unwrap(), options);
    let handler = glxc_handlers::mongodb::make(&settings).unwrap();
    let error = crate::harness::with_cx(|cx| handler.live(cx)).unwrap_err();
    assert!(
        matches!(error, Error::Engine { .. }) && chain(&error).contains("connect to /nowhere"),
        "{}",
        chain(&error)
    );
}

#[test]
fn a_file_of_gridfs_comes_back() {
    let Some(subject) = Subject::empty("gridfs") else { return };
    let mut client = subject.connect();
    // 13 MB in chunks of 255 KiB, whose bytes are all different.
    let chunk = |number: i32| {
        let bytes = (0..261_120u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ number as u8);
        let data = [&261_120i32.to_le_bytes()[..], &[0], &bytes.collect::<Vec<u8>>()].concat();
        let id = [&[0; 8][..], &number.to_be_bytes()].concat();
        Builder::new().value("_id", 7, &id).int32("files_id", 1).int32("n", number).value("data", 5, &data).done()
    };
    let chunks: Vec<Vec<u8>> = (0..50).map(chunk).collect();
    chunks.chunks(40).for_each(|chunks| client.insert("gridfs", "fs.chunks", chunks));
    let file = Builder::new().int32("_id", 1).text("filename", "film.mp4").int64("length", 50 * 261_120).done();
    client.insert("gridfs", "fs.files", &[file]);
    let index = r#"[{"key":{"files_id":1,"n":1},"name":"files_id_1_n_1","unique":true}]"#;
    subject.run(&format!(r#"{{"createIndexes":"fs.chunks","indexes":{index}}}"#));
    let tree = subject.export();
    let copy = Subject::empty("gridfs_copy").unwrap();
    copy.must_push(None, &tree);
    assert_same(&copy.export(), &tree);
    // One at a time: all are more than one batch of the server.
    for (number, chunk) in chunks.iter().enumerate() {
        let filter = Builder::new().int32("n", number as i32).done();
        let query = Builder::new().text("find", "fs.chunks").document("filter", &filter);
        assert!(copy.connect().documents("gridfs_copy", query) == [chunk.clone()], "{number}");
    }
}

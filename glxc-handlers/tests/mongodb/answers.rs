//! What the test server does not have, at the level of its answers: a server of documents that were written down from the manual.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use glxc_handlers::{Error, Handler, MemorySink, MemoryTree, Options, Result, Settings, Value, bson, mongodb};

use crate::common::battery::Builder;
use crate::common::mongodb::fields;
use crate::harness::{chain, path, text, with_cx};

pub const HELLO: &str = r#"{"isWritablePrimary":true,"maxWireVersion":21,"ok":1.0}"#;

/// Serves one connection after the other: what answers a command is found by its name and the text behind it.
fn serve(listener: &UnixListener, answers: &BTreeMap<String, String>) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        while let Some(command) = receive(&mut stream) {
            let (name, kind, value) = fields(&command)[0];
            let mut key = String::from_utf8(name.to_vec()).unwrap();
            if kind == 2 {
                key = format!("{key} {}", String::from_utf8_lossy(&value[4..value.len() - 1]));
            }
            if key == "stop" {
                return;
            }
            let unknown = r#"{"ok":0.0,"code":59,"errmsg":"no such command"}"#.to_owned();
            let answer = answers.get(&key).unwrap_or(&unknown);
            if answer.is_empty() {
                break;
            }
            let answer = bson::from_line(answer.as_bytes()).unwrap_or_else(|error| panic!("{answer}: {error}"));
            send(&mut stream, &answer);
        }
    }
}

pub fn receive(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut head = [0; 21];
    stream.read_exact(&mut head).ok()?;
    let mut body = vec![0; i32::from_le_bytes(head[..4].try_into().unwrap()) as usize - 21];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

pub fn send(stream: &mut UnixStream, document: &[u8]) {
    let length = document.len() as i32 + 21;
    let head = [length, 1, 1, 2013, 0].map(i32::to_le_bytes).concat();
    stream.write_all(&[&head[..], &[0], document].concat()).unwrap();
}

fn cursor(documents: &str) -> String {
    format!(r#"{{"cursor":{{"id":{{"$numberLong":"0"}},"ns":"shop.x","firstBatch":[{documents}]}},"ok":1.0}}"#)
}

/// Exports what a server answers, besides its `hello`.
fn export(answers: &[(&str, String)]) -> Result<MemoryTree> {
    export_under(Options::new(), answers)
}

/// The same under rules for collections.
fn export_under(rules: Options, answers: &[(&str, String)]) -> Result<MemoryTree> {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut all = BTreeMap::from([("hello".to_owned(), HELLO.to_owned())]);
    all.extend(answers.iter().map(|(key, answer)| ((*key).to_owned(), answer.clone())));
    let server = std::thread::spawn(move || serve(&listener, &all));
    let text = |text: &str| Value::Text(text.into());
    let options = Options::new().with("database", text("shop")).with("socket", text(socket.to_str().unwrap()));
    let options = options.with("collections", Value::Table(rules));
    let handler: Box<dyn Handler> = mongodb::make(&Settings::new("shop", path("shop"), options)).unwrap();
    let mut sink = MemorySink::new(None);
    let exported = with_cx(|cx| handler.export(None, &mut sink, cx));
    let stop = Builder::new().int32("stop", 1).done();
    let head = [stop.len() as i32 + 21, 1, 0, 2013, 0].map(i32::to_le_bytes).concat();
    UnixStream::connect(&socket).unwrap().write_all(&[&head[..], &[0], &stop].concat()).unwrap();
    server.join().unwrap();
    exported.and_then(|_| sink.finish())
}

const IDS: &str = r#"{"v":2,"key":{"_id":1},"name":"_id_","ns":"shop.items"}"#;

/// A collection with these options and further indexes, and its documents.
fn collection(options: &str, indexes: &str, documents: &str) -> Result<MemoryTree> {
    let listed =
        format!(r#"{{"name":"items","type":"collection","options":{{{options}}},"info":{{"readOnly":false}}}}"#);
    export(&[
        ("listCollections", cursor(&listed)),
        ("listIndexes items", cursor(&format!("{IDS}{indexes}"))),
        ("find items", cursor(documents)),
    ])
}

#[test]
fn definitions_are_files() {
    let tree = export(&[
        (
            "listCollections",
            cursor(
                r#"{"name":"system.views","type":"collection","options":{}},{"name":"glxc_new_0000000000000001_0","type":"collection"},{"name":"recent","type":"view","options":{"viewOn":"missing","pipeline":[{"$match":{"a":1}},{"$limit":3}],"collation":{"locale":"de"}}},{"name":"items","type":"collection","options":{"validator":{"a":{"$gt":1}},"validationLevel":"moderate","collation":{"locale":"de"}}}"#,
            ),
        ),
        (
            "listIndexes items",
            cursor(&format!(
                r#"{{"v":2,"key":{{"b":-1,"a":1}},"name":"z","ns":"shop.items","hidden":true,"collation":{{"locale":"fr"}}}},{IDS},{{"v":2,"key":{{"a":1}},"name":"a","expireAfterSeconds":60}}"#
            )),
        ),
        ("find items", cursor(r#"{"_id":1},{"_id":"a"}"#)),
    ])
    .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(tree.files().len(), 4);
    assert_eq!(
        text(&tree, "schema/views/recent.jsonl"),
        r#"{"view":"recent","options":{"viewOn":"missing","collation":{"locale":"de"}}}
{"$match":{"a":{"$numberInt":"1"}}}
{"$limit":{"$numberInt":"3"}}
"#
    );
    assert_eq!(
        text(&tree, "schema/collections/items.jsonl"),
        r#"{"collection":"items","options":{"validator":{"a":{"$gt":{"$numberInt":"1"}}},"validationLevel":"moderate","collation":{"locale":"de"}}}
{"v":{"$numberInt":"2"},"key":{"a":{"$numberInt":"1"}},"name":"a","expireAfterSeconds":{"$numberInt":"60"}}
{"v":{"$numberInt":"2"},"key":{"b":{"$numberInt":"-1"},"a":{"$numberInt":"1"}},"name":"z","hidden":true,"collation":{"locale":"fr"}}
"#
    );
    assert_eq!(
        text(&tree, "data/items/rows.tsv"),
        "#glxc-rows 1\tkey=1bson\tdocument\n{\"_id\":{\"$numberInt\":\"1\"}}\n{\"_id\":\"a\"}\n"
    );
}

#[test]
fn what_would_be_lost_is_an_error_by_its_name() {
    let listed = |entry: &str| export(&[("listCollections", cursor(entry)), ("listIndexes x", cursor(""))]);
    for (exported, words) in [
        (collection(r#""capped":true,"size":4096"#, "", ""), "the option capped of items"),
        (
            collection(r#""clusteredIndex":{"key":{"_id":1},"unique":true}"#, "", ""),
            "the option clusteredIndex of items",
        ),
        (collection(r#""timeseries":{}"#, "", ""), "the option timeseries of items"),
        (collection(r#""new":1"#, "", ""), "the option new of items"),
        (collection("", r#",{"v":2,"key":{"a":1},"name":"a","new":1}"#, ""), "the option new of the index a of items"),
        (
            collection("", r#",{"v":2,"key":{"a":1},"name":"a","storageEngine":{"x":1}}"#, ""),
            "the option storageEngine of the index a",
        ),
        (collection("", "", r#"{"a":1,"_id":1}"#), "a document of items: its first field must be `_id`"),
        (listed(r#"{"name":"x","type":"timeseries","options":{}}"#), "x, of the type timeseries"),
        (
            listed(r#"{"name":"system.js","type":"collection","options":{}}"#),
            "the collection system.js: the name is the server's own",
        ),
        (listed(r#"{"name":"x","type":"collection","options":{}}"#), "x, which has no index of its `_id`"),
        (
            export(&[("hello", r#"{"isWritablePrimary":true,"msg":"isdbgrid","maxWireVersion":21,"ok":1}"#.into())]),
            "a sharded cluster",
        ),
        (
            export(&[("hello", r#"{"isWritablePrimary":true,"maxWireVersion":8,"ok":1}"#.into())]),
            "a server before MongoDB 4.4",
        ),
        (
            export(&[("hello", r#"{"isWritablePrimary":false,"secondary":true,"maxWireVersion":21,"ok":1}"#.into())]),
            "not the primary",
        ),
    ] {
        let error = exported.expect_err(words);
        assert!(
            matches!(error, Error::Unsupported { .. }) && chain(&error).contains(words),
            "{words}: {}",
            chain(&error)
        );
    }
}

#[test]
fn what_is_ignored_is_no_error() {
    let listed =
        r#"{"name":"weather","type":"timeseries","options":{}},{"name":"system.js","type":"collection","options":{}}"#;
    let rules = || Options::new().with("weather", Value::Text("ignore".into()));
    let answers = |listed: &str| [("listCollections", cursor(listed))];
    let all = export_under(rules().with("system.*", Value::Text("ignore".into())), &answers(listed));
    assert_eq!(all.unwrap_or_else(|error| panic!("{}", chain(&error))).files().len(), 1);
    let error = export_under(rules(), &answers(listed)).unwrap_err();
    assert!(chain(&error).contains("the collection system.js"), "{}", chain(&error));
}

#[test]
fn a_cursor_that_dies_is_an_error() {
    let open = r#"{"cursor":{"id":{"$numberLong":"7"},"ns":"shop.items","firstBatch":[{"_id":1}]},"ok":1.0}"#;
    let more = r#"{"cursor":{"id":{"$numberLong":"0"},"ns":"shop.items","nextBatch":[{"_id":2}]},"ok":1.0}"#;
    let with = |more: &str| {
        export(&[
            ("listCollections", cursor(r#"{"name":"items","type":"collection","options":{}}"#)),
            ("listIndexes items", cursor(IDS)),
            ("find items", open.to_owned()),
            ("getMore", more.to_owned()),
        ])
    };
    let tree = with(more).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(text(&tree, "data/items/rows.tsv").lines().count(), 3);
    for (answer, words) in [
        (r#"{"ok":0.0,"code":43,"errmsg":"cursor id 7 not found"}"#, "cursor id 7 not found"),
        ("", "failed to fill whole buffer"),
        (r#"{"ok":1.0}"#, "an answer without documents"),
    ] {
        let error = with(answer).expect_err(words);
        assert!(matches!(error, Error::Engine { .. }) && chain(&error).contains(words), "{words}: {}", chain(&error));
        assert!(chain(&error).starts_with("read the documents of items"), "{}", chain(&error));
    }
    let error = export(&[("listCollections", r#"{"ok":0.0,"code":13,"errmsg":"not authorized"}"#.into())]).unwrap_err();
    assert!(chain(&error).contains("not authorized"), "{}", chain(&error));
}

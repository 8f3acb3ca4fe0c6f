//! A server that asks who it is.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use glxc_handlers::{Error, Handler, MemorySink, MemoryTree, Options, Result, Settings, Value, bson, mongodb};

use crate::answers::{HELLO, receive, send};
use crate::common::battery::Builder;
use crate::common::mongodb::field;
use crate::harness::{Subject, assert_same, chain, path, with_cx};

fn handler(socket: &Path, login: &[(&str, &str)]) -> Box<dyn Handler> {
    let text = |text: &str| Value::Text(text.into());
    let options = Options::new().with("database", text("locked")).with("socket", text(socket.to_str().unwrap()));
    let options = login.iter().fold(options, |options, (key, value)| options.with(*key, text(value)));
    mongodb::make(&Settings::new("shop", path("shop"), options)).unwrap()
}

fn export(handler: &dyn Handler) -> Result<MemoryTree> {
    let mut sink = MemorySink::new(None);
    with_cx(|cx| handler.export(None, &mut sink, cx))?;
    sink.finish()
}

#[test]
fn a_password_is_proved() {
    let Some(subject) = Subject::of("locked", &[r#"{"insert":"items","documents":[{"_id":1}]}"#]) else { return };
    let create = r#"{"createUser":"a,d=a","pwd":"sesame","roles":[{"role":"clusterAdmin","db":"admin"},{"role":"readWriteAnyDatabase","db":"admin"}]}"#;
    subject.connect().call("admin", Builder::of(&bson::from_line(create.as_bytes()).unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (file("right", "sesame\n"), file("wrong", "Sesame\n"));
    let socket = subject.server.locked_socket();
    let tree = export(&*handler(&socket, &[("user", "a,d=a"), ("password_file", &right)]));
    assert_same(&tree.unwrap_or_else(|error| panic!("{}", chain(&error))), &subject.export());
    for (login, words) in [
        (vec![], "requires authentication"),
        (vec![("user", "a,d=a"), ("password_file", wrong.as_str())], "log in as a,d=a"),
        (vec![("user", "nobody"), ("password_file", right.as_str())], "log in as nobody"),
        (vec![("user", "a,d=a"), ("password_file", "/nowhere")], "/nowhere"),
        (vec![("user", "a,d=a"), ("password_file", &file("odd", "s\u{e9}same"))], "printable ASCII"),
    ] {
        let error = export(&*handler(&socket, &login)).expect_err(words);
        let said = chain(&error);
        assert!(said.contains(words) && !said.contains("esame"), "{words}: {said}");
        assert!(!matches!(error, Error::Timeout { .. }), "{said}");
    }
}

#[test]
fn a_server_that_does_not_know_the_password_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("socket"), folder.path().join("password"));
    fs::write(&file, "sesame").unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let step = |text: &str| {
            let payload = [&(text.len() as i32).to_le_bytes()[..], &[0], text.as_bytes()].concat();
            let answer = Builder::new().int32("ok", 1).int32("conversationId", 1).int32("done", 1);
            answer.value("payload", 5, &payload).done()
        };
        receive(&mut stream).unwrap();
        send(&mut stream, &bson::from_line(HELLO.as_bytes()).unwrap());
        let first = receive(&mut stream).unwrap();
        let payload = String::from_utf8_lossy(field(&first, "payload").unwrap().1).into_owned();
        let nonce = payload.split_once(",r=").unwrap().1;
        send(&mut stream, &step(&format!("r={nonce}x,s=W22Z,i=4096")));
        receive(&mut stream).unwrap();
        send(&mut stream, &step("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    });
    let login = [("user", "ada"), ("password_file", file.to_str().unwrap())];
    let said = chain(&export(&*handler(&socket, &login)).unwrap_err());
    assert!(said.contains("the server does not know the password"), "{said}");
    server.join().unwrap();
}

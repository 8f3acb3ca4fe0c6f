//! A private server for tests that speaks the protocol of MongoDB: FerretDB over PostgreSQL with DocumentDB. It runs in a network of its
//! own, so no port of this machine is taken, and is reached by a unix socket. And a client that shares nothing with the handler's.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::battery::Builder;

/// Names the unpacked system whose server the tests run.
const ROOT: &str = "GLXC_TEST_FERRETDB";

/// A running server.
///
/// It ends, and its folder is removed, as soon as this process ends in whatever way: its keeper, which is the first process of its
/// own, waits for the end of a pipe that only this process holds.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    _keeper: Child,
}

fn lacking() -> Option<&'static str> {
    if std::env::var_os(ROOT).is_none() {
        return Some("GLXC_TEST_FERRETDB names no unpacked system with FerretDB");
    }
    (!rustix::process::geteuid().is_root()).then_some("needs root, to run a server as `postgres`")
}

/// The server that all tests of one program share, or `None` where there can not be one: then the test says why and is
/// skipped, or fails where skipping is not allowed.
pub fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    if let Some(reason) = lacking() {
        super::skip(reason);
        return None;
    }
    Some(SERVER.get_or_init(Server::start))
}

/// Its arguments: the root, and the folder as seen from there. DocumentDB connects to itself over the loopback.
const KEEPER: &str = r#"
root=$1 there=$2
inside() {
    chroot --userspec=postgres:postgres "$root" env PATH=/usr/lib/postgresql/18/bin:/usr/local/bin:/usr/bin:/bin \
        HOME="$there" LC_ALL=C.UTF-8 "$@"
}
ip link set lo up
chroot "$root" chown postgres: "$there"
serve() {
    inside initdb -D "$there/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync
    inside postgres -D "$there/data" -k "$there" -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off \
        -c shared_preload_libraries=pg_cron,pg_documentdb_core,pg_documentdb -c cron.database_name=postgres &
    until inside psql -q -h "$there" -U postgres -c 'CREATE EXTENSION IF NOT EXISTS documentdb CASCADE'; do sleep 0.2; done
    ferretdb() {
        inside ferretdb --postgresql-url=postgres://postgres@127.0.0.1:5432/postgres --listen-addr= --debug-addr= \
            --telemetry=disable --log-level=warn "$@" &
    }
    inside mkdir "$there/state"
    ferretdb --listen-unix="$there/locked" --state-dir="$there/state"
    ferretdb --listen-unix="$there/socket" --state-dir="$there" --no-auth
}
serve >"$root$there/log" 2>&1 </dev/null
read -r _
kill -KILL -1
wait
rm -rf "$root$there"
"#;

impl Server {
    fn start() -> Server {
        let root = PathBuf::from(std::env::var_os(ROOT).expect("a server is there"));
        let folder = tempfile::Builder::new().prefix("glxc-mongo-").tempdir_in(root.join("tmp")).unwrap().keep();
        let there = PathBuf::from("/").join(folder.strip_prefix(&root).unwrap());
        let mut keeper = Command::new("unshare");
        keeper.args(["--net", "--pid", "--fork", "--kill-child", "sh", "-c", KEEPER, "sh"]).arg(&root).arg(there);
        let keeper = keeper.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server { folder, _keeper: keeper.spawn().unwrap() };
        server.wait();
        server
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(180);
        while [self.socket(), self.locked_socket()].iter().any(|socket| UnixStream::connect(socket).is_err()) {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the server does not start\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// The socket where the same databases are served to those who log in.
    pub fn locked_socket(&self) -> PathBuf {
        self.folder.join("locked")
    }

    pub fn connect(&self) -> Client {
        Client(UnixStream::connect(self.socket()).unwrap())
    }
}

/// A connection that takes and gives bytes.
pub struct Client(UnixStream);

impl Client {
    /// The answer to a command, which must be accepted.
    pub fn call(&mut self, database: &str, command: Builder) -> Vec<u8> {
        let body = command.text("$db", database).done();
        let length = body.len() as i32 + 21;
        let head = [length, 1, 0, 2013, 0].map(i32::to_le_bytes).concat();
        self.0.write_all(&[&head[..], &[0], &body].concat()).unwrap();
        let mut head = [0; 21];
        self.0.read_exact(&mut head).unwrap();
        let mut answer = vec![0; i32::from_le_bytes(head[..4].try_into().unwrap()) as usize - 21];
        self.0.read_exact(&mut answer).unwrap();
        let ok = field(&answer, "ok").is_some_and(|(_, ok)| ok == 1f64.to_le_bytes() || ok == 1i32.to_le_bytes());
        let is_whole = ok && field(&answer, "writeErrors").is_none();
        assert!(is_whole, "{}", String::from_utf8_lossy(&answer));
        answer
    }

    /// The documents of a cursor, which must be one batch.
    pub fn documents(&mut self, database: &str, command: Builder) -> Vec<Vec<u8>> {
        let answer = self.call(database, command);
        let (_, cursor) = field(&answer, "cursor").unwrap();
        assert_eq!(field(cursor, "id").unwrap().1, [0; 8], "more than one batch");
        let (_, batch) = field(cursor, "firstBatch").unwrap();
        fields(batch).into_iter().map(|(_, _, document)| document.to_vec()).collect()
    }

    /// All documents of a collection, as they lie there.
    pub fn all(&mut self, database: &str, collection: &str) -> Vec<Vec<u8>> {
        self.documents(database, Builder::new().text("find", collection).int32("batchSize", 100_000))
    }

    /// Inserts documents as they are.
    pub fn insert(&mut self, database: &str, collection: &str, documents: &[Vec<u8>]) {
        let numbered = documents.iter().enumerate();
        let array = numbered.fold(Builder::new(), |b, (at, document)| b.document(&at.to_string(), document)).done();
        self.call(database, Builder::new().text("insert", collection).value("documents", 4, &array));
    }
}

/// The first field of a name: its kind and value.
pub fn field<'b>(document: &'b [u8], name: &str) -> Option<(u8, &'b [u8])> {
    fields(document).into_iter().find(|(other, ..)| *other == name.as_bytes()).map(|(_, kind, value)| (kind, value))
}

/// The names, kinds and values of what answers hold.
pub fn fields(document: &[u8]) -> Vec<(&[u8], u8, &[u8])> {
    let (mut rest, mut all) = (&document[4..document.len() - 1], Vec::new());
    while let [kind, behind @ ..] = rest {
        let end = behind.iter().position(|byte| *byte == 0).unwrap();
        let (name, value) = (&behind[..end], &behind[end + 1..]);
        let number = || i32::from_le_bytes(value[..4].try_into().unwrap()) as usize;
        let length = match kind {
            6 | 10 => 0,
            8 => 1,
            16 => 4,
            1 | 9 | 17 | 18 => 8,
            7 => 12,
            19 => 16,
            2 => number() + 4,
            3 | 4 => number(),
            5 => number() + 5,
            other => panic!("an answer with a value of the kind {other}"),
        };
        all.push((name, *kind, &value[..length]));
        rest = &value[length..];
    }
    all
}

//! The handler, against a real server.
#![allow(missing_docs, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use glxc_handlers::conformance::{Edit, PROMISES, Subject, Variant, run_all};
use glxc_handlers::folder::{Control, Done, Folder, FolderError, State};
use glxc_handlers::{
    Cancel, Change, Cx, Error, Handler, MemoryTree, OpId, Options, Recorded, Registry, Settings, Silent, StatePath,
    Tree, Value, differences,
};
use redis_state::{Client, Reply};
use tempfile::TempDir;

/// A server of its own, which ends with this process: it waits for the end of a pipe that only this process holds.
struct Server {
    folder: TempDir,
    _keeper: Child,
    next: AtomicI64,
}

const KEEPER: &str = "redis-server --port 0 --unixsocket \"$1/socket\" --dir \"$1\" --save '' --appendonly no \
                      --databases 64 >\"$1/log\" 2>&1 </dev/null & read -r _; kill -9 $!";

fn server() -> Option<Server> {
    let installed = Command::new("redis-server").arg("--version").output().is_ok();
    if !installed {
        let required = ["CI", "GLXC_TEST_REQUIRE"].iter().any(|name| std::env::var_os(name).is_some());
        assert!(!required, "redis-server is not installed");
        eprintln!("skipped: redis-server is not installed");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "sh"]).arg(folder.path()).stdin(Stdio::piped());
    let server = Server { _keeper: keeper.spawn().unwrap(), folder, next: AtomicI64::new(0) };
    let until = Instant::now() + Duration::from_secs(30);
    while let Err(error) = Client::connect(&server.socket(), 0) {
        assert!(Instant::now() < until, "the server does not start: {error}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(server)
}

impl Server {
    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A database that no other test uses.
    fn database(&self) -> Database {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        Database { socket: self.socket(), number }
    }
}

struct Database {
    socket: PathBuf,
    number: i64,
}

impl Database {
    fn call(&self, words: &[&[u8]]) -> Reply {
        let reply = Client::connect(&self.socket, self.number).unwrap().call(words);
        reply.unwrap_or_else(|error| panic!("{:?}: {error}", String::from_utf8_lossy(words[0])))
    }

    /// A command without spaces in its words.
    fn run(&self, command: &str) -> Reply {
        self.call(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    fn options(&self) -> Options {
        let socket = Value::Text(self.socket.to_str().unwrap().into());
        Options::new().with("socket", socket).with("database", Value::Integer(self.number))
    }

    fn settings(&self) -> Settings {
        Settings::new("cache", StatePath::new("data/cache").unwrap(), self.options())
    }

    fn folder(&self, folder: &std::path::Path) -> Folder {
        let registry = Registry::new().with("redis", redis_state::make);
        Folder::open(folder, "here", vec![State::new(&registry, "redis", self.settings()).unwrap()]).unwrap()
    }

    fn load(&self, folder: &std::path::Path) -> Result<Vec<Done>, FolderError> {
        self.folder(folder).load(&[], &Control::default())
    }

    /// Every key as Redis itself serializes it, with its end.
    fn look(&self) -> Vec<u8> {
        let Reply::List(keys) = self.run("KEYS *") else { panic!("no list") };
        let texts = keys.into_iter().map(|key| if let Reply::Text(key) = key { key } else { panic!("no text") });
        let mut keys: Vec<_> = texts.collect();
        keys.sort();
        let about = |key: &Vec<u8>| {
            let one = |command: &[u8]| self.call(&[command, key]);
            // The order within a hash or a set is no state, so it is not compared by DUMP.
            let held = match one(b"TYPE") {
                Reply::Word(kind) if kind == "string" => vec![one(b"GET")],
                Reply::Word(kind) if kind == "list" => vec![self.call(&[b"LRANGE", key, b"0", b"-1"])],
                Reply::Word(kind) if kind == "zset" => vec![self.call(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"])],
                Reply::Word(kind) if kind == "hash" => sorted(one(b"HGETALL"), 2),
                _ => sorted(one(b"SMEMBERS"), 1),
            };
            format!("{} {held:?} {:?}\n", key.escape_ascii(), one(b"PEXPIRETIME"))
        };
        keys.iter().map(about).collect::<String>().into_bytes()
    }
}

fn sorted(reply: Reply, each: usize) -> Vec<Reply> {
    let Reply::List(all) = reply else { return vec![reply] };
    let mut groups: Vec<Vec<Reply>> = all.chunks(each).map(<[Reply]>::to_vec).collect();
    groups.sort_by_key(|group| format!("{group:?}"));
    groups.concat()
}

struct Keys(Database, AtomicI64);

impl Subject for Keys {
    fn handler(&self) -> Box<dyn Handler> {
        redis_state::make(&self.0.settings()).unwrap()
    }

    fn options(&self) -> Options {
        self.0.options()
    }

    fn set(&self, variant: Variant) {
        self.0.run("FLUSHDB");
        let mut commands = match variant {
            Variant::Absent | Variant::Empty => vec![],
            Variant::Base => vec!["HSET contested a 1 b 2", "SADD other x y z", "RPUSH removed 1 2 3"],
            Variant::Next => vec!["HSET contested b 2 a 2 c 3", "SADD other z y x", "ZADD added 0.1 x -inf y"],
        };
        // Another history each time.
        if self.1.fetch_add(1, Ordering::SeqCst) % 2 == 0 {
            commands.reverse();
        }
        commands.iter().for_each(|command| drop(self.0.run(command)));
    }

    fn can_be_absent(&self) -> bool {
        false
    }

    fn edit(&self, edit: Edit) {
        let (key, command) = match edit {
            Edit::Contested => ("contested", "HSET contested a edited"),
            Edit::Other => ("other", "SADD other edited"),
        };
        self.0.run(&format!("DEL {key}"));
        self.0.run(command);
    }

    fn live(&self) -> Vec<u8> {
        self.0.look()
    }

    fn leftovers(&self) -> Vec<String> {
        // Nothing of ours is ever in the server; what is live is compared as a whole.
        Vec::new()
    }
}

#[test]
fn every_promise_is_kept() {
    let Some(server) = server() else { return };
    let report = run_all(&Keys(server.database(), AtomicI64::new(0)));
    assert!(report.failed.is_empty(), "{report}");
    assert_eq!(report.not_made, ["prepared"]);
    assert_eq!(report.kept.len() + 1, PROMISES.len());
}

const ROWS: &str = "data/cache/keys/rows.tsv";

#[test]
fn every_kind_of_value_goes_there_and_back() {
    let Some(server) = server() else { return };
    let (from, to) = (server.database(), server.database());
    for command in ["RPUSH l b a b", "SADD s b a", "HSET h f v g w", "ZADD z 1 a 0.1 b -inf c 1e300 d 3 e", "SET n 10"]
    {
        from.run(command);
    }
    from.run("EXPIREAT h 4102444800");
    from.call(&[b"SET", b"\xff\0%\n", b"\r\n\t\\N\xe2\x80\xae\x80"]);
    from.call(&[b"SET", b"", b""]);
    let many: Vec<String> = (0..2500).map(|number| number.to_string()).collect();
    from.call(
        &[&[b"RPUSH".as_slice(), b"long"], many.iter().map(String::as_bytes).collect::<Vec<_>>().as_slice()].concat(),
    );
    let folder = tempfile::tempdir().unwrap();
    from.folder(folder.path()).dump(&Control::default()).unwrap();
    let text = std::fs::read_to_string(folder.path().join(ROWS)).unwrap();
    let shown: Vec<&str> = text.lines().filter(|line| !line.starts_with("long\t")).collect();
    assert_eq!(
        shown,
        [
            "#glxc-rows 1\tkey=1b,2b,3b\tkey\tkind\tpart\tvalue",
            "\tstring\t\t",
            "%ff%00%25%0a\tstring\t\t%0d%0a%09\\\\N%e2%80%ae%80",
            "h\texpires\t\t4102444800000",
            "h\thash\tf\tv",
            "h\thash\tg\tw",
            "l\tlist\t0000000000\tb",
            "l\tlist\t0000000001\ta",
            "l\tlist\t0000000002\tb",
            "n\tstring\t\t10",
            "s\tset\ta\t",
            "s\tset\tb\t",
            "z\tzset\ta\t1",
            "z\tzset\tb\t0.1",
            "z\tzset\tc\t-inf",
            &format!("z\tzset\td\t{}", 1e300),
            "z\tzset\te\t3",
        ]
    );
    to.load(folder.path()).unwrap();
    assert_eq!(String::from_utf8(to.look()).unwrap(), String::from_utf8(from.look()).unwrap());
}

#[test]
fn only_what_the_files_change_is_written_and_a_late_write_declines() {
    let Some(server) = server() else { return };
    let database = server.database();
    database.run("MSET a 1 b 1");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(ROWS);
    let edit = |from: &str, to: &str| {
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {text}");
        std::fs::write(&file, text.replace(from, to)).unwrap();
    };
    database.folder(folder.path()).dump(&Control::default()).unwrap();
    edit("a\tstring\t\t1", "a\tstring\t\t2");
    database.run("SET b live");
    assert_eq!(database.load(folder.path()).unwrap()[0].description.summary, "1 key changed");
    assert_eq!(database.run("MGET a b"), Reply::List(["2", "live"].map(|text| Reply::Text(text.into())).into()));
    edit("b\tstring\t\t1", "b\tstring\t\tmine");
    match database.load(folder.path()).unwrap_err() {
        FolderError::State { source: Error::Changed { first, .. }, .. } => assert_eq!(first, ["key b"]),
        error => panic!("{error}"),
    }
    assert_eq!(database.run("GET b"), Reply::Text("live".into()));
}

/// Somebody writes to a key, and be it what it holds: the transaction of all of them is not executed then, and is tried again.
#[test]
fn a_write_amid_the_commit_loses_nothing() {
    let Some(server) = server() else { return };
    let database = server.database();
    let handler = redis_state::make(&database.settings()).unwrap();
    let tree = |value: &str| {
        let rows: String = (10..30).map(|key| format!("{key}\tstring\t\t{value}\n")).collect();
        let rows = format!("#glxc-rows 1\tkey=1b,2b,3b\tkey\tkind\tpart\tvalue\n{rows}");
        MemoryTree::from([("keys/rows.tsv", rows.as_str())])
    };
    let (base, next, options) = (tree("1"), tree("2"), database.options());
    let recorded = |tree| Recorded { tree, options: &options };
    let differs = differences(Some(&base), Some(&next));
    let op = OpId::new("0123456789abcdef").unwrap();
    let (base, next) = (Some(recorded(&base as &dyn Tree)), recorded(&next));
    let change = Change { op: &op, base, next, differs: &differs, replace: false, prepare: false };
    let (folder, cancel) = (tempfile::tempdir().unwrap(), Cancel::new());
    let (scratch, op_dir) = (folder.path(), folder.path());
    let cx = Cx { progress: &Silent, cancel: &cancel, deadline: None, scratch, op_dir };
    struct Stop<'a>(&'a AtomicI64);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(1, Ordering::SeqCst);
        }
    }
    let stop = AtomicI64::new(0);
    std::thread::scope(|scope| {
        // Also where something fails below: the thread is waited for.
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let mut writer = Client::connect(&database.socket, database.number).unwrap();
            while stop.load(Ordering::SeqCst) == 0 {
                writer.call(&[b"SET", b"10", b"1"]).unwrap();
                std::thread::sleep(Duration::from_millis(4));
            }
        });
        for _ in 0..50 {
            (10..30).for_each(|key| drop(database.run(&format!("SET {key} 1"))));
            let mut staged = handler.stage(&change, &cx).unwrap();
            staged.lock().unwrap();
            staged.commit().unwrap();
            let held: Vec<Reply> = (11..30).map(|key| database.run(&format!("GET {key}"))).collect();
            assert_eq!(held, vec![Reply::Text(b"2".into()); 19]);
        }
    });
}

#[test]
fn what_is_not_kept_is_an_error_by_name() {
    let Some(server) = server() else { return };
    let database = server.database();
    database.run("XADD events * a 1");
    let folder = tempfile::tempdir().unwrap();
    let error = database.folder(folder.path()).dump(&Control::default()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "not supported: key events, a value of the type stream");
    assert!(!folder.path().join("data").exists());
}

#[test]
fn rows_that_make_no_sense_are_named_by_their_line() {
    let Some(server) = server() else { return };
    let database = server.database();
    let header = "#glxc-rows 1\tkey=1b,2b,3b\tkey\tkind\tpart\tvalue\n";
    for (rows, message) in [
        ("k\tstring\t\t%41\n", ":2: write `%xx` for `%`"),
        ("k\tstring\t\tv\nk\thash\tf\tv\n", ": a key of two kinds"),
        ("k\tlist\t0000000001\tv\n", ":2: not the place 0000000000"),
        ("k\tzset\tm\tnan\n", ":2: not a score"),
        ("k\texpires\t\t5\n", ":2: a key that ends and holds nothing"),
        ("k\tstream\t\tv\n", ":2: unknown kind `stream`"),
        ("k\tset\tm\tv\n", ":2: a column that a set does not have"),
        ("k\tstring\t\t\\N\n", ":2: an unknown escape, or NULL"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("data/cache/keys")).unwrap();
        std::fs::write(folder.path().join(ROWS), format!("{header}{rows}")).unwrap();
        let error = database.load(folder.path()).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.starts_with(ROWS) && cause.contains(message), "{cause}");
        assert_eq!(database.run("DBSIZE"), Reply::Number(0));
    }
}

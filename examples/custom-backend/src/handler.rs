//! The handler: what is live, and how a change gets there.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use glxc_handlers::folder::{FolderSink, FolderTree};
use glxc_handlers::{
    Caps, Change, Commit, Committed, Cx, Decision, Description, Error, Exported, Handler, Live, Record, Recorded,
    Recovered, Result, Settings, Sink, Snapshot, Staged, Tree, Unit, Ways,
};

use crate::client::{Client, Reply};
use crate::item::{self, Item, Items, Value, shown};

/// A key as a whole: its type, its end, and what it holds. A script is atomic.
const READ: &str = "
local kind = redis.call('TYPE', KEYS[1]).ok
local readers = {
    string = function() return { redis.call('GET', KEYS[1]) } end,
    hash = function() return redis.call('HGETALL', KEYS[1]) end,
    list = function() return redis.call('LRANGE', KEYS[1], 0, -1) end,
    set = function() return redis.call('SMEMBERS', KEYS[1]) end,
    zset = function() return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES') end,
}
return { kind, redis.call('PEXPIRETIME', KEYS[1]), readers[kind] and readers[kind]() or {} }
";

/// How many elements one command brings.
const CHUNK: usize = 1000;

/// How often a transaction is tried while somebody writes to its keys what they hold already.
const TRIES: usize = 1000;

/// What an import that compares with no base saw live, in the operation's folder.
const SEEN: &str = "seen";

/// A database of a Redis server.
#[derive(Debug)]
pub struct Redis {
    socket: PathBuf,
    database: i64,
}

/// Makes the handler of a state; see the page of the crate for its options.
///
/// # Errors
/// [`Error::Options`].
pub fn make(settings: &Settings) -> Result<Box<dyn Handler>> {
    let mut reader = settings.options.reader();
    let socket = PathBuf::from(reader.text("socket")?.unwrap_or("/run/redis/redis-server.sock"));
    let database = reader.integer("database")?.unwrap_or(0);
    reader.finish()?;
    if !socket.is_absolute() {
        return Err(Error::option("socket", "must be an absolute path"));
    }
    if !(0..1 << 20).contains(&database) {
        return Err(Error::option("database", "must be the number of a database"));
    }
    Ok(Box::new(Redis { socket, database }))
}

/// A key, what it held, and what it is to hold.
type Edit = (Vec<u8>, Option<Item>, Option<Item>);

fn edits(old: &Items, new: &Items) -> Vec<Edit> {
    let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let edit = |key: &Vec<u8>| (key.clone(), old.get(key).cloned(), new.get(key).cloned());
    keys.into_iter().map(edit).filter(|(_, old, new)| old != new).collect()
}

impl Redis {
    fn connect(&self) -> Result<Client> {
        Client::connect(&self.socket, self.database).map_err(Error::engine("connect to Redis"))
    }

    /// All keys.
    fn read_live(&self, cx: &Cx<'_>) -> Result<Items> {
        let mut client = self.connect()?;
        let (mut items, mut cursor) = (Items::new(), b"0".to_vec());
        loop {
            cx.check()?;
            let page = ask(&mut client, &[b"SCAN", &cursor, b"COUNT", b"1000"])?;
            let Reply::List(page) = page else { return Err(strange()) };
            let [Reply::Text(next), Reply::List(keys)] = page.as_slice() else { return Err(strange()) };
            for key in keys {
                let Reply::Text(key) = key else { return Err(strange()) };
                // One that is gone by now is not there; one that the scan brings twice is read again.
                read_key(&mut client, key)?.map(|item| items.insert(key.clone(), item));
            }
            cx.progress.advance(items.len() as u64);
            cursor.clone_from(next);
            if cursor == b"0" {
                return Ok(items);
            }
        }
    }

    /// What an operation changes.
    fn edits(&self, change: &Change<'_>, cx: &Cx<'_>) -> Result<Vec<Edit>> {
        let next = item::read(change.next.tree, cx)?;
        let base = match change.base.filter(|_| !change.replace) {
            Some(base) => item::read(base.tree, cx)?,
            None => item::read(&FolderTree::open(cx.op_dir.join(SEEN))?, cx)?,
        };
        Ok(edits(&base, &next))
    }

    /// Changes each key that still holds what it held, all in one transaction. What the application wrote meanwhile stays.
    fn apply(&self, edits: &[Edit]) -> Result<Committed> {
        let mut client = self.connect()?;
        let mut notes = Vec::new();
        let mut left: Vec<&Edit> = edits.iter().collect();
        let begin = Instant::now();
        for _ in 0..TRIES {
            if left.is_empty() {
                return Ok(Committed { notes });
            }
            let keys = left.iter().map(|(key, ..)| key.as_slice());
            ask(&mut client, &[b"WATCH".as_slice()].into_iter().chain(keys).collect::<Vec<_>>())?;
            let mut open = Vec::new();
            for edit in left {
                let (key, old, new) = edit;
                let now = read_key(&mut client, key)?;
                match () {
                    () if now == *new => {}
                    () if now == *old => open.push(edit),
                    () => notes.push(format!("key {} was changed meanwhile and stays", shown(key))),
                }
            }
            if open.is_empty() {
                return Ok(Committed { notes });
            }
            ask(&mut client, &[b"MULTI"])?;
            open.iter().try_for_each(|(key, _, new)| write_key(&mut client, key, new.as_ref()))?;
            // Nothing: somebody wrote to one of the keys since they were watched.
            if ask(&mut client, &[b"EXEC"])? != Reply::Nothing {
                return Ok(Committed { notes });
            }
            left = open;
        }
        // The caller asks for a recovery, which goes on here.
        Err(Error::Timeout { what: "a moment without a write to these keys".into(), after: begin.elapsed() })
    }
}

fn strange() -> Error {
    Error::Engine { context: "read what Redis says".into(), source: "an answer of another kind".into() }
}

fn ask(client: &mut Client, words: &[&[u8]]) -> Result<Reply> {
    let command = String::from_utf8_lossy(words.first().copied().unwrap_or_default()).into_owned();
    client.call(words).map_err(Error::engine(format!("run {command}")))
}

fn read_key(client: &mut Client, key: &[u8]) -> Result<Option<Item>> {
    let Reply::List(parts) = ask(client, &[b"EVAL", READ.as_bytes(), b"1", key])? else { return Err(strange()) };
    let [Reply::Text(kind), Reply::Number(expires), Reply::List(held)] = parts.as_slice() else {
        return Err(strange());
    };
    let texts = held.iter().map(|text| if let Reply::Text(text) = text { Ok(text.clone()) } else { Err(strange()) });
    let texts: Vec<Vec<u8>> = texts.collect::<Result<_>>()?;
    let pairs = || texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
    let value = match kind.as_slice() {
        b"none" => return Ok(None),
        b"string" => Value::String(texts.into_iter().next().ok_or_else(strange)?),
        b"hash" => Value::Hash(pairs().collect()),
        b"list" => Value::List(texts),
        b"set" => Value::Set(texts.into_iter().collect()),
        b"zset" => Value::Zset(pairs().map(|(member, text)| Ok((member, score(&text)?))).collect::<Result<_>>()?),
        other => {
            let kind = String::from_utf8_lossy(other);
            return Err(Error::Unsupported { what: format!("key {}, a value of the type {kind}", shown(key)) });
        }
    };
    Ok(Some(Item { value, expires: (*expires >= 0).then_some(*expires) }))
}

fn score(text: &[u8]) -> Result<f64> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(strange)
}

fn write_key(client: &mut Client, key: &[u8], item: Option<&Item>) -> Result<()> {
    ask(client, &[b"DEL", key])?;
    let Some(Item { value, expires }) = item else { return Ok(()) };
    let scores: Vec<String>;
    let (command, words, each): (&[u8], Vec<&[u8]>, usize) = match value {
        Value::String(value) => (b"SET", vec![value.as_slice()], 1),
        Value::List(elements) => (b"RPUSH", elements.iter().map(Vec::as_slice).collect(), 1),
        Value::Set(members) => (b"SADD", members.iter().map(Vec::as_slice).collect(), 1),
        Value::Hash(fields) => (b"HSET", fields.iter().flat_map(|(f, v)| [f.as_slice(), v]).collect(), 2),
        Value::Zset(members) => {
            scores = members.values().map(f64::to_string).collect();
            let words = scores.iter().zip(members.keys()).flat_map(|(score, m)| [score.as_bytes(), m.as_slice()]);
            (b"ZADD", words.collect(), 2)
        }
    };
    for chunk in words.chunks(CHUNK * each) {
        ask(client, &[&[command, key], chunk].concat())?;
    }
    if let Some(expires) = expires {
        ask(client, &[b"PEXPIREAT", key, expires.to_string().as_bytes()])?;
    }
    Ok(())
}

impl Handler for Redis {
    fn caps(&self) -> Caps {
        Caps { unit: Unit::Item, commit: Commit::Redo, snapshot: Snapshot::PerItem, database: true, ways: Ways::Both }
    }

    fn place(&self) -> String {
        format!("the Redis database {}", self.database)
    }

    fn claim(&self) -> String {
        format!("redis {} {}", self.socket.display(), self.database)
    }

    fn ready(&self, cx: &Cx<'_>) -> Result<()> {
        let begin = Instant::now();
        loop {
            // While it loads its file it answers, but to no command.
            let answer = Client::connect(&self.socket, self.database).and_then(|mut client| client.call(&[b"DBSIZE"]));
            let Err(error) = answer else { return Ok(()) };
            if cx.check().is_err() {
                return match cx.cancel.is_cancelled() {
                    true => Err(Error::Cancelled),
                    false if error.kind() == io::ErrorKind::Other => Err(Error::engine("ask Redis")(error)),
                    false => Err(Error::Timeout { what: "Redis".into(), after: begin.elapsed() }),
                };
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn live(&self, _: &Cx<'_>) -> Result<Live> {
        match ask(&mut self.connect()?, &[b"DBSIZE"])? {
            Reply::Number(0) => Ok(Live::Empty),
            Reply::Number(_) => Ok(Live::Present),
            _ => Err(strange()),
        }
    }

    fn check(&self, _: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        item::read(next, cx).map(drop)
    }

    fn export(&self, _: Option<&Recorded<'_>>, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        cx.check()?;
        cx.progress.begin("keys", None);
        let written = self.read_live(cx).and_then(|items| item::write(&items, sink));
        cx.progress.end();
        written.map(|()| Exported::default())
    }

    fn describe(&self, change: &Change<'_>, cx: &Cx<'_>) -> Result<Description> {
        let base = change.base.map(|base| item::read(base.tree, cx)).transpose()?.unwrap_or_default();
        let edits = edits(&base, &item::read(change.next.tree, cx)?);
        let summary = match edits.len() {
            0 => String::new(),
            1 => "1 key changed".into(),
            count => format!("{count} keys changed"),
        };
        Ok(Description { summary, details: edits.iter().take(1000).map(|(key, ..)| shown(key)).collect() })
    }

    fn stage<'a>(&'a self, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Box<dyn Staged + 'a>> {
        cx.check()?;
        cx.progress.begin("compare", None);
        let edits = self.see(change, cx).and_then(|()| self.edits(change, cx));
        cx.progress.end();
        Ok(Box::new(StagedRedis { handler: self, cx, edits: edits? }))
    }

    fn recover(&self, change: &Change<'_>, _: Option<&Record>, decision: Decision, cx: &Cx<'_>) -> Result<Recovered> {
        match decision {
            Decision::Commit => Ok(Recovered::Committed(self.apply(&self.edits(change, cx)?)?)),
            // Nothing of ours is in the server before the commit.
            Decision::Abort | Decision::Ask => Ok(Recovered::Aborted),
        }
    }
}

impl Redis {
    /// Where there is no base to compare with, what is live now takes its place, also for a recovery.
    fn see(&self, change: &Change<'_>, cx: &Cx<'_>) -> Result<()> {
        if change.base.is_some() && !change.replace {
            return Ok(());
        }
        let mut sink = FolderSink::create(cx.op_dir.join(SEEN), None)?;
        item::write(&self.read_live(cx)?, &mut sink)?;
        sink.finish()
    }
}

#[derive(Debug)]
struct StagedRedis<'a> {
    handler: &'a Redis,
    cx: &'a Cx<'a>,
    edits: Vec<Edit>,
}

impl Staged for StagedRedis<'_> {
    fn lock(&mut self) -> Result<Record> {
        let mut client = self.handler.connect()?;
        let mut conflicts = Vec::new();
        for (key, old, _) in &self.edits {
            self.cx.check()?;
            if read_key(&mut client, key)? != *old {
                conflicts.push(format!("key {}", shown(key)));
            }
        }
        self.cx.check()?;
        match conflicts.len() as u64 {
            0 => Ok(Record::default()),
            total => Err(Error::Changed { first: conflicts.into_iter().take(10).collect(), total }),
        }
    }

    fn commit(self: Box<Self>) -> Result<Committed> {
        self.handler.apply(&self.edits)
    }

    fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

//! What the tests of the MongoDB handler share.

use std::sync::atomic::{AtomicU64, Ordering};

use glxc_handlers::{
    Change, Committed, Decision, Error, Handler, MemorySink, MemoryTree, OpId, Options, Recorded, Recovered, Result,
    Settings, Tree, Value, bson, differences, mongodb as handler,
};

use crate::common::battery::Builder;
use crate::common::mongodb::{Client, Server, field, shared};
pub use crate::common::states::*;

/// What every push that changes something says.
pub const GRADE: &str = "documents are written one after the other, each as a whole, and not all in one moment";

/// A database, and its handler.
pub struct Subject {
    pub server: &'static Server,
    pub database: String,
    pub options: Options,
    /// Those of base in a push, where they are others.
    pub base_options: Option<Options>,
    pub handler: Box<dyn Handler>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Subject {
    /// A database without collections.
    pub fn empty(database: &str) -> Option<Subject> {
        let server = shared()?;
        let text = |text: &str| Value::Text(text.into());
        let options =
            Options::new().with("database", text(database)).with("socket", text(server.socket().to_str().unwrap()));
        let handler = handler::make(&Settings::new("shop", path("shop"), options.clone())).unwrap();
        Some(Subject { server, database: database.into(), options, base_options: None, handler })
    }

    /// The same database under rules for its collections.
    pub fn with_collections(&self, rules: &[(&str, &str)]) -> Subject {
        let rule = |rules: Options, (name, rule): &(&str, &str)| rules.with(*name, Value::Text((*rule).into()));
        let rules = rules.iter().fold(Options::new(), rule);
        let options = self.options.clone().with("collections", Value::Table(rules));
        let handler = handler::make(&Settings::new("shop", path("shop"), options.clone())).unwrap();
        Subject { server: self.server, database: self.database.clone(), options, base_options: None, handler }
    }

    /// What an export says besides the files.
    pub fn notes(&self) -> Vec<String> {
        let mut sink = MemorySink::new(None);
        with_cx(|cx| self.handler.export(None, &mut sink, cx)).unwrap().notes
    }

    /// A database on which these commands have run.
    pub fn of(database: &str, commands: &[&str]) -> Option<Subject> {
        let subject = Subject::empty(database)?;
        commands.iter().for_each(|command| subject.run(command));
        Some(subject)
    }

    pub fn connect(&self) -> Client {
        self.server.connect()
    }

    /// Runs a command that is written as Extended JSON.
    pub fn run(&self, command: &str) {
        let document = bson::from_line(command.as_bytes()).unwrap_or_else(|error| panic!("{command}: {error}"));
        self.connect().call(&self.database, Builder::of(&document));
    }

    /// The documents of a collection as lines, in order.
    pub fn lines(&self, collection: &str) -> Vec<String> {
        let documents = self.connect().all(&self.database, collection);
        let mut lines: Vec<String> =
            documents.iter().map(|d| String::from_utf8(bson::to_line(d).unwrap()).unwrap()).collect();
        lines.sort();
        lines
    }

    /// Everything that is live, as the server's own answers.
    pub fn dump(&self) -> Vec<u8> {
        let mut client = self.connect();
        let mut all = Vec::new();
        let mut listed = client.documents(&self.database, Builder::new().int32("listCollections", 1));
        listed.sort_by_key(|entry| name_of(entry));
        for entry in listed {
            let name = name_of(&entry);
            all.extend_from_slice(name.as_bytes());
            all.extend_from_slice(field(&entry, "options").unwrap().1);
            if field(&entry, "type").unwrap().1.ends_with(b"view\0") {
                continue;
            }
            let mut further = client.documents(&self.database, Builder::new().text("listIndexes", &name));
            further.extend(client.all(&self.database, &name));
            further.sort();
            all.extend(further.concat());
        }
        all
    }

    /// Collections of ours.
    pub fn leftovers(&self) -> Vec<String> {
        let listed = self.connect().documents(&self.database, Builder::new().int32("listCollections", 1));
        listed.iter().map(|entry| name_of(entry)).filter(|name| name.starts_with("glxc_")).collect()
    }

    pub fn export(&self) -> MemoryTree {
        self.try_export().unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    pub fn try_export(&self) -> Result<MemoryTree> {
        let mut sink = MemorySink::new(None);
        with_cx(|cx| self.handler.export(None, &mut sink, cx))?;
        sink.finish()
    }

    /// A push of `next` onto `base`, or of a first one.
    pub fn push(&self, base: Option<&MemoryTree>, next: &MemoryTree) -> Result<Committed> {
        self.push_to(base, next, || {}, || {})
    }

    /// A push that must succeed.
    pub fn must_push(&self, base: Option<&MemoryTree>, next: &MemoryTree) -> Committed {
        self.push(base, next).unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// A push that must be declined, and must leave nothing behind.
    pub fn declined(&self, base: Option<&MemoryTree>, next: &MemoryTree) -> Error {
        let before = self.dump();
        let error = self.push(base, next).expect_err("the push must be declined");
        assert!(self.dump() == before && self.leftovers().is_empty(), "not as before, after {}", chain(&error));
        error
    }

    /// A push with something that happens between `stage` and `lock`, and between `lock` and `commit`.
    pub fn push_to(
        &self, base: Option<&MemoryTree>, next: &MemoryTree, before_lock: impl FnOnce(), before_commit: impl FnOnce(),
    ) -> Result<Committed> {
        let op = OpId::new(format!("{:016x}", NEXT.fetch_add(1, Ordering::SeqCst) | 1 << 62)).unwrap();
        let differs = differences(base.map(|base| base as &dyn Tree), Some(next));
        let base_options = self.base_options.as_ref().unwrap_or(&self.options);
        let (replace, base) = (base.is_none(), base.map(|tree| Recorded { tree, options: base_options }));
        let next_files = Recorded { tree: next, options: &self.options };
        let change = Change { op: &op, base, next: next_files, differs: &differs, replace, prepare: false };
        with_cx(|cx| {
            let checked = change.base.filter(|_| self.base_options.is_none());
            self.handler.check(checked.map(|base| base.tree), next, cx)?;
            let mut staged = self.handler.stage(&change, cx)?;
            before_lock();
            match staged.lock() {
                Ok(_) => {
                    before_commit();
                    let committed = staged.commit()?;
                    let recovered = self.handler.recover(&change, None, Decision::Commit, cx)?;
                    assert!(matches!(recovered, Recovered::Committed(_)), "a committed operation is known as such");
                    assert!(self.leftovers().is_empty(), "{:?}", self.leftovers());
                    Ok(committed)
                }
                Err(error) => {
                    staged.abort()?;
                    Err(error)
                }
            }
        })
    }
}

fn name_of(entry: &[u8]) -> String {
    let (_, name) = field(entry, "name").unwrap();
    String::from_utf8(name[4..name.len() - 1].to_vec()).unwrap()
}

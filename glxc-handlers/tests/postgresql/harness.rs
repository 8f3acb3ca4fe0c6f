//! What the tests of the PostgreSQL handler share.

use std::sync::atomic::{AtomicU64, Ordering};

use glxc_handlers::{
    Change, Committed, Decision, Error, Exported, Handler, MemorySink, MemoryTree, OpId, Options, Recorded, Recovered,
    Result, Settings, Tree, Value, differences, postgresql,
};
use postgres::Client;

use crate::common::postgres::{Cluster, shared};
pub use crate::common::states::*;

/// Where a test lets an import end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Commit,
    Abort,
    /// As a push of several databases that is declined at last.
    PrepareAndAbort,
}

/// A database, and its handler.
pub struct Subject {
    pub cluster: &'static Cluster,
    pub database: String,
    pub options: Options,
    pub handler: Box<dyn Handler>,
    /// The first half of the names of its operations: the server serves other tests at the same time.
    number: u64,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Subject {
    /// A database that does not exist yet.
    pub fn absent(name: &str) -> Option<Subject> {
        Some(Subject::with(shared()?, name, Options::new()))
    }

    /// A database with the tables of the shop.
    pub fn shop(name: &str) -> Option<Subject> {
        Subject::of(name, include_str!("shop.sql"))
    }

    /// A database with other tables.
    pub fn of(name: &str, sql: &str) -> Option<Subject> {
        let subject = Subject::absent(name)?;
        subject.cluster.create(name);
        subject.cluster.psql(name, sql);
        Some(subject)
    }

    /// A database on a server of its own with these settings, which ends with the program.
    pub fn alone(name: &str, settings: &str) -> Subject {
        Subject::with(Box::leak(Box::new(Cluster::start_with(settings))), name, Options::new())
    }

    /// A database of another server, which does not exist yet.
    pub fn on(cluster: &'static Cluster, name: &str) -> Subject {
        Subject::with(cluster, name, Options::new())
    }

    fn with(cluster: &'static Cluster, database: &str, tables: Options) -> Subject {
        let text = |text: &str| Value::Text(text.into());
        let mut options = Options::new().with("database", text(database));
        options.set("socket", text(cluster.socket().to_str().unwrap()), None);
        options.set("tables", Value::Table(tables), None);
        let settings = Settings::new("shop", path("shop"), options.clone());
        let handler = postgresql::make(&settings).unwrap();
        let number = NEXT.fetch_add(1, Ordering::SeqCst) | 1 << 31;
        Subject { cluster, database: database.into(), options, handler, number }
    }

    /// The same database with rules for its tables.
    pub fn with_tables(&self, rules: &[(&str, Value)]) -> Subject {
        let tables = rules.iter().fold(Options::new(), |tables, (name, value)| tables.with(*name, value.clone()));
        Subject::with(self.cluster, &self.database, tables)
    }

    /// Another database on the same server.
    pub fn beside(&self, database: &str) -> Subject {
        Subject::with(self.cluster, database, Options::new())
    }

    pub fn new_op(&self) -> OpId {
        OpId::new(format!("{:08x}{:08x}", self.number, NEXT.fetch_add(1, Ordering::SeqCst))).unwrap()
    }

    pub fn connect(&self) -> Client {
        self.cluster.connect(&self.database)
    }

    pub fn run(&self, sql: &str) {
        self.connect().batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The first column of a query, as text, with commas.
    pub fn ask(&self, sql: &str) -> String {
        let rows = self.connect().simple_query(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let text = |message: &postgres::SimpleQueryMessage| match message {
            postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        };
        rows.iter().filter_map(text).collect::<Vec<_>>().join(",")
    }

    pub fn export(&self) -> MemoryTree {
        self.try_export().unwrap_or_else(|error| panic!("{}", chain(&error))).0
    }

    pub fn try_export(&self) -> Result<(MemoryTree, Exported)> {
        let mut sink = MemorySink::new(None);
        let exported = with_cx(|cx| self.handler.export(None, &mut sink, cx))?;
        Ok((sink.finish()?, exported))
    }

    /// A push of `next` onto `base`, or of a first one.
    pub fn push(&self, base: Option<&MemoryTree>, next: &MemoryTree) -> Result<Committed> {
        let (traces, marks) = (self.traces(), self.marks());
        let prepared = self.push_to(base, next, End::PrepareAndAbort, |_| {});
        assert_eq!(self.traces(), traces, "after what was prepared and aborted");
        assert!(self.marks().iter().all(|mark| marks.contains(mark)), "what was rolled back has left a mark");
        let committed = self.push_to(base, next, End::Commit, |_| {}).map(Option::unwrap_or_default)?;
        assert!(prepared.is_ok(), "whatever can be pushed can be prepared, too: {}", chain(&prepared.unwrap_err()));
        Ok(committed)
    }

    /// A push that must succeed.
    pub fn must_push(&self, base: Option<&MemoryTree>, next: &MemoryTree) {
        self.push(base, next).unwrap_or_else(|error| panic!("{}", chain(&error)));
    }

    /// A push that must be declined, and must leave nothing behind.
    pub fn declined(&self, base: Option<&MemoryTree>, next: &MemoryTree) -> Error {
        let (before, marks) = (self.traces(), self.marks());
        let error = self.push(base, next).expect_err("the push must be declined");
        assert_eq!(self.traces(), before, "after {}", chain(&error));
        assert!(self.marks().iter().all(|mark| marks.contains(mark)), "a mark of a commit after {}", chain(&error));
        error
    }

    /// A push with something that happens between `stage` and `lock`.
    pub fn push_to(
        &self, base: Option<&MemoryTree>, next: &MemoryTree, end: End, between: impl FnOnce(&OpId),
    ) -> Result<Option<Committed>> {
        let op = self.new_op();
        let differs = differences(base.map(|base| base as &dyn Tree), Some(next));
        let recorded = |tree| Recorded { tree, options: &self.options };
        let change = Change {
            op: &op,
            base: base.map(|base| recorded(base)),
            next: recorded(next),
            differs: &differs,
            replace: base.is_none(),
            prepare: end == End::PrepareAndAbort,
        };
        with_cx(|cx| {
            self.handler.check(change.base.map(|base| base.tree), next, cx)?;
            let mut staged = self.handler.stage(&change, cx)?;
            between(&op);
            match staged.lock() {
                Ok(_) if end == End::Commit => {
                    let committed = staged.commit()?;
                    let recovered = self.handler.recover(&change, None, Decision::Ask, cx)?;
                    assert!(matches!(recovered, Recovered::Committed(_)), "a committed operation is known as such");
                    Ok(Some(committed))
                }
                Ok(_) if end == End::PrepareAndAbort => match staged.prepare() {
                    Ok(()) => staged.abort().map(|()| None),
                    Err(error) => panic!("{}", chain(&error)),
                },
                Ok(_) => staged.abort().map(|()| None),
                Err(error) => {
                    staged.abort()?;
                    Err(error)
                }
            }
        })
    }

    /// The marks of committed operations.
    fn marks(&self) -> Vec<String> {
        match self.exists() {
            true => self
                .ask("SELECT nspname FROM pg_namespace WHERE nspname ~ '^glxc_done_'")
                .split(',')
                .filter(|mark| !mark.is_empty())
                .map(String::from)
                .collect(),
            false => Vec::new(),
        }
    }

    /// Whether the database is there.
    pub fn exists(&self) -> bool {
        let mut client = self.cluster.connect("postgres");
        client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&self.database]).unwrap().is_some()
    }

    /// What operations could leave behind.
    pub fn traces(&self) -> String {
        let mut client = self.cluster.connect("postgres");
        let roles = client
            .query_one(
                "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE rolname !~ '^glxc_test_'",
                &[],
            )
            .unwrap();
        let sql = "SELECT coalesce(string_agg(datname, ','), '') FROM pg_database WHERE datname ~ $1";
        let ours = format!("^glxc_(new_|old_)?{:08x}", self.number);
        let databases: String = client.query_one(sql, &[&ours]).unwrap().get(0);
        let mut traces = format!("{databases};{}", roles.get::<_, String>(0));
        if self.exists() {
            traces += &self
                .ask("SELECT nspname FROM pg_namespace WHERE nspname ~ '^glxc_[0-9a-f]' AND nspname !~ '^glxc_done_'");
            traces += &self.ask("SELECT tgname || ' ' || tgenabled::text FROM pg_trigger ORDER BY oid");
        }
        traces
    }
}

/// A dump with the rows of each table sorted: their order on disk is no state.
pub fn normalized(dump: &str) -> String {
    let (mut lines, mut rows) = (Vec::new(), None::<Vec<&str>>);
    for line in dump.lines() {
        match &mut rows {
            None => lines.push(line),
            Some(_) if line == "\\." => {
                let mut sorted = rows.take().unwrap();
                sorted.sort_unstable();
                lines.extend(sorted);
                lines.push(line);
            }
            Some(rows) => rows.push(line),
        }
        if line.starts_with("COPY ") {
            rows = Some(Vec::new());
        }
    }
    lines.join("\n")
}

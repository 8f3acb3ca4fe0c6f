//! What the tests of the handler share.

use std::sync::atomic::{AtomicU64, Ordering};

use glxc_handlers::{
    Change, Committed, Decision, Description, Error, Fingerprint, Handler, MemorySink, MemoryTree, OpId, Options,
    Recorded, Recovered, Result, Settings, Tree, Value, differences, mysql as handler,
};
use mysql::prelude::Queryable;

pub use crate::common::mysql::Product;
use crate::common::mysql::{Server, shared};
pub use crate::common::states::*;

/// A database, and its handler.
pub struct Subject {
    pub server: &'static Server,
    pub database: String,
    pub options: Options,
    pub handler: Box<dyn Handler>,
    /// The first half of the names of its operations; `None` where it is alone on its server.
    number: Option<u64>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Subject {
    /// A database that does not exist yet.
    pub fn absent(name: &str) -> Option<Subject> {
        Some(Subject::on(shared()?, name))
    }

    /// A database with these tables.
    pub fn of(name: &str, sql: &str) -> Option<Subject> {
        let subject = Subject::absent(name)?;
        subject.create();
        subject.run(sql);
        Some(subject)
    }

    /// A database that does not exist yet, on a server of its own, which ends with the program.
    pub fn alone(name: &str) -> Option<Subject> {
        shared()?;
        let subject = Subject::on(Box::leak(Box::new(Server::start())), name);
        Some(Subject { number: None, ..subject })
    }

    fn on(server: &'static Server, database: &str) -> Subject {
        let text = |text: &str| Value::Text(text.into());
        let options =
            Options::new().with("database", text(database)).with("socket", text(server.socket().to_str().unwrap()));
        let handler = handler::make(&Settings::new("shop", path("shop"), options.clone())).unwrap();
        let number = Some(NEXT.fetch_add(1, Ordering::SeqCst) | 1 << 31);
        Subject { server, database: database.into(), options, handler, number }
    }

    /// The same database under rules for tables.
    pub fn with_tables(&self, rules: &[(&str, Value)]) -> Subject {
        let tables = rules.iter().fold(Options::new(), |tables, (name, rule)| tables.with(*name, rule.clone()));
        let options = self.options.clone().with("tables", Value::Table(tables));
        let handler = handler::make(&Settings::new("shop", path("shop"), options.clone())).unwrap();
        Subject { options, handler, ..Subject::on(self.server, &self.database) }
    }

    /// Another database on the same server.
    pub fn beside(&self, database: &str) -> Subject {
        Subject::on(self.server, database)
    }

    pub fn create(&self) {
        let sql = format!("CREATE DATABASE {} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", self.database);
        self.server.connect().query_drop(sql).unwrap();
    }

    pub fn drop(&self) {
        self.server.connect().query_drop(format!("DROP DATABASE IF EXISTS {}", self.database)).unwrap();
    }

    /// Of what differs between the products, that of the one that the tests run.
    pub fn pick<T>(&self, mariadb: T, mysql: T) -> T {
        match self.server.product() {
            Product::MariaDb => mariadb,
            Product::MySql => mysql,
        }
    }

    /// Runs statements, a line each. What is of one product only is left out on the other: it begins with `/* MariaDB */` or
    /// `/* MySQL */`.
    pub fn run(&self, sql: &str) {
        let mut conn = self.connect();
        let other = self.pick("/* MySQL */", "/* MariaDB */");
        for statement in sql.split(";\n").filter(|statement| !statement.starts_with(other)) {
            conn.query_drop(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    pub fn connect(&self) -> mysql::Conn {
        let mut conn = self.server.connect();
        conn.query_drop(format!("USE {}", self.database)).unwrap();
        conn
    }

    /// The rows of a query, values with blanks, rows with commas.
    pub fn ask(&self, sql: &str) -> String {
        let rows: Vec<mysql::Row> = self.connect().query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let value = |value: mysql::Value| match value {
            mysql::Value::NULL => "NULL".to_owned(),
            mysql::Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            other => format!("{other:?}"),
        };
        let row = |row: mysql::Row| row.unwrap().into_iter().map(value).collect::<Vec<_>>().join(" ");
        rows.into_iter().map(row).collect::<Vec<_>>().join(",")
    }

    pub fn exists(&self) -> bool {
        let sql = format!("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = '{}'", self.database);
        self.server.connect().query_first::<u8, _>(sql).unwrap().is_some()
    }

    pub fn export(&self) -> MemoryTree {
        self.try_export().unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    pub fn try_export(&self) -> Result<MemoryTree> {
        let mut sink = MemorySink::new(None);
        with_cx(|cx| self.handler.export(None, &mut sink, cx))?;
        sink.finish()
    }

    pub fn fingerprint(&self) -> Option<Fingerprint> {
        with_cx(|cx| self.handler.fingerprint(cx)).unwrap()
    }

    /// What an export leaves out, in its own words.
    pub fn notes(&self) -> Vec<String> {
        let mut sink = MemorySink::new(None);
        with_cx(|cx| self.handler.export(None, &mut sink, cx)).unwrap().notes
    }

    pub fn new_op(&self) -> OpId {
        let (number, count) = (self.number.unwrap_or_default(), NEXT.fetch_add(1, Ordering::SeqCst));
        OpId::new(format!("{number:08x}{count:08x}")).unwrap()
    }

    /// A push of `next` onto `base`, or of a first one.
    pub fn push(&self, base: Option<&MemoryTree>, next: &MemoryTree) -> Result<Committed> {
        self.push_to(base, next, base.is_none(), || {})
    }

    /// A push that must succeed.
    pub fn must_push(&self, base: Option<&MemoryTree>, next: &MemoryTree) -> Committed {
        self.push(base, next).unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// A push that must be declined, and must leave nothing behind.
    pub fn declined(&self, base: Option<&MemoryTree>, next: &MemoryTree) -> Error {
        let before = (self.dump(), self.leftovers());
        let error = self.push(base, next).expect_err("the push must be declined");
        assert!((self.dump(), self.leftovers()) == before, "not as before, after {}", chain(&error));
        error
    }

    pub fn dump(&self) -> String {
        if self.exists() { self.server.dump(&self.database) } else { "absent".into() }
    }

    /// A push with something that happens between `stage` and `lock`.
    pub fn push_to(
        &self, base: Option<&MemoryTree>, next: &MemoryTree, replace: bool, between: impl FnOnce(),
    ) -> Result<Committed> {
        let op = self.new_op();
        let differs = differences(base.map(|base| base as &dyn Tree), Some(next));
        let recorded = |tree| Recorded { tree, options: &self.options };
        let base = base.map(|base| recorded(base));
        let change = Change { op: &op, base, next: recorded(next), differs: &differs, replace, prepare: false };
        with_cx(|cx| {
            self.handler.check(change.base.map(|base| base.tree), next, cx)?;
            let mut staged = self.handler.stage(&change, cx)?;
            between();
            match staged.lock() {
                Ok(_) => {
                    let committed = staged.commit()?;
                    let recovered = self.handler.recover(&change, None, Decision::Ask, cx)?;
                    assert!(matches!(recovered, Recovered::Committed(_)), "a committed operation is known as such");
                    self.handler.clear(&op, cx)?;
                    Ok(committed)
                }
                Err(error) => {
                    staged.abort()?;
                    Err(error)
                }
            }
        })
    }

    /// A change in words.
    pub fn describe(&self, base: &MemoryTree, next: &MemoryTree) -> Description {
        let (op, differs) = (self.new_op(), differences(Some(base), Some(next)));
        let recorded = |tree| Recorded { tree, options: &self.options };
        let base = Some(recorded(base));
        let change = Change { op: &op, base, next: recorded(next), differs: &differs, replace: false, prepare: false };
        with_cx(|cx| self.handler.describe(&change, cx)).unwrap()
    }

    /// What operations could leave behind.
    pub fn leftovers(&self) -> Vec<String> {
        let mut conn = self.server.connect();
        let ours = self.number.map_or(String::new(), |number| format!("{number:08x}"));
        let databases: Vec<String> = conn.query(format!("SHOW DATABASES LIKE 'glxc\\_new\\_{ours}%'")).unwrap();
        let prepared: Vec<mysql::Row> = conn.query("XA RECOVER").unwrap();
        let prepared = prepared.into_iter().map(|row| row.get::<String, _>(3).unwrap_or_default());
        let prepared =
            prepared.filter(|name| name.starts_with(&format!("glxc:{ours}"))).map(|name| format!("prepared {name}"));
        let others = databases.into_iter().chain(prepared);
        if self.number.is_some() {
            // Transactions of other tests are there, too.
            return others.collect();
        }
        let sql = "SELECT CONCAT('transaction ', trx_mysql_thread_id) FROM information_schema.INNODB_TRX \
                   WHERE trx_mysql_thread_id <> 0";
        let mut open: Vec<String> = conn.query(sql).unwrap();
        if !open.is_empty() {
            // The server looks at most every tenth of a second.
            std::thread::sleep(std::time::Duration::from_millis(200));
            open = conn.query(sql).unwrap();
        }
        others.chain(open).collect()
    }
}

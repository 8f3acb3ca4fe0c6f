//! The contract between a kind of live state and whoever keeps it in a repository.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Cx, Differs, Error, Options, Result, Sink, StatePath, Tree};

/// The unit in which live, base and next are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Rows, documents, files, schema objects: different ones may change on both sides.
    Item,
    /// The whole state: any change on both sides is a conflict.
    Whole,
}

/// How an import takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// One transaction of the engine, whose outcome the handler can tell afterwards.
    Transactional,
    /// Item by item; what a crash left undone is done again.
    Redo,
    /// Inside `lock`, as a whole; an abort imports base again.
    Compensated,
}

/// What an export can promise about the time that it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// One point in time for everything.
    PointInTime,
    /// Each item as a whole, but not all at one time.
    PerItem,
    /// Nothing.
    None,
}

/// Which ways a state goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ways {
    /// Live becomes files, and files become live.
    #[default]
    Both,
    /// It is only exported: its import changes nothing.
    Exported,
    /// It is only imported, without a compare: its export is what base has.
    Imported,
}

/// What a handler can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// The unit of compare.
    pub unit: Unit,
    /// How an import takes effect.
    pub commit: Commit,
    /// The grade of an export.
    pub snapshot: Snapshot,
    /// Whether it is a database: databases are exported before files, so that an upload that a row names is
    /// there.
    pub database: bool,
    /// Which ways it goes; the message of a push says what it means that one is missing.
    pub ways: Ways,
}

/// Whether the live state can be overwritten without a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// It, or what it lives in (a database, a folder), does not exist. An import creates it.
    Absent,
    /// It exists and holds nothing.
    Empty,
    /// It holds something.
    Present,
}

/// What a handler leaves with an export to learn later, cheaply, that nothing changed since.
///
/// It must cover everything that the export covers, this program's way of writing it and the server's identity, and
/// must be taken at or before the snapshot of the export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub String);

/// The files and options of a state at the last agreed commit.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// The files.
    pub tree: &'a dyn Tree,
    /// The options with which they were written.
    pub options: &'a Options,
}

/// What an export says besides the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Taken at or before the snapshot; see [`Fingerprint`].
    pub fingerprint: Option<Fingerprint>,
    /// What the export left out and why, and what is weaker than promised; each a line for the commit message.
    pub notes: Vec<String>,
}

/// A change of one state, from what was recorded to what is pushed.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The operation. What is created on the way carries it in its name and is never exported.
    pub op: &'a OpId,
    /// The recorded files; `None` where the state is newly managed.
    pub base: Option<Recorded<'a>>,
    /// The pushed files.
    pub next: Recorded<'a>,
    /// The files that differ. (Everything, where there is no base.)
    pub differs: &'a [Differs],
    /// Next replaces whatever is live, without a compare. Always so where there is no base.
    pub replace: bool,
    /// Other states of this kind, with a transaction each, change with it: [`Staged::prepare`] comes after `lock`.
    pub prepare: bool,
}

/// The name of one operation (a pull's export or a push): 16 lower case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OpId(String);

impl OpId {
    /// Takes an id.
    ///
    /// # Errors
    /// [`Error::Options`] where it is not 16 lower case hex digits.
    pub fn new(id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if id.len() != 16 || !id.bytes().all(hex) {
            return Err(Error::option("operation", format!("not 16 hex digits: {}", id.escape_default())));
        }
        Ok(OpId(id))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a handler needs to recover an operation; it is written to the journal, so it is small (at most 64 KiB,
/// UTF-8, no secret). Bulk goes under [`Cx::op_dir`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record(pub String);

/// What came of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Lines for the user: what was altered or rebuilt, and live values that stayed because the application wrote
    /// meanwhile.
    pub notes: Vec<String>,
}

/// What was decided about an operation that was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It happened: finish it.
    Commit,
    /// It did not: remove what it left.
    Abort,
    /// The engine knows: ask whether the transaction committed. Only asked of [`Commit::Transactional`] ones that were not
    /// to be prepared.
    Ask,
}

/// What an interrupted operation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// It happened, and is finished.
    Committed(Committed),
    /// It did not, and nothing of it is left.
    Aborted,
}

/// A change in words, for commit messages and reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// One line: `1 row changed in public.orders`. Empty where nothing changed.
    pub summary: String,
    /// Further lines, the most telling first: a plan shows all of them, a commit message the first.
    pub details: Vec<String>,
}

/// A kind of live state: it becomes files, and files become it.
///
/// One value serves one state with its settings. Calls may come from any thread, one at a time for each state. Every
/// method returns an error that names the place rather than panicking, whatever the tree or the engine answers, and
/// never logs or returns a secret. All of them block.
///
/// The order of an import is `check`, `stage`, `lock`, where several transactions must agree `prepare`, then `commit` or
/// `abort`, and `clear` once the outcome is recorded. After a crash `recover` is called, once or several times, possibly in another
/// process. [`crate::folder::Folder`] makes these calls for files in a folder, and `glxc-transport` for those in git.
///
/// # Files
/// What the files look like is the handler's own to say, within this: an export of a state that is there has at least one
/// file, so that empty is not absent; each is [`Mode::File`](crate::Mode), unless the state goes one way only
/// ([`Direction::Push`]); they are not beneath a name that begins with `.git`,
/// but for a `.gitattributes` at the top, which says how git treats them and nothing of the state. The same state gives the
/// same bytes, whatever its history, the locale, the time zone or the order on disk. Text is UTF-8 with plain newlines; for
/// tables there is [`crate::rows`], and for names of objects [`crate::names`].
///
/// # Errors
/// What the user can mend is told apart from what the engine does: [`Error::Input`] for a file that can not be used, with its line;
/// [`Error::Changed`] for what the application changed too; [`Error::Violation`] for what a rule of the engine forbids;
/// [`Error::Unsupported`] for what is live and can not be kept; [`Error::Gone`] where the state is not there;
/// [`Error::Cancelled`] where the caller asked to stop ([`Cx::check`], asked at least once for each item). After any error, before
/// `commit`, what is live is as it was.
///
/// # Cost
/// States are larger than memory. `export` reads live once, as a stream, and holds one item at a time; with a
/// base it may keep what it knows to be the same. `check`, `describe` and `stage` read the files that differ, where the format allows it.
/// `stage` may take as long as it takes, since nobody waits for it; from `lock` to the end of `commit` the application may wait, so
/// they do what is left in a time that does not follow the size of the state. What is cheap: `caps`, `place`, `claim`, `live`.
///
/// A handler is done when [`crate::conformance::run_all`] finds nothing.
pub trait Handler: Send + Sync + fmt::Debug {
    /// What it can do.
    fn caps(&self) -> Caps;

    /// What it is that is live, in words (`the database shop`). A state whose words change would be another one under the
    /// same name, and is refused; so no words for how it is reached.
    fn place(&self) -> String {
        String::new()
    }

    /// What is live as a name that nothing else has, whatever its handler, with how it is reached (`folder /srv/shop`): what
    /// is live belongs to one state. Empty: states of this kind never meet.
    fn claim(&self) -> String {
        String::new()
    }

    /// Whether it manages what another state claims: the same, or what lies in it. Two such states are refused, since each
    /// would undo what the other does.
    fn covers(&self, claim: &str) -> bool {
        !claim.is_empty() && self.claim() == claim
    }

    /// Waits until the engine answers, until the deadline of `cx`.
    ///
    /// # Errors
    /// [`Error::Timeout`] with what was waited for.
    fn ready(&self, cx: &Cx<'_>) -> Result<()> {
        let _ = cx;
        Ok(())
    }

    /// Whether the live state can be overwritten without a loss.
    ///
    /// # Errors
    /// [`Error::Engine`] and the like; "can not tell" is an error.
    fn live(&self, cx: &Cx<'_>) -> Result<Live>;

    /// Checks a pushed tree by itself: formats, names, modes, keys. Touches nothing live.
    ///
    /// `base` passed a check under the same options, so what it has too need not be read again: the cost of a push
    /// follows what changed. What only reading all of next would show, as a key of a changed file that is there again in
    /// an unchanged one, may be left to the import, which compares with live.
    ///
    /// # Errors
    /// [`Error::Input`] with file and line.
    fn check(&self, base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()>;

    /// A cheap sign that lets the caller skip an export where it equals that of the last one.
    /// `None`: unknown, export.
    ///
    /// # Errors
    /// As for `export`.
    fn fingerprint(&self, cx: &Cx<'_>) -> Result<Option<Fingerprint>> {
        let _ = cx;
        Ok(None)
    }

    /// Writes the live state as files: the same state gives the same bytes. `base` may be used to keep what did not
    /// change. On an error the caller throws away what was written.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what would be lost, [`Error::Gone`] where the state is not there, and others.
    fn export(&self, base: Option<&Recorded<'_>>, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported>;

    /// A change in words. Reads only what differs. Touches nothing live.
    ///
    /// # Errors
    /// [`Error::Input`], [`Error::Carrier`].
    fn describe(&self, change: &Change<'_>, cx: &Cx<'_>) -> Result<Description> {
        let _ = cx;
        Ok(describe_files(change.differs))
    }

    /// Prepares an import. May take long; takes no lock of the application and changes nothing visible.
    ///
    /// # Errors
    /// [`Error::Input`], [`Error::Engine`] and others. Nothing is left behind.
    fn stage<'a>(&'a self, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Box<dyn Staged + 'a>>;

    /// Finishes or removes an interrupted operation. Idempotent; finds and removes whatever `op` left, also what no
    /// record tells of. `record` is what `lock` returned, where that was reached.
    ///
    /// # Errors
    /// Where the engine can not be asked. The caller tries again at the next contact.
    fn recover(
        &self, change: &Change<'_>, record: Option<&Record>, decision: Decision, cx: &Cx<'_>,
    ) -> Result<Recovered>;

    /// Removes the last traces of an operation whose outcome is recorded, so that nobody will ask for it again: a mark
    /// that tells that its transaction committed. Idempotent.
    ///
    /// # Errors
    /// Where the engine can not be asked. The caller tries again at the next contact.
    fn clear(&self, op: &OpId, cx: &Cx<'_>) -> Result<()> {
        let _ = (op, cx);
        Ok(())
    }
}

/// A prepared import. Dropping it aborts it.
pub trait Staged {
    /// Short: locks, compares live with base and checks every rule, so that nothing can fail afterwards for a
    /// reason of the data. The caller makes the record durable.
    ///
    /// # Errors
    /// [`Error::Changed`], [`Error::Violation`], [`Error::Timeout`] and others; after one, only `abort` is called.
    fn lock(&mut self) -> Result<Record>;

    /// Hands the transaction over to the engine, which keeps it through a crash until it is committed or aborted, whoever
    /// asks. Called after `lock`, and only where [`Change::prepare`] announced it: of several transactions either all
    /// commit or none does, so no one's commit may be what decides.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the engine can not, and others; after one, only `abort` is called.
    fn prepare(&mut self) -> Result<()> {
        Err(Error::Unsupported { what: "to change it together with another database in one push".into() })
    }

    /// The change in words, where staging has read what that takes. Otherwise the caller asks [`Handler::describe`], which
    /// reads it again.
    fn description(&self) -> Option<Description> {
        None
    }

    /// What it does besides the rows or files that differ: what is altered or rebuilt. Lines for the user, known once it is
    /// staged.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Makes it happen.
    ///
    /// # Errors
    /// The outcome is unknown then; the caller asks [`Handler::recover`].
    fn commit(self: Box<Self>) -> Result<Committed>;

    /// Removes every trace.
    ///
    /// # Errors
    /// Something may be left; the caller asks [`Handler::recover`].
    fn abort(self: Box<Self>) -> Result<()>;
}

/// How many files are named; a state may have millions.
const DETAILS: usize = 1000;

/// A change in words by its files alone.
pub fn describe_files(differs: &[Differs]) -> Description {
    let count = |what: fn(&Differs) -> bool, verb: &str| match differs.iter().filter(|d| what(d)).count() {
        0 => None,
        1 => Some(format!("1 file {verb}")),
        n => Some(format!("{n} files {verb}")),
    };
    let parts = [
        count(|d| d.base.is_none(), "added"),
        count(|d| d.base.is_some() && d.next.is_some(), "changed"),
        count(|d| d.next.is_none(), "removed"),
    ];
    let summary = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let mut details: Vec<String> = differs.iter().take(DETAILS).map(|differs| differs.path.to_string()).collect();
    if differs.len() > DETAILS {
        details.push(format!("and {} more", differs.len() - DETAILS));
    }
    Description { summary, details }
}

/// Which side is the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Live changes become commits, pushed changes become live.
    #[default]
    Both,
    /// The repository is the truth; live drift is reported, not committed.
    Push,
}

/// What a handler is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The name of the state, as in `[state.NAME]`.
    pub state: String,
    /// Where its files stand in the repository.
    pub path: StatePath,
    /// The branch that live state belongs to, where one is bound.
    pub branch: Option<String>,
    /// Which side is the truth.
    pub direction: Direction,
    /// The handler's own options.
    pub options: Options,
}

impl Settings {
    /// Settings of a state that goes both ways, with no branch.
    pub fn new(state: impl Into<String>, path: StatePath, options: Options) -> Self {
        Settings { state: state.into(), path, branch: None, direction: Direction::Both, options }
    }
}

/// Makes a handler, or refuses its settings.
pub type Factory = Box<dyn Fn(&Settings) -> Result<Box<dyn Handler>> + Send + Sync>;

/// The kinds of state that a program knows, by name. Built by the program; nothing registers itself.
#[derive(Default)]
pub struct Registry(BTreeMap<String, Factory>);

impl Registry {
    /// A registry without any kind.
    pub fn new() -> Self {
        Registry::default()
    }

    /// Adds a kind, or replaces it.
    #[must_use]
    pub fn with<F>(mut self, name: impl Into<String>, factory: F) -> Self
    where
        F: Fn(&Settings) -> Result<Box<dyn Handler>> + Send + Sync + 'static,
    {
        self.0.insert(name.into(), Box::new(factory));
        self
    }

    /// The names of all kinds.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Makes a handler.
    ///
    /// # Errors
    /// [`Error::Options`] where the kind is unknown (with the nearest known one) or refuses the settings.
    pub fn make(&self, kind: &str, settings: &Settings) -> Result<Box<dyn Handler>> {
        let Some(factory) = self.0.get(kind) else {
            let known: Vec<&str> = self.names().collect();
            let hint = match crate::nearest(kind, &known) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("known are {}", known.join(", ")),
            };
            return Err(Error::option("handler", format!("unknown handler `{}`; {hint}", kind.escape_debug())));
        };
        factory(settings)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

//! For tests: a process that dies, or a step that fails, at a named point.
//!
//! The file `faults` of the host's folder has lines of `WHO POINT kill|fail|cancel`. Whoever comes by the point of the first
//! line takes that line out and obeys. Every point that was passed is a line of the file `calls`, and
//! every check one of `checks`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use glxc_handlers::{
    Cancel, Caps, Change, Committed, Cx, Decision, Description, Error, Exported, Fingerprint, Handler, Live, Record,
    Recorded, Recovered, Result, Settings, Sink, Staged, Tree,
};

/// Where the files stand, and who comes by.
#[derive(Clone, Debug)]
pub struct Faults {
    folder: PathBuf,
    who: String,
    cancel: Cancel,
}

impl Faults {
    pub fn new(folder: &Path, cancel: &Cancel) -> Self {
        Faults { folder: folder.to_owned(), who: "sysconf".into(), cancel: cancel.clone() }
    }

    fn tell(&self, file: &str, what: &str) -> Result<()> {
        let path = self.folder.join(file);
        let file = OpenOptions::new().append(true).create(true).open(&path);
        file.and_then(|mut file| writeln!(file, "{} {what}", self.who)).map_err(Error::io("write", &path))
    }

    /// Comes by a point.
    pub fn at(&self, point: &str) -> Result<()> {
        self.tell("calls", point)?;
        let path = self.folder.join("faults");
        let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
        let (line, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let Some(action) = line.strip_prefix(&format!("{} {point} ", self.who)) else { return Ok(()) };
        fs::write(&path, rest).map_err(Error::io("write", &path))?;
        match action {
            "cancel" => {
                self.cancel.cancel();
                return Ok(());
            }
            "kill" => drop(rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)),
            _ => {}
        }
        Err(Error::Engine { context: point.into(), source: "a fault of the test".into() })
    }
}

/// The same kind of state, which comes by points.
pub fn watched<F>(faults: &Faults, make: F) -> impl Fn(&Settings) -> Result<Box<dyn Handler>> + Send + Sync + 'static
where
    F: Fn(&Settings) -> Result<Box<dyn Handler>> + Send + Sync + 'static,
{
    let faults = faults.clone();
    move |settings| {
        let faults = Faults { who: settings.state.clone(), ..faults.clone() };
        Ok(Box::new(Watched { inner: make(settings)?, faults }))
    }
}

#[derive(Debug)]
struct Watched {
    inner: Box<dyn Handler>,
    faults: Faults,
}

impl Handler for Watched {
    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    fn claim(&self) -> String {
        self.inner.claim()
    }

    fn covers(&self, claim: &str) -> bool {
        self.inner.covers(claim)
    }

    fn ready(&self, cx: &Cx<'_>) -> Result<()> {
        self.inner.ready(cx)
    }

    fn live(&self, cx: &Cx<'_>) -> Result<Live> {
        self.inner.live(cx)
    }

    fn check(&self, base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        self.faults.tell("checks", if base.is_some() { "what differs" } else { "all" })?;
        self.inner.check(base, next, cx)
    }

    fn fingerprint(&self, cx: &Cx<'_>) -> Result<Option<Fingerprint>> {
        self.inner.fingerprint(cx)
    }

    fn export(&self, base: Option<&Recorded<'_>>, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        self.faults.at("export")?;
        let exported = self.inner.export(base, sink, cx)?;
        self.faults.at("exported").map(|()| exported)
    }

    fn describe(&self, change: &Change<'_>, cx: &Cx<'_>) -> Result<Description> {
        self.inner.describe(change, cx)
    }

    fn stage<'a>(&'a self, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Box<dyn Staged + 'a>> {
        self.faults.at("stage")?;
        let inner = self.inner.stage(change, cx)?;
        self.faults.at("staged")?;
        Ok(Box::new(WatchedStaged { inner, faults: &self.faults }))
    }

    fn recover(
        &self, change: &Change<'_>, record: Option<&Record>, decision: Decision, cx: &Cx<'_>,
    ) -> Result<Recovered> {
        self.faults.at("recover")?;
        let recovered = self.inner.recover(change, record, decision, cx)?;
        self.faults.at("recovered").map(|()| recovered)
    }
}

struct WatchedStaged<'a> {
    inner: Box<dyn Staged + 'a>,
    faults: &'a Faults,
}

impl Staged for WatchedStaged<'_> {
    fn lock(&mut self) -> Result<Record> {
        self.faults.at("lock")?;
        let record = self.inner.lock()?;
        self.faults.at("locked").map(|()| record)
    }

    fn prepare(&mut self) -> Result<()> {
        self.faults.at("prepare")?;
        self.inner.prepare()?;
        self.faults.at("prepared")
    }

    fn notes(&self) -> Vec<String> {
        self.inner.notes()
    }

    fn commit(self: Box<Self>) -> Result<Committed> {
        if let Err(error) = self.faults.at("commit") {
            // A commit that failed is not an abort: the outcome is unknown.
            std::mem::forget(self.inner);
            return Err(error);
        }
        let committed = self.inner.commit()?;
        self.faults.at("committed").map(|()| committed)
    }

    fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort()
    }
}

//! Folders of a container as a state.
//!
//! With direction *both* a folder (uploads, say) is exported as exact bytes in `files/`, and as a row file in `entries/` that
//! has the owner, group and mode of everything, the folders (also the empty ones) and the links. With direction *push* the
//! repository is the truth: its files are installed as they are named there, and live drift is only reported. The format is
//! specified in `docs/FORMATS.md`.
//!
//! ```
//! use glxc_handlers::{Cancel, Cx, Handler, MemorySink, Options, Settings, Silent, StatePath, Value};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let root = folder.path().canonicalize()?.join("uploads");
//! std::fs::create_dir(&root)?;
//! std::fs::write(root.join("cat.jpg"), "meow")?;
//!
//! let options = Options::new().with("root", Value::Text(root.to_str().unwrap().into()));
//! let settings = Settings::new("uploads", StatePath::new("data/uploads")?, options);
//! let handler = glxc_handlers::files::make(&settings)?;
//! let (mut sink, cancel) = (MemorySink::new(None), Cancel::new());
//! let cx = Cx { progress: &Silent, cancel: &cancel, deadline: None, scratch: folder.path(), op_dir: folder.path() };
//! handler.export(None, &mut sink, &cx)?;
//! let paths: Vec<String> = sink.finish()?.files().keys().map(ToString::to_string).collect();
//! assert_eq!(paths, [".gitattributes", "entries/rows.tsv", "files/cat.jpg"]);
//! # Ok(())
//! # }
//! ```
//!
//! The live folder belongs to an application that may be hostile: everything is reached by descriptors from the root folder,
//! and no link is followed. A new file is made in a folder `.glxc-OPERATION-STATE` on the same file system, exchanged with
//! the live one in one step, and what came out is compared; if it is not what was recorded, it is put back. A program
//! that writes into the very file, or in the short time between compare and exchange of owner and mode alone, can still lose
//! a write. Times, hard links, access control lists and extended attributes are not kept.

mod accounts;
mod export;
mod fingerprint;
mod import;
mod listing;
mod names;
mod place;
mod swap;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use accounts::Accounts;
use import::{Import, Plan};
use listing::Listing;
use place::Place;

use crate::{
    Caps, Change, Commit, Cx, Decision, Description, Direction, Error, Exported, Fingerprint, Handler, Live, OpId,
    Options, Record, Recorded, Recovered, Result, Sink, Snapshot, Staged, Tree, Unit, Ways,
};

/// Contents are merged as git does; only the entries have a key.
const ATTRIBUTES_TEXT: &str = concat!(
    "# Written by glxc: these files are data, kept byte by byte.\n",
    "* -text -filter -ident !working-tree-encoding -whitespace\n",
    "/entries/** diff=glxc merge=glxc\n",
);

/// What every claim of a folder begins with; its path follows.
const CLAIM: &str = "folder ";

/// Makes the handler of a `files` state.
///
/// Options: `root` (the absolute path of the live folder), `exclude` (patterns as in `.gitignore`: what they match is
/// neither exported nor touched); with direction push also `owner`, `group` (default `root`) and `mode` (of plain
/// files, default `644`; executables and new folders may be executed in addition by all who may read).
///
/// # Errors
/// [`Error::Options`].
pub fn make(settings: &crate::Settings) -> Result<Box<dyn Handler>> {
    let state = settings.state.clone();
    let settings = Settings::read(&settings.options, settings.direction)?;
    Ok(Box::new(Files { state, settings, etc: PathBuf::from("/etc") }))
}

/// The options of one side.
#[derive(Clone, Debug)]
struct Settings {
    root: PathBuf,
    direction: Direction,
    exclude: Gitignore,
    owner: Arc<str>,
    group: Arc<str>,
    mode: u32,
}

impl Settings {
    fn read(options: &Options, direction: Direction) -> Result<Self> {
        let mut reader = options.reader();
        let root = reader.text("root")?.ok_or_else(|| Error::option("root", "is missing"))?;
        let exclude = exclude(&reader.texts("exclude")?.unwrap_or_default())?;
        let (owner, group, mode) = (reader.text("owner")?, reader.text("group")?, reader.text("mode")?);
        reader.finish()?;
        if direction == Direction::Both && (owner.is_some() || group.is_some() || mode.is_some()) {
            let key = if owner.is_some() {
                "owner"
            } else if group.is_some() {
                "group"
            } else {
                "mode"
            };
            return Err(Error::option(key, "is for direction = \"push\" only; else owners and modes are data"));
        }
        let name = |key: &str, name: Option<&str>| -> Result<Arc<str>> {
            let name = name.unwrap_or("root");
            let valid = accounts::is_name(name) || name.parse::<u32>().is_ok_and(|id| id != u32::MAX);
            if valid { Ok(name.into()) } else { Err(Error::option(key, "is no name and no number")) }
        };
        let mode = u32::from_str_radix(mode.unwrap_or("644"), 8).ok().filter(|mode| *mode <= 0o777);
        Ok(Settings {
            root: absolute(root)?,
            direction,
            exclude,
            owner: name("owner", owner)?,
            group: name("group", group)?,
            mode: mode.ok_or_else(|| Error::option("mode", "must be octal permissions, as \"640\""))?,
        })
    }

    /// Whether a path beneath the root is left alone, by itself or with a folder above.
    fn excludes(&self, path: &[u8], is_folder: bool) -> bool {
        let path = std::ffi::OsStr::from_bytes(path);
        self.exclude.matched_path_or_any_parents(Path::new(path), is_folder).is_ignore()
    }

    /// The mode of new folders of a push.
    fn folder_mode(&self) -> u32 {
        self.mode | self.mode >> 2 & 0o111
    }
}

fn absolute(root: &str) -> Result<PathBuf> {
    let plain = root.strip_prefix('/').is_some_and(|rest| crate::StatePath::new(rest).is_ok());
    match plain {
        true => Ok(PathBuf::from(root)),
        false => {
            Err(Error::option("root", "must be an absolute path without `.`, `..` or a `/` at its end, and not `/`"))
        }
    }
}

fn exclude(patterns: &[&str]) -> Result<Gitignore> {
    let mut builder = GitignoreBuilder::new("");
    for pattern in patterns {
        let bad = |error: ignore::Error| Error::option("exclude", format!("`{}`: {error}", pattern.escape_debug()));
        builder.add_line(None, pattern).map_err(bad)?;
    }
    builder.build().map_err(|error| Error::option("exclude", error.to_string()))
}

/// A folder as a state.
#[derive(Debug)]
struct Files {
    state: String,
    settings: Settings,
    /// Where the names of users are read.
    etc: PathBuf,
}

impl Files {
    fn place(&self) -> Result<Option<Place>> {
        Place::open(&self.settings.root)
    }

    fn gone(&self) -> Error {
        Error::Gone { what: self.settings.root.display().to_string() }
    }

    /// The name of the folder in which an operation prepares.
    fn staging(&self, op: &OpId) -> Vec<u8> {
        import::staging_name(op, &self.state)
    }

    /// What live differs in from the recorded files, for a note; nothing is written.
    fn drift(&self, base: &dyn Tree, cx: &Cx<'_>) -> Result<Vec<String>> {
        let Some(place) = self.place()? else { return Err(self.gone()) };
        let listing = Listing::read(base, &self.settings, cx)?;
        let accounts = Accounts::read(&self.etc)?;
        let mut drifted = Vec::new();
        for (path, node) in &listing.nodes {
            cx.check()?;
            let node = node.resolved(&accounts).map_err(|message| listing.error(path, &message))?;
            if !import::is_live(&place, path, &node, base)? {
                drifted.push(export::shown(path));
            }
        }
        let first = drifted.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
        let more = if drifted.len() > 10 { " and others" } else { "" };
        let note = format!(
            "{} differ live from the repository, and the next push puts them back: {first}{more}",
            drifted.len()
        );
        Ok(if drifted.is_empty() { Vec::new() } else { vec![note] })
    }
}

impl Handler for Files {
    fn caps(&self) -> Caps {
        Caps { unit: Unit::Item, commit: Commit::Redo, snapshot: Snapshot::PerItem, database: false, ways: Ways::Both }
    }

    fn place(&self) -> String {
        format!("the folder {}", self.settings.root.display())
    }

    fn claim(&self) -> String {
        format!("{CLAIM}{}", self.settings.root.display())
    }

    fn covers(&self, claim: &str) -> bool {
        let path = claim.strip_prefix(CLAIM).and_then(|path| Path::new(path).strip_prefix(&self.settings.root).ok());
        path.is_some_and(|path| {
            let beneath = path.as_os_str().as_bytes();
            beneath.is_empty() || !self.settings.excludes(beneath, true)
        })
    }

    fn live(&self, cx: &Cx<'_>) -> Result<Live> {
        let Some(place) = self.place()? else { return Ok(Live::Absent) };
        cx.check()?;
        Ok(if export::is_empty(&self.settings, &place)? { Live::Empty } else { Live::Present })
    }

    fn check(&self, _: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        let listing = Listing::read(next, &self.settings, cx)?;
        if self.settings.direction == Direction::Both {
            listing::check_case(next)?;
        }
        let is_folder = |path: &[u8]| matches!(listing.nodes[path].kind, listing::Kind::Folder);
        let excluded = |path: &&Vec<u8>| !path.is_empty() && self.settings.excludes(path, is_folder(path));
        match listing.nodes.keys().find(excluded) {
            Some(path) => Err(listing.error(path, "`exclude` leaves this path out; remove one of the two")),
            None => Ok(()),
        }
    }

    fn fingerprint(&self, cx: &Cx<'_>) -> Result<Option<Fingerprint>> {
        cx.check()?;
        match (self.settings.direction, self.place()?) {
            (Direction::Both, Some(place)) => {
                fingerprint::take(&self.settings, &place, &self.etc, SystemTime::now(), cx)
            }
            _ => Ok(None),
        }
    }

    fn export(&self, base: Option<&Recorded<'_>>, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        cx.check()?;
        let fingerprint = self.fingerprint(cx)?;
        cx.progress.begin("files", None);
        let exported = match (self.settings.direction, base) {
            (Direction::Both, _) => self.place().and_then(|place| {
                let place = place.ok_or_else(|| self.gone())?;
                let notes = export::export(&self.settings, &place, &mut Accounts::read(&self.etc)?, sink, cx)?;
                Ok(Exported { fingerprint, notes })
            }),
            (Direction::Push, None) => self.place().and_then(|place| {
                let Some(place) = place else { return Ok(Exported::default()) };
                let notes = export::export_literal(&self.settings, &place, sink, cx)?;
                Ok(Exported { fingerprint: None, notes })
            }),
            (Direction::Push, Some(base)) => self.drift(base.tree, cx).and_then(|notes| {
                base.tree.entries().iter().try_for_each(|entry| sink.keep(&entry.path))?;
                Ok(Exported { fingerprint: None, notes })
            }),
        };
        cx.progress.end();
        exported
    }

    fn describe(&self, change: &Change<'_>, _: &Cx<'_>) -> Result<Description> {
        let contents: Vec<_> = change.differs.iter().filter(|differs| self.is_content(differs)).cloned().collect();
        let mut description = crate::describe_files(&contents);
        if description.summary.is_empty() && !change.differs.is_empty() {
            description.summary = "owners, modes, folders or links changed".into();
        }
        Ok(description)
    }

    fn stage<'a>(&'a self, change: &'a Change<'a>, cx: &'a Cx<'a>) -> Result<Box<dyn Staged + 'a>> {
        cx.check()?;
        let plan = Plan::new(self, change, cx)?;
        cx.progress.begin("files", Some(plan.len() as u64));
        let staged = Import::stage(self, plan, change, cx);
        cx.progress.end();
        Ok(Box::new(staged?))
    }

    fn recover(&self, change: &Change<'_>, _: Option<&Record>, decision: Decision, cx: &Cx<'_>) -> Result<Recovered> {
        let (root, staging) = (&self.settings.root, self.staging(change.op));
        if decision != Decision::Commit {
            return import::sweep(root, &staging).map(|()| Recovered::Aborted);
        }
        let mut plan = Plan::new(self, change, cx)?;
        plan.recall(cx.op_dir)?;
        plan.put_back(root, &staging, change)?;
        import::sweep(root, &staging)?;
        Import::stage(self, plan, change, cx)?.apply().map(Recovered::Committed)
    }
}

impl Files {
    fn is_content(&self, differs: &crate::Differs) -> bool {
        self.settings.direction == Direction::Push
            || differs.path.components().next() == Some(listing::FILES.as_bytes())
    }
}

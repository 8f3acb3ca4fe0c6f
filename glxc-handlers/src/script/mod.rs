//! What a container's own scripts export and import as a state.
//!
//! A state with the option `name = "X"` is exported by the program `/usr/share/glxc/export/X` and imported by
//! `/usr/share/glxc/import/X`. The first writes files into the folder `$GIT_WORK_TREE/$GLXC_DATA_PATH`, which is empty before; the
//! second reads them there and makes the live state what they say, whatever it was. The state is compared as a whole, and a
//! failed import is answered by importing what was live before.
//!
//! ```
//! use std::os::unix::fs::PermissionsExt;
//! use glxc_handlers::{Cancel, Cx, Handler, MemorySink, Options, Settings, Silent, StatePath, Value};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let script = folder.path().join("export/greeting");
//! std::fs::create_dir(folder.path().join("export"))?;
//! std::fs::write(&script, "#!/bin/sh\necho hello >\"$GIT_WORK_TREE/$GLXC_DATA_PATH/greeting\"\n")?;
//! std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
//!
//! let options = Options::new().with("name", Value::Text("greeting".into()));
//! let settings = Settings::new("hello", StatePath::new("data/hello")?, options);
//! let handler = glxc_handlers::script::at(folder.path(), &settings)?;
//! let (mut sink, cancel) = (MemorySink::new(None), Cancel::new());
//! let cx = Cx { progress: &Silent, cancel: &cancel, deadline: None, scratch: folder.path(), op_dir: folder.path() };
//! handler.export(None, &mut sink, &cx)?;
//! let paths: Vec<String> = sink.finish()?.files().keys().map(ToString::to_string).collect();
//! assert_eq!(paths, [".gitattributes", "greeting"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Options
//! - `name`: that of the scripts, of letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
//! - `timeout`: how many seconds a script may take (3600).
//! - `options`: a table of texts, numbers and booleans for the scripts.
//!
//! # What a script gets
//! The work tree is its working directory, its standard input is empty, and its environment is nothing but `PATH`, `HOME=/root`,
//! `LC_ALL=C.UTF-8`, `GIT_WORK_TREE`, `GLXC_DATA_PATH` (the state's path in the repository), `GLXC_GIT_BRANCH`, `GLXC_STATE`, and
//! `GLXC_X_<OPTION>` for each option of the table, in capitals and with `_` for `-`.
//!
//! Its exit status decides; each line that it writes goes to the user. It runs in a process group of its own, which is ended
//! where it takes too long, where somebody asks to stop, and where the process dies that runs it. What left the group, as a
//! daemon does, lives on.
//!
//! # What it leaves
//! An export that leaves no file says that the state is empty, one that removes its folder that the state is not there. Only plain
//! files and folders may be there, under names that git takes on every system; an empty folder is not kept, nor are modes,
//! owners and times.
//!
//! Where there is no script to import with, the state is only exported; where there is none to export with, it is only
//! imported: see [`Ways`]. A script that a link leads to nowhere, or that is not executable, is an error.

mod folder;
mod run;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use folder::WorkTree;

use crate::simple::Nowhere;
use crate::{
    Cx, Direction, Error, Exported, Handler, Live, Options, Result, Settings, Simple, SimpleHandler, Sink, StatePath,
    Tree, Value, Ways,
};

/// Where a container's scripts are, in the folders `export` and `import`.
pub const FOLDER: &str = "/usr/share/glxc";

/// How long a script may take, in seconds, where nothing else is said.
const TIMEOUT: i64 = 3600;

/// The longest that can be said: a month.
const LONGEST: i64 = 31 * 24 * 3600;

const EXPORT: &str = "export";
const IMPORT: &str = "import";

/// The file that the handler adds, and no script sees.
const ATTRIBUTES: &[u8] = b".gitattributes";
const ATTRIBUTES_TEXT: &str = concat!(
    "# Written by glxc: these files are data, kept byte by byte.\n",
    "* -text -filter -ident !working-tree-encoding -whitespace\n",
);

/// Makes the handler of a `script` state whose scripts are in [`FOLDER`].
///
/// # Errors
/// [`Error::Options`].
pub fn make(settings: &Settings) -> Result<Box<dyn Handler>> {
    at(FOLDER, settings)
}

/// The same with the scripts in another (absolute) folder.
///
/// # Errors
/// [`Error::Options`].
pub fn at(folder: impl Into<PathBuf>, settings: &Settings) -> Result<Box<dyn Handler>> {
    Ok(Box::new(Simple::new(Script::new(folder.into(), settings)?)))
}

#[derive(Debug)]
struct Script {
    folder: PathBuf,
    name: String,
    state: String,
    path: StatePath,
    timeout: Duration,
    environment: BTreeMap<String, OsString>,
}

impl Script {
    fn new(folder: PathBuf, settings: &Settings) -> Result<Self> {
        if settings.direction == Direction::Push {
            let message = "must be `both`; without a script that exports it, the state is only imported";
            return Err(Error::option("direction", message));
        }
        let mut reader = settings.options.reader();
        let name = reader.text("name")?.ok_or_else(|| Error::option("name", "is missing"))?;
        let timeout = reader.integer("timeout")?.unwrap_or(TIMEOUT);
        let options = reader.table("options")?.cloned().unwrap_or_default();
        reader.finish()?;
        if !is_name(name) {
            let message = "must be of letters, digits, `.`, `_` and `-`, and begin with a letter or digit";
            return Err(Error::option("name", message));
        }
        let seconds = u64::try_from(timeout).ok().filter(|_| (1..=LONGEST).contains(&timeout));
        let wrong = || Error::option("timeout", format!("must be between 1 and {LONGEST} seconds"));
        Ok(Script {
            folder,
            name: name.into(),
            state: settings.state.clone(),
            path: settings.path.clone(),
            timeout: Duration::from_secs(seconds.ok_or_else(wrong)?),
            environment: environment(settings, &options)?,
        })
    }

    /// The script of one way. `None` where there is none.
    fn find(&self, way: &str) -> Result<Option<PathBuf>> {
        let path = self.folder.join(way).join(&self.name);
        let missing = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        if fs::symlink_metadata(&path).is_err_and(|error| missing(&error)) {
            return Ok(None);
        }
        let metadata = fs::metadata(&path).map_err(Error::io("find the script", &path))?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err(Error::engine(format!("run {}", path.display()))("it is no executable file"));
        }
        Ok(Some(path))
    }

    /// Runs the script of one way to its end.
    fn run(&self, way: &str, work: &WorkTree, cx: &Cx<'_>) -> Result<()> {
        let Some(script) = self.find(way)? else {
            let path = self.folder.join(way).join(&self.name);
            let missing = "it is not there; a package or sysconf must install it";
            return Err(Error::engine(format!("run {}", path.display()))(missing));
        };
        tracing::debug!(state = self.state, script = %script.display(), "run");
        let mut command: Command = run::attended(&script);
        command.current_dir(work.root()).env("GIT_WORK_TREE", work.root()).envs(&self.environment);
        let note = &mut |line: &str| cx.progress.note(&format!("{}: {line}", self.state));
        run::run(command, &script, self.timeout, note, cx)
    }
}

impl SimpleHandler for Script {
    fn ways(&self) -> Ways {
        // What can not be run is there, and an error once it is to run.
        match [EXPORT, IMPORT].map(|way| matches!(self.find(way), Ok(None))) {
            [false, true] => Ways::Exported,
            [true, false] => Ways::Imported,
            [_, _] => Ways::Both,
        }
    }

    fn place(&self) -> String {
        format!("what the script {} exports", self.name)
    }

    fn export(&self, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
        self.written(sink, cx).map(|(_, exported)| exported)
    }

    fn live(&self, cx: &Cx<'_>) -> Result<Live> {
        match self.written(&mut Nowhere, cx) {
            Ok((0, _)) => Ok(Live::Empty),
            Ok(_) => Ok(Live::Present),
            Err(Error::Gone { .. }) => Ok(Live::Absent),
            Err(error) => Err(error),
        }
    }

    fn import(&self, files: &dyn Tree, cx: &Cx<'_>) -> Result<()> {
        let work = WorkTree::create(cx.scratch, &self.path)?;
        work.fill(files, cx)?;
        self.run(IMPORT, &work, cx)
    }

    fn check(&self, files: &dyn Tree, _: &Cx<'_>) -> Result<()> {
        let mut paths = files.entries().iter().map(|entry| &entry.path).filter(|path| path.as_bytes() != ATTRIBUTES);
        match paths.find_map(|path| Some((path, folder::unfit(path)?))) {
            Some((path, why)) => Err(Error::input(path, None, why)),
            None => Ok(()),
        }
    }
}

impl Script {
    /// Exports, and counts the files of the script.
    fn written(&self, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<(u64, Exported)> {
        let work = WorkTree::create(cx.scratch, &self.path)?;
        self.run(EXPORT, &work, cx)?;
        let Some(found) = work.open()? else {
            return Err(Error::Gone { what: self.place() });
        };
        let attributes = StatePath::new(ATTRIBUTES).map_err(Error::carrier("name a file"))?;
        sink.put(&attributes, ATTRIBUTES_TEXT.as_bytes())?;
        let (count, notes) = found.read(sink, cx)?;
        Ok((count, Exported { fingerprint: None, notes }))
    }
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// What a script's environment says of its state.
fn environment(settings: &Settings, options: &Options) -> Result<BTreeMap<String, OsString>> {
    let path = std::ffi::OsStr::from_bytes(settings.path.as_bytes());
    let branch = settings.branch.clone().unwrap_or_default();
    let mut environment = BTreeMap::from([
        ("GLXC_DATA_PATH".into(), path.to_owned()),
        ("GLXC_GIT_BRANCH".into(), branch.into()),
        ("GLXC_STATE".into(), settings.state.clone().into()),
    ]);
    for (key, value, line) in options.iter() {
        let wrong = |message: String| Error::Options { key: format!("options.{key}"), line, message };
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
            return Err(wrong("the name of an option is of letters, digits, `_` and `-`".into()));
        }
        let text = match value {
            Value::Text(text) if text.contains('\0') => return Err(wrong("has a NUL".into())),
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(boolean) => boolean.to_string(),
            other => return Err(wrong(format!("must be a text, a number, or true or false, not {}", other.kind()))),
        };
        let name = format!("GLXC_X_{}", key.to_ascii_uppercase().replace('-', "_"));
        if environment.contains_key(&name) {
            return Err(wrong(format!("another option is {name} for the scripts too")));
        }
        environment.insert(name, text.into());
    }
    Ok(environment)
}

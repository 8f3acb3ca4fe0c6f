//! The profiles of glxc-sysconf as the transport's [`Setup`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use glxc_handlers::{Cause, Cx, Mode, Sink, StatePath, Tree};
use glxc_sysconf::{File, Files, Kind, Plan, Scripts, Sysconf};
use glxc_transport::Setup;

/// How long one script may take; installing packages on a slow line is the longest.
const SCRIPT_LIMIT: Duration = Duration::from_secs(3600);

/// No file of a profile is longer (a limit of glxc-sysconf).
const FILE_LIMIT: u64 = 64 << 20;

/// The profiles of this container.
#[derive(Debug)]
pub struct Profiles(Sysconf);

impl Profiles {
    /// Profiles in `root`, with `state` to remember what was installed.
    pub fn new(root: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        Profiles(Sysconf::new(root, state))
    }

    fn plan_of(&self, base: Option<&dyn Tree>, next: &dyn Tree) -> Result<Plan, Cause> {
        let base = base.map(read).transpose()?;
        Ok(self.0.plan(base.as_ref(), &read(next)?)?)
    }
}

fn read(tree: &dyn Tree) -> Result<Files, Cause> {
    let mut files = Files::new();
    for entry in tree.entries() {
        let kind = match entry.mode {
            Mode::File => Kind::File,
            Mode::Executable => Kind::Executable,
            Mode::Link => Kind::Link,
        };
        let path = PathBuf::from(OsStr::from_bytes(entry.path.as_bytes()));
        files.insert(path, File::new(kind, tree.read(&entry.path, FILE_LIMIT)?));
    }
    Ok(files)
}

/// Runs something with scripts whose lines become notes with the profile's name in front.
fn with_scripts<T>(cx: &Cx<'_>, run: impl FnOnce(&mut Scripts<'_>) -> T) -> T {
    let mut output = |profile: &str, line: &str| cx.progress.note(&format!("{profile}: {line}"));
    let cancelled = || cx.cancel.is_cancelled();
    run(&mut Scripts { output: &mut output, cancelled: &cancelled, timeout: SCRIPT_LIMIT })
}

impl Setup for Profiles {
    fn check(&self, next: &dyn Tree) -> Result<(), Cause> {
        self.0.check(&read(next)?)?;
        Ok(())
    }

    fn plan(&self, base: Option<&dyn Tree>, next: &dyn Tree, _: &Cx<'_>) -> Result<bool, Cause> {
        Ok(!self.plan_of(base, next)?.is_empty())
    }

    fn apply(&self, base: Option<&dyn Tree>, next: &dyn Tree, cx: &Cx<'_>) -> Result<(), Cause> {
        let plan = self.plan_of(base, next)?;
        with_scripts(cx, |scripts| self.0.wait(scripts))?;
        let applied = with_scripts(cx, |scripts| self.0.apply(&plan, cx.op_dir, scripts))?;
        applied.notes.iter().for_each(|note| cx.progress.note(&format!("sysconf: {note}")));
        Ok(())
    }

    fn undo(&self, scripts: bool, cx: &Cx<'_>) -> Result<Vec<String>, Cause> {
        let applied = match scripts {
            true => with_scripts(cx, |scripts| self.0.undo(cx.op_dir, Some(scripts)))?,
            false => self.0.undo(cx.op_dir, None)?,
        };
        let packages = applied.packages.iter().map(|package| format!("the package {package} stays installed"));
        Ok(packages.chain(applied.notes).collect())
    }

    fn ready(&self, cx: &Cx<'_>) -> Result<(), Cause> {
        Ok(with_scripts(cx, |scripts| self.0.ready(scripts))?)
    }

    fn export(&self, sink: &mut dyn Sink, _: &Cx<'_>) -> Result<Vec<String>, Cause> {
        let exported = self.0.export()?;
        for (path, file) in &exported.files {
            let mode = match file.kind {
                Kind::File => Mode::File,
                Kind::Executable => Mode::Executable,
                Kind::Link => Mode::Link,
            };
            sink.begin(&state_path(path)?, mode)?;
            sink.write(&file.content)?;
            sink.end()?;
        }
        Ok(exported.notes)
    }
}

fn state_path(path: &Path) -> Result<StatePath, Cause> {
    Ok(StatePath::new(path.as_os_str().as_bytes())?)
}

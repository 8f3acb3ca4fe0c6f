//! How much memory each step takes: it is run by a child of its own, which tells its peak.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use glxc_handlers::{Change, Handler, OpId, Options, Recorded, Result, Settings, StatePath, Tree, Value, differences};

use super::folder::{Folder, files, peak};
use super::states::{chain, with_cx};

pub const MIB: u64 = 1 << 20;

/// With what the child is called: what to do, the socket, the database, the folders of base and next.
const CHILD: &str = "GLXC_TEST_MEMORY";

/// The peaks in KiB, by step, and what was moved.
#[derive(Debug)]
pub struct Peaks {
    pub bytes: u64,
    pub largest: u64,
    pub changed: u64,
    steps: BTreeMap<&'static str, u64>,
}

impl Peaks {
    /// Exports a database, pushes the change of some lines, and loads the result into a database that is not there yet.
    pub fn of(socket: &Path, name: &str, edit: impl Fn(&str) -> Option<String>) -> Peaks {
        let folder = tempfile::tempdir().unwrap();
        let (base, next) = (folder.path().join("base"), folder.path().join("next"));
        let mut peaks = Peaks { bytes: 0, largest: 0, changed: 0, steps: BTreeMap::new() };
        let child = |step, database: &str| (step, run_child(socket, step, database, &base, &next));
        peaks.steps.extend([child("export", name)]);
        for file in files(&base) {
            let text = fs::read_to_string(base.join(&file)).unwrap();
            let mut changed = String::new();
            for line in text.lines() {
                peaks.bytes += line.len() as u64 + 1;
                peaks.largest = peaks.largest.max(line.len() as u64 + 1);
                let new = edit(line).filter(|_| file.ends_with(".tsv"));
                peaks.changed += u64::from(new.is_some());
                changed.push_str(new.as_deref().unwrap_or(line));
                changed.push('\n');
            }
            let to = next.join(&file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, changed).unwrap();
        }
        peaks.steps.extend([child("push", name), child("load", &format!("{name}_new"))]);
        peaks
    }

    /// Each step takes 64 MiB at most, and so many times the largest row.
    pub fn hold(&self, times: impl Fn(&str) -> u64) {
        for (step, peak) in &self.steps {
            let bound = 64 * 1024 + times(step) * self.largest / 1024;
            println!("{step}: {peak} KiB of {bound}");
            assert!(*peak <= bound, "more than {bound} KiB: {self:?}");
        }
    }
}

fn run_child(socket: &Path, step: &str, database: &str, base: &Path, next: &Path) -> u64 {
    let words = [step, socket.to_str().unwrap(), database, base.to_str().unwrap(), next.to_str().unwrap()];
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["memory::child", "--exact", "--nocapture"]).env(CHILD, words.join("\n"));
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{step}: {text}{}", String::from_utf8_lossy(&output.stderr));
    peak(&text)
}

/// One step, in a process of its own. Does nothing where it is not called for one.
pub fn child(make: fn(&Settings) -> Result<Box<dyn Handler>>) {
    let Ok(words) = std::env::var(CHILD) else { return };
    let words: Vec<&str> = words.split('\n').collect();
    let &[step, socket, database, base, next] = words.as_slice() else { panic!("{words:?}") };
    let text = |text: &str| Value::Text(text.into());
    let options = Options::new().with("database", text(database)).with("socket", text(socket));
    let settings = Settings::new("shop", StatePath::new("shop").unwrap(), options.clone());
    let handler = make(&settings).unwrap();
    let done = with_cx(|cx| match step {
        "export" => handler.export(None, &mut Folder::create(Path::new(base)), cx).map(drop),
        _ => {
            let base = (step == "push").then(|| Folder::open(Path::new(base)));
            let next = Folder::open(Path::new(next));
            let base = base.as_ref().map(|base| base as &dyn Tree);
            let differs = differences(base, Some(&next));
            let op = OpId::new("00000000000000aa").unwrap();
            let recorded = |tree| Recorded { tree, options: &options };
            let (base, replace) = (base.map(recorded), base.is_none());
            let change = Change { op: &op, base, next: recorded(&next), differs: &differs, replace, prepare: false };
            handler.check(change.base.map(|base| base.tree), &next, cx)?;
            handler.describe(&change, cx)?;
            let mut staged = handler.stage(&change, cx)?;
            staged.lock()?;
            staged.commit().map(drop)
        }
    });
    done.unwrap_or_else(|error| panic!("{}", chain(&error)));
    println!("{}", fs::read_to_string("/proc/self/status").unwrap());
}

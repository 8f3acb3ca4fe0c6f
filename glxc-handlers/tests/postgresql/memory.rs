//! How much memory it takes: each step is run by a child of its own, which tells its peak.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use glxc_handlers::{Change, Options, Recorded, Settings, Tree, Value, differences, postgresql};

use crate::common::folder::{Folder, files, peak};
use crate::common::postgres::{Cluster, shared};
use crate::harness::{chain, path, with_cx};

const MIB: u64 = 1 << 20;
/// With what the child is called: what to do, the socket, the database, the folders of base and next.
const CHILD: &str = "GLXC_TEST_MEMORY";

#[test]
fn a_large_table_passes_through() {
    let Some(cluster) = shared() else { return };
    let sql = "CREATE TABLE t (id int PRIMARY KEY, a text); \
               INSERT INTO t SELECT n, repeat(md5(n::text), 64) FROM generate_series(1, 60000) n";
    let peaks = peaks(cluster, "memory_table", sql, |line| {
        let id: u32 = line.split('\t').next()?.parse().ok()?;
        id.is_multiple_of(1000).then(|| format!("{id}\tchanged"))
    });
    assert!(peaks.bytes > 110 * MIB && peaks.changed == 60, "{peaks:?}");
    assert!(peaks.largest < MIB, "{peaks:?}");
    peaks.hold();
}

#[test]
fn a_large_row_passes_through() {
    let Some(cluster) = shared() else { return };
    let sql = "CREATE TABLE t (id int PRIMARY KEY, a text); CREATE TABLE bag (a text); \
               INSERT INTO t SELECT n, repeat(md5(n::text), CASE WHEN n = 5 THEN 655360 ELSE 1 END) \
               FROM generate_series(1, 10) n; INSERT INTO bag SELECT a FROM t";
    let peaks = peaks(cluster, "memory_row", sql, |line| {
        (line.len() as u64 > MIB).then(|| format!("{}x", &line[..line.len() - 1]))
    });
    assert!(peaks.bytes > 40 * MIB && peaks.changed == 2, "{peaks:?}");
    assert!(peaks.largest >= 20 * MIB, "{peaks:?}");
    peaks.hold();
}

/// The peaks in KiB, by step, and what was moved.
#[derive(Debug)]
struct Peaks {
    bytes: u64,
    largest: u64,
    changed: u64,
    steps: BTreeMap<&'static str, u64>,
}

impl Peaks {
    fn hold(&self) {
        let bound = 64 * 1024 + 4 * self.largest / 1024;
        println!("bound {bound} KiB: {:?}", self.steps);
        assert!(self.steps.values().all(|peak| *peak <= bound), "more than {bound} KiB: {self:?}");
    }
}

/// Exports a database, pushes the change of some lines, and loads the result into a database that is not there yet.
fn peaks(cluster: &Cluster, name: &str, sql: &str, edit: impl Fn(&str) -> Option<String>) -> Peaks {
    cluster.create(name);
    cluster.psql(name, sql);
    let folder = tempfile::tempdir().unwrap();
    let (base, next) = (folder.path().join("base"), folder.path().join("next"));
    let mut peaks = Peaks { bytes: 0, largest: 0, changed: 0, steps: BTreeMap::new() };
    let child = |step, database: &str| (step, run_child(cluster, step, database, &base, &next));
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

fn run_child(cluster: &Cluster, step: &str, database: &str, base: &Path, next: &Path) -> u64 {
    let words = [step, cluster.socket().to_str().unwrap(), database, base.to_str().unwrap(), next.to_str().unwrap()];
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["memory::child", "--exact", "--nocapture"]).env(CHILD, words.join("\n"));
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{step}: {text}{}", String::from_utf8_lossy(&output.stderr));
    peak(&text)
}

/// One step, in a process of its own. Does nothing where it is not called for one.
#[test]
fn child() {
    let Ok(words) = std::env::var(CHILD) else { return };
    let words: Vec<&str> = words.split('\n').collect();
    let &[step, socket, database, base, next] = words.as_slice() else { panic!("{words:?}") };
    let text = |text: &str| Value::Text(text.into());
    let options = Options::new().with("database", text(database)).with("socket", text(socket));
    let settings = Settings::new("shop", path("shop"), options.clone());
    let handler = postgresql::make(&settings).unwrap();
    let done = with_cx(|cx| match step {
        "export" => handler.export(None, &mut Folder::create(Path::new(base)), cx).map(drop),
        _ => {
            let base = (step == "push").then(|| Folder::open(Path::new(base)));
            let next = Folder::open(Path::new(next));
            let base = base.as_ref().map(|base| base as &dyn Tree);
            let differs = differences(base, Some(&next));
            let op = glxc_handlers::OpId::new("00000000000000aa").unwrap();
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

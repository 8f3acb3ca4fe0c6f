//! Pushed files that somebody chose to do harm: refused by name, in bounded memory. Needs no server.

use std::io::{Cursor, Read};
use std::process::Command;

use glxc_handlers::{
    ContentId, Entry, MemoryTree, Mode, Options, Result, Settings, StatePath, Tree, Value, postgresql,
};

use crate::common::folder::peak;
use crate::harness::{chain, path, with_cx};

const MIB: u64 = 1 << 20;
/// With what the child is called: the name of a case.
const CHILD: &str = "GLXC_TEST_HOSTILE";

/// A file that is made as it is read: a beginning, and a text again and again up to a length.
#[derive(Debug)]
struct Made {
    file: String,
    start: String,
    again: Vec<u8>,
    length: u64,
}

fn made(file: impl Into<String>, start: impl Into<String>, again: &str, length: u64) -> Made {
    Made { file: file.into(), start: start.into(), again: again.repeat((1 << 16) / again.len()).into(), length }
}

struct Again<'a>(&'a [u8], usize);

impl Read for Again<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = (&self.0[self.1..]).read(bytes)?;
        self.1 = (self.1 + read) % self.0.len();
        Ok(read)
    }
}

#[derive(Debug)]
struct MadeTree(Vec<Entry>, Vec<Made>);

impl MadeTree {
    fn new(mut files: Vec<Made>) -> Self {
        files.sort_by(|a, b| a.file.cmp(&b.file));
        let entry = |made: &Made| Entry {
            path: path(&made.file),
            mode: Mode::File,
            id: ContentId::new(made.file.as_bytes().to_vec()),
        };
        MadeTree(files.iter().map(entry).collect(), files)
    }
}

impl Tree for MadeTree {
    fn entries(&self) -> &[Entry] {
        &self.0
    }

    fn open(&self, path: &StatePath) -> Result<Box<dyn Read + '_>> {
        let made = &self.1[self.0.binary_search_by(|entry| entry.path.cmp(path)).unwrap()];
        Ok(Box::new(Cursor::new(&made.start).chain(Again(&made.again, 0)).take(made.length)))
    }
}

/// A name, the files, what must be said of them (nothing: they are accepted), and the largest row that is held.
type Case = (&'static str, Vec<Made>, &'static str, u64);

fn cases() -> Vec<Case> {
    let (sql, rows) = ("schema/tables/public.t.sql", "data/public.t/rows.tsv");
    let bag = "#glxc-rows 1\tbag\ta\n";
    let key = |n: u64| {
        let start = format!("#glxc-rows 1\tkey=1b\ta\n{n:06}");
        made(format!("data/public.t/{n:06}.tsv"), start, "x", MIB)
    };
    vec![
        (
            "tokens",
            vec![made(sql, "CREATE TABLE public.t (", "a,\n", 16 * MIB)],
            "schema/tables/public.t.sql:131070: a statement of more than 262144 words and signs",
            0,
        ),
        (
            "refused statements",
            vec![made(sql, "", "a;", 16 * MIB)],
            "schema/tables/public.t.sql:1: A is not allowed here",
            0,
        ),
        (
            "many statements",
            vec![made(sql, "", "CREATE SCHEMA a;\n", 15 * MIB)],
            "schema/tables/public.t.sql:262145: more than 262144 statements in the files of the schema",
            0,
        ),
        (
            "a schema file of 2 GiB",
            vec![made(sql, "", "--\n", 2048 * MIB)],
            "schema/tables/public.t.sql: longer than 16777216 bytes",
            0,
        ),
        (
            "a first line of 1 GiB",
            vec![made(rows, "#glxc-rows 1\tbag\t", "a\t", 1024 * MIB)],
            "data/public.t/rows.tsv:1: a line of more than 1048576 bytes",
            0,
        ),
        (
            "a first line of columns",
            vec![made(rows, "#glxc-rows 1\tbag", "\t", MIB)],
            "data/public.t/rows.tsv:1: 1048560 columns, of at most 4096 in the first line",
            0,
        ),
        (
            "a line of 1 GiB",
            vec![made(rows, bag, "x", 1024 * MIB)],
            "data/public.t/rows.tsv:2: a line of more than 268435456 bytes",
            // Up to there it might have been a row, which is held once.
            256 / 4 * MIB,
        ),
        ("a part of 512 MiB", vec![made(rows, bag, &("x".repeat(1023) + "\n"), 512 * MIB)], "", 1024),
        ("long keys", (0..60).map(key).collect(), "", MIB),
    ]
}

#[test]
fn hostile_files_are_refused_in_bounded_memory() {
    for (name, _, said, largest) in cases() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["hostile::child", "--exact", "--nocapture"]).env(CHILD, name);
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {text}{errors}");
        let told = text.lines().find_map(|line| line.split_once("said: ")).map(|(_, told)| told).unwrap();
        assert!(told.starts_with(said) && said.is_empty() == told.is_empty(), "{name}: {told}");
        let (peak, bound) = (peak(&text), 64 * 1024 + 4 * largest / 1024);
        println!("{name}: {peak} of {bound} KiB");
        assert!(peak <= bound, "{name}: {peak} KiB, of at most {bound}");
    }
}

/// The check of pushed files by themselves.
fn check(tree: &dyn Tree) -> String {
    let options = Options::new().with("database", Value::Text("shop".into()));
    let handler = postgresql::make(&Settings::new("shop", path("shop"), options)).unwrap();
    let checked = with_cx(|cx| handler.check(None, tree, cx));
    checked.err().map_or(String::new(), |error| chain(&error))
}

#[test]
fn files_that_nobody_expects_are_refused_by_name() {
    let rows = "#glxc-rows 1\tbag\ta\n";
    let tree = |files: &[&str]| {
        let file = |file: &&str| (path(file), (Mode::File, if file.ends_with(".tsv") { rows } else { "" }.into()));
        MemoryTree::new(files.iter().map(file).collect())
    };
    let deep = |levels: usize| format!("data/public.t/{}x.tsv", "d/".repeat(levels));
    for (files, said) in [
        (vec!["notes.txt"], "notes.txt: not a file of a PostgreSQL state"),
        (vec!["data/rows.tsv"], "data/rows.tsv: not a file of a PostgreSQL state"),
        (vec!["data/public.t/notes.txt"], "data/public.t/notes.txt: not expected here"),
        (
            vec!["data/public.t/ROWS.tsv", "data/public.t/rows.tsv"],
            "data/public.t/rows.tsv: the same as data/public.t/ROWS.tsv where a file system ignores case",
        ),
        (
            vec!["data/public.T/a.tsv", "data/public.t/b.tsv"],
            "data/public.t/b.tsv: the same as data/public.T/a.tsv where a file system ignores case",
        ),
        (
            vec!["schema/tables/public.GrÜn.sql", "schema/tables/public.grÜn.sql"],
            "schema/tables/public.grÜn.sql: the same as schema/tables/public.GrÜn.sql where a file system ignores case",
        ),
        (
            vec!["schema/types/s.aSS.sql", "schema/types/s.aß.sql"],
            "schema/types/s.aß.sql: the same as schema/types/s.aSS.sql where a file system ignores case",
        ),
        (vec!["schema/Tables/s.sql", "schema/Tables/t.sql", "data/public.T/Rows.tsv"], ""),
        (vec![&deep(62)], ""),
        (vec![&deep(63)], &format!("data/public.t/{}d: more than 64 folders deep", "d/".repeat(62))),
        (vec![&deep(10_000)], &format!("data/public.t/{}d: more than 64 folders deep", "d/".repeat(62))),
    ] {
        let told = check(&tree(&files));
        assert!(told.starts_with(said) && said.is_empty() == told.is_empty(), "{files:?}: {told}");
    }
    for mode in [Mode::Link, Mode::Executable] {
        let tree = MemoryTree::new([(path("data/public.t/rows.tsv"), (mode, rows.into()))].into());
        assert_eq!(check(&tree), "data/public.t/rows.tsv: not a plain file");
    }
    let invalid = MemoryTree::new([(path("schema/a.sql"), (Mode::File, b"--\n--\xff\n".to_vec()))].into());
    assert_eq!(check(&invalid), "schema/a.sql:2: not UTF-8");
}

/// The check of one case, in a process of its own. Does nothing where it is not called for one.
#[test]
fn child() {
    let Ok(name) = std::env::var(CHILD) else { return };
    let (_, files, ..) = cases().into_iter().find(|case| case.0 == name).unwrap();
    println!("said: {}", check(&MadeTree::new(files)));
    println!("{}", std::fs::read_to_string("/proc/self/status").unwrap());
}

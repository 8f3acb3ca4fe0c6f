//! Folders as a state, on real folders and as root.
#![cfg(feature = "files")]
#![allow(clippy::print_stderr)] // says why it skips

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use glxc_handlers::conformance::{Edit, Subject, Variant, run_all};
use glxc_handlers::{
    Cancel, Change, Committed, ContentId, Cx, Decision, Differs, Direction, Entry, Error, Exported, Handler, Live,
    MemorySink, MemoryTree, Mode, OpId, Options, Recorded, Recovered, Result, Settings, Silent, Sink, StatePath, Tree,
    Value, differences,
};
use proptest::prelude::*;
use tempfile::TempDir;

/// Whether this can run: owners can only be given by root.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    let required =
        ["CI", "GLXC_TEST_REQUIRE"].iter().any(|name| std::env::var_os(name).is_some_and(|v| v == "true" || v == "1"));
    assert!(root || !required, "these tests need root");
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

struct World {
    folder: TempDir,
    root: PathBuf,
    options: Options,
    direction: Direction,
}

impl World {
    fn new(direction: Direction) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("srv/data");
        let options = Options::new().with("root", Value::Text(root.to_str().unwrap().into()));
        fs::create_dir_all(&root).unwrap();
        World { folder, root, options, direction }
    }

    fn both() -> Self {
        World::new(Direction::Both)
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.options = self.options.with(key, value);
        self
    }

    fn exclude(self, patterns: &[&str]) -> Self {
        self.with("exclude", Value::List(patterns.iter().map(|p| Value::Text(p.to_string())).collect()))
    }

    fn handler(&self) -> Box<dyn Handler> {
        let settings = Settings::new("data", state_path("data"), self.options.clone());
        glxc_handlers::files::make(&Settings { direction: self.direction, ..settings }).unwrap()
    }

    fn path(&self, name: impl AsRef<std::ffi::OsStr>) -> PathBuf {
        self.root.join(name.as_ref())
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn with_cx<T>(&self, act: impl FnOnce(&Cx<'_>) -> T) -> T {
        let (scratch, cancel) = (tempfile::tempdir_in(self.folder.path()).unwrap(), Cancel::new());
        act(&Cx { progress: &Silent, cancel: &cancel, deadline: None, scratch: scratch.path(), op_dir: scratch.path() })
    }

    fn try_export(&self, base: Option<&MemoryTree>) -> Result<(MemoryTree, Exported)> {
        let mut sink = MemorySink::new(base.cloned());
        let recorded = base.map(|tree| Recorded { tree, options: &self.options });
        let exported = self.with_cx(|cx| self.handler().export(recorded.as_ref(), &mut sink, cx))?;
        Ok((sink.finish()?, exported))
    }

    fn export(&self) -> MemoryTree {
        self.try_export(None).unwrap().0
    }

    fn with_change<T>(
        &self, base: Option<&dyn Tree>, next: &dyn Tree, act: impl FnOnce(&Change<'_>, &Cx<'_>) -> T,
    ) -> T {
        let (op, differs): (_, Vec<Differs>) = (OpId::new("00112233445566ff").unwrap(), differences(base, Some(next)));
        let recorded = |tree| Recorded { tree, options: &self.options };
        let (base, next, replace) = (base.map(recorded), recorded(next), base.is_none());
        self.with_cx(|cx| act(&Change { op: &op, base, next, differs: &differs, replace, prepare: false }, cx))
    }

    /// A push, with something happening between stage and lock, and between lock and commit.
    fn import_amid(
        &self, base: Option<&dyn Tree>, next: &dyn Tree, staged: impl FnOnce(), locked: impl FnOnce(),
    ) -> Result<Committed> {
        let handler = self.handler();
        self.with_change(base, next, |change, cx| {
            handler.check(base, next, cx)?;
            let mut import = handler.stage(change, cx)?;
            staged();
            if let Err(error) = import.lock() {
                return import.abort().and(Err(error));
            }
            locked();
            import.commit()
        })
    }

    fn import(&self, base: Option<&dyn Tree>, next: &dyn Tree) -> Result<Committed> {
        self.import_amid(base, next, || (), || ())
    }

    fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        visit(&self.folder.path().canonicalize().unwrap().join("srv"), &mut |path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            left.extend(name.starts_with(".glxc-").then_some(name));
        });
        left
    }

    fn look(&self) -> String {
        let mut look = format!("root {:?}\n", self.root.symlink_metadata().map(|m| (m.mode(), m.uid(), m.gid())).ok());
        visit(&self.root, &mut |path| {
            if !path.to_string_lossy().contains("/.glxc-") {
                let meta = path.symlink_metadata().unwrap();
                let content = match meta.file_type() {
                    kind if kind.is_symlink() => format!("{:?}", fs::read_link(path).unwrap()),
                    kind if kind.is_file() => fs::read(path).unwrap().escape_ascii().to_string(),
                    _ => String::new(),
                };
                look += &format!("{path:?} {:o} {}:{} {content}\n", meta.mode(), meta.uid(), meta.gid());
            }
        });
        look
    }
}

fn visit(path: &Path, act: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(path) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        act(&path);
        if path.symlink_metadata().unwrap().is_dir() {
            visit(&path, act);
        }
    }
}

fn own(path: &Path, mode: u32, user: u32, group: u32) {
    lchown(path, Some(user), Some(group)).unwrap();
    if !path.is_symlink() {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
}

fn state_path(text: &str) -> StatePath {
    StatePath::new(text).unwrap()
}

fn entries(tree: &MemoryTree) -> String {
    String::from_utf8(tree.files()[&state_path("entries/rows.tsv")].1.clone()).unwrap()
}

fn with_entries(tree: &MemoryTree, change: impl FnOnce(String) -> String) -> MemoryTree {
    tree.with(&state_path("entries/rows.tsv"), change(entries(tree)))
}

impl Subject for World {
    fn handler(&self) -> Box<dyn Handler> {
        World::handler(self)
    }
    fn options(&self) -> Options {
        self.options.clone()
    }
    fn set(&self, variant: Variant) {
        let _ = fs::remove_dir_all(&self.root);
        if variant == Variant::Absent {
            return;
        }
        fs::create_dir_all(&self.root).unwrap();
        own(&self.root, 0o2750, 33, 33);
        let mut files: Vec<(&str, &str)> = match variant {
            Variant::Base => vec![
                ("contested", "1"),
                ("sub/other", "1"),
                ("removed", "1"),
                ("old/x", "x"),
                ("a-b", ""),
                ("kind", "file"),
            ],
            Variant::Next => vec![
                ("contested", "2"),
                ("sub/other", "1"),
                ("new/deep/added", "\0\u{e9}"),
                ("a-b", ""),
                ("kind/x", "in a folder"),
            ],
            _ => return,
        };
        // another order in the folder must not show
        if fs::metadata(self.folder.path()).unwrap().mtime_nsec() % 2 == 0 {
            files.reverse();
        }
        for (name, content) in files {
            self.write(name, content);
            own(&self.path(name), 0o640, 33, 12345);
        }
        symlink(if variant == Variant::Base { "/etc/passwd" } else { "../../contested" }, self.path("sub/link"))
            .unwrap();
        fs::create_dir(self.path(".git")).unwrap();
        own(&self.path(".git"), if variant == Variant::Base { 0o700 } else { 0o1777 }, 12345, 0);
    }
    fn edit(&self, edit: Edit) {
        self.write(if edit == Edit::Contested { "contested" } else { "sub/other" }, "edited");
    }
    fn live(&self) -> Vec<u8> {
        self.look().into_bytes()
    }
    fn leftovers(&self) -> Vec<String> {
        World::leftovers(self)
    }
    fn takes_any_content(&self, path: &StatePath) -> bool {
        path.name() == b".gitattributes" || path.is_within(&state_path("files"))
    }
}

#[test]
fn keeps_every_promise() {
    if !is_root() {
        return;
    }
    let report = run_all(&World::both());
    assert!(report.failed.is_empty() && report.not_made == ["prepared"], "{report}");
}

#[test]
fn an_export_reads_well() {
    if !is_root() {
        return;
    }
    let world = World::both();
    own(&world.root, 0o2775, 33, 33);
    world.write("2024/cat.jpg", "meow");
    own(&world.path("2024/cat.jpg"), 0o4755, 0, 12345);
    own(&world.path("2024"), 0o755, 0, 0);
    fs::create_dir(world.path("empty")).unwrap();
    own(&world.path("empty"), 0o755, 0, 0);
    symlink("/etc/shadow", world.path("link")).unwrap();
    own(&world.path("link"), 0, 0, 0);
    let tree = world.export();
    let www = if fs::read_to_string("/etc/passwd").unwrap().contains("www-data:x:33:") { "www-data" } else { "33" };
    let expected = format!(
        "#glxc-rows 1\tkey=1b\tpath\tmode\towner\tgroup\ttarget\n/\t2775\t{www}\t{www}\t\\N\n/2024/\t0755\troot\troot\t\\N\n\
         /2024/cat.jpg\t4755\troot\t12345\t\\N\n/empty/\t0755\troot\troot\t\\N\n/link\t\\N\troot\troot\t/etc/shadow\n"
    );
    assert_eq!(entries(&tree), expected);
    let paths: Vec<String> = tree.entries().iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(paths, [".gitattributes", "entries/rows.tsv", "files/2024/cat.jpg"]);
}

#[test]
fn any_name_comes_back() {
    if !is_root() {
        return;
    }
    let world = World::both();
    let long = [b"\xff".repeat(84), b".gitx".to_vec(), b"\xfe".repeat(100)].concat();
    let names: [&[u8]; 14] = [
        b".git",
        b".gitattributes",
        b"A",
        b"a",
        b"caf\xe9",
        b"new\nline",
        b"tab\t",
        b"back\\slash",
        b"100%",
        b"%41",
        b"git~1",
        b"-x",
        b" ",
        &long,
    ];
    for name in names {
        fs::write(world.path(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let (tree, look) = (world.export(), world.look());
    assert_eq!(tree.within(&state_path("files")).len(), names.len());
    for entry in tree.entries() {
        let top = entry.path.as_str() == Some(".gitattributes");
        let git = entry.path.components().any(|part| part.to_ascii_lowercase().starts_with(b".git"));
        assert!(top || !git && entry.path.as_str().is_some_and(|path| path.is_ascii()), "{}", entry.path);
    }
    fs::remove_dir_all(&world.root).unwrap();
    world.import(None, &tree).unwrap();
    assert_eq!(world.look(), look);
}

#[test]
fn git_keeps_the_bytes() {
    if !is_root() {
        return;
    }
    let world = World::both();
    world.write("crlf.txt", "$Id$\r\n");
    world.write(".gitattributes", "* text eol=lf ident\n");
    let (tree, repository) = (world.export(), tempfile::tempdir().unwrap());
    for (path, (_, bytes)) in tree.files() {
        let file = repository.path().join(path.as_str().unwrap());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    let git = |arguments: &[&str]| {
        let output =
            std::process::Command::new("git").arg("-C").arg(repository.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "-q"]);
    git(&["-c", "core.autocrlf=input", "add", "."]);
    assert_eq!(git(&["cat-file", "blob", ":files/crlf.txt"]), "$Id$\r\n");
    let attributes = git(&["check-attr", "merge", "--", "files/crlf.txt", "entries/rows.tsv"]);
    assert_eq!(attributes, "files/crlf.txt: merge: unspecified\nentries/rows.tsv: merge: glxc\n");
}

#[test]
fn what_can_not_be_kept_is_named() {
    if !is_root() {
        return;
    }
    for kind in [rustix::fs::FileType::Fifo, rustix::fs::FileType::CharacterDevice, rustix::fs::FileType::Socket] {
        let world = World::both();
        let mode = rustix::fs::Mode::RUSR;
        let device = rustix::fs::makedev(1, 3);
        fs::create_dir(world.path("run")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, world.path("run/it"), kind, mode, device).unwrap();
        let error = world.try_export(None).unwrap_err();
        assert!(matches!(&error, Error::Unsupported { what } if what.contains("/srv/data/run/it")), "{error}");
        let world = World { options: world.options.clone(), ..world }.exclude(&["run/*"]);
        assert_eq!(entries(&world.export()).lines().count(), 3);
    }
    let world = World::both();
    world.write("acl", "x");
    let set = rustix::fs::lsetxattr(world.path("acl"), "user.x", b"1", rustix::fs::XattrFlags::empty());
    if set.is_ok() {
        let notes = world.try_export(None).unwrap().1.notes;
        assert!(notes.len() == 1 && notes[0].contains("extended attributes, which are not kept: acl"), "{notes:?}");
    }
}

#[test]
fn excluded_paths_are_left_alone() {
    if !is_root() {
        return;
    }
    let world = World::both().exclude(&["cache/", "*.tmp", "!keep.tmp"]);
    for name in ["cache/x", "sub/a.tmp", "sub/keep.tmp", "sub/b"] {
        world.write(name, "1");
    }
    let base = world.export();
    let paths: Vec<String> = base.within(&state_path("files")).iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(paths, ["files/sub/b", "files/sub/keep.tmp"]);
    // also where next replaces everything
    world.import(None, &base.without(&state_path("files/sub/b"))).unwrap_err();
    let rows =
        with_entries(&base, |rows| rows.lines().filter(|l| !l.contains("/b\t")).map(|l| format!("{l}\n")).collect());
    world.import(None, &rows.without(&state_path("files/sub/b"))).unwrap();
    assert!(world.path("cache/x").exists() && world.path("sub/a.tmp").exists() && !world.path("sub/b").exists());
    let error = world.import(Some(&base), &base.with(&state_path("files/c.tmp"), "x")).unwrap_err();
    assert_eq!(error.to_string(), "files/c.tmp: `exclude` leaves this path out; remove one of the two");
}

#[test]
fn a_file_added_by_hand_belongs_to_whom_its_folder_belongs() {
    if !is_root() {
        return;
    }
    let world = World::both();
    own(&world.root, 0o750, 33, 12345);
    let base = world.export();
    world.import(Some(&base), &base.with(&state_path("files/new/a b.txt"), "x")).unwrap();
    for (name, mode) in [("new", 0o40755), ("new/a b.txt", 0o100644)] {
        let meta = fs::metadata(world.path(name)).unwrap();
        assert_eq!((meta.mode(), meta.uid(), meta.gid()), (mode, 33, 12345), "{name}");
    }
    assert!(entries(&world.export()).contains("/new/a b.txt\t0644\t"));
}

#[test]
fn bad_trees_are_refused_with_their_place() {
    if !is_root() {
        return;
    }
    let world = World::both();
    world.write("a", "1");
    world.write("sub/b", "1");
    symlink("/etc", world.path("etc")).unwrap();
    let base = world.export();
    let look = world.look();
    let add = |row: &str| with_entries(&base, |rows| rows + row + "\n");
    let replace = |from: &str, to: &str| with_entries(&base, |rows| rows.replace(from, to));
    for (next, message) in [
        (add("/../x/\t0755\troot\troot\t\\N"), "entries/rows.tsv:7: not a path as it is written here"),
        (add("/x%2fy/\t0755\troot\troot\t\\N"), "entries/rows.tsv:7: not a path as it is written here"),
        (add("x/\t0755\troot\troot\t\\N"), "entries/rows.tsv:7: not a path as it is written here"),
        (
            add("/.glxc-00112233445566ff/\t0755\troot\troot\t\\N"),
            "entries/rows.tsv:7: not a path as it is written here",
        ),
        (add("/x/\t755\troot\troot\t\\N"), "entries/rows.tsv:7: the mode is not four octal digits"),
        (add("/x/\t0755\tro ot\troot\t\\N"), "entries/rows.tsv:7: `ro ot` is no user or group"),
        (add("/x/\t0755\troot\t4294967295\t\\N"), "entries/rows.tsv:7: `4294967295` is no user or group"),
        (add("/x/\t0755\tnobody-here\troot\t\\N"), "entries/rows.tsv:7: no user `nobody-here` here"),
        (add("/x/\t0755\troot\troot\ty"), "entries/rows.tsv:7: a folder with a target"),
        (add("/x\t0777\troot\troot\ty"), "entries/rows.tsv:7: a link with a mode"),
        (add("/x\t0644\troot\troot\t\\N"), "entries/rows.tsv:7: no content for it in `files/`"),
        (add("/etc/cron.d/\t0755\troot\troot\t\\N"), "entries/rows.tsv:7: beneath something that is no folder"),
        (add("/a/\t0755\troot\troot\t\\N"), "entries/rows.tsv:7: the same path as in another line"),
        (add("/a\t0755\troot\troot\t\\N"), "entries/rows.tsv:7: the same key as in entries/rows.tsv:3"),
        (base.with(&state_path("files/etc/passwd"), "x"), "files/etc/passwd: beneath something that is no folder"),
        (
            base.with(&state_path("files/etc"), "x"),
            "files/etc: a content for what is a folder or a link in the entries",
        ),
        (base.with(&state_path("files/%61"), "x"), "files/a: the same file as another, in another spelling"),
        (base.with(&state_path("files/%2e%2e/x"), "x"), "files/%2e%2e/x: not a name as it is written here"),
        (
            base.with(&state_path("files/c"), "version https://git-lfs.github.com/spec/v1\n"),
            "files/c: a Git LFS pointer",
        ),
        (replace("\ttarget\n", "\tgoal\n"), "entries/rows.tsv:1: other columns than"),
        (MemoryTree::default(), "entries: no row file"),
        (add("//x/\t0755\troot\troot\t\\N"), "entries/rows.tsv:7: not a path as it is written here"),
        (add("/x%00/\t0755\troot\troot\t\\N"), "entries/rows.tsv:7: not a path as it is written here"),
        (add("/%2e%2e/\t0755\troot\troot\t\\N"), "entries/rows.tsv:7: not a path as it is written here"),
        (add("/x%FF/\t0755\troot\troot\t\\N"), "entries/rows.tsv:7: not a path as it is written here"),
        (add("/x%f/\t0755\troot\troot\t\\N"), "entries/rows.tsv:7: not a path as it is written here"),
        (add("/x\t\\N\troot\troot\ty%00"), "entries/rows.tsv:7: not a target as it is written here"),
        (base.with(&state_path("files/x%00"), "x"), "files/x%00: not a name as it is written here"),
        (base.with(&state_path("files/%2fetc/x"), "x"), "files/%2fetc/x: not a name as it is written here"),
        (base.with(&state_path("files/x%zz"), "x"), "files/x%zz: not a name as it is written here"),
        (base.with(&StatePath::new(b"files/x\xff").unwrap(), "x"), "files/x\\xff: not a name as it is written here"),
        (base.with(&state_path("files/sub/.Git/config"), "x"), "files/sub/.Git/config: `.git` is git's own"),
    ] {
        let error = world.import(Some(&base), &next).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
        assert_eq!((world.look(), world.leftovers()), (look.clone(), Vec::new()), "{message}");
    }
}

/// What is exported can be checked out where case does not count, so what is pushed must be such, too.
#[test]
fn contents_that_differ_by_case_alone_are_refused() {
    if !is_root() {
        return;
    }
    let world = World::both();
    world.write("Readme", "1");
    world.write("sub-x", "1");
    let base = world.export();
    for (first, second) in [
        ("Readme", "README"),
        ("new/Größe", "new/GRÖSSE"),
        ("sub/a", "Sub/b"),
        ("sub/a/x", "sub/A/y"),
        // a file and a folder, with another name between them
        ("sub", "SUB/x"),
    ] {
        let path = |name: &str| state_path(&format!("files/{name}"));
        let error = world.import(Some(&base), &base.with(&path(first), "1").with(&path(second), "2")).unwrap_err();
        let (one, other) = (format!("files/{first}"), format!("files/{second}"));
        let text = error.to_string();
        assert!(
            text.contains("where a file system ignores case") && text.contains(&one) && text.contains(&other),
            "{text}"
        );
        assert!(!world.path(second).exists());
    }
    world.import(Some(&base), &base.with(&state_path("files/%52%45%41%44%4d%45"), "2")).unwrap();
    assert_eq!((world.read("Readme"), world.read("README")), ("1".into(), "2".into()));
    // names that are only pushed are those of the container
    let code = World::new(Direction::Push);
    code.import(None, &app(&[("Readme", Mode::File, "1"), ("README", Mode::File, "2")])).unwrap();
    assert_eq!((code.read("Readme"), code.read("README")), ("1".into(), "2".into()));
    for (name, message) in
        [(".git/config", "`.git` is git's own"), ("x/.glxc-00112233445566ff-x/y", "a name of glxc's own")]
    {
        let error = code.import(None, &app(&[(name, Mode::File, "1")])).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name}: {message}")), "{error}");
    }
}

#[test]
fn owners_modes_links_and_kinds_change() {
    if !is_root() {
        return;
    }
    let world = World::both();
    for (name, content) in [("file", "1"), ("folder/x", "1"), ("turns/a", "1")] {
        world.write(name, content);
    }
    symlink("old", world.path("link")).unwrap();
    own(&world.path("file"), 0o644, 0, 0);
    let base = world.export();
    let before = fs::metadata(world.path("file")).unwrap();
    fs::hard_link(world.path("file"), world.path("other-name")).unwrap();
    let rows = |rows: String| {
        rows.replace("/file\t0644\troot", "/file\t6750\t12345")
            .replace("\told\n", "\t%0anew\n")
            .replace("/folder/\t0755", "/folder/\t0700")
            .lines()
            .filter(|line| !line.starts_with("/turns/a"))
            .map(|line| line.replace("/turns/\t0755", "/turns\t0600") + "\n")
            .collect()
    };
    let next =
        with_entries(&base, rows).with(&state_path("files/turns"), "now a file").without(&state_path("files/turns/a"));
    assert_eq!(world.import(Some(&base), &next).unwrap().notes, Vec::<String>::new());
    let file = fs::metadata(world.path("file")).unwrap();
    assert_eq!(
        (file.mode(), file.uid(), file.ino()),
        (0o106750, 12345, before.ino()),
        "in place, with the set-user-id bit"
    );
    assert_eq!(fs::read_link(world.path("link")).unwrap(), Path::new("\nnew"));
    assert_eq!(fs::metadata(world.path("folder")).unwrap().mode(), 0o40700);
    assert_eq!(world.read("turns"), "now a file");
    fs::remove_file(world.path("other-name")).unwrap();
    assert_eq!(entries(&world.export()), entries(&next));
    world.import(Some(&next), &base).unwrap();
    assert_eq!(entries(&world.export()), entries(&base));
}

#[test]
fn a_link_planted_in_the_way_is_not_followed() {
    if !is_root() {
        return;
    }
    for when in ["staged", "locked"] {
        let world = World::both();
        let outside = world.folder.path().join("outside");
        fs::create_dir_all(outside.join("deep")).unwrap();
        fs::write(outside.join("deep/victim"), "untouched").unwrap();
        world.write("sub/deep/victim", "1");
        world.write("sub/deep/gone", "1");
        let base = world.export();
        fs::write(outside.join("deep/gone"), "1").unwrap();
        let next = base.with(&state_path("files/sub/deep/victim"), "2").with(&state_path("files/sub/deep/new"), "3");
        let next = with_entries(&next, |rows| {
            rows.lines().filter(|l| !l.contains("gone")).map(|l| format!("{l}\n")).collect()
        });
        let next = next.without(&state_path("files/sub/deep/gone"));
        let plant = || {
            fs::rename(world.path("sub"), world.path("moved")).unwrap();
            symlink(&outside, world.path("sub")).unwrap();
        };
        let outcome = match when {
            "staged" => world.import_amid(Some(&base), &next, plant, || ()),
            _ => world.import_amid(Some(&base), &next, || (), plant),
        };
        match (when, outcome) {
            ("staged", Err(Error::Changed { total, .. })) => assert_eq!(total, 2),
            ("locked", Ok(committed)) => assert_eq!(committed.notes.len(), 2, "{committed:?}"),
            (_, other) => panic!("{when}: {other:?}"),
        }
        let mut names: Vec<_> =
            fs::read_dir(outside.join("deep")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["gone", "victim"]);
        assert_eq!(fs::read_to_string(outside.join("deep/victim")).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(world.path("moved/deep/victim")).unwrap(), "1");
        assert_eq!(world.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn what_is_written_after_the_lock_is_put_back() {
    if !is_root() {
        return;
    }
    let world = World::both();
    for name in ["changed", "removed", "owned", "folder/x", "same"] {
        world.write(name, "1");
    }
    fs::create_dir(world.path("removed-folder")).unwrap();
    let base = world.export();
    let next = base
        .with(&state_path("files/changed"), "2")
        .with(&state_path("files/new"), "2")
        .with(&state_path("files/same"), "2");
    let next = next.without(&state_path("files/removed")).without(&state_path("files/folder/x"));
    let next = with_entries(&next, |rows| {
        let kept = rows.lines().filter(|l| !["/removed", "/folder"].iter().any(|name| l.starts_with(name)));
        kept.map(|line| line.replace("/owned\t0644", "/owned\t0600") + "\n").collect()
    });
    let late = || {
        ["changed", "removed", "owned", "new", "folder/late"].iter().for_each(|name| world.write(name, "late"));
        own(&world.path("removed-folder"), 0o700, 12345, 0);
    };
    let committed = world.import_amid(Some(&base), &next, || (), late).unwrap();
    assert_eq!(committed.notes.len(), 6, "{:?}", committed.notes);
    for name in ["changed", "removed", "owned", "new", "folder/late"] {
        assert_eq!(world.read(name), "late");
    }
    assert!(world.path("removed-folder").exists());
    assert_eq!((world.read("same"), fs::metadata(world.path("owned")).unwrap().mode()), ("2".into(), 0o100644));
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

/// Where next replaces whatever is live, that is what was live when the import was prepared.
#[test]
fn what_comes_after_it_was_staged_is_not_replaced() {
    if !is_root() {
        return;
    }
    let source = World::both();
    source.write("same", "1");
    source.write("changed", "1");
    let next = source.export();
    let world = World::both();
    ["changed", "gone", "other"].iter().for_each(|name| world.write(name, "live"));
    let late = || ["gone", "came"].iter().for_each(|name| world.write(name, "late"));
    let outcome = world.import_amid(None, &next, late, || ());
    assert!(matches!(outcome, Err(Error::Changed { total: 1, .. })), "{outcome:?}");
    assert_eq!((world.read("gone"), world.read("other")), ("late".into(), "live".into()));
    let later = || {
        ["changed", "other"].iter().for_each(|name| world.write(name, "later"));
        fs::remove_file(world.path("gone")).unwrap();
    };
    let committed = world.import_amid(None, &next, || (), later).unwrap();
    assert_eq!(committed.notes.len(), 2, "{:?}", committed.notes);
    assert_eq!(
        (world.read("same"), world.read("changed"), world.read("other")),
        ("1".into(), "later".into(), "later".into())
    );
    assert!(!world.path("came").exists() && !world.path("gone").exists());
    world.import(None, &next).unwrap();
    assert_eq!(entries(&world.export()), entries(&next));
}

/// What a state that is only pushed finds live is exported once, under its own names: before it is replaced, or by the first pull.
#[test]
fn what_is_live_before_the_first_push_of_code_is_exported() {
    if !is_root() {
        return;
    }
    let world = World::new(Direction::Push);
    assert!(world.export().files().is_empty(), "no folder is no file");
    ["index.php", "lib/a b.php", "bin/run", ".git/config"].iter().for_each(|name| world.write(name, name));
    own(&world.path("bin/run"), 0o755, 0, 0);
    symlink("/etc/shadow", world.path("link")).unwrap();
    let (tree, exported) = world.try_export(None).unwrap();
    let files: Vec<_> =
        tree.files().iter().map(|(path, (mode, bytes))| (path.to_string(), *mode, bytes.len())).collect();
    let wanted = [("bin/run", Mode::Executable, 7), ("index.php", Mode::File, 9), ("lib/a b.php", Mode::File, 11)];
    assert_eq!(files, wanted.map(|(path, mode, length)| (path.to_owned(), mode, length)));
    assert!(exported.notes.len() == 1 && exported.notes[0].contains("2 files") && exported.notes[0].contains("link"));
    world.import(Some(&tree), &tree).unwrap();
    assert!(world.path("link").is_symlink());
}

/// A recovery finishes what was decided, and does not touch what was written since.
#[test]
fn a_recovery_replaces_only_what_was_there() {
    if !is_root() {
        return;
    }
    let source = World::both();
    source.write("new", "1");
    source.write("changed", "1");
    source.write("also", "1");
    let next = source.export();
    let world = World::both();
    ["changed", "also", "gone", "kept"].iter().for_each(|name| world.write(name, "live"));
    let handler = world.handler();
    let notes = world.with_change(None, &next, |change, cx| {
        let mut staged = handler.stage(change, cx).unwrap();
        staged.lock().unwrap();
        // A kill.
        std::mem::forget(staged);
        ["came", "kept", "also"].iter().for_each(|name| world.write(name, "late"));
        match handler.recover(change, None, Decision::Commit, cx).unwrap() {
            Recovered::Committed(committed) => committed.notes,
            Recovered::Aborted => panic!("it was decided"),
        }
    });
    assert_eq!(notes.len(), 3, "{notes:?}");
    let read = |name: &str| fs::read_to_string(world.path(name)).unwrap_or_default();
    assert_eq!(["new", "changed", "also", "kept", "came", "gone"].map(read), ["1", "1", "late", "late", "late", ""]);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn what_was_live_already_and_is_no_more_is_a_change() {
    if !is_root() {
        return;
    }
    let world = World::both();
    world.write("a", "1");
    let base = world.export();
    let next = base.with(&state_path("files/a"), "2");
    world.write("a", "2");
    let outcome = world.import_amid(Some(&base), &next, || world.write("a", "1"), || ());
    assert!(matches!(outcome, Err(Error::Changed { total: 1, .. })), "{outcome:?}");
    assert_eq!(world.read("a"), "1");
}

#[test]
fn what_is_excluded_from_now_on_stays() {
    if !is_root() {
        return;
    }
    let world = World::both();
    world.write("a.tmp", "1");
    world.write("b", "1");
    let (base, old) = (world.export(), world.options.clone());
    let world = world.exclude(&["*.tmp"]);
    let next = world.export();
    assert_eq!(next.within(&state_path("files")).len(), 1);
    let (handler, op) = (world.handler(), OpId::new("00112233445566ff").unwrap());
    let (base, next) = (Recorded { tree: &base, options: &old }, Recorded { tree: &next, options: &world.options });
    let change = Change { op: &op, base: Some(base), next, differs: &[], replace: false, prepare: false };
    world.with_cx(|cx| {
        let mut staged = handler.stage(&change, cx).unwrap();
        staged.lock().unwrap();
        assert_eq!(staged.commit().unwrap(), Committed::default());
    });
    assert_eq!(world.read("a.tmp"), "1");
}

/// What a path is made to be.
#[derive(Clone, Debug)]
enum Made {
    File(String, u32),
    Folder(u32),
    Link(String),
}

fn any_folder() -> impl Strategy<Value = BTreeMap<String, Made>> {
    let mode = prop_oneof![Just(0o755u32), Just(0o700), Just(0o2775)];
    let made = prop_oneof![
        3 => ("[ab]{0,2}", mode.clone()).prop_map(|(text, mode)| Made::File(text, mode)),
        2 => mode.prop_map(Made::Folder),
        1 => "[a-c]{1,2}".prop_map(Made::Link),
    ];
    proptest::collection::btree_map("[aAb.]{1,2}(/[ab]{1}){0,2}", made, 0..8)
}

/// Makes what can be made: nothing stands beneath a file or a link.
fn make(world: &World, made: &BTreeMap<String, Made>) {
    let _ = fs::remove_dir_all(&world.root);
    fs::create_dir_all(&world.root).unwrap();
    for (path, made) in made {
        let full = world.path(path);
        if path.starts_with('.') && path.split('/').any(|part| part == "." || part == "..")
            || full
                .ancestors()
                .skip(1)
                .take_while(|p| *p != world.root)
                .any(|p| p.symlink_metadata().is_ok_and(|m| !m.is_dir()))
            || full.symlink_metadata().is_ok()
        {
            continue;
        }
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        match made {
            Made::File(text, _) => fs::write(&full, text).unwrap(),
            Made::Folder(_) => fs::create_dir(&full).unwrap(),
            Made::Link(target) => symlink(target, &full).unwrap(),
        }
        if let Made::File(_, mode) | Made::Folder(mode) = made {
            own(&full, *mode, mode & 1, 12345);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_folder_becomes_any_other(base in any_folder(), next in any_folder(), killed in any::<bool>()) {
        if !is_root() {
            return Ok(());
        }
        let world = World::both();
        make(&world, &next);
        let (next, look) = (world.export(), world.look());
        make(&world, &base);
        let base = world.export();
        let notes = match killed {
            false => world.import(Some(&base), &next).unwrap().notes,
            true => world.with_change(Some(&base), &next, |change, cx| {
                let handler = world.handler();
                let mut staged = handler.stage(change, cx).unwrap();
                staged.lock().unwrap();
                std::mem::forget(staged);
                let Recovered::Committed(committed) = handler.recover(change, None, Decision::Commit, cx).unwrap() else { panic!() };
                committed.notes
            }),
        };
        prop_assert_eq!(notes, Vec::<String>::new());
        prop_assert_eq!(world.look(), look);
        prop_assert_eq!(world.export(), next);
    }
}

fn cases() -> u32 {
    let scale: f64 = std::env::var("GLXC_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    (64.0 * scale) as u32
}

/// What a kill leaves right after an exchange, before it was compared.
#[test]
fn what_an_interrupted_exchange_brought_out_comes_back() {
    if !is_root() {
        return;
    }
    let world = World::both();
    world.write("a", "1");
    world.write("b", "1");
    let base = world.export();
    let next =
        with_entries(&base, |rows| rows.lines().filter(|l| !l.starts_with("/b")).map(|l| format!("{l}\n")).collect());
    let next = next.without(&state_path("files/b")).with(&state_path("files/a"), "2");
    let handler = world.handler();
    world.with_change(Some(&base), &next, |change, cx| {
        let mut staged = handler.stage(change, cx).unwrap();
        staged.lock().unwrap();
        std::mem::forget(staged);
        world.write("a", "late");
        world.write("b", "late");
        let staging = world.path(&world.leftovers()[0]);
        let (cwd, exchange) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
        rustix::fs::renameat_with(cwd, staging.join("0"), cwd, world.path("a"), exchange).unwrap();
        fs::rename(world.path("b"), staging.join("1.out")).unwrap();
        assert_eq!(world.read("a"), "2");
        let Recovered::Committed(committed) = handler.recover(change, None, Decision::Commit, cx).unwrap() else {
            panic!()
        };
        assert_eq!(committed.notes.len(), 2, "{committed:?}");
    });
    assert_eq!((world.read("a"), world.read("b"), world.leftovers()), ("late".into(), "late".into(), Vec::new()));
}

/// The folder in which a state prepares stands in the root, or above one that is not there yet: that of another state, maybe.
#[test]
fn states_of_one_push_prepare_apart() {
    if !is_root() {
        return;
    }
    let (world, source) = (World::both(), World::both());
    world.write("a", "1");
    source.write("x", "1");
    let (base, inner) = (world.export(), source.export());
    let root = Options::new().with("root", Value::Text(world.path("not/there").to_str().unwrap().into()));
    let other = glxc_handlers::files::make(&Settings::new("other", state_path("other"), root.clone())).unwrap();
    world.with_change(Some(&base), &base.with(&state_path("files/a"), "2"), |change, cx| {
        let handler = world.handler();
        let mut staged = handler.stage(change, cx).unwrap();
        let next = Recorded { tree: &inner, options: &root };
        let beneath = Change { base: None, next, differs: &[], replace: true, ..*change };
        let mut beside = other.stage(&beneath, cx).unwrap();
        beside.lock().unwrap();
        // A kill.
        std::mem::forget(beside);
        assert_eq!(world.leftovers().len(), 2);
        assert!(!entries(&world.export()).contains("/.glxc-"), "neither is exported");
        assert_eq!(other.recover(&beneath, None, Decision::Abort, cx).unwrap(), Recovered::Aborted);
        assert_eq!(world.leftovers().len(), 1);
        staged.lock().unwrap();
        assert_eq!(staged.commit().unwrap(), Committed::default());
    });
    assert_eq!((world.read("a"), world.leftovers()), ("2".into(), Vec::new()));
}

#[test]
fn what_was_prepared_and_is_gone_is_no_change_of_the_application() {
    if !is_root() {
        return;
    }
    for (what, whole) in [("changed", false), ("changed", true), ("new", false), ("new", true), ("removed", true)] {
        let world = World::both();
        ["changed", "removed"].iter().for_each(|name| world.write(name, "1"));
        let base = world.export();
        let next = match what {
            "removed" => with_entries(&base, |rows| {
                rows.lines().filter(|l| !l.starts_with("/removed")).map(|l| format!("{l}\n")).collect()
            })
            .without(&state_path("files/removed")),
            name => base.with(&state_path(&format!("files/{name}")), "2"),
        };
        let handler = world.handler();
        world.with_change(Some(&base), &next, |change, cx| {
            let mut staged = handler.stage(change, cx).unwrap();
            staged.lock().unwrap();
            for name in world.leftovers() {
                let names = fs::read_dir(world.path(&name)).unwrap().map(|entry| entry.unwrap().path());
                names.for_each(|path| fs::remove_file(path).unwrap());
                if whole {
                    fs::remove_dir(world.path(&name)).unwrap();
                }
            }
            let error = staged.commit().unwrap_err();
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(matches!(&error, Error::Io { path, .. } if *path == world.path(what)), "{what}: {error}");
            assert!(source.contains("what was prepared for it was removed"), "{what}: {source}");
            let recovered = handler.recover(change, None, Decision::Commit, cx).unwrap();
            assert_eq!(recovered, Recovered::Committed(Committed::default()), "{what}");
        });
        match what {
            "removed" => assert!(!world.path(what).exists()),
            name => assert_eq!(world.read(name), "2"),
        }
        assert_eq!(world.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn another_file_system_beneath_the_root_is_named_before_anything_happens() {
    if !is_root() {
        return;
    }
    let world = World::both();
    fs::create_dir(world.path("mounted")).unwrap();
    let mount =
        |program: &str, arguments: &[&std::ffi::OsStr]| std::process::Command::new(program).args(arguments).status();
    let at = world.path("mounted");
    let mounted = mount("mount", &["-t".as_ref(), "tmpfs".as_ref(), "none".as_ref(), at.as_ref()]);
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: can not mount");
        return;
    }
    world.write("mounted/a", "1");
    let base = world.export();
    let outcome = world.import(Some(&base), &base.with(&state_path("files/mounted/a"), "2"));
    let content = world.read("mounted/a");
    assert!(mount("umount", &[at.as_ref()]).unwrap().success());
    assert!(
        matches!(&outcome, Err(Error::Unsupported { what }) if what.contains("another file system")),
        "{outcome:?}"
    );
    assert_eq!(content, "1");
}

/// Writes to a file while it is exported.
struct Meddling(PathBuf);

impl Sink for Meddling {
    fn begin(&mut self, _: &StatePath, _: Mode) -> Result<()> {
        Ok(())
    }
    fn write(&mut self, _: &[u8]) -> Result<()> {
        fs::write(&self.0, "another length").map_err(Error::io("write", &self.0))
    }
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
    fn keep(&mut self, _: &StatePath) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_is_written_while_it_is_read_is_noted() {
    let world = World::both();
    world.write("log", "1");
    let mut sink = Meddling(world.path("log"));
    let exported = world.with_cx(|cx| world.handler().export(None, &mut sink, cx)).unwrap();
    assert_eq!(exported.notes, ["1 files were written while they were read: log"]);
}

#[test]
fn somebody_elses_staging_folder_is_not_used() {
    if !is_root() {
        return;
    }
    let world = World::both();
    world.write("a", "1");
    let base = world.export();
    let outside = world.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "1").unwrap();
    // where this state prepares in such an operation
    let name = world.with_change(Some(&base), &base, |change, cx| {
        let handler = world.handler();
        let _staged = handler.stage(change, cx).unwrap();
        world.leftovers().remove(0)
    });
    assert_eq!(world.leftovers(), Vec::<String>::new());
    symlink(&outside, world.path(&name)).unwrap();
    world.import(Some(&base), &base.with(&state_path("files/a"), "2")).unwrap();
    assert_eq!((world.read("a"), fs::read_dir(&outside).unwrap().count()), ("2".into(), 1));
    // what another operation left is never exported
    fs::create_dir(world.path(".glxc-0123456789abcdef")).unwrap();
    assert!(!entries(&world.export()).contains("glxc-0123"));
}

#[test]
fn a_root_behind_a_link_is_refused() {
    let world = World::both();
    symlink(&world.root, world.folder.path().join("link")).unwrap();
    let root = world.folder.path().canonicalize().unwrap().join("link");
    let world = world.with("root", Value::Text(root.to_str().unwrap().into()));
    let error = world.try_export(None).unwrap_err().to_string();
    assert!(error.contains("leads through a symbolic link"), "{error}");
}

#[test]
fn a_changed_root_is_not_overwritten() {
    if !is_root() {
        return;
    }
    let world = World::both();
    world.write("a", "1");
    let (base, old) = (world.export(), world.options.clone());
    let other = World::both();
    other.write("precious", "1");
    let push = |world: &World| {
        let handler = world.handler();
        let op = OpId::new("00112233445566ff").unwrap();
        let (base, next) = (Recorded { tree: &base, options: &old }, Recorded { tree: &base, options: &world.options });
        let change = Change { op: &op, base: Some(base), next, differs: &[], replace: false, prepare: false };
        world.with_cx(|cx| handler.stage(&change, cx)?.lock().map(drop))
    };
    assert!(matches!(push(&other), Err(Error::Options { .. })));
    fs::remove_file(other.path("precious")).unwrap();
    push(&other).unwrap();
}

/// A tree with one large file, made as it is read.
#[derive(Debug)]
struct Large {
    entries: Vec<Entry>,
    small: MemoryTree,
    size: u64,
}

impl Tree for Large {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }
    fn open(&self, path: &StatePath) -> Result<Box<dyn std::io::Read + '_>> {
        match path.name() {
            b"large" => Ok(Box::new(std::io::Read::take(std::io::repeat(b'x'), self.size))),
            _ => self.small.open(path),
        }
    }
}

/// Counts what it is given.
struct Counting(BTreeMap<StatePath, u64>, Option<StatePath>, usize);

impl Sink for Counting {
    fn begin(&mut self, path: &StatePath, _: Mode) -> Result<()> {
        self.1 = Some(path.clone());
        Ok(())
    }
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.2 = self.2.max(bytes.len());
        *self.0.entry(self.1.clone().unwrap()).or_default() += bytes.len() as u64;
        Ok(())
    }
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
    fn keep(&mut self, _: &StatePath) -> Result<()> {
        Ok(())
    }
}

#[test]
fn large_files_are_streamed() {
    if !is_root() {
        return;
    }
    let (world, size) = (World::both(), 64 << 20);
    let small = world.export();
    let path = state_path("files/large");
    let mut entries = small.entries().to_vec();
    entries.push(Entry { path: path.clone(), mode: Mode::File, id: ContentId::new("large") });
    world.import(Some(&small), &Large { entries, small: small.clone(), size }).unwrap();
    assert_eq!(fs::metadata(world.path("large")).unwrap().len(), size);
    let mut sink = Counting(BTreeMap::new(), None, 0);
    world.with_cx(|cx| world.handler().export(None, &mut sink, cx)).unwrap();
    assert_eq!(sink.0[&path], size);
    assert!(sink.2 <= 1 << 20, "a piece of {} bytes", sink.2);
}

/// The files of a push.
fn app(files: &[(&str, Mode, &str)]) -> MemoryTree {
    let file = |(path, mode, text): &(&str, Mode, &str)| (state_path(path), (*mode, text.as_bytes().to_vec()));
    MemoryTree::new(files.iter().map(file).collect())
}

#[test]
fn a_push_installs_and_drift_is_reported() {
    if !is_root() {
        return;
    }
    let text = |text: &str| Value::Text(text.into());
    let world = World::new(Direction::Push).with("group", text("33")).with("mode", text("640"));
    let world = world.exclude(&["/cache", "*.md"]);
    fs::remove_dir(&world.root).unwrap();
    let base = app(&[
        ("bin/run", Mode::Executable, "#!"),
        ("index.php", Mode::File, "1"),
        (".gitattributes", Mode::File, "*"),
        ("old/x", Mode::File, "1"),
        ("README.md", Mode::File, "1"),
    ]);
    world.import(None, &base).unwrap();
    for (name, mode, group) in
        [("", 0o40750, 0), ("bin/run", 0o100750, 33), ("index.php", 0o100640, 33), (".gitattributes", 0o100640, 33)]
    {
        let meta = fs::metadata(world.path(name)).unwrap();
        assert_eq!((meta.mode(), meta.uid(), meta.gid()), (mode, 0, group), "{name}");
    }
    assert!(!world.path("README.md").exists());
    // what setup does to a folder, and what the application writes beside, stays
    own(&world.path("bin"), 0o700, 33, 33);
    world.write("var/log", "1");
    let (kept, exported) = world.try_export(Some(&base)).unwrap();
    assert_eq!((kept, exported.notes), (base.clone(), Vec::new()));
    world.write("index.php", "drift");
    let (kept, exported) = world.try_export(Some(&base)).unwrap();
    assert_eq!(kept, base);
    assert!(
        exported.notes.len() == 1 && exported.notes[0].ends_with("puts them back: index.php"),
        "{:?}",
        exported.notes
    );

    let next = base.with(&state_path("bin/new"), "2").without(&state_path("old/x"));
    let committed = world.import(Some(&base), &next).unwrap();
    assert_eq!(committed.notes, ["1 files differed live from what was installed, and were put back"]);
    assert_eq!(
        (world.read("index.php"), world.read("bin/new"), world.read("var/log")),
        ("1".into(), "2".into(), "1".into())
    );
    assert!(!world.path("old").exists());
    assert_eq!(fs::metadata(world.path("bin")).unwrap().mode(), 0o40700);
    let link = app(&[("x", Mode::Link, "/etc/passwd")]);
    let error = world.import(Some(&next), &link).unwrap_err().to_string();
    assert_eq!(error, "x: a link; only plain files are installed");
}

#[test]
fn recovery_sweeps_where_the_root_was_missing() {
    if !is_root() {
        return;
    }
    let world = World::both();
    world.write("a/b", "1");
    let tree = world.export();
    fs::remove_dir_all(world.root.parent().unwrap()).unwrap();
    world.with_cx(|cx| assert_eq!(world.handler().live(cx).unwrap(), Live::Absent));
    let handler = world.handler();
    world.with_change(None, &tree, |change, cx| {
        let mut staged = handler.stage(change, cx).unwrap();
        staged.lock().unwrap();
        std::mem::forget(staged);
        assert!(
            fs::read_dir(world.folder.path()).unwrap().any(|e| e
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with(".glxc-"))
        );
        let recovered = handler.recover(change, None, Decision::Commit, cx).unwrap();
        assert_eq!(recovered, Recovered::Committed(Committed::default()));
        assert!(
            !fs::read_dir(world.folder.path()).unwrap().any(|e| e
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with(".glxc-"))
        );
    });
    assert_eq!((world.read("a/b"), fs::metadata(world.root.parent().unwrap()).unwrap().mode()), ("1".into(), 0o40755));
}

#[test]
fn options_are_checked() {
    let make = |direction, options: Options| {
        glxc_handlers::files::make(&Settings { direction, ..Settings::new("x", state_path("x"), options) })
            .map(drop)
            .map_err(|e| e.to_string())
    };
    let root = |root: &str| Options::new().with("root", Value::Text(root.into()));
    let text = |text: &str| Value::Text(text.into());
    for (direction, options, message) in [
        (Direction::Both, Options::new(), "`root`: is missing"),
        (Direction::Both, root("srv"), "`root`: must be an absolute path"),
        (Direction::Both, root("/"), "`root`: must be an absolute path"),
        (Direction::Both, root("/srv/../etc"), "`root`: must be an absolute path"),
        (Direction::Both, root("/srv").with("owner", text("root")), "`owner`: is for direction"),
        (Direction::Push, root("/srv").with("owner", text("a b")), "`owner`: is no name"),
        (Direction::Push, root("/srv").with("mode", text("1777")), "`mode`: must be octal"),
        (Direction::Push, root("/srv").with("rooot", text("x")), "`rooot`: unknown key; did you mean `root`?"),
        (Direction::Both, root("/srv").with("exclude", Value::List(vec![text("a{b")])), "`exclude`: `a{b`"),
    ] {
        let error = make(direction, options).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }
    make(Direction::Push, root("/srv").with("owner", text("www-data")).with("mode", text("600"))).unwrap();
}
/// Levels without end neither overflow the stack nor are left out.
#[test]
fn deep_folders_come_back_or_are_named() {
    if !is_root() {
        return;
    }
    use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
    let nest = |levels: usize| {
        let world = World::both();
        let mut inner = open(&world.root, OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..levels {
            mkdirat(&inner, "a", Mode::RWXU).unwrap();
            inner = openat(&inner, "a", OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        world
    };
    let world = nest(500);
    let tree = world.export();
    fs::remove_dir_all(&world.root).unwrap();
    world.import(None, &tree).unwrap();
    assert_eq!(world.export(), tree);
    let error = nest(2100).try_export(None).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.to_string_lossy().ends_with("/a/a")), "{error}");
}

//! Scripts as a state: real scripts in a temporary folder.
#![cfg(feature = "script")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use glxc_handlers::conformance::{Edit, Subject, Variant, run_all};
use glxc_handlers::{
    Cancel, Change, Cx, Direction, Error, Exported, Handler, Live, MemorySink, MemoryTree, Mode, OpId, Options,
    Progress, Recorded, Result, Settings, StatePath, Tree, Value, Ways, differences, script,
};
use tempfile::TempDir;

/// Copies the live folder; one that is not there is a folder that goes.
const EXPORT: &str = r#"
[ -d "$GLXC_X_LIVE" ] || exec rm -r "$d"
cp -r "$GLXC_X_LIVE/." "$d"
"#;

/// Makes the live folder what the files say; half of it where one of them is called `bad`.
const IMPORT: &str = r#"
rm -rf "$GLXC_X_LIVE"
mkdir "$GLXC_X_LIVE"
[ ! -e "$d/bad" ] || { echo half >"$GLXC_X_LIVE/half"; echo "this is bad" >&2; exit 3; }
cp -r "$d/." "$GLXC_X_LIVE"
"#;

struct World {
    folder: TempDir,
    options: Options,
    notes: Notes,
    cancel: Cancel,
}

/// Remembers the lines.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.into());
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn path(text: &str) -> StatePath {
    StatePath::new(text).unwrap()
}

/// An error with its causes.
fn causes(error: &Error) -> String {
    let (mut text, mut cause) = (error.to_string(), std::error::Error::source(error));
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

impl World {
    /// With scripts that copy a folder.
    fn new() -> Self {
        let world = World::empty();
        world.script("export", EXPORT);
        world.script("import", IMPORT);
        fs::create_dir(world.live_folder()).unwrap();
        world
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["export", "import", "scratch", "op"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let live = Options::new().with("live", text(folder.path().join("live").to_str().unwrap()));
        let options = Options::new().with("name", text("kv")).with("options", Value::Table(live));
        World { folder, options, notes: Notes::default(), cancel: Cancel::new() }
    }

    fn exporting(script: &str) -> Self {
        let world = World::new();
        world.script("export", script);
        world
    }

    fn timeout(mut self, seconds: i64) -> Self {
        self.options.set("timeout", Value::Integer(seconds), None);
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn live_folder(&self) -> PathBuf {
        self.path("live")
    }

    fn script(&self, way: &str, script: &str) {
        let path = self.path(way).join("kv");
        fs::write(&path, format!("#!/bin/sh\nset -e\nd=$GIT_WORK_TREE/$GLXC_DATA_PATH\n{script}")).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.live_folder().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn look(&self) -> String {
        let output = Command::new("grep").args(["-r", ""]).arg(self.live_folder()).output().unwrap();
        let mut lines: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        format!("{} {lines:?}", self.live_folder().is_dir())
    }

    fn settings(&self) -> Settings {
        Settings { branch: Some("main".into()), ..Settings::new("cron", path("data/kv"), self.options.clone()) }
    }

    fn handler(&self) -> Box<dyn Handler> {
        script::at(self.folder.path(), &self.settings()).unwrap()
    }

    fn cx<'a>(&'a self, scratch: &'a Path, op_dir: &'a Path) -> Cx<'a> {
        Cx { progress: &self.notes, cancel: &self.cancel, deadline: None, scratch, op_dir }
    }

    fn with_cx<T>(&self, act: impl FnOnce(&Cx<'_>) -> T) -> T {
        let done = act(&self.cx(&self.path("scratch"), &self.path("op")));
        assert_eq!(fs::read_dir(self.path("scratch")).unwrap().count(), 0, "the work tree is gone");
        done
    }

    fn try_export(&self, base: Option<&MemoryTree>) -> Result<(MemoryTree, Exported)> {
        let mut sink = MemorySink::new(base.cloned());
        let recorded = base.map(|tree| Recorded { tree, options: &self.options });
        let exported = self.with_cx(|cx| self.handler().export(recorded.as_ref(), &mut sink, cx))?;
        Ok((sink.finish()?, exported))
    }

    fn export(&self) -> MemoryTree {
        self.try_export(None).unwrap_or_else(|error| panic!("{}", causes(&error))).0
    }

    /// What an export fails with.
    #[track_caller]
    fn refused(&self) -> String {
        causes(&self.try_export(None).unwrap_err())
    }

    fn import(&self, base: Option<&MemoryTree>, next: &MemoryTree) -> Result<()> {
        fs::remove_dir_all(self.path("op")).and_then(|()| fs::create_dir(self.path("op"))).unwrap();
        let (op, handler) = (OpId::new("00112233445566ff").unwrap(), self.handler());
        let base: Option<&dyn Tree> = base.map(|tree| tree as &dyn Tree);
        let differs = differences(base, Some(next));
        let change = Change {
            op: &op,
            base: base.map(|tree| Recorded { tree, options: &self.options }),
            next: Recorded { tree: next, options: &self.options },
            differs: &differs,
            replace: base.is_none(),
            prepare: false,
        };
        self.with_cx(|cx| {
            handler.check(None, next, cx)?;
            let mut staged = handler.stage(&change, cx)?;
            match staged.lock() {
                Ok(_) => staged.commit().map(drop),
                Err(error) => staged.abort().and(Err(error)),
            }
        })
    }

    fn notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.0.lock().unwrap())
    }

    /// The processes that have this world in their environment.
    fn processes(&self) -> usize {
        let folder = self.folder.path().as_os_str().as_encoded_bytes();
        let names = |process: fs::DirEntry| {
            let environment = fs::read(process.path().join("environ")).unwrap_or_default();
            environment.windows(folder.len()).any(|part| part == folder)
        };
        fs::read_dir("/proc").unwrap().flatten().map(names).filter(|named| *named).count()
    }
}

impl Subject for World {
    fn handler(&self) -> Box<dyn Handler> {
        World::handler(self)
    }
    fn options(&self) -> Options {
        self.options.clone()
    }
    fn set(&self, variant: Variant) {
        let _ = fs::remove_dir_all(self.live_folder());
        let files: &[(&str, &str)] = match variant {
            Variant::Absent => return,
            Variant::Empty => &[],
            Variant::Base => &[("contested", "1"), ("sub/other", "1"), ("removed", "1"), ("kind", "file")],
            Variant::Next => &[("contested", "2"), ("sub/other", "1"), ("new/deep/added", "\u{e9}"), ("kind/x", "y")],
        };
        fs::create_dir(self.live_folder()).unwrap();
        files.iter().for_each(|(name, content)| self.write(name, content));
    }
    fn edit(&self, edit: Edit) {
        self.write(if edit == Edit::Contested { "contested" } else { "sub/other" }, "edited");
    }
    fn live(&self) -> Vec<u8> {
        self.look().into_bytes()
    }
    fn leftovers(&self) -> Vec<String> {
        Vec::new()
    }
    fn takes_any_content(&self, _: &StatePath) -> bool {
        true
    }
}

#[test]
fn keeps_every_promise() {
    let report = run_all(&World::new());
    assert!(report.failed.is_empty() && report.not_made == ["prepared", "late writes stay"], "{report}");
}

#[test]
fn output_arrives_line_by_line() {
    let world = World::exporting(
        r#"
        printf 'one\n'; printf 'two\r\n' >&2; printf 'b\377d\n'
        printf '%08191d\303\251\n' 0; printf '%020000d\n' 0; printf 'no end'"#,
    );
    world.export();
    let notes = world.notes();
    assert_eq!(notes[..3], ["cron: one", "cron: two", "cron: b\u{fffd}d"]);
    assert_eq!(notes.last().unwrap(), "cron: no end");
    let zeros = |note: &String| note.matches('0').count();
    assert!(notes.iter().all(|note| note.len() <= 8192 + "cron: ".len()));
    assert_eq!(notes.iter().map(zeros).sum::<usize>(), 28191, "a line that is too long arrives in parts");
    assert!(notes.iter().any(|note| note.ends_with('\u{e9}')), "no character is cut");
}

#[test]
fn lines_arrive_while_the_script_runs() {
    let world = World::exporting("echo now; while [ ! -e \"$GLXC_X_LIVE/go\" ]; do sleep 0.01; done").timeout(20);
    std::thread::scope(|scope| {
        scope.spawn(|| world.export());
        soon("the first line", || world.notes() == ["cron: now"]);
        world.write("go", "");
    });
}

#[test]
fn the_exit_status_decides() {
    let world = World::exporting("for i in 1 2 3 4 5 6; do echo line $i; done; echo x >\"$d/x\"; exit 3");
    let script = world.path("export/kv").display().to_string();
    let said = "it said: line 2 / line 3 / line 4 / line 5 / line 6";
    assert_eq!(world.refused(), format!("{script} ended with status 3: {said}"));
    world.script("export", "kill -9 $$");
    assert_eq!(world.refused(), format!("{script} ended with signal 9: it said nothing"));
    world.script("export", "echo oops; true");
    assert_eq!(world.export().entries().len(), 1);
}

#[test]
fn the_environment_is_scrubbed() {
    let mut world = World::exporting(
        r#"
        tr '\0' '\n' </proc/$$/environ >"$d/environment"; readlink /proc/$$/cwd >"$d/cwd"
        readlink /proc/$$/fd/0 >"$d/stdin"; cut -d' ' -f5 /proc/$$/stat >"$d/group"; echo $$ >"$d/own"
        [ ! -e /proc/$$/fd/3 ]"#,
    );
    let extra = Options::new().with("some-number", Value::Integer(-7)).with("Flag", Value::Boolean(true));
    world.options.set("options", Value::Table(extra.with("text", text("a\n$(b) "))), None);
    let tree = world.export();
    let read = |name: &str| String::from_utf8(tree.read(&path(name), 10_000).unwrap()).unwrap();
    let root = read("cwd").trim_end().to_owned();
    let mut environment: Vec<String> = read("environment").lines().map(str::to_owned).collect();
    environment.sort();
    let (tree, at) = (format!("GIT_WORK_TREE={root}"), world.path("scratch").canonicalize().unwrap());
    let mut expected = vec![
        "$(b) ",
        &tree,
        "GLXC_DATA_PATH=data/kv",
        "GLXC_GIT_BRANCH=main",
        "GLXC_STATE=cron",
        "GLXC_X_FLAG=true",
        "GLXC_X_SOME_NUMBER=-7",
        "GLXC_X_TEXT=a",
        "HOME=/root",
        "LC_ALL=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ];
    expected.sort();
    assert_eq!(environment, expected);
    assert!(Path::new(&root).parent() == Some(at.as_path()), "{root}");
    assert_eq!((read("stdin").trim(), read("group")), ("/dev/null", read("own")));
}

/// Waits for something that comes soon.
#[track_caller]
fn soon(what: &str, mut has_come: impl FnMut() -> bool) {
    let since = Instant::now();
    while !has_come() {
        assert!(since.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A script whose processes do not end when they are asked to.
const STUBBORN: &str = "trap '' TERM HUP; sh -c 'sleep 300 & touch \"$GLXC_X_LIVE/started\"; wait' & sleep 300";

#[test]
fn what_takes_too_long_is_killed_with_all_that_it_started() {
    let world = World::exporting(STUBBORN).timeout(1);
    let since = Instant::now();
    let error = world.try_export(None).unwrap_err();
    assert!(matches!(&error, Error::Timeout { what, .. } if what.ends_with("export/kv")), "{error:?}");
    assert!(since.elapsed() < Duration::from_secs(15));
    assert!(world.live_folder().join("started").exists());
    soon("nothing of it is left", || world.processes() == 0);
    let (scratch, op) = (world.path("scratch"), world.path("op"));
    let late = Cx { deadline: Some(Instant::now() + Duration::from_secs(1)), ..world.cx(&scratch, &op) };
    world.script("export", "sleep 300");
    let answer = world.handler().export(None, &mut MemorySink::new(None), &late);
    assert!(matches!(answer, Err(Error::Timeout { .. })), "{answer:?}");
    soon("nothing of it is left", || world.processes() == 0);
}

#[test]
fn who_asks_to_stop_stops_all_that_it_started() {
    let polite = "sh -c \"trap '' TERM; sleep 300 & touch '$GLXC_X_LIVE/started'; wait\" & sleep 300";
    for script in [polite, STUBBORN] {
        let world = World::exporting(script);
        let answer = std::thread::scope(|scope| {
            let export = scope.spawn(|| world.try_export(None));
            soon("the script starts", || world.live_folder().join("started").exists());
            assert!(world.processes() >= 4, "the script, its child, and two that sleep");
            world.cancel.cancel();
            export.join().unwrap()
        });
        assert!(matches!(answer, Err(Error::Cancelled)), "{answer:?}");
        soon("nothing of it is left", || world.processes() == 0);
    }
}

/// Not a test by itself: the process that the next one kills.
#[test]
fn victim() {
    let Some(folder) = std::env::var_os("GLXC_TEST_SCRIPT_VICTIM") else { return };
    let folder = Path::new(&folder);
    let live = Options::new().with("live", text(folder.join("live").to_str().unwrap()));
    let options = Options::new().with("name", text("kv")).with("options", Value::Table(live));
    let handler = script::at(folder, &Settings::new("cron", path("data/kv"), options)).unwrap();
    let (notes, cancel, scratch) = (Notes::default(), Cancel::new(), folder.join("scratch"));
    let cx = Cx { progress: &notes, cancel: &cancel, deadline: None, scratch: &scratch, op_dir: &scratch };
    handler.export(None, &mut MemorySink::new(None), &cx).unwrap();
}

#[test]
fn a_script_ends_with_the_process_that_runs_it() {
    let world = World::exporting(STUBBORN);
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim"])
        .env("GLXC_TEST_SCRIPT_VICTIM", world.folder.path())
        .spawn()
        .unwrap();
    soon("the script starts", || world.live_folder().join("started").exists());
    victim.kill().unwrap();
    victim.wait().unwrap();
    soon("the script ends, with all that it started", || world.processes() == 0);
}

#[test]
fn what_a_script_leaves_running_is_not_waited_for() {
    let world = World::exporting("sleep 300 & echo $! >\"$GLXC_X_LIVE/pid\"; echo x >\"$d/x\"");
    let since = Instant::now();
    assert_eq!(world.export().entries().len(), 2);
    assert!(since.elapsed() < Duration::from_secs(4));
    std::thread::sleep(Duration::from_millis(200));
    let pid = fs::read_to_string(world.live_folder().join("pid")).unwrap();
    // One that was killed may still wait to be asked for, without a command line.
    let command = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
    let _ = Command::new("kill").arg(pid.trim()).status().unwrap();
    assert_eq!(command, "sleep\x00300\0", "a service lives on when its script ends");
}

#[test]
fn nothing_but_plain_files_and_folders_is_taken() {
    for (script, message) in [
        ("ln -s /etc/shadow \"$d/link\"", "not supported: data/kv/link is a symbolic link"),
        ("mkdir \"$d/a\"; ln -s /etc \"$d/a/link\"", "not supported: data/kv/a/link is a symbolic link"),
        ("mkfifo \"$d/pipe\"", "not supported: data/kv/pipe is a fifo"),
        ("rmdir \"$d\"; ln -s /etc \"$d\"", "not supported: a script that leaves no folder at data/kv"),
        ("rm -r data; ln -s / data; mkdir -p x/kv", "not supported: a script that leaves no folder at data/kv"),
        ("rmdir \"$d\"; echo x >\"$d\"", "not supported: a script that leaves no folder at data/kv"),
        ("mkdir \"$d/.GIT\"", "not supported: data/kv/.GIT has a name that is git's own"),
        ("echo x >\"$d/.gitattributes\"", "not supported: data/kv/.gitattributes has a name that is git's own"),
        ("echo x >\"$d/git~1\"", "not supported: data/kv/git~1 has a name that is git's own"),
        ("echo x >\"$d/$(printf 'a\\nb')\"", "not supported: data/kv/a\\u{a}b has a control character"),
        ("echo x >\"$d/$(printf '\\377')\"", "not supported: data/kv/\\xff has a name that is not UTF-8"),
        ("cd \"$d\"; for i in $(seq 70); do mkdir a; cd a; done; echo x >x", " lies too deep"),
    ] {
        let world = World::exporting(script);
        let error = world.refused();
        assert!(error.contains(message), "{script}: {error}");
    }
    if rustix::process::geteuid().is_root() {
        let device = "mknod \"$d/null\" c 1 3 || echo x >\"$d/git~1\"";
        let error = World::exporting(device).refused();
        assert!(error.contains("is a device") || error.contains("git~1"), "{error}");
    }
    let world = World::empty();
    let socket = "cp -a \"${GLXC_X_LIVE%live}socket\" \"$d\" 2>/dev/null || mkfifo \"$d/socket\"";
    world.script("export", socket);
    let _socket = std::os::unix::net::UnixListener::bind(world.path("socket")).unwrap();
    let error = world.refused();
    assert!(error.contains("data/kv/socket is a socket") || error.contains("data/kv/socket is a fifo"), "{error}");
}

#[test]
fn what_is_kept_is_said() {
    let world = World::new();
    for folder in ["a/b/c", "d"] {
        fs::create_dir_all(world.live_folder().join(folder)).unwrap();
    }
    world.write("a/x", "1");
    fs::set_permissions(world.live_folder().join("a/x"), Permissions::from_mode(0o4711)).unwrap();
    let (tree, exported) = world.try_export(None).unwrap();
    assert_eq!(exported.notes, ["2 empty folders are not kept: a/b/c, d"]);
    let files: Vec<_> = tree.entries().iter().map(|entry| (entry.path.to_string(), entry.mode)).collect();
    assert_eq!(files, [(".gitattributes".into(), Mode::File), ("a/x".into(), Mode::File)]);
    let live = |world: &World| world.with_cx(|cx| world.handler().live(cx)).unwrap();
    assert_eq!(live(&world), Live::Present);
}

#[test]
fn pushed_names_are_checked() {
    let world = World::new();
    for name in [".gitkeep", "a/.git/config", "a\u{1b}[2Jb", "git~1", "a\\b"] {
        let tree = world.export().with(&path(name), "x");
        let answer = world.with_cx(|cx| world.handler().check(None, &tree, cx));
        assert!(matches!(&answer, Err(Error::Input { file, .. }) if *file == path(name)), "{name}: {answer:?}");
    }
    let tree = world.export().with(&path("caf\u{e9} 1.txt"), "x");
    world.with_cx(|cx| world.handler().check(None, &tree, cx)).unwrap();
}

#[test]
fn a_failed_import_puts_back_what_was_live() {
    let world = World::new();
    world.write("a", "1");
    world.write("b/c", "2");
    let (base, look) = (world.export(), world.look());
    let error = world.import(Some(&base), &base.with(&path("bad"), "")).unwrap_err();
    assert!(causes(&error).ends_with("import/kv ended with status 3: it said: this is bad"), "{}", causes(&error));
    assert_eq!(world.look(), look);
    // What was live counts, not what was recorded.
    world.write("a", "live");
    let look = world.look();
    assert!(matches!(world.import(Some(&base), &base.with(&path("d"), "")), Err(Error::Changed { .. })));
    world.import(None, &base.with(&path("bad"), "")).unwrap_err();
    assert_eq!(world.look(), look);
}

#[test]
fn files_that_a_person_wrote_are_a_base() {
    let world = World::new();
    let base = MemoryTree::from([("a", "1")]);
    world.import(None, &base).unwrap();
    world.import(Some(&base), &MemoryTree::from([("a", "2")])).unwrap();
    assert_eq!(fs::read_to_string(world.live_folder().join("a")).unwrap(), "2");
}

#[test]
fn a_state_without_an_import_is_only_exported() {
    let world = World::new();
    world.write("a", "1");
    fs::remove_file(world.path("import/kv")).unwrap();
    assert_eq!(world.handler().caps().ways, Ways::Exported);
    let (base, look) = (world.export(), world.look());
    world.import(Some(&base), &base.with(&path("a"), "2")).unwrap();
    world.import(None, &base.with(&path("a"), "3")).unwrap();
    assert_eq!((world.look(), world.export() == base), (look, true));
}

#[test]
fn a_state_without_an_export_is_only_imported() {
    let world = World::new();
    world.write("a", "seen by nobody");
    fs::remove_file(world.path("export/kv")).unwrap();
    assert_eq!(world.handler().caps().ways, Ways::Imported);
    let look = world.look();
    let base = MemoryTree::from([("a", "1")]);
    assert_eq!(world.with_cx(|cx| world.handler().live(cx)).unwrap(), Live::Absent);
    assert!(world.export().entries().is_empty());
    world.import(None, &base).unwrap();
    assert_ne!(world.look(), look);
    let look = world.look();
    assert!(world.try_export(Some(&base)).unwrap().0 == base, "what was recorded stays");
    // It is not compared, and base is what is put back.
    world.write("a", "edited");
    world.import(Some(&base), &base.with(&path("bad"), "")).unwrap_err();
    assert_eq!(world.look(), look);
    world.import(Some(&base), &base.with(&path("a"), "2")).unwrap();
    assert_eq!(fs::read_to_string(world.live_folder().join("a")).unwrap(), "2");
    // What was never seen is not put back: nothing is what an import of nothing would make of it.
    world.import(None, &base.with(&path("bad"), "")).unwrap_err();
    assert!(world.live_folder().join("half").exists());
}

#[test]
fn a_script_that_is_not_there_is_named() {
    let world = World::empty();
    let script = world.path("export/kv").display().to_string();
    let missing = "it is not there; a package or sysconf must install it";
    assert_eq!(world.refused(), format!("run {script}: {missing}"));
    assert_eq!(world.handler().caps().ways, Ways::Both);
    // One that is there and can not be run is none that is missing.
    world.script("import", IMPORT);
    fs::write(&script, "#!/bin/sh\n").unwrap();
    assert_eq!(world.refused(), format!("run {script}: it is no executable file"));
    assert_eq!(world.handler().caps().ways, Ways::Both);
    fs::remove_file(&script).unwrap();
    symlink("/nonexistent/kv", &script).unwrap();
    assert!(world.refused().starts_with(&format!("find the script {script}: ")), "{}", world.refused());
    assert_eq!(world.handler().caps().ways, Ways::Both);
    // sysconf installs links.
    fs::remove_file(&script).unwrap();
    world.script("export", EXPORT);
    fs::rename(&script, world.path("elsewhere")).unwrap();
    symlink(world.path("elsewhere"), &script).unwrap();
    assert!(world.refused().ends_with("does not exist"), "the live folder is not there");
}

#[test]
fn options_are_checked() {
    let make = |options: Options| {
        script::make(&Settings::new("cron", path("data/kv"), options)).map(drop).map_err(|e| e.to_string())
    };
    let named = || Options::new().with("name", text("kv"));
    let extra = |options: Options| named().with("options", Value::Table(options));
    let name = "`name`: must be of letters, digits, `.`, `_` and `-`, and begin with a letter or digit";
    for bad in ["", ".", "..", "../../bin/sh", "/bin/sh", "a/b", "-x", ".x", "a b", "a\n", "a\0", "\u{e9}"] {
        assert_eq!(make(Options::new().with("name", text(bad))), Err(name.into()), "{bad:?}");
    }
    for good in ["kv", "0", "a.b-c_d", "A..b"] {
        assert_eq!(make(Options::new().with("name", text(good))), Ok(()), "{good}");
    }
    for (options, message) in [
        (Options::new(), "`name`: is missing"),
        (named().with("timeot", Value::Integer(1)), "`timeot`: unknown key; did you mean `timeout`?"),
        (named().with("timeout", Value::Integer(0)), "`timeout`: must be between 1 and 2678400 seconds"),
        (named().with("timeout", Value::Integer(i64::MAX)), "`timeout`: must be between 1 and 2678400 seconds"),
        (named().with("user", text("root")), "`user`: unknown key"),
        (
            extra(Options::new().with("a=b", text(""))),
            "`options.a=b`: the name of an option is of letters, digits, `_` and `-`",
        ),
        (extra(Options::new().with("a", text("\0"))), "`options.a`: has a NUL"),
        (
            extra(Options::new().with("a", Value::List(vec![]))),
            "`options.a`: must be a text, a number, or true or false, not a list",
        ),
        (
            extra(Options::new().with("a-b", text("")).with("A_b", text(""))),
            "`options.a-b`: another option is GLXC_X_A_B for the scripts too",
        ),
    ] {
        assert_eq!(make(options), Err(message.into()));
    }
    let push = Settings { direction: Direction::Push, ..Settings::new("cron", path("data/kv"), named()) };
    assert!(script::make(&push).unwrap_err().to_string().starts_with("`direction`: must be `both`"));
}

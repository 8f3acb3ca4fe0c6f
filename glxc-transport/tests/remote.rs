//! The sync cycle with real git: what a user sees, and what is live afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A user's repository and a state repository on this machine, served by the example program `host`.
struct World {
    folder: tempfile::TempDir,
}

/// What git said.
#[derive(Debug)]
#[must_use]
struct Said {
    ok: bool,
    text: String,
}

impl Said {
    #[track_caller]
    fn accepted(self) -> String {
        assert!(self.ok, "{}", self.text);
        self.text
    }

    #[track_caller]
    fn declined(self, words: &str) -> String {
        assert!(!self.ok && self.text.contains(words), "expected {words:?} in:\n{}", self.text);
        self.text
    }
}

fn said(output: Output) -> Said {
    let text = [output.stdout, output.stderr].concat();
    Said { ok: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
}

fn host_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples/host")
}

impl World {
    fn new() -> Self {
        let world = World { folder: tempfile::tempdir().unwrap() };
        let init = Command::new(host_program()).arg(world.path("host")).args(["init", "main"]).output().unwrap();
        said(init).accepted();
        fs::create_dir(world.path("user")).unwrap();
        world.git(&["init", "-q", "-b", "main"]).accepted();
        world.configure("user");
        world
    }

    fn configure(&self, clone: &str) {
        let url = format!("ext::{} {} serve %S", host_program().display(), self.path("host").display());
        for (key, value) in [("protocol.ext.allow", "user"), ("remote.demo.url", &url)] {
            self.git_in(clone, &["config", key, value]).accepted();
        }
        self.git_in(clone, &["config", "remote.demo.fetch", "+refs/heads/*:refs/remotes/demo/*"]).accepted();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn git(&self, arguments: &[&str]) -> Said {
        self.git_in("user", arguments)
    }

    fn git_in(&self, clone: &str, arguments: &[&str]) -> Said {
        said(self.command(clone).args(arguments).output().unwrap())
    }

    fn command(&self, clone: &str) -> Command {
        let mut command = Command::new("git");
        command.current_dir(self.path(clone)).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (key, value) in [
            ("HOME", "/nonexistent"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("LC_ALL", "C"),
            ("GIT_AUTHOR_NAME", "User"),
            ("GIT_AUTHOR_EMAIL", "user@example.invalid"),
            ("GIT_COMMITTER_NAME", "User"),
            ("GIT_COMMITTER_EMAIL", "user@example.invalid"),
        ] {
            command.env(key, value);
        }
        command
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path("user").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path("user").join(name)).unwrap()
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]).accepted();
        self.git(&["commit", "-q", "-m", message]).accepted();
    }

    fn config(&self, states: &[&str]) {
        let state = |name: &&str| {
            let file = self.path(name).display().to_string();
            format!("[state.{name}]\nhandler = \"store\"\npath = \"data/{name}\"\nfile = \"{file}\"\n")
        };
        self.write("glxc.toml", &states.iter().map(state).collect::<String>());
    }

    fn live(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(name)).unwrap();
        text.split_once('\n').unwrap().1.to_owned()
    }

    /// The application writes.
    fn write_live(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("application\n{text}")).unwrap();
    }

    fn push(&self) -> Said {
        self.git(&["push", "demo", "main"])
    }

    fn pull(&self) -> Said {
        self.git(&["pull", "--no-edit", "--no-rebase", "demo", "main"])
    }

    /// A container that holds `a` and `b` of the state `kv`.
    fn pushed() -> Self {
        let world = World::new();
        world.config(&["kv"]);
        world.write("data/kv/keys.tsv", "a\t1\nb\t1\n");
        world.commit("start");
        world.push().accepted();
        world
    }

    fn main_in_container(&self) -> String {
        self.container_git(&["rev-parse", "refs/heads/main"])
    }

    fn container_git(&self, arguments: &[&str]) -> String {
        let output = self.command("host/glxc/repo.git").args(arguments).output().unwrap();
        said(output).accepted().trim().to_owned()
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        assert!(!self.path("host/glxc/journal").exists());
        for name in ["op", "scratch", "check"] {
            assert_eq!(fs::read_dir(self.path("host/glxc").join(name)).unwrap().count(), 0, "{name}");
        }
        assert_eq!(self.container_git(&["for-each-ref", "refs/glxc"]), "");
        let left = fs::read_dir(self.folder.path()).unwrap();
        assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().contains("glxc-")));
    }
}

#[test]
fn a_first_push_loads_and_a_pull_brings_what_changed() {
    let world = World::pushed();
    assert_eq!(world.live("kv"), "a\t1\nb\t1\n");
    assert!(world.git(&["log", "-1", "--format=%s", "demo/main"]).accepted().contains("start"));
    world.write_live("kv", "a\t1\nb\t2\n");
    world.pull().accepted();
    assert_eq!(world.read("data/kv/keys.tsv"), "a\t1\nb\t2\n");
    let log = world.git(&["log", "-1", "--format=%an|%s|%b"]).accepted();
    assert_eq!(log.trim(), "demo|demo: kv: 1 keys changed|kv: 1 keys changed\n  b");
    let before = world.main_in_container();
    world.pull().accepted();
    assert_eq!(world.main_in_container(), before, "a pull with nothing changed makes no commit");
    world.assert_nothing_left();
}

#[test]
fn a_push_keeps_what_the_application_wrote_meanwhile() {
    let world = World::pushed();
    world.write_live("kv", "a\t1\nb\t2\nc\t9\n");
    world.write("data/kv/keys.tsv", "a\t5\nb\t1\n");
    world.commit("a is 5");
    world.push().accepted();
    assert_eq!(world.live("kv"), "a\t5\nb\t2\nc\t9\n");
    world.pull().accepted();
    assert_eq!(world.read("data/kv/keys.tsv"), "a\t5\nb\t2\nc\t9\n");
    world.assert_nothing_left();
}

#[test]
fn what_both_sides_changed_declines_the_push() {
    let world = World::pushed();
    world.write_live("kv", "a\t2\nb\t1\n");
    world.write("data/kv/keys.tsv", "a\t5\nb\t1\n");
    world.commit("a is 5");
    let before = world.main_in_container();
    world.push().declined("! [remote rejected] main -> main (kv: import: changed meanwhile: a)");
    assert_eq!((world.live("kv"), world.main_in_container()), ("a\t2\nb\t1\n".into(), before));
    world.assert_nothing_left();
}

#[test]
fn bad_files_are_declined_with_file_and_line() {
    let world = World::pushed();
    let before = world.main_in_container();
    world.write("data/kv/keys.tsv", "a\t1\nb without a tab\n");
    world.commit("bad");
    world.push().declined("keys.tsv:2: has no tab");
    world.write("data/kv/keys.tsv", "a\t1\nb\t1\n");
    world.write("glxc.toml", &(world.read("glxc.toml") + "colour = 1\n"));
    world.commit("an unknown key");
    world.push().declined("`colour`: unknown key");
    world.write("glxc.toml", &world.read("glxc.toml").replace("colour = 1\n", "").replace("store", "stroe"));
    world.commit("an unknown handler");
    world.push().declined("unknown handler `stroe`; did you mean `store`?");
    assert_eq!((world.live("kv"), world.main_in_container()), ("a\t1\nb\t1\n".into(), before));
    world.assert_nothing_left();
}

#[test]
fn links_and_submodules_under_a_state_are_declined() {
    let world = World::pushed();
    std::os::unix::fs::symlink("/etc/passwd", world.path("user").join("data/kv/link")).unwrap();
    world.commit("a link");
    world.push().declined("data/kv/link: only plain files can be part of state `kv`");
    world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    let head = world.git(&["rev-parse", "HEAD"]).accepted();
    let info = format!("160000,{},data/kv/sub", head.trim());
    world.git(&["update-index", "--add", "--cacheinfo", &info]).accepted();
    world.git(&["commit", "-q", "-m", "a submodule"]).accepted();
    world.push().declined("data/kv/sub: is a submodule, which no state can hold");
    world.assert_nothing_left();
}

#[test]
fn what_is_outside_the_states_is_only_stored() {
    let world = World::pushed();
    world.write("bin/run.sh", "#!/bin/sh\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(world.path("user/bin/run.sh"), executable).unwrap();
    world.write(".gitattributes", "*.tsv filter=lfs diff=lfs merge=lfs -text\n");
    std::os::unix::fs::symlink("/etc/passwd", world.path("user").join("link")).unwrap();
    world.git(&["add", "-A"]).accepted();
    let head = world.git(&["rev-parse", "HEAD"]).accepted();
    world.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},sub", head.trim())]).accepted();
    world.git(&["commit", "-q", "-m", "other things"]).accepted();
    world.push().accepted();
    world.write_live("kv", "a\t3\n");
    world.git(&["fetch", "demo"]).accepted();
    let names = world.git(&["diff", "--name-only", "HEAD", "demo/main"]).accepted();
    assert_eq!(names.trim(), "data/kv/keys.tsv");
}

#[test]
fn other_branches_and_tags_are_stored_and_not_applied() {
    let world = World::pushed();
    world.git(&["checkout", "-q", "-b", "dev"]).accepted();
    world.write("data/kv/keys.tsv", "a\t7\nb\t1\n");
    world.commit("dev");
    world.git(&["tag", "-a", "v1", "-m", "one"]).accepted();
    let text = world.git(&["push", "demo", "dev", "v1"]).accepted();
    assert!(text.contains("remote: dev is stored, not applied: this container is bound to main"), "{text}");
    assert_eq!(world.live("kv"), "a\t1\nb\t1\n");
    world.git(&["push", "demo", ":dev", ":v1"]).accepted();
    world.git(&["push", "demo", "dev:main"]).accepted();
    assert_eq!(world.live("kv"), "a\t7\nb\t1\n");
}

#[test]
fn the_bound_branch_is_neither_deleted_nor_rewritten() {
    let world = World::pushed();
    world.git(&["push", "demo", ":main"]).declined("the bound branch can not be deleted");
    world.git(&["commit", "-q", "--amend", "-m", "another start"]).accepted();
    world.push().declined("non-fast-forward");
    world.git(&["push", "--force", "demo", "main"]).declined("shares no first commit");
    world.git(&["reset", "-q", "--hard", "demo/main"]).accepted();
    world.write("data/kv/keys.tsv", "a\t2\nb\t1\n");
    world.commit("second");
    world.push().accepted();
    world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    world.git(&["push", "--force", "demo", "main"]).declined("not a fast-forward: pull, merge, push again");
    assert_eq!(world.live("kv"), "a\t2\nb\t1\n");
    world.assert_nothing_left();
}

#[test]
fn an_atomic_push_is_all_or_nothing() {
    let world = World::pushed();
    world.git(&["tag", "v1"]).accepted();
    world.write_live("kv", "a\t2\nb\t1\n");
    world.write("data/kv/keys.tsv", "a\t5\nb\t1\n");
    world.commit("a is 5");
    let text = world.git(&["push", "--atomic", "demo", "main", "v1"]).declined("changed meanwhile: a");
    assert!(text.contains("v1 (atomic push: another ref was declined)"), "{text}");
    assert_eq!(world.container_git(&["tag"]), "");
    world.push().declined("changed meanwhile");
    world.git(&["push", "demo", "main", "v1"]).declined("changed meanwhile: a");
    assert_eq!(world.container_git(&["tag"]), "v1", "without --atomic the other refs go on");
    world.assert_nothing_left();
}

#[test]
fn refs_that_stand_in_each_others_way_change_nothing() {
    let world = World::pushed();
    world.git(&["branch", "x"]).accepted();
    world.git(&["push", "demo", "x"]).accepted();
    world.git(&["branch", "-m", "x", "y"]).accepted();
    world.git(&["branch", "x/y"]).accepted();
    world.write("data/kv/keys.tsv", "a\t5\nb\t1\n");
    world.commit("a is 5");
    world.git(&["push", "demo", "main", "x/y"]).declined("refs/heads/x");
    assert_eq!(world.live("kv"), "a\t1\nb\t1\n");
    world.assert_nothing_left();
}

#[test]
fn a_dry_run_and_an_up_to_date_push_do_nothing() {
    let world = World::pushed();
    let before = world.main_in_container();
    assert!(world.push().accepted().contains("Everything up-to-date"));
    world.write("data/kv/keys.tsv", "a\t5\nb\t1\n");
    world.commit("a is 5");
    world.git(&["push", "--dry-run", "demo", "main"]).accepted();
    assert_eq!((world.live("kv"), world.main_in_container()), ("a\t1\nb\t1\n".into(), before));
}

#[test]
fn nothing_pushed_yet_is_an_error_of_a_pull() {
    let world = World::new();
    world.pull().declined("`main` is not there yet: push first");
}

#[test]
fn another_repository_is_refused() {
    let world = World::pushed();
    fs::create_dir(world.path("other")).unwrap();
    world.git_in("other", &["init", "-q", "-b", "main"]).accepted();
    world.configure("other");
    world.git_in("other", &["commit", "-q", "--allow-empty", "-m", "other"]).accepted();
    world.git_in("other", &["push", "demo", "HEAD:refs/heads/topic"]).declined("shares no first commit");
    world.git_in("other", &["push", "--force", "demo", "main"]).declined("shares no first commit");
}

#[test]
fn a_repository_without_states_can_be_pushed() {
    let world = World::new();
    world.write("README", "nothing else\n");
    world.commit("start");
    world.push().accepted();
    world.pull().accepted();
}

#[test]
fn data_that_no_commit_knows_is_kept_before_it_is_replaced() {
    let world = World::pushed();
    world.write_live("late", "x\tlive\n");
    world.config(&["kv", "late"]);
    world.write("data/late/keys.tsv", "x\tpushed\n");
    world.commit("late comes with data");
    world.push().declined("push glxc.toml alone, pull, merge; or `git push -o replace=late`");
    assert_eq!(world.live("late"), "x\tlive\n");
    let text = world.git(&["push", "-o", "replace=late", "demo", "main"]).accepted();
    assert_eq!(world.live("late"), "x\tpushed\n");
    let branch = text.split("kept in the branch ").nth(1).unwrap().split_whitespace().next().unwrap();
    assert_eq!(world.container_git(&["show", &format!("{branch}:data/late/keys.tsv")]), "x\tlive");
    world.git(&["push", "-o", "replcae=late", "demo", "main:other"]).declined("unknown push option");
}

#[test]
fn a_new_state_without_files_is_exported_first() {
    let world = World::pushed();
    world.write_live("late", "x\tlive\n");
    world.config(&["kv", "late", "absent"]);
    world.commit("manage late");
    world.push().accepted();
    let text = world.pull().accepted();
    assert!(text.contains("absent: not there yet"), "{text}");
    assert_eq!(world.read("data/late/keys.tsv"), "x\tlive\n");
    fs::remove_dir_all(world.path("user").join("data/late")).unwrap();
    world.commit("remove its folder");
    world.push().declined("take the state out of glxc.toml instead");
    world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    world.config(&["kv"]);
    world.commit("late is no longer managed");
    world.push().accepted();
    assert_eq!(world.live("late"), "x\tlive\n", "what is no longer managed is left alone");
    world.pull().accepted();
    assert!(!world.path("user").join("data/late").exists(), "and its files go with the next export");
}

#[test]
fn a_state_that_is_gone_is_an_error_of_a_pull() {
    let world = World::pushed();
    fs::remove_file(world.path("kv")).unwrap();
    let before = world.main_in_container();
    world.pull().declined("kv: export: ");
    assert_eq!(world.main_in_container(), before);
    world.assert_nothing_left();
}

#[test]
fn a_strict_policy_declines_over_live_changes() {
    let world = World::pushed();
    world.write("glxc.toml", &format!("[push]\npolicy = \"strict\"\n{}", world.read("glxc.toml")));
    let (far, near) = ("1\n2\n3\n4\n".replace('\n', "\t\n"), "a\t1\n");
    world.write("data/kv/keys.tsv", &format!("{far}{near}"));
    world.commit("strict");
    world.push().accepted();
    world.write_live("kv", &format!("{far}a\t2\n"));
    world.write("data/kv/keys.tsv", &format!("1\t5\n{}{near}", &far[3..]));
    world.commit("a is 5");
    world.push().declined("live changes that were not pulled (demo: kv: 1 keys changed)");
    world.pull().accepted();
    world.push().accepted();
    assert_eq!(world.live("kv"), format!("1\t5\n{}a\t2\n", &far[3..]));
    world.assert_nothing_left();
}

#[test]
fn ten_thousand_files_outside_the_states() {
    let world = World::pushed();
    for number in 0..10_000 {
        world.write(&format!("many/{}/{number}.txt", number % 100), &format!("{number}\n"));
    }
    world.commit("many");
    world.push().accepted();
    world.write_live("kv", "a\t2\n");
    world.pull().accepted();
    let packs = fs::read_dir(world.path("host/glxc/repo.git/objects/pack")).unwrap().count();
    assert!(packs >= 2, "objects are kept as packs");
    let loose = world.container_git(&["count-objects"]);
    assert!(loose.starts_with("0 objects") || loose.starts_with("1 objects"), "{loose}");
}

#[test]
fn a_shallow_clone_can_not_push_what_the_container_lacks() {
    let world = World::pushed();
    world.write("README", "x\n");
    world.commit("more");
    let from = format!("file://{}", world.path("user").display());
    let shallow = world.path("shallow");
    world.git(&["clone", "-q", "--depth=1", &from, shallow.to_str().unwrap()]).accepted();
    world.configure("shallow");
    world.git_in("shallow", &["push", "demo", "HEAD:refs/heads/topic"]).declined("shallow update not allowed");
}

#[test]
fn what_a_newer_program_wrote_is_refused() {
    let world = World::pushed();
    fs::write(world.path("host/glxc/format"), "2\n").unwrap();
    world.pull().declined("has format 2, this program knows 1: upgrade glxc");
}

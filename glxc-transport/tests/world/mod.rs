//! A user's repository and a state repository on this machine, with real git.
#![allow(dead_code, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A user's repository and a state repository on this machine, served by the example program `host`.
pub struct World {
    folder: tempfile::TempDir,
}

/// What git said.
#[derive(Debug)]
#[must_use]
pub struct Said {
    pub ok: bool,
    pub text: String,
}

impl Said {
    #[track_caller]
    pub fn accepted(self) -> String {
        assert!(self.ok, "{}", self.text);
        self.text
    }

    #[track_caller]
    pub fn declined(self, words: &str) -> String {
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
    pub fn new() -> Self {
        let world = World { folder: tempfile::tempdir().unwrap() };
        let init = Command::new(host_program()).arg(world.path("host")).args(["init", "main"]).output().unwrap();
        said(init).accepted();
        fs::create_dir(world.path("user")).unwrap();
        world.git(&["init", "-q", "-b", "main"]).accepted();
        world.configure("user");
        world
    }

    pub fn configure(&self, clone: &str) {
        let url = format!("ext::{} {} serve %S", host_program().display(), self.path("host").display());
        for (key, value) in [("protocol.ext.allow", "user"), ("remote.demo.url", &url)] {
            self.git_in(clone, &["config", key, value]).accepted();
        }
        self.git_in(clone, &["config", "remote.demo.fetch", "+refs/heads/*:refs/remotes/demo/*"]).accepted();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn git(&self, arguments: &[&str]) -> Said {
        self.git_in("user", arguments)
    }

    pub fn git_in(&self, clone: &str, arguments: &[&str]) -> Said {
        said(self.command(clone).args(arguments).output().unwrap())
    }

    pub fn command(&self, clone: &str) -> Command {
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

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path("user").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path("user").join(name)).unwrap()
    }

    pub fn commit(&self, message: &str) {
        self.git(&["add", "-A"]).accepted();
        self.git(&["commit", "-q", "-m", message]).accepted();
    }

    pub fn config(&self, states: &[&str]) {
        self.write("glxc.toml", &states.iter().map(|name| self.state(name, "store")).collect::<String>());
    }

    /// The settings of a state.
    pub fn state(&self, name: &str, handler: &str) -> String {
        let file = self.path(name).display().to_string();
        format!("[state.{name}]\nhandler = \"{handler}\"\npath = \"data/{name}\"\nfile = \"{file}\"\n")
    }

    /// Lines of `WHO POINT kill|fail` that the host obeys, one after the other.
    pub fn set_faults(&self, lines: &[&str]) {
        fs::write(self.path("host/faults"), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }

    /// How many faults did not happen yet.
    pub fn faults_left(&self) -> usize {
        fs::read_to_string(self.path("host/faults")).map_or(0, |text| text.lines().count())
    }

    /// The system of the host starts.
    pub fn recover(&self) -> Said {
        said(Command::new(host_program()).arg(self.path("host")).arg("recover").output().unwrap())
    }

    /// The points that were passed since this was asked last.
    pub fn calls(&self) -> Vec<String> {
        self.told("calls")
    }

    /// What was checked since this was asked last.
    pub fn checks(&self) -> Vec<String> {
        self.told("checks")
    }

    fn told(&self, file: &str) -> Vec<String> {
        let path = self.path("host").join(file);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(&path);
        text.lines().map(str::to_owned).collect()
    }

    pub fn live(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(name)).unwrap();
        text.split_once('\n').unwrap().1.to_owned()
    }

    /// The application writes.
    pub fn write_live(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("application\n{text}")).unwrap();
    }

    pub fn push(&self) -> Said {
        self.git(&["push", "demo", "main"])
    }

    pub fn pull(&self) -> Said {
        self.git(&["pull", "--no-edit", "--no-rebase", "demo", "main"])
    }

    /// A container that holds `a` and `b` of the state `kv`.
    pub fn pushed() -> Self {
        let world = World::new();
        world.config(&["kv"]);
        world.write("data/kv/keys.tsv", "a\t1\nb\t1\n");
        world.commit("start");
        world.push().accepted();
        world
    }

    /// A container with two databases, and a commit that changes both.
    pub fn two() -> Self {
        let world = World::new();
        world.config(&["kv", "two"]);
        world.commit("no files yet");
        world.push().accepted();
        world.write_live("kv", "a\t1\n");
        world.write_live("two", "a\t1\n");
        world.pull().accepted();
        for name in ["kv", "two"] {
            world.write(&format!("data/{name}/keys.tsv"), "a\t2\n");
        }
        world.commit("both");
        world
    }

    /// Waits until no interrupted push is left.
    #[track_caller]
    pub fn wait_until_settled(&self) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while self.path("host/glxc/journal").exists() {
            assert!(std::time::Instant::now() < until, "nobody settles it");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    pub fn main_in_container(&self) -> String {
        self.container_git(&["rev-parse", "refs/heads/main"])
    }

    pub fn container_git(&self, arguments: &[&str]) -> String {
        let output = self.command("host/glxc/repo.git").args(arguments).output().unwrap();
        said(output).accepted().trim().to_owned()
    }

    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert!(!self.path("host/glxc/journal").exists());
        for name in ["op", "scratch", "check"] {
            assert_eq!(fs::read_dir(self.path("host/glxc").join(name)).unwrap().count(), 0, "{name}");
        }
        assert_eq!(self.container_git(&["for-each-ref", "refs/glxc"]), "");
        for folder in ["", "objects/pack"] {
            let names = fs::read_dir(self.path("host/glxc/repo.git").join(folder)).unwrap().flatten();
            let names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            let git = |name: &String| name.starts_with("tmp_") || name.contains("crash") || name.ends_with(".lock");
            assert!(!names.iter().any(git), "{folder}: {names:?}");
        }
        let left = fs::read_dir(self.folder.path()).unwrap();
        assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().contains("glxc-")));
    }
}

//! The program `glxc` as a user runs it, as far as no keeper is needed: stdout, stderr, status, and what it leaves.
#![cfg(feature = "front")]

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;
use tempfile::TempDir;

const GLXC: &str = env!("CARGO_BIN_EXE_glxc");

/// A folder of its own, as home too, and an environment without anything else.
struct Sandbox {
    _folder: TempDir,
    path: PathBuf,
}

impl Sandbox {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().canonicalize().unwrap();
        Sandbox { _folder: folder, path }
    }

    /// A sandbox with a repository, whose name is hostile.
    fn repository() -> (Self, PathBuf) {
        let sandbox = Sandbox::new();
        let top = sandbox.path.join("w $(touch X) %x");
        sandbox.git(&sandbox.path, &["init", "-q", "-b", "main", top.to_str().unwrap()]);
        (sandbox, top)
    }

    fn run(&self, program: impl AsRef<OsStr>, folder: &Path, arguments: &[&str]) -> Output {
        Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.path)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@b")])
            .envs([("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@b")])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What the user of `glxc` sees.
    #[must_use]
    fn glxc(&self, folder: &Path, arguments: &[&str]) -> String {
        self.shown(&self.run(GLXC, folder, arguments))
    }

    fn shown(&self, output: &Output) -> String {
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            text.replace(self.path.to_str().unwrap(), "$DIR")
        };
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let stdout = if stdout.is_empty() { stdout } else { format!("-- stdout\n{stdout}") };
        format!("{stdout}-- stderr\n{stderr}-- status {}", output.status.code().unwrap())
    }

    fn git(&self, folder: &Path, arguments: &[&str]) -> String {
        let output = self.run("git", folder, arguments);
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().replace(self.path.to_str().unwrap(), "$DIR")
    }

    /// Every path under a folder, and what is in the git config, sorted.
    fn snapshot(&self, top: &Path) -> Vec<String> {
        let find = self.run("find", top, &["."]);
        let text = String::from_utf8(find.stdout).unwrap() + &self.git(top, &["config", "--local", "--list"]);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

#[test]
fn help_tells_the_commands_and_the_exit_codes() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.glxc(&sandbox.path, &["--help"]), @r#"
-- stdout
Manage the life of an LXC container through git push and git pull

Usage: glxc <COMMAND>

Commands:
  init     Make a container a remote of this repository
  list     List the containers
  status   Show the state of a container
  url      Print the URL of what runs in a container
  exec     Run a program in a container
  shell    Open a shell in a container, which then has this terminal
  start    Start a container
  stop     Stop a container
  destroy  Remove a container, once its state is saved
  help     Print this message or the help of the given subcommand(s)

Options:
  -h, --help     Print help
  -V, --version  Print version

Exit codes:
  0    done
  1    it failed
  2    the command line, or a value in it, makes no sense
  3    there is no such container, repository or setting
  4    it contradicts what is there, as a remote of that name
  5    not allowed to this user, or by this host
  141  whoever read the output went away
`exec` and `shell` exit with the code of their program.
-- stderr
-- status 0
"#);
}

#[test]
fn each_command_has_an_example() {
    let sandbox = Sandbox::new();
    for command in ["init", "list", "status", "url", "exec", "shell", "start", "stop", "destroy"] {
        let help = sandbox.glxc(&sandbox.path, &[command, "--help"]);
        let example = help.lines().find(|line| line.starts_with("Example: ")).unwrap_or_default();
        assert!(example.contains(&format!("glxc {command}")), "{help}");
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let sandbox = Sandbox::new();
    let glxc = |arguments: &[&str]| sandbox.glxc(&sandbox.path, arguments);
    assert_snapshot!(glxc(&["init", "../demo"]), @r#"
-- stderr
error: invalid value '../demo' for '<NAME>': "../demo" is no name for a container: use 1 to 63 letters, digits, `_`, `-` and `.`, starting with a letter or a digit, without `..`

For more information, try '--help'.
-- status 2
"#);
    assert_snapshot!(glxc(&["exec", "demo"]), @r#"
-- stderr
error: the following required arguments were not provided:
  <COMMAND>...

Usage: glxc exec <NAME> -- <COMMAND>...

For more information, try '--help'.
-- status 2
"#);
    assert_snapshot!(glxc(&["git-remote", "git-upload-archive", "demo"]), @r#"
-- stderr
error: a container does not serve "git-upload-archive"
-- status 2
"#);
    for arguments in [&[][..], &["init"], &["init", "-n"], &["destroy", "a b"], &["status", ""], &["list", "demo"]] {
        let shown = glxc(arguments);
        assert!(shown.starts_with("-- stderr\n") && shown.ends_with("-- status 2"), "{arguments:?}: {shown}");
    }
}

#[test]
fn init_registers_the_container_once() {
    let (sandbox, top) = Sandbox::repository();
    assert_snapshot!(sandbox.glxc(&top, &["init", "demo"]), @r#"
-- stderr
glxc: installed $DIR/w $(touch X) %x/.git/glxc
glxc: registered the remote `demo`
glxc: bound branch `main` to `demo`
glxc: allowed git to run programs as remotes, in this repository alone
glxc: set git to check what is fetched
glxc: wrote glxc.toml
glxc: next: edit glxc.toml, then `git add glxc.toml`, `git commit` and `git push demo main`
-- status 0
"#);
    assert_snapshot!(sandbox.git(&top, &["config", "--local", "--get-regexp", "demo|ext|fsck"]), @r#"
remote.demo.url ext::$DIR/w% $(touch% X)% %%x/.git/glxc git-remote %S demo
remote.demo.fetch +refs/heads/*:refs/remotes/demo/*
remote.demo.tagopt --no-tags
glxc.demo.branch main
protocol.ext.allow user
fetch.fsckobjects true
"#);
    let before = sandbox.snapshot(&top);
    assert!(before.contains(&"./glxc.toml".into()) && before.contains(&"./.git/glxc".into()));
    assert_snapshot!(sandbox.glxc(&top, &["init", "demo"]), @r#"
-- stderr
glxc: `demo` is set up already, bound to branch `main`
-- status 0
"#);
    assert_eq!(sandbox.snapshot(&top), before);
}

#[test]
fn init_repairs_what_it_wrote() {
    let (sandbox, top) = Sandbox::repository();
    let _ = sandbox.glxc(&top, &["init", "demo"]);
    let wanted = sandbox.snapshot(&top);
    fs::remove_file(top.join(".git/glxc")).unwrap();
    fs::write(top.join(".git/glxc"), "old").unwrap();
    sandbox.git(&top, &["config", "remote.demo.url", "ext::/elsewhere/.git/glxc git-remote %S demo"]);
    sandbox.git(&top, &["config", "--unset", "protocol.ext.allow"]);
    fs::write(top.join("glxc.toml"), "# mine\n").unwrap();
    sandbox.git(&top, &["symbolic-ref", "HEAD", "refs/heads/dev"]);
    assert_snapshot!(sandbox.glxc(&top, &["init", "demo"]), @r#"
-- stderr
glxc: installed $DIR/w $(touch X) %x/.git/glxc
glxc: registered the remote `demo`
glxc: allowed git to run programs as remotes, in this repository alone
glxc: next: edit glxc.toml, then `git add glxc.toml`, `git commit` and `git push demo main`
-- status 0
"#);
    assert_eq!(sandbox.snapshot(&top), wanted);
    assert_eq!(fs::read_to_string(top.join("glxc.toml")).unwrap(), "# mine\n");
    assert_snapshot!(sandbox.glxc(&top, &["init", "demo", "--branch", "dev"]), @r#"
-- stderr
glxc: bound branch `dev` to `demo`
glxc: next: edit glxc.toml, then `git add glxc.toml`, `git commit` and `git push demo dev`
-- status 0
"#);
}

#[test]
fn init_leaves_nothing_where_it_refuses() {
    let (sandbox, top) = Sandbox::repository();
    let glxc = |arguments: &[&str]| {
        let before = sandbox.snapshot(&top);
        let shown = sandbox.glxc(&top, arguments);
        assert_eq!(sandbox.snapshot(&top), before, "{arguments:?}");
        shown
    };
    assert_snapshot!(sandbox.glxc(&sandbox.path, &["init", "demo"]), @r#"
-- stderr
error: not a git repository (or any of the parent directories): .git
hint: run it inside the work tree of a git repository; `git init` makes one
-- status 3
"#);
    assert_snapshot!(sandbox.glxc(&top.join(".git"), &["init", "demo"]), @r#"
-- stderr
error: this operation must be run in a work tree
hint: run it inside the work tree of a git repository; `git init` makes one
-- status 3
"#);
    sandbox.git(&top, &["remote", "add", "origin", "https://example.org/x"]);
    assert_snapshot!(glxc(&["init", "origin"]), @r#"
-- stderr
error: this repository has a remote `origin` already: https://example.org/x
hint: choose another name, or remove it first: `git remote remove origin`
-- status 4
"#);
    assert_snapshot!(glxc(&["init", "demo", "--branch", "a..b"]), @r#"
-- stderr
error: "a..b" is no name for a branch
-- status 2
"#);
    assert_snapshot!(glxc(&["init", "demo.lock"]), @r#"
-- stderr
error: git does not take `demo.lock` as the name of a remote
-- status 2
"#);
    sandbox.git(&top, &["commit", "-q", "--allow-empty", "-m", "x"]);
    sandbox.git(&top, &["checkout", "-q", "--detach"]);
    assert_snapshot!(glxc(&["init", "demo"]), @r#"
-- stderr
error: no branch is checked out, so none can be bound
hint: name one: `glxc init demo --branch BRANCH`
-- status 2
"#);
}

#[test]
fn init_follows_no_link() {
    let (sandbox, top) = Sandbox::repository();
    symlink("../outside", top.join("glxc.toml")).unwrap();
    symlink("../../program", top.join(".git/glxc")).unwrap();
    fs::write(sandbox.path.join("program"), "untouched").unwrap();
    assert!(sandbox.glxc(&top, &["init", "demo"]).ends_with("-- status 0"));
    assert!(!sandbox.path.join("outside").exists());
    assert_eq!(fs::read_to_string(sandbox.path.join("program")).unwrap(), "untouched");
    assert_ne!(top.join(".git/glxc").canonicalize().unwrap(), sandbox.path.join("program"));
}

#[test]
fn unsupported_repositories_are_refused() {
    let (sandbox, top) = Sandbox::repository();
    sandbox.git(&top, &["commit", "-q", "--allow-empty", "-m", "x"]);
    sandbox.git(&top, &["commit", "-q", "--allow-empty", "-m", "y"]);
    let url = format!("file://{}", top.display().to_string().replace('%', "%25"));
    sandbox.git(&sandbox.path, &["clone", "-q", "--depth=1", &url, "shallow"]);
    assert_snapshot!(sandbox.glxc(&sandbox.path.join("shallow"), &["init", "demo"]), @r#"
-- stderr
error: shallow repositories are not supported yet
hint: `git fetch --unshallow` completes it
-- status 1
"#);
    sandbox.git(&sandbox.path, &["init", "-q", "--object-format=sha256", "large"]);
    assert_snapshot!(sandbox.glxc(&sandbox.path.join("large"), &["init", "demo"]), @r#"
-- stderr
error: repositories with SHA-256 objects are not supported yet
hint: use a repository with SHA-1 objects, which is git's default
-- status 1
"#);
}

/// git runs the program from a folder whose name is a command: for the work tree, a folder in it and another work tree.
#[test]
fn git_finds_the_program_wherever_it_is() {
    let (sandbox, top) = Sandbox::repository();
    sandbox.git(&top, &["commit", "-q", "--allow-empty", "-m", "x"]);
    let _ = sandbox.glxc(&top, &["init", "demo"]);
    sandbox.git(&top, &["worktree", "add", "-q", "../other tree", "-b", "other"]);
    sandbox.git(&top, &["config", "--unset", "glxc.demo.branch"]);
    fs::create_dir(top.join("folder")).unwrap();
    for folder in [&top, &top.join("folder"), &sandbox.path.join("other tree")] {
        let output = sandbox.run("git", folder, &["push", "demo", "HEAD:main"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let wanted = "error: no branch of this repository is bound to `demo`\nhint: `glxc init demo` binds one\n";
        assert!(stderr.starts_with(wanted), "{}: {stderr}", folder.display());
    }
    let find = sandbox.run("find", &sandbox.path, &["-name", "X"]);
    assert_eq!(String::from_utf8(find.stdout).unwrap(), "");
}

#[test]
fn the_remote_helper_speaks_and_validates() {
    let (sandbox, top) = Sandbox::repository();
    let helper = sandbox.path.join("git-remote-glxc");
    symlink(GLXC, &helper).unwrap();
    let run = |arguments: &[&str], input: &str| {
        let file = sandbox.path.join("input");
        fs::write(&file, input).unwrap();
        let mut command = Command::new(&helper);
        command.args(arguments).current_dir(&top).env_clear().env("PATH", "/usr/bin:/bin").env("GIT_DIR", ".git");
        sandbox.shown(&command.stdin(fs::File::open(&file).unwrap()).output().unwrap())
    };
    assert_snapshot!(run(&["demo", "demo"], "capabilities\n\n"), @r#"
-- stdout
connect

-- stderr
-- status 0
"#);
    assert_snapshot!(run(&["demo", "glxc://demo/"], "connect git-receive-pack\n"), @r#"
-- stdout

-- stderr
error: no branch of this repository is bound to `demo`
hint: `glxc init demo` binds one
-- status 3
"#);
    assert_snapshot!(run(&["demo", "demo"], "list\n"), @r#"
-- stderr
error: git asked for "list", which a remote of glxc does not have
-- status 2
"#);
    assert_snapshot!(run(&["x", "-n \u{1b}[2J"], "capabilities\n"), @r#"
-- stderr
error: "-n \u{1b}[2J" is no name for a container: use 1 to 63 letters, digits, `_`, `-` and `.`, starting with a letter or a digit, without `..`
-- status 2
"#);
    assert_snapshot!(run(&["x", "../x"], "capabilities\n"), @r#"
-- stderr
error: "../x" is no name for a container: use 1 to 63 letters, digits, `_`, `-` and `.`, starting with a letter or a digit, without `..`
-- status 2
"#);
    assert_snapshot!(run(&["demo"], ""), @r#"
-- stderr
error: git-remote-glxc is run by git, for remotes of the form glxc::NAME
-- status 2
"#);
}

/// What lies beside a copy of the program is a stranger's, and not run; unless it is an installation.
#[test]
fn parts_are_not_taken_from_beside_a_repository() {
    if option_env!("GLXC_KEEPER").is_some() || !rustix::process::geteuid().is_root() {
        let _ = writeln!(io::stderr(), "skipped: only a root's glxc without its parts inside looks for them");
        return;
    }
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path.join("x/libexec/glxc")).unwrap();
    fs::write(sandbox.path.join("x/libexec/glxc/keeper"), "no program").unwrap();
    let list = |folder: &str| {
        let folder = sandbox.path.join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(GLXC, folder.join("glxc")).unwrap();
        sandbox.shown(&sandbox.run(folder.join("glxc"), &sandbox.path, &["list"]))
    };
    assert_snapshot!(list("x/.git"), @r#"
-- stderr
error: the part `keeper` of glxc is not installed
hint: this glxc was built without its parts and does not lie in PREFIX/bin beside PREFIX/libexec/glxc; install it there, or build it with GLXC_KEEPER and GLXC_GUEST naming the two programs
-- status 1
"#);
    assert_snapshot!(list("x/bin"), @r#"
-- stderr
error: can not run the keeper
  because: Exec format error (os error 8)
-- status 1
"#);
}

#[test]
fn a_guest_of_ones_own_is_named_by_its_path() {
    let (sandbox, top) = Sandbox::repository();
    assert_snapshot!(sandbox.glxc(&top, &["init", "demo", "--guest", "nowhere"]), @r#"
-- stderr
error: can not open nowhere
  because: No such file or directory (os error 2)
-- status 1
"#);
    fs::write(top.join("script"), "#!/bin/sh\n").unwrap();
    assert_snapshot!(sandbox.glxc(&top, &["init", "demo", "--guest", "script"]), @r#"
-- stderr
error: script is no program for Linux
hint: a guest is a program that calls `glxc::guest::main`, linked statically
-- status 2
"#);
    assert!(!top.join("glxc.toml").exists());
    let guest = sandbox.path.join("guest");
    fs::copy(GLXC, &guest).unwrap();
    assert_snapshot!(sandbox.glxc(&top, &["init", "demo", "--guest", "../guest"]), @r#"
-- stderr
glxc: installed $DIR/w $(touch X) %x/.git/glxc
glxc: registered the remote `demo`
glxc: bound branch `main` to `demo`
glxc: allowed git to run programs as remotes, in this repository alone
glxc: set git to check what is fetched
glxc: named $DIR/guest as the guest
glxc: wrote glxc.toml
glxc: next: edit glxc.toml, then `git add glxc.toml`, `git commit` and `git push demo main`
-- status 0
"#);
    let named = sandbox.git(&top, &["config", "glxc.demo.guest"]);
    assert_eq!(named, "$DIR/guest");
    // It stays until another one is named.
    assert_snapshot!(sandbox.glxc(&top, &["init", "demo"]), @r#"
-- stderr
glxc: `demo` is set up already, bound to branch `main`
-- status 0
"#);
}

//! What the tests of the whole chain share: a user's repository, a container of their own, and the programs as built.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What a program said.
#[derive(Debug)]
#[must_use]
pub struct Said {
    /// Whether it ended with 0.
    pub ok: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Said {
    fn new(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { ok: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The standard output of what must succeed.
    ///
    /// # Panics
    /// Where it failed.
    #[track_caller]
    pub fn accepted(self) -> String {
        assert!(self.ok, "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// What must fail and say certain words.
    ///
    /// # Panics
    /// Where it succeeded or said something else.
    #[track_caller]
    pub fn declined(self, words: &str) {
        let said = self.stdout + &self.stderr;
        assert!(!self.ok && said.contains(words), "expected {words:?} in:\n{said}");
    }
}

/// A repository of a user with a container, which is destroyed at the end whatever happens.
#[derive(Debug)]
pub struct World {
    folder: tempfile::TempDir,
    program: PathBuf,
    /// The name of the container and of the remote.
    pub name: String,
}

/// The variable that names the built `glxc`.
const PROGRAM: &str = "GLXC_TEST_PROGRAM";

/// The one that names an unpacked system with the program FerretDB, which is no package.
const FERRETDB: &str = "GLXC_TEST_FERRETDB";

/// The one that names a `glxc` whose guest dies where it is told to.
const FAILPOINTS: &str = "GLXC_TEST_FAILPOINTS";

impl World {
    /// A new repository with the remote `name`. `None` where the test can not run here; it says why, and where
    /// nothing may be skipped it fails.
    ///
    /// # Panics
    /// Where something can not be made.
    pub fn new(name: &str) -> Option<Self> {
        World::with(PROGRAM, name)
    }

    /// The same, with a guest that has failpoints.
    ///
    /// # Panics
    /// As [`World::new`].
    pub fn with_failpoints(name: &str) -> Option<Self> {
        World::with(FAILPOINTS, name)
    }

    /// The same, with an example in the repository, as its README says, pushed.
    ///
    /// # Panics
    /// As [`World::new`], and where the push is declined.
    pub fn example(example: &str, name: &str) -> Option<Self> {
        World::example_with(example, name, |_| ())
    }

    /// The same, with something of the user's own in it.
    ///
    /// # Panics
    /// As [`World::example`].
    pub fn example_with(example: &str, name: &str, add: impl Fn(&World)) -> Option<Self> {
        let world = World::new(name)?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(example);
        world.run("cp", &["-r", "--", &source.join(".").display().to_string(), "."]).accepted();
        add(&world);
        world.commit(example);
        world.glxc(&["init", name]).accepted();
        world.push().accepted();
        Some(world)
    }

    fn with(variable: &str, name: &str) -> Option<Self> {
        let Some(program) = std::env::var_os(variable).map(PathBuf::from) else {
            let why = format!("{variable} does not name the built program (make test sets it)");
            let required = std::env::var_os("CI").is_some() || std::env::var_os("GLXC_TEST_REQUIRE").is_some();
            assert!(!required, "{why}");
            #[allow(clippy::print_stderr)]
            {
                eprintln!("skipped: {why}");
            }
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let world = World { folder, program, name: name.into() };
        let _ = world.glxc(&["destroy", "--discard", name]);
        world.git(&["init", "-q", "-b", "main"]).accepted();
        world.git(&["config", "user.name", "User"]).accepted();
        world.git(&["config", "user.email", "user@example.invalid"]).accepted();
        Some(world)
    }

    /// The user's repository.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command with a sealed environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder()).env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", "/nonexistent").env("LC_ALL", "C.UTF-8").env("GIT_CONFIG_NOSYSTEM", "1");
        command
    }

    fn run(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Said {
        Said::new(self.command(program).args(arguments).output().expect("a program that can be run"))
    }

    /// Runs git in the user's repository.
    pub fn git(&self, arguments: &[&str]) -> Said {
        self.run("git", arguments)
    }

    /// Runs glxc in the user's repository.
    pub fn glxc(&self, arguments: &[&str]) -> Said {
        self.run(&self.program, arguments)
    }

    /// `git push NAME main`.
    pub fn push(&self) -> Said {
        self.git(&["push", &self.name, "main"])
    }

    /// `git pull NAME main`.
    pub fn pull(&self) -> Said {
        self.git(&["pull", "--no-edit", "--no-rebase", &self.name, "main"])
    }

    /// Runs a shell script as root in the container.
    pub fn exec(&self, script: &str) -> Said {
        self.glxc(&["exec", &self.name, "--", "sh", "-c", script])
    }

    /// Runs SQL in a database of the container, and returns what it prints, without decoration.
    pub fn psql(&self, database: &str, sql: &str) -> Said {
        let psql = ["exec", &self.name, "--", "runuser", "-u", "postgres", "--", "psql", "-XAtq"];
        let more = ["-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql];
        self.glxc(&[psql.as_slice(), more.as_slice()].concat())
    }

    /// Runs SQL in a MariaDB database of the container as root, and returns what it prints, without decoration.
    pub fn mariadb(&self, database: &str, sql: &str) -> Said {
        self.glxc(&["exec", &self.name, "--", "mariadb", "--batch", "--skip-column-names", "-e", sql, database])
    }

    /// Puts the program FerretDB into the profile that installs it, which would build it else.
    ///
    /// # Panics
    /// Where it is not there.
    pub fn add_ferretdb(&self) {
        let root = std::env::var(FERRETDB).unwrap_or_else(|_| panic!("{FERRETDB} must be set (make test does)"));
        let folder = self.folder().join("sysconf/ferretdb/tree/usr/local/bin");
        std::fs::create_dir_all(&folder).expect("folders");
        std::fs::copy(Path::new(&root).join("usr/local/bin/ferretdb"), folder.join("ferretdb")).expect("FerretDB");
    }

    /// Forgets which failpoints were hit, and arms the next ones.
    ///
    /// # Panics
    /// Where the container can not be reached.
    pub fn arm(&self, armed: &str) {
        let script = format!("cd /var/lib/glxc/failpoints; rm -f hits armed; printf '{armed}' > armed");
        self.exec(&script).accepted();
    }

    /// The failpoints that were hit since, in order; disarms the others.
    ///
    /// # Panics
    /// Where the container can not be reached.
    pub fn hits(&self) -> Vec<String> {
        let text = self.exec("cd /var/lib/glxc/failpoints; cat hits; rm -f hits armed").accepted();
        text.lines().map(str::to_owned).collect()
    }

    /// Writes a file of the user's repository.
    ///
    /// # Panics
    /// Where it can not be written.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, text).expect("a file");
    }

    /// Reads a file of the user's repository.
    ///
    /// # Panics
    /// Where it can not be read.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder().join(name)).expect(name)
    }

    /// Changes a file of the user's repository.
    ///
    /// # Panics
    /// Where it does not hold `from`.
    #[track_caller]
    pub fn replace(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} does not hold {from:?}");
        self.write(name, &text.replacen(from, to, 1));
    }

    /// Commits everything.
    pub fn commit(&self, message: &str) {
        self.git(&["add", "-A"]).accepted();
        self.git(&["commit", "-q", "-m", message]).accepted();
    }

    /// The processes of the container as the host sees them.
    pub fn processes(&self) -> Vec<Process> {
        Process::all().into_iter().filter(|process| process.is_in(&self.name)).collect()
    }

    /// Starts git in the user's repository, in a session of its own, to which front and keeper belong. Its output is
    /// nowhere: what outlives a killed git must not hold a pipe of ours.
    ///
    /// # Panics
    /// Where it can not be started.
    pub fn start_git(&self, arguments: &[&str], stderr: Stdio) -> UnderWay {
        // The child leads no process group, so it becomes git and does not fork.
        let mut git = self.command("setsid");
        git.arg("git").args(arguments).stdout(Stdio::null()).stderr(stderr);
        UnderWay { git: git.spawn().expect("git"), container: self.name.clone() }
    }

    /// The commit of `main` in the container.
    ///
    /// # Panics
    /// Where the container can not be reached.
    pub fn main_in_container(&self) -> String {
        self.exec("git --git-dir=/var/lib/glxc/repo.git rev-parse main").accepted().trim().to_owned()
    }

    /// The user's commit.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).accepted().trim().to_owned()
    }
}

/// A process of this machine.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number.
    pub number: String,
    /// Its name, as the kernel shortens it.
    pub name: String,
    /// Its command line, with spaces between the words.
    pub command: String,
    session: String,
    groups: String,
}

impl Process {
    fn all() -> Vec<Process> {
        let of = |folder: &Path| {
            let read = |file: &str| Some(String::from_utf8_lossy(&std::fs::read(folder.join(file)).ok()?).into_owned());
            let stat = read("stat")?;
            // After the name, which may hold anything: the state, the parent, the process group, the session.
            let session = stat.rsplit_once(") ")?.1.split(' ').nth(3)?.to_owned();
            Some(Process {
                number: folder.file_name()?.to_str()?.to_owned(),
                name: read("comm")?.trim_end().to_owned(),
                command: read("cmdline")?.replace('\0', " "),
                session,
                groups: read("cgroup")?,
            })
        };
        let all = std::fs::read_dir("/proc").expect("/proc").flatten();
        all.filter_map(|entry| of(&entry.path())).filter(|process| !process.command.is_empty()).collect()
    }

    /// Whether it runs in a container.
    fn is_in(&self, container: &str) -> bool {
        let payload = format!("/lxc.payload.{container}");
        self.groups.lines().any(|group| group.ends_with(&payload) || group.contains(&format!("{payload}/")))
    }

    /// Whether it is the keeper.
    pub fn is_keeper(&self) -> bool {
        self.command.starts_with("glxc-keeper")
    }
}

/// git, under way, with front and keeper.
#[derive(Debug)]
pub struct UnderWay {
    /// git itself.
    pub git: Child,
    container: String,
}

impl UnderWay {
    /// What is left of it outside of the container.
    pub fn processes(&self) -> Vec<Process> {
        let session = self.git.id().to_string();
        let all = Process::all().into_iter();
        all.filter(|process| process.session == session && !process.is_in(&self.container)).collect()
    }

    /// Waits until nothing of it is left outside of the container.
    ///
    /// # Panics
    /// Where something is left after ten seconds.
    pub fn wait_until_nothing_is_left(&self, context: &str) {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match self.processes().as_slice() {
                [] => return,
                left => assert!(Instant::now() < until, "{context}: {left:?} is left on this machine"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.glxc(&["destroy", "--discard", &self.name]);
    }
}

/// The count that `make test` tries; `GLXC_TEST_SCALE` multiplies it.
pub fn scaled(count: u32) -> u32 {
    let scale = std::env::var("GLXC_TEST_SCALE").ok().and_then(|scale| scale.parse::<f64>().ok()).unwrap_or(1.0);
    ((f64::from(count) * scale) as u32).max(1)
}

/// The names of all failpoints that the programs have.
///
/// # Panics
/// Where their list is not where it was.
pub fn failpoints() -> impl Iterator<Item = &'static str> {
    let source = include_str!("../../glxc-handlers/src/failpoint.rs");
    let list =
        source.split_once("POINTS: &[&str] = &[").and_then(|(_, list)| list.split_once("];")).expect("the list").0;
    list.split('"').skip(1).step_by(2)
}

/// Kills processes, or groups by their number with a minus. One that has just ended is no failure.
///
/// # Panics
/// Where `kill` can not be run.
pub fn signal_kill(processes: &[String]) {
    let mut kill = Command::new("kill");
    let _ = kill.args(["-9", "--"]).args(processes).stderr(Stdio::null()).status().expect("kill");
}

/// A dump of a database as pg_dump makes it, with all that may differ between equal databases evened out: the order of
/// rows on disk, the random key, and the order of grants.
pub fn normalised_dump(dump: &str) -> String {
    let mut lines = Vec::new();
    let mut rows: Option<Vec<&str>> = None;
    for line in dump.lines() {
        match &mut rows {
            Some(block) if line == "\\." => {
                block.sort_unstable();
                lines.append(block);
                lines.push(line);
                rows = None;
            }
            Some(block) => block.push(line),
            None => {
                let random = line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
                let version = line.starts_with("-- Dumped ");
                if !random && !version {
                    lines.push(line);
                }
                if line.starts_with("COPY ") && line.ends_with("FROM stdin;") {
                    rows = Some(Vec::new());
                }
            }
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::normalised_dump;

    #[test]
    fn rows_are_sorted_and_statements_are_not() {
        let dump = "b;\na;\nCOPY t (x) FROM stdin;\n2\n1\n\\.\n\\restrict abc\n";
        assert_eq!(normalised_dump(dump), "b;\na;\nCOPY t (x) FROM stdin;\n1\n2\n\\.");
    }
}

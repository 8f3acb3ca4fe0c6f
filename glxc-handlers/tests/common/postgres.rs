//! A private PostgreSQL cluster for tests, on a unix socket in a temporary folder, without `fsync`.

use std::io::{Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use postgres::{Client, Config, NoTls};

/// Names an unpacked system whose server the tests run, instead of the one that is installed here.
const ROOT: &str = "GLXC_TEST_POSTGRESQL";

/// A running cluster. Its superuser is `postgres`, and any local user may connect as anybody.
///
/// The server ends, and its folder is removed, as soon as this process ends in whatever way: its keeper waits for the
/// end of a pipe that only this process holds.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    server: Server,
    _keeper: Child,
}

/// An installed server.
#[derive(Clone, Debug)]
struct Server {
    /// The root of the system that it is installed in.
    root: PathBuf,
    /// Its major version.
    major: u32,
}

impl Server {
    /// The newest server of a system that is not older than 13.
    fn of(root: impl Into<PathBuf>) -> Option<Server> {
        let root = root.into();
        let installed = std::fs::read_dir(root.join("usr/lib/postgresql")).ok()?.flatten();
        let majors = installed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let newest = majors.filter(|major| *major >= 13).max()?;
        Some(Server { root, major: newest })
    }

    /// The server of the system that is here.
    fn installed() -> Option<Server> {
        Server::of("/")
    }

    /// The server that the tests run.
    fn chosen() -> Option<Server> {
        let Some(root) = std::env::var_os(ROOT) else { return Server::installed() };
        let server = Server::of(&root);
        assert!(server.is_some(), "{ROOT} names {root:?}, which has no server");
        server
    }

    /// Where a clean folder for a cluster may be made.
    fn folders(&self) -> PathBuf {
        if self.root == Path::new("/") { std::env::temp_dir() } else { self.root.join("tmp") }
    }

    /// A path as the system of the server sees it.
    fn inside(&self, path: &Path) -> PathBuf {
        Path::new("/").join(path.strip_prefix(&self.root).unwrap())
    }

    /// Its programs, as its system sees them.
    fn bin(&self) -> PathBuf {
        format!("/usr/lib/postgresql/{}/bin", self.major).into()
    }

    /// One of its programs.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg(self.bin().join(name));
        command
    }
}

/// Why there can be no cluster here, or `None`.
fn lacking() -> Option<&'static str> {
    if Server::chosen().is_none() {
        return Some("no PostgreSQL server (13 or newer) is installed");
    }
    (!rustix::process::geteuid().is_root()).then_some("needs root, to run a server as `postgres`")
}

/// The cluster that all tests of one program share, or `None` where there can not be one: then the test says why
/// and is skipped, or fails where skipping is not allowed.
pub fn shared() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    if let Some(reason) = lacking() {
        super::skip(reason);
        return None;
    }
    Some(CLUSTER.get_or_init(Cluster::start))
}

/// Its arguments: the user, the root and the programs of the server, its folder as seen from here and from there, and settings.
const KEEPER: &str = r#"
chroot --userspec="$1" "$2" "$3/initdb" -D "$5/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync \
    >"$4/log" 2>&1 || exit 1
chroot --userspec="$1" "$2" "$3/postgres" -D "$5/data" -k "$5" -c listen_addresses= -c fsync=off -c full_page_writes=off \
    -c max_prepared_transactions=10 -c log_statement=none $6 >>"$4/log" 2>&1 </dev/null &
read -r _
kill -QUIT $!
wait
rm -rf "$4"
"#;

impl Cluster {
    /// Starts a cluster of its own.
    pub fn start() -> Cluster {
        Cluster::start_with("")
    }

    /// Starts a cluster with further settings, as `-c name=value`, separated by spaces.
    pub fn start_with(settings: &str) -> Cluster {
        Cluster::of(Server::chosen().expect("a server is installed"), settings)
    }

    /// Starts a cluster of the server that is installed here, where the tests run another one.
    pub fn of_this_system() -> Option<Cluster> {
        std::env::var_os(ROOT)?;
        Some(Cluster::of(Server::installed().expect("a server is installed"), ""))
    }

    fn of(server: Server, settings: &str) -> Cluster {
        let folder = tempfile::Builder::new().prefix("glxc-pg-").tempdir_in(server.folders()).unwrap().keep();
        let owned = Command::new("chown").arg("postgres:").arg(&folder).status().unwrap();
        assert!(owned.success());
        let owner = std::fs::metadata(&folder).unwrap();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(format!("+{}:+{}", owner.uid(), owner.gid()));
        keeper.arg(&server.root).arg(server.bin()).arg(&folder).arg(server.inside(&folder)).arg(settings);
        keeper.current_dir("/").env("LC_ALL", "C.UTF-8");
        let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let cluster = Cluster { folder, server, _keeper: keeper };
        cluster.wait();
        cluster
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = self.config("postgres").connect(NoTls) {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the server does not start: {error}\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The folder of the socket.
    pub fn socket(&self) -> &Path {
        &self.folder
    }

    /// The major version of the server.
    pub fn major(&self) -> u32 {
        self.server.major
    }

    /// A path of the server's system, as seen from here.
    pub fn outside(&self, path: &str) -> PathBuf {
        self.server.root.join(path.trim_start_matches('/'))
    }

    /// How to connect to a database as the superuser.
    pub fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.folder).user("postgres").dbname(database);
        config
    }

    /// Connects to a database as the superuser.
    pub fn connect(&self, database: &str) -> Client {
        self.config(database).connect(NoTls).unwrap()
    }

    /// Creates an empty database and connects to it.
    pub fn create(&self, database: &str) -> Client {
        let statement = format!("CREATE DATABASE \"{database}\" TEMPLATE template0");
        self.connect("postgres").batch_execute(&statement).unwrap();
        self.connect(database)
    }

    /// A client program of the server, which connects to it.
    fn client(&self, name: &str, database: &str) -> Command {
        let mut client = self.server.program(name);
        client.args(["-U", "postgres", "-d", database, "-h"]).arg(self.server.inside(&self.folder));
        client
    }

    /// Runs SQL with `psql`, which stops at the first error.
    pub fn psql(&self, database: &str, sql: &str) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(sql.as_bytes()).unwrap();
        file.rewind().unwrap();
        let mut psql = self.client("psql", database);
        let output = psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"]).stdin(file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What `pg_dump` with further arguments writes, without the lines that differ each time.
    pub fn dump(&self, database: &str, arguments: &[&str]) -> String {
        let output = self.client("pg_dump", database).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let kept = text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        kept.collect::<Vec<_>>().join("\n")
    }
}

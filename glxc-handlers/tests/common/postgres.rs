//! A private PostgreSQL cluster for tests, on a unix socket in a temporary folder, without `fsync`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use postgres::{Client, Config, NoTls};

/// A running cluster. Its superuser is `postgres`, and any local user may connect as anybody.
///
/// The server ends, and its folder is removed, as soon as this process ends in whatever way: its keeper waits for the
/// end of a pipe that only this process holds.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    bin: PathBuf,
    _keeper: Child,
}

/// The programs of the newest installed server that is not older than 13.
fn programs() -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let majors = installed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = majors.filter(|major| *major >= 13).max()?;
    Some(format!("/usr/lib/postgresql/{newest}/bin").into())
}

/// Why there can be no cluster here, or `None`.
fn lacking() -> Option<&'static str> {
    if programs().is_none() {
        return Some("no PostgreSQL server (13 or newer) is installed");
    }
    (!rustix::process::geteuid().is_root()).then_some("needs root, to run a server as `postgres`")
}

/// The cluster that all tests of one program share, or `None` where there can not be one: then the test says why
/// and is skipped, or fails where skipping is not allowed.
pub fn shared() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    if let Some(reason) = lacking() {
        let required = |name: &str, value: &str| std::env::var(name).is_ok_and(|v| v == value);
        assert!(!required("CI", "true") && !required("GLXC_TEST_REQUIRE", "1"), "{reason}");
        eprintln!("skipped: {reason}");
        return None;
    }
    Some(CLUSTER.get_or_init(Cluster::start))
}

const KEEPER: &str = r#"
"$1/initdb" -D "$2/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$2/log" 2>&1 || exit 1
"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c full_page_writes=off \
    -c max_prepared_transactions=10 -c log_statement=none $3 >>"$2/log" 2>&1 </dev/null &
read -r _
kill -QUIT $!
wait
rm -rf "$2"
"#;

impl Cluster {
    /// Starts a cluster of its own.
    pub fn start() -> Cluster {
        Cluster::start_with("")
    }

    /// Starts a cluster with further settings, as `-c name=value`, separated by spaces.
    pub fn start_with(settings: &str) -> Cluster {
        let bin = programs().expect("a server is installed");
        let folder = tempfile::Builder::new().prefix("glxc-pg-").tempdir().unwrap().keep();
        let owned = Command::new("chown").arg("postgres:").arg(&folder).status().unwrap();
        assert!(owned.success());
        let mut keeper = Command::new("setpriv");
        keeper.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "sh", "-c", KEEPER, "sh"]);
        keeper.arg(&bin).arg(&folder).arg(settings).current_dir("/").env("LC_ALL", "C.UTF-8");
        let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let cluster = Cluster { folder, bin, _keeper: keeper };
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

    /// The folder of the server's programs (`pg_dump`, `psql`).
    pub fn bin(&self) -> &Path {
        &self.bin
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

    /// Runs SQL with `psql`, which stops at the first error.
    pub fn psql(&self, database: &str, sql: &str) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, sql.as_bytes()).unwrap();
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-h"]);
        let output = psql.arg(&self.folder).arg("-f").arg(file.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What `pg_dump` with further arguments writes, without the lines that differ each time.
    pub fn dump(&self, database: &str, arguments: &[&str]) -> String {
        let mut dump = Command::new(self.bin.join("pg_dump"));
        dump.args(["-U", "postgres", "-d", database, "-h"]).arg(&self.folder).args(arguments);
        let output = dump.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let kept = text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        kept.collect::<Vec<_>>().join("\n")
    }
}

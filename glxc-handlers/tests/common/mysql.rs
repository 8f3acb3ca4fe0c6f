//! A private MariaDB or MySQL server for tests, on a unix socket in a temporary folder, which does not wait for the disk.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};

/// Names an unpacked system whose server the tests run, instead of the one that is installed here.
const ROOT: &str = "GLXC_TEST_MYSQL";

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    MariaDb,
    MySql,
}

/// An installed server.
#[derive(Clone, Debug)]
struct Installed {
    /// The root of the system that it is installed in.
    root: PathBuf,
    product: Product,
}

impl Installed {
    /// The server of a system. (MariaDB has a link of the name `mysqld`, too.)
    fn of(root: impl Into<PathBuf>) -> Option<Installed> {
        let root = root.into();
        let programs = [("mariadbd", Product::MariaDb), ("mysqld", Product::MySql)];
        let (_, product) = programs.into_iter().find(|(name, _)| root.join("usr/sbin").join(name).exists())?;
        Some(Installed { root, product })
    }

    /// The server that the tests run.
    fn chosen() -> Option<Installed> {
        let Some(root) = std::env::var_os(ROOT) else { return Installed::of("/") };
        let installed = Installed::of(&root);
        assert!(installed.is_some(), "{ROOT} names {root:?}, which has no server");
        installed
    }

    /// Where a folder for a server may be made.
    fn folders(&self) -> PathBuf {
        if self.root == Path::new("/") { std::env::temp_dir() } else { self.root.join("tmp") }
    }

    /// A path as the system of the server sees it.
    fn inside(&self, path: &Path) -> PathBuf {
        Path::new("/").join(path.strip_prefix(&self.root).unwrap())
    }
}

/// A running server, on which root is `root`.
///
/// It ends, and its folder is removed, as soon as this process ends in whatever way: its keeper waits for the end of a pipe
/// that only this process holds.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    installed: Installed,
    keeper: Child,
}

/// Why there can be no server here, or `None`.
fn lacking() -> Option<&'static str> {
    if Installed::chosen().is_none() {
        return Some("no MariaDB or MySQL server is installed");
    }
    (!rustix::process::geteuid().is_root()).then_some("needs root, to run a server as `mysql`")
}

/// The server that all tests of one program share, or `None` where there can not be one: then the test says why and is
/// skipped, or fails where skipping is not allowed.
pub fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    if let Some(reason) = lacking() {
        super::skip(reason);
        return None;
    }
    Some(SERVER.get_or_init(Server::start))
}

/// Its arguments: the root of the server, its folder as seen from here and from there, and its user. (An unpacked system does not
/// know its own name, which the first program minds.)
const MARIADB: &str = r#"
chroot "$1" mariadb-install-db --no-defaults --force --user=mysql --datadir="$3/data" --skip-test-db >"$2/log" 2>&1 || exit 1
chroot --userspec="$4" "$1" mariadbd --no-defaults --datadir="$3/data" --socket="$3/socket" --pid-file="$3/pid" \
    --skip-networking --innodb-flush-log-at-trx-commit=0 --innodb-flush-method=nosync --innodb-buffer-pool-size=64M --max-allowed-packet=256M \
    >>"$2/log" 2>&1 </dev/null &
read -r _
kill -KILL $!
wait
rm -rf "$2"
"#;

/// The same of MySQL.
const MYSQL: &str = r#"
chroot --userspec="$4" "$1" mysqld --no-defaults --datadir="$3/data" --innodb-flush-method=nosync --initialize-insecure \
    >"$2/log" 2>&1 || exit 1
chroot --userspec="$4" "$1" mysqld --no-defaults --datadir="$3/data" --socket="$3/socket" --pid-file="$3/pid" \
    --skip-networking --mysqlx=OFF --sync-binlog=0 --innodb-flush-log-at-trx-commit=0 --innodb-flush-method=nosync \
    --innodb-buffer-pool-size=64M --max-allowed-packet=256M >>"$2/log" 2>&1 </dev/null &
read -r _
kill -KILL $!
wait
rm -rf "$2"
"#;

impl Server {
    /// Starts a server of its own.
    pub fn start() -> Server {
        let installed = Installed::chosen().expect("a server is installed");
        let folder = tempfile::Builder::new().prefix("glxc-my-").tempdir_in(installed.folders()).unwrap().keep();
        std::fs::create_dir(folder.join("data")).unwrap();
        let owned = Command::new("chown").args(["-R", "mysql:"]).arg(&folder).status().unwrap();
        assert!(owned.success());
        let owner = std::fs::metadata(&folder).unwrap();
        let script = match installed.product {
            Product::MariaDb => MARIADB,
            Product::MySql => MYSQL,
        };
        let mut keeper = Command::new("sh");
        keeper.args(["-c", script, "sh"]).arg(&installed.root).arg(&folder).arg(installed.inside(&folder));
        keeper.arg(format!("+{}:+{}", owner.uid(), owner.gid())).current_dir("/").env("LC_ALL", "C.UTF-8");
        let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Server { folder, installed, keeper };
        server.wait();
        server
    }

    /// Whose it is.
    pub fn product(&self) -> Product {
        self.installed.product
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while let Err(error) = Conn::new(self.options()) {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let is_gone = self.keeper.try_wait().unwrap().is_some();
            assert!(!is_gone && Instant::now() < deadline, "the server does not start: {error}\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    fn options(&self) -> OptsBuilder {
        let socket = self.socket().to_str().map(String::from);
        OptsBuilder::new().socket(socket).user(Some("root")).max_allowed_packet(Some(1 << 30))
    }

    /// Connects as root, to no database.
    pub fn connect(&self) -> Conn {
        let mut conn = Conn::new(self.options()).unwrap();
        conn.query_drop("SET NAMES utf8mb4, sql_mode = '', lock_wait_timeout = 20").unwrap();
        conn
    }

    /// What the server's own program writes of a database, without the lines that differ each time.
    pub fn dump(&self, database: &str) -> String {
        let mut dump = Command::new("chroot");
        dump.arg(&self.installed.root);
        match self.product() {
            Product::MariaDb => dump.args(["mariadb-dump", "--no-defaults"]),
            Product::MySql => dump.args(["mysqldump", "--no-defaults", "--set-gtid-purged=OFF"]),
        };
        dump.arg("--socket").arg(self.installed.inside(&self.socket())).args([
            "--skip-dump-date",
            "--skip-comments",
            "--hex-blob",
            "--routines",
            "--events",
            "--triggers",
            "--order-by-primary",
            "--single-transaction",
            "--tz-utc",
            "--skip-extended-insert",
            "--complete-insert",
        ]);
        let output = dump.arg(database).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

//! PostgreSQL, MariaDB and files in one container, as one: they change together, or none does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use glxc_tests::{World, failpoints, normalised_dump};

const CONFIG: &str = r#"
[container]
release = "bookworm"
memory = "1G"

[state.app]
handler = "postgresql"
path = "data/app"
database = "app"

[state.shop]
handler = "mysql"
path = "data/shop"
database = "shop"

[state.uploads]
handler = "files"
path = "data/uploads"
root = "/srv/uploads"
"#;

const SETUP: &str = "sysconf_require_packages postgresql mariadb-server procps
mkdir -p /srv/uploads
prepared=/etc/postgresql/15/main/conf.d/prepared.conf
if ! test -e $prepared; then
    echo 'max_prepared_transactions = 8' > $prepared
    systemctl restart postgresql
fi
again=/etc/systemd/system/mariadb.service.d/again.conf
if ! test -e $again; then
    mkdir -p ${again%/*}
    printf '[Unit]\\nStartLimitIntervalSec=0\\n[Service]\\nRestart=always\\nRestartSec=100ms\\n' > $again
    systemctl daemon-reload
fi
";

const APP: &str = "CREATE TABLE item (id bigint PRIMARY KEY, value text NOT NULL); \
                   INSERT INTO item SELECT n, 'v0' FROM generate_series(1, 2000) n";

const SHOP: &str = "CREATE TABLE customer (id int AUTO_INCREMENT PRIMARY KEY, name varchar(40) NOT NULL, photo blob); \
     CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY, customer int NOT NULL, note varchar(40) NOT NULL, \
        total decimal(9,2) NOT NULL DEFAULT 0 CHECK (total >= 0), CONSTRAINT of FOREIGN KEY (customer) REFERENCES customer (id)); \
     CREATE TABLE audit (line varchar(60)); \
     CREATE TRIGGER `late` BEFORE INSERT ON `audit` FOR EACH ROW SET NEW.line = CONCAT(NEW.line, '.'); \
     CREATE VIEW open AS SELECT id, note FROM orders WHERE total > 0; \
     CREATE FUNCTION taxed(x decimal(9,2)) RETURNS decimal(9,2) DETERMINISTIC RETURN x * 1.2; \
     INSERT INTO customer SELECT seq, CONCAT('customer ', seq), UNHEX(MD5(seq)) FROM seq_1_to_500; \
     INSERT INTO orders (customer, note) SELECT 1 + seq % 500, 'v0' FROM seq_1_to_3000; \
     INSERT INTO audit VALUES ('begun')";

const ITEMS: &str = "data/app/data/public.item/rows.tsv";
const ORDERS: &str = "data/shop/data/orders/rows.tsv";
const FILE: &str = "data/uploads/files/one";

/// A running container with an application's data, pulled once.
fn application(world: &World) {
    world.glxc(&["init", &world.name]).accepted();
    world.write("glxc.toml", CONFIG);
    world.write("sysconf/actual/deps", "sysconf.base\n");
    world.write("sysconf/actual/setup.rc", SETUP);
    world.commit("an empty machine");
    world.push().accepted();
    let create = "CREATE DATABASE app TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'";
    world.psql("postgres", create).accepted();
    world.psql("app", APP).accepted();
    world.mariadb("mysql", "CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci").accepted();
    world.mariadb("shop", SHOP).accepted();
    world.exec("echo v0 > /srv/uploads/one").accepted();
    world.pull().accepted();
}

/// What the three states have, in the container.
fn live(world: &World) -> [String; 3] {
    let said = [
        world.psql("app", "SELECT value FROM item WHERE id = 7"),
        world.mariadb("shop", "SELECT note FROM orders WHERE id = 7"),
        world.exec("cat /srv/uploads/one"),
    ];
    said.map(|said| said.accepted().trim().to_owned())
}

/// Gives what the three states have in the repository a new value, or two of them.
fn edit(world: &World, old: &[String; 3], new: &[String; 3]) {
    world.replace(ITEMS, &format!("\n7\t{}\n", old[0]), &format!("\n7\t{}\n", new[0]));
    world.replace(ORDERS, &format!("\n7\t8\t{}\t", old[1]), &format!("\n7\t8\t{}\t", new[1]));
    world.write(FILE, &format!("{}\n", new[2]));
    world.commit(&new[2]);
}

fn values(value: &str) -> [String; 3] {
    [value; 3].map(String::from)
}

fn dumps(world: &World) -> String {
    let app = world.exec("runuser -u postgres -- pg_dump app").accepted();
    let shop = world.exec(
        "mariadb-dump --skip-dump-date --skip-comments --hex-blob --routines --triggers --order-by-primary \
         --single-transaction --skip-extended-insert shop",
    );
    let shop = shop.accepted();
    assert!(app.lines().count() > 2000 && shop.lines().count() > 3500, "the dumps hold the rows");
    normalised_dump(&app) + &shop
}

/// Whatever an operation makes on its way; a process may take a moment to end.
fn assert_nothing_left(world: &World, context: &str) {
    const APP: &str = "SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'glxc%' \
         UNION ALL SELECT 'database ' || datname FROM pg_database WHERE datname LIKE 'glxc%' \
         UNION ALL SELECT 'transaction ' || gid FROM pg_prepared_xacts";
    const SHOP: &str = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'glxc\\_%' \
         UNION ALL SELECT id FROM glxc.done \
         UNION ALL SELECT CONCAT('transaction of ', trx_mysql_thread_id) FROM information_schema.INNODB_TRX \
            WHERE trx_mysql_thread_id <> CONNECTION_ID() \
         UNION ALL SELECT CONCAT('session ', ID) FROM information_schema.PROCESSLIST \
            WHERE USER = 'root' AND ID <> CONNECTION_ID(); XA RECOVER";
    const FILES: &str = "cd /var/lib/glxc; ls -A op scratch check | grep -v ':$' | grep .; ls journal 2>/dev/null; \
         ls -A /srv/uploads | grep glxc; pgrep -fl '/usr/lib/[g]lxc/guest|[r]eceive-pack|[u]pload-pack'; true";
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let left = [world.psql("app", APP), world.mariadb("shop", SHOP), world.exec(FILES)];
        let left = left.map(|said| said.accepted()).concat();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "{context}: something is left:\n{left}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn two_engines_and_files_are_one_repository() {
    let Some(world) = World::new("t-glxc-mariadb") else { return };
    application(&world);
    assert_eq!(world.read(ORDERS).lines().next(), Some("#glxc-rows 1\tkey=1n\tid\tcustomer\tnote\ttotal"));
    edit(&world, &values("v0"), &values("v1"));
    let pushed = world.push();
    assert!(pushed.stderr.contains("shop: 1 row changed in orders"), "{}", pushed.stderr);
    pushed.accepted();
    assert_eq!(live(&world), values("v1"));
    // The application goes on in both.
    world.psql("app", "UPDATE item SET value = 'v2' WHERE id = 7").accepted();
    world.mariadb("shop", "UPDATE orders SET note = 'v2' WHERE id = 7").accepted();
    world.exec("echo v2 > /srv/uploads/one").accepted();
    world.pull().accepted();
    let stat = world.git(&["diff", "--numstat", "HEAD~"]).accepted();
    let lines = [ITEMS, ORDERS, FILE].map(|file| format!("1\t1\t{file}"));
    assert_eq!(stat.lines().collect::<Vec<_>>(), lines);
    a_conflict_in_one_declines_all(&world);
    everything_is_back_after_destroy_and_push(&world);
}

fn a_conflict_in_one_declines_all(world: &World) {
    world.mariadb("shop", "UPDATE orders SET note = 'live' WHERE id = 7").accepted();
    let (before, main) = (live(world), world.main_in_container());
    edit(world, &values("v2"), &values("v3"));
    world.push().declined("changed meanwhile: orders id=7");
    assert_eq!((live(world), world.main_in_container()), (before, main));
    assert_nothing_left(world, "a conflict");
    world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    world.pull().accepted();
    assert!(world.read(ORDERS).contains("\n7\t8\tlive\t"));
    // A row that its own engine refuses, too, and a foreign key that points nowhere.
    for (from, to, words) in [
        ("\n7\t8\tlive\t0.00\n", "\n7\t8\tlive\t-1.00\n", "CONSTRAINT `orders.total` failed"),
        ("\n7\t8\tlive\t", "\n7\t999\tlive\t", "no such row in customer"),
    ] {
        let before = (live(world), world.main_in_container());
        world.replace(ITEMS, "\n7\tv2\n", "\n7\tv3\n");
        world.replace(ORDERS, from, to);
        world.commit("a bad row");
        world.push().declined(words);
        assert_eq!((live(world), world.main_in_container()), before);
        world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    }
    assert_nothing_left(world, "a bad row");
}

fn everything_is_back_after_destroy_and_push(world: &World) {
    let before = dumps(world);
    world.glxc(&["destroy", "--discard", &world.name]).accepted();
    world.push().accepted();
    let head = world.head();
    world.pull().accepted();
    assert_eq!(world.head(), head, "the last pull brings nothing");
    let after = dumps(world);
    let differs: Vec<_> = before.lines().zip(after.lines()).filter(|(a, b)| a != b).take(5).collect();
    assert!(before == after, "the dumps differ: {differs:?}");
    assert_eq!(live(world), ["v2", "live", "v2"]);
    world.mariadb("shop", "INSERT INTO audit VALUES ('again')").accepted();
    assert_eq!(world.mariadb("shop", "SELECT line FROM audit ORDER BY 1").accepted(), "again.\nbegun.\n");
    let next = world.mariadb("shop", "INSERT INTO orders (customer, note) VALUES (1, 'x'); SELECT LAST_INSERT_ID()");
    let number = format!("\norders\t{}", next.accepted());
    assert!(world.read("data/shop/auto_increment/rows.tsv").contains(&number), "{number}");
    assert_nothing_left(world, "destroy and push");
}

/// What dies at a point of MariaDB's handler.
const KINDS: [(&str, &str); 2] =
    [("guest", "kill"), ("server", "run pkill -9 -x mariadbd; echo $? > /var/lib/glxc/failpoints/killed; sleep 0.2")];

/// Everything has the value `old`, and is to have `new`.
struct Faults {
    world: World,
    number: u32,
    old: [String; 3],
    new: [String; 3],
    /// How often which kind ended old and new.
    outcomes: BTreeMap<(&'static str, bool), u32>,
}

impl Faults {
    /// A new value in the repository, where a load is one of MariaDB and the files alone.
    fn edit(&mut self, load: bool) {
        self.number += 1;
        self.old = self.new.clone();
        self.new = values(&format!("v{}", self.number));
        if load {
            self.new[0].clone_from(&self.old[0]);
        }
        edit(&self.world, &self.old, &self.new);
    }

    fn push(&self, load: bool) -> glxc_tests::Said {
        let options: &[&str] = if load { &["-o", "replace=shop"] } else { &[] };
        self.world.git(&[&["push"], options, &[&self.world.name, "main"]].concat())
    }

    /// The points that an undisturbed push passes, in order.
    fn trace(&mut self, load: bool) -> Vec<String> {
        self.edit(load);
        self.world.arm("");
        self.push(load).accepted();
        assert_eq!(live(&self.world), self.new);
        self.world.hits()
    }

    /// One fault in a push. The next contact settles it, and the next push works.
    fn strike(&mut self, load: bool, hit: usize, name: &str, (kind, action): (&'static str, &str)) {
        self.edit(load);
        let context = format!("load {load}, hit {hit} ({name}), {kind}");
        self.world.arm(&format!("{hit} {action}\\n"));
        let said_done = self.push(load).ok;
        let hits = self.world.hits();
        assert!(hits.len() >= hit && hits[hit - 1] == name, "{context}: {hits:?}");
        if kind == "server" {
            let killed = self.world.exec("cd /var/lib/glxc/failpoints && cat killed && rm killed").accepted();
            assert_eq!(killed, "0\n", "{context}: no server was killed");
        }
        self.wait_for_server(&context);
        self.world.git(&["fetch", &self.world.name]).accepted();
        let happened = live(&self.world) == self.new;
        assert!(happened || live(&self.world) == self.old, "{context}: neither old nor new: {:?}", live(&self.world));
        assert_eq!(self.world.main_in_container() == self.world.head(), happened, "{context}: refs and data differ");
        assert!(happened || !said_done, "{context}: git was told that it worked");
        assert_nothing_left(&self.world, &context);
        *self.outcomes.entry((kind, happened)).or_default() += 1;
        if !happened {
            self.push(load).accepted();
            assert_eq!(live(&self.world), self.new, "{context}: the next push");
            assert_nothing_left(&self.world, &context);
        }
    }

    fn wait_for_server(&self, context: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.world.mariadb("shop", "SELECT 1").ok {
            assert!(Instant::now() < until, "{context}: the server does not come back");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn every_point_of_mariadb_is_survived() {
    let Some(world) = World::with_failpoints("t-glxc-mariadb-faults") else { return };
    application(&world);
    world.exec("mkdir -p /var/lib/glxc/failpoints").accepted();
    let [old, new] = [values("v0"), values("v0")];
    let mut faults = Faults { world, number: 0, old, new, outcomes: BTreeMap::new() };
    let traces = [false, true].map(|load| (load, faults.trace(load)));
    let of_mariadb = |name: &str| name.starts_with("mysql");
    let mut never = points();
    for (load, trace) in traces {
        for (at, name) in trace.iter().enumerate().filter(|(_, name)| of_mariadb(name)) {
            never.retain(|point| point != name);
            for kind in KINDS {
                faults.strike(load, at + 1, name, kind);
            }
        }
    }
    assert!(never.is_empty(), "never hit: {never:?}");
    #[allow(clippy::print_stdout)] // what was tried is what a reader of the output wants to know
    {
        println!("faults of MariaDB: {:?}", faults.outcomes);
    }
    assert!(faults.outcomes.len() == 4, "of each kind some pushes ended old and some new: {:?}", faults.outcomes);
}

/// All points of MariaDB's handler.
fn points() -> Vec<String> {
    failpoints().filter(|point| point.starts_with("mysql")).map(str::to_owned).collect()
}

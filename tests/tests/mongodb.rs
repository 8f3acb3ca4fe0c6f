//! MongoDB (by FerretDB), PostgreSQL and files in one container, as one: they change together, or none does.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use glxc_tests::{Said, World, failpoints};

const CONFIG: &str = r#"
[container]
release = "forky"
memory = "1G"

[state.app]
handler = "postgresql"
path = "data/app"
database = "app"

[state.shop]
handler = "mongodb"
path = "data/shop"
database = "shop"
port = 27017
[state.shop.collections]
session = "schema"
"cache_*" = "ignore"

[state.uploads]
handler = "files"
path = "data/uploads"
root = "/srv/uploads"
"#;

const APP: &str = "CREATE TABLE item (id bigint PRIMARY KEY, value text NOT NULL); \
                   INSERT INTO item SELECT n, 'v0' FROM generate_series(1, 100) n";

const SHOP: &str = "\
db.orders.insert_many([{'_id': n, 'value': 'v0', 'lines': [{'sku': 'a', 'n': n}]} for n in range(1, 501)])
db.orders.create_index('value')
db.customers.insert_many([{'_id': ObjectId('%024x' % n), 'name': 'customer %d' % n} for n in range(1, 101)])
db.customers.create_index('name', unique=True)
db.session.insert_one({'_id': 's1'})
db.cache_pages.insert_one({'_id': 'p1'})";

const ITEMS: &str = "data/app/data/public.item/rows.tsv";
const ORDERS: &str = "data/shop/data/orders/rows.tsv";
const FILE: &str = "data/uploads/files/one";

/// Runs Python in the container, with the database `shop` as `db`.
fn python(world: &World, script: &str) -> Said {
    let begin = "from pymongo import MongoClient\nfrom bson import ObjectId\ndb = MongoClient('127.0.0.1')['shop']\n";
    world.glxc(&["exec", &world.name, "--", "python3", "-c", &format!("{begin}{script}")])
}

/// An empty machine with the profile of `examples/recipes`.
fn machine(world: &World) {
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/recipes/sysconf/ferretdb");
    world.glxc(&["init", &world.name]).accepted();
    world.write("glxc.toml", CONFIG);
    world.write("sysconf/actual/deps", "ferretdb\n");
    world.write("sysconf/actual/setup.rc", "sysconf_require_packages python3-pymongo procps\nmkdir -p /srv/uploads\n");
    let profiles = world.folder().join("sysconf");
    assert!(Command::new("cp").args(["-r", "--"]).arg(profile).arg(profiles).status().unwrap().success());
    world.add_ferretdb();
    world.commit("an empty machine");
    world.push().accepted();
}

/// What the three states have, in the container.
fn live(world: &World) -> [String; 3] {
    let said = [
        world.psql("app", "SELECT value FROM item WHERE id = 7"),
        python(world, "print(db.orders.find_one({'_id': 7})['value'])"),
        world.exec("cat /srv/uploads/one"),
    ];
    said.map(|said| said.accepted().trim().to_owned())
}

fn order(value: &str) -> String {
    format!("\n{{\"_id\":{{\"$numberInt\":\"7\"}},\"value\":\"{value}\",")
}

/// Gives what the three states have in the repository a new value.
fn edit(world: &World, old: &str, new: &str) {
    world.replace(ITEMS, &format!("\n7\t{old}\n"), &format!("\n7\t{new}\n"));
    world.replace(ORDERS, &order(old), &order(new));
    world.write(FILE, &format!("{new}\n"));
    world.commit(new);
}

fn values(value: &str) -> [String; 3] {
    [value; 3].map(String::from)
}

/// Everything in the database, but for what the rules leave out: documents and indexes.
fn dump(world: &World) -> String {
    let script = "for name in sorted(db.list_collection_names()):
    print(name, sorted(str(index) for index in db[name].list_indexes()))
    if name != 'session' and not name.startswith('cache_'):
        print('\\n'.join(str(document) for document in db[name].find(sort=[('_id', 1)])))";
    python(world, script).accepted()
}

/// Whatever an operation makes on its way; a process may take a moment to end.
fn assert_nothing_left(world: &World, context: &str) {
    const APP: &str = "SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'glxc%' \
         UNION ALL SELECT 'database ' || datname FROM pg_database WHERE datname LIKE 'glxc%' \
         UNION ALL SELECT 'transaction ' || gid FROM pg_prepared_xacts";
    const FILES: &str = "cd /var/lib/glxc; ls -A op scratch check | grep -v ':$' | grep .; ls journal 2>/dev/null; \
         ls -A /srv/uploads | grep glxc; pgrep -fl '/usr/lib/[g]lxc/guest|[r]eceive-pack|[u]pload-pack'; true";
    let shop = "print('\\n'.join(name for name in db.list_collection_names() if name.startswith('glxc')), end='')";
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let left = [world.psql("app", APP), python(world, shop), world.exec(FILES)];
        let left = left.map(|said| said.accepted()).concat();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "{context}: something is left:\n{left}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn documents_rows_and_files_are_one_repository() {
    let Some(world) = World::with_failpoints("t-glxc-mongodb") else { return };
    machine(&world);
    let create = "CREATE DATABASE app TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'";
    world.psql("postgres", create).accepted();
    world.psql("app", APP).accepted();
    python(&world, SHOP).accepted();
    world.exec("echo v0 > /srv/uploads/one").accepted();
    world.pull().accepted();
    assert_eq!(world.read(ORDERS).lines().next(), Some("#glxc-rows 1\tkey=1bson\tdocument"));
    let message = world.git(&["log", "-1", "--format=%B"]).accepted();
    for words in ["not all at one point in time", "shop: session: its definition only", "shop: cache_pages: ignored"] {
        assert!(message.contains(words), "{message}");
    }
    edit(&world, "v0", "v1");
    let pushed = world.push();
    for words in ["shop: 1 document changed in orders", "shop: documents are written one after the other"] {
        assert!(pushed.stderr.contains(words), "{}", pushed.stderr);
    }
    pushed.accepted();
    assert_eq!(live(&world), values("v1"));
    the_application_goes_on(&world);
    a_conflict_in_one_declines_all(&world);
    everything_is_back_after_destroy_and_push(&world);
    every_point_is_survived(world);
}

fn the_application_goes_on(world: &World) {
    world.psql("app", "UPDATE item SET value = 'v2' WHERE id = 7").accepted();
    python(world, "db.orders.update_one({'_id': 7}, {'$set': {'value': 'v2'}})").accepted();
    world.exec("echo v2 > /srv/uploads/one").accepted();
    world.pull().accepted();
    let stat = world.git(&["diff", "--numstat", "HEAD~"]).accepted();
    let lines = [ITEMS, ORDERS, FILE].map(|file| format!("1\t1\t{file}"));
    assert_eq!(stat.lines().collect::<Vec<_>>(), lines);
    let diff = world.git(&["diff", "-U0", "HEAD~", "--", ORDERS]).accepted();
    let rest = r#""lines":[{"sku":"a","n":{"$numberInt":"7"}}]}"#;
    let line = |value| format!("{}{rest}", order(value).trim_start());
    assert!(diff.contains(&format!("\n-{}\n+{}\n", line("v1"), line("v2"))), "{diff}");
}

fn a_conflict_in_one_declines_all(world: &World) {
    python(world, "db.orders.update_one({'_id': 7}, {'$set': {'value': 'live'}})").accepted();
    let (before, main) = (live(world), world.main_in_container());
    edit(world, "v2", "v3");
    world.push().declined(r#"changed meanwhile: orders _id={"$numberInt":"7"}"#);
    assert_eq!((live(world), world.main_in_container()), (before, main));
    assert_nothing_left(world, "a conflict");
    world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    world.pull().accepted();
    // A document that the server refuses, and one that is no document.
    let customers = "data/shop/data/customers/rows.tsv";
    for (from, to, words) in [
        ("\"customer 7\"}\n", "\"customer 8\"}\n", "data/shop/data/customers/rows.tsv:9: Duplicate key"),
        ("\"customer 7\"}\n", "\"customer 7}\n", "data/shop/data/customers/rows.tsv:8: "),
    ] {
        let before = (live(world), world.main_in_container());
        world.replace(ITEMS, "\n7\tv2\n", "\n7\tv3\n");
        world.replace(customers, from, to);
        world.commit("a bad document");
        world.push().declined(words);
        assert_eq!((live(world), world.main_in_container()), before);
        world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    }
    assert_nothing_left(world, "a bad document");
}

fn everything_is_back_after_destroy_and_push(world: &World) {
    let before = dump(world);
    assert!(before.lines().count() > 600 && before.contains("'unique', True"), "the dump holds the documents");
    world.glxc(&["destroy", "--discard", &world.name]).accepted();
    world.push().accepted();
    let head = world.head();
    world.pull().accepted();
    assert_eq!(world.head(), head, "the last pull brings nothing");
    assert_eq!(live(world), ["v2", "live", "v2"]);
    // What was ignored is gone with the container.
    let without_ignored = before.lines().filter(|line| !line.starts_with("cache_pages ")).collect::<Vec<_>>();
    assert_eq!(dump(world).lines().collect::<Vec<_>>(), without_ignored);
    assert_nothing_left(world, "destroy and push");
}

/// What dies at a point of MongoDB's handler.
const KINDS: [(&str, &str); 2] =
    [("guest", "kill"), ("server", "run pkill -9 -x ferretdb; echo $? > /var/lib/glxc/failpoints/killed; sleep 0.2")];

/// Everything has the value `old`, and is to have `new`. The collection `extra` and an index of orders come with each second push, and
/// go with the others.
struct Faults {
    world: World,
    number: u32,
    old: String,
    new: String,
    has_extra: bool,
    /// How often which kind ended old and new.
    outcomes: BTreeMap<(&'static str, bool), u32>,
}

impl Faults {
    fn edit(&mut self) {
        const INDEX: &str = r#"{"v":{"$numberInt":"2"},"key":{"n":{"$numberInt":"1"}},"name":"n"}
"#;
        const ORDERS: &str = "data/shop/schema/collections/orders.jsonl";
        let (definition, rows) = ("data/shop/schema/collections/extra.jsonl", "data/shop/data/extra");
        self.number += 1;
        self.old = std::mem::replace(&mut self.new, format!("v{}", self.number));
        self.has_extra = !self.has_extra;
        let orders = self.world.read(ORDERS).replace(INDEX, "");
        if self.has_extra {
            self.world.write(definition, &format!("{{\"collection\":\"extra\",\"options\":{{}}}}\n{INDEX}"));
            self.world.write(&format!("{rows}/rows.tsv"), "#glxc-rows 1\tkey=1bson\tdocument\n{\"_id\":\"a\"}\n");
            let (first, others) = orders.split_once('\n').unwrap();
            self.world.write(ORDERS, &format!("{first}\n{INDEX}{others}"));
        } else {
            std::fs::remove_file(self.world.folder().join(definition)).unwrap();
            std::fs::remove_dir_all(self.world.folder().join(rows)).unwrap();
            self.world.write(ORDERS, &orders);
        }
        edit(&self.world, &self.old, &self.new);
    }

    /// Whether live has one value everywhere, and the collection and the index or neither.
    fn has(&self, value: &str, extra: bool) -> bool {
        let script = "print('extra' in db.list_collection_names(), 'n' in db.orders.index_information())";
        let both = if extra { "True True" } else { "False False" };
        python(&self.world, script).accepted().trim() == both && live(&self.world) == values(value)
    }

    fn is_new(&self) -> bool {
        self.has(&self.new, self.has_extra)
    }

    fn is_old(&self) -> bool {
        self.has(&self.old, !self.has_extra)
    }

    /// The points that an undisturbed push passes, in order.
    fn trace(&mut self) -> Vec<String> {
        self.edit();
        self.world.arm("");
        self.world.push().accepted();
        assert!(self.is_new());
        self.world.hits()
    }

    /// One fault in a push. The next contact settles it, and the next push works.
    fn strike(&mut self, hit: usize, name: &str, (kind, action): (&'static str, &str)) {
        self.edit();
        let context = format!("extra {}, hit {hit} ({name}), {kind}", self.has_extra);
        self.world.arm(&format!("{hit} {action}\\n"));
        let said_done = self.world.push().ok;
        let hits = self.world.hits();
        assert!(hits.len() >= hit && hits[hit - 1] == name, "{context}: {hits:?}");
        if kind == "server" {
            let killed = self.world.exec("cd /var/lib/glxc/failpoints && cat killed && rm killed").accepted();
            assert_eq!(killed, "0\n", "{context}: no server was killed");
        }
        self.world.git(&["fetch", &self.world.name]).accepted();
        let happened = self.is_new();
        assert!(happened || self.is_old(), "{context}: neither old nor new: {:?}", live(&self.world));
        assert_eq!(self.world.main_in_container() == self.world.head(), happened, "{context}: refs and data differ");
        assert!(happened || !said_done, "{context}: git was told that it worked");
        assert_nothing_left(&self.world, &context);
        *self.outcomes.entry((kind, happened)).or_default() += 1;
        if !happened {
            self.world.push().accepted();
            assert!(self.is_new(), "{context}: the next push");
            assert_nothing_left(&self.world, &context);
        }
    }
}

fn every_point_is_survived(world: World) {
    world.exec("mkdir -p /var/lib/glxc/failpoints").accepted();
    // The three have the same value again.
    world.replace(ORDERS, &order("live"), &order("v2"));
    world.commit("agreed");
    world.push().accepted();
    let mut faults =
        Faults { world, number: 2, old: "v2".into(), new: "v2".into(), has_extra: false, outcomes: BTreeMap::new() };
    // Pushes that bring the collection, and pushes that remove it, take turns.
    let traces = [faults.trace(), faults.trace()];
    let mut never = points();
    // The program dies at each point of both; the server once at each.
    let mut due = traces.map(|trace| {
        let mut due = Vec::new();
        for point in points() {
            let mut hits = trace.iter().enumerate().filter(|(_, name)| **name == point).map(|(at, _)| at + 1);
            let Some(first) = hits.next() else { continue };
            due.push((first, point.clone(), KINDS[0]));
            if let Some(at) = never.iter().position(|name| *name == point) {
                never.remove(at);
                due.push((hits.next_back().unwrap_or(first), point, KINDS[1]));
            }
        }
        due
    });
    assert!(never.is_empty(), "never hit: {never:?}");
    while due.iter().any(|due| !due.is_empty()) {
        match due[usize::from(faults.has_extra)].pop() {
            Some((hit, name, kind)) => faults.strike(hit, &name, kind),
            None => drop(faults.trace()),
        }
    }
    #[allow(clippy::print_stdout)] // what was tried is what a reader of the output wants to know
    {
        println!("faults of MongoDB: {:?}", faults.outcomes);
    }
    assert!(faults.outcomes.len() == 4, "of each kind some pushes ended old and some new: {:?}", faults.outcomes);
}

/// All points of MongoDB's handler.
fn points() -> Vec<String> {
    failpoints().filter(|point| point.starts_with("mongodb")).map(str::to_owned).collect()
}

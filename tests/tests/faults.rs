//! Everything dies at every point of a push and of a pull, on a real container with a real PostgreSQL: the next contact
//! settles it, and the state is entirely old or entirely new.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use glxc_tests::{Process, World, failpoints, scaled, signal_kill};

const CONFIG: &str = r#"
[container]
release = "bookworm"

[state.app]
handler = "postgresql"
path = "data/app"
database = "app"

[state.second]
handler = "postgresql"
path = "data/second"
database = "second"

[state.uploads]
handler = "files"
path = "data/uploads"
root = "/srv/uploads"
"#;

const SQL: &str = "CREATE TABLE item (id bigint PRIMARY KEY, value text NOT NULL); \
                   CREATE TABLE part (id bigint PRIMARY KEY, item bigint NOT NULL REFERENCES item); \
                   INSERT INTO item SELECT n, 'v0' FROM generate_series(1, 2000) n; \
                   INSERT INTO part SELECT n, n FROM generate_series(1, 2000) n";

const SETUP: &str = "sysconf_require_packages postgresql procps
mkdir -p /srv/uploads
prepared=/etc/postgresql/15/main/conf.d/prepared.conf
if ! test -e $prepared; then
    echo 'max_prepared_transactions = 8' > $prepared
    systemctl restart postgresql
fi
";

/// What dies, or breaks, at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The guest: the exporter or the hook.
    Guest,
    /// A write, as on a full disk.
    FullDisk,
    /// git's receive-pack: the connection is cut from inside.
    Connection,
    /// The user's git, which front and keeper outlive.
    Git,
    /// Front: the connection is cut outside.
    Front,
    /// The keeper: the connection is cut between front and the container.
    Keeper,
    /// git, front and keeper at once.
    Client,
    /// The server's backend of ours, which makes PostgreSQL recover from its log.
    Server,
    /// Nothing dies, but somebody locks a table for longer than a push waits.
    Lock,
    /// The whole container.
    Container,
}

/// Killing the container takes longest, so it is not among them and has every 15th point of a round.
const KINDS: [Kind; 9] = [
    Kind::Guest,
    Kind::FullDisk,
    Kind::Keeper,
    Kind::Lock,
    Kind::Connection,
    Kind::Git,
    Kind::Server,
    Kind::Front,
    Kind::Client,
];

/// The kinds of a pull. What cuts its connection is outside of the container.
fn kinds_of_pull() -> Vec<Kind> {
    KINDS.into_iter().filter(|kind| *kind != Kind::Connection).collect()
}

impl Kind {
    fn action(self) -> &'static str {
        match self {
            Kind::Guest => "kill",
            Kind::FullDisk => "fail",
            Kind::Connection => "cut",
            Kind::Server => {
                "run pkill -9 -f '[p]ostgres: .* app .*idle' || pkill -9 -f '[p]ostgres: .*walwriter'; \
                 echo $? > /var/lib/glxc/failpoints/killed; sleep 0.1"
            }
            // Longer than a push waits for a lock, and shorter than an export waits for a quiet moment.
            Kind::Lock => {
                "run (PGAPPNAME=holder runuser -u postgres -- psql -Xq -d app \
                 -c 'BEGIN; LOCK TABLE item; SELECT pg_sleep(20)' > /dev/null 2>&1 < /dev/null &); \
                 until runuser -u postgres -- psql -XAtqc \
                     'SELECT 1 FROM pg_stat_activity WHERE application_name = $$holder$$ AND query > $$$$' | grep -q 1; \
                 do sleep 0.05; done; sleep 0.1"
            }
            Kind::Git | Kind::Front | Kind::Keeper | Kind::Client | Kind::Container => "wait",
        }
    }

    /// Whether it dies outside of the container, while the guest waits at the point.
    fn is_outside(self) -> bool {
        matches!(self, Kind::Git | Kind::Front | Kind::Keeper | Kind::Client | Kind::Container)
    }

    /// Whether git can not say that it worked, at whatever point: who would have to say so is dead.
    fn is_noticed(self) -> bool {
        !matches!(self, Kind::FullDisk | Kind::Server | Kind::Lock)
    }

    /// Whether a process of the user's side is one that dies.
    fn strikes(self, process: &Process, git: u32) -> bool {
        match self {
            Kind::Git => process.number == git.to_string(),
            Kind::Front => process.name == "glxc",
            Kind::Keeper => process.is_keeper(),
            _ => true,
        }
    }
}

/// The last words of the test: what was tried, and what came of it.
#[derive(Debug, Default)]
struct Tally {
    outcomes: BTreeMap<(&'static str, Kind, &'static str), u32>,
    hit: BTreeSet<String>,
    /// How often the unit at the container's start had settled it.
    units: u32,
}

/// A row of either database, two files, and one of the system's configuration.
type Values = [String; 5];

/// What is live, and what is agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    values: Values,
    main: String,
}

struct Faults {
    world: World,
    number: u32,
    /// What is live.
    old: Values,
    /// What the repository has.
    new: Values,
    tally: Tally,
}

impl Faults {
    fn new(world: World) -> Self {
        let name = world.name.clone();
        world.glxc(&["init", &name]).accepted();
        world.write("glxc.toml", CONFIG);
        world.write("sysconf/actual/deps", "sysconf.base\n");
        world.write("sysconf/actual/setup.rc", SETUP);
        world.write("sysconf/actual/ready.rc", "cat /etc/motd > /srv/ready\n");
        world.write("sysconf/actual/tree/etc/motd", "v0\n");
        world.commit("an empty machine");
        world.push().accepted();
        for database in ["app", "second"] {
            let create = format!("CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'");
            world.psql("postgres", &create).accepted();
            world.psql(database, SQL).accepted();
        }
        world
            .exec("echo v0 > /srv/uploads/one; echo v0 > /srv/uploads/two; mkdir -p /var/lib/glxc/failpoints")
            .accepted();
        world.pull().accepted();
        let [old, new] = [(); 2].map(|()| ["v0"; 5].map(String::from));
        Faults { world, number: 0, old, new, tally: Tally::default() }
    }

    /// Everything has a new value, which is told; the second database only if `both` do.
    fn renew(&mut self, both: bool) -> String {
        self.number += 1;
        let value = format!("v{}", self.number);
        self.old = self.new.clone();
        for (at, new) in self.new.iter_mut().enumerate().filter(|(at, _)| both || *at != 1) {
            assert_eq!(*new, self.old[at]);
            new.clone_from(&value);
        }
        value
    }

    /// Edits everything in the repository.
    fn edit(&mut self, both: bool) {
        let new = self.renew(both);
        let world = &self.world;
        for state in ["app", "second"].iter().take(if both { 2 } else { 1 }) {
            let rows = world.git(&["ls-files", &format!("data/{state}/data/public.item/")]).accepted();
            let rows = rows.lines().next().unwrap();
            let text = world.read(rows);
            let line = text.lines().find(|line| line.starts_with("7\t")).unwrap();
            world.replace(rows, &format!("\n{line}\n"), &format!("\n7\t{new}\n"));
        }
        for file in ["data/uploads/files/one", "data/uploads/files/two", "sysconf/actual/tree/etc/motd"] {
            assert_eq!(world.read(file), format!("{}\n", self.old[2]));
            world.write(file, &format!("{new}\n"));
        }
        world.commit(&new);
    }

    /// Changes everything live, as the application would.
    fn change_live(&mut self) {
        let value = self.renew(false);
        self.world.psql("app", &format!("UPDATE item SET value = '{value}' WHERE id = 7")).accepted();
        self.world
            .exec(&format!("for file in /srv/uploads/one /srv/uploads/two /etc/motd; do echo {value} > $file; done"))
            .accepted();
    }

    /// Looks at everything, and that nothing of ours is left.
    fn look(&self, context: &str) -> Seen {
        const LEFT: &str = "SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'glxc%' \
               UNION ALL SELECT 'database ' || datname FROM pg_database WHERE datname LIKE 'glxc%' \
               UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE 'glxc%' \
               UNION ALL SELECT 'backend ' || application_name FROM pg_stat_activity WHERE application_name LIKE 'glxc%' \
               UNION ALL SELECT 'transaction ' || gid FROM pg_prepared_xacts";
        let script = format!(
            "command -v pgrep > /dev/null || exit 1; for database in app second; do \
                 runuser -u postgres -- psql -XAtq -d $database -c \"SELECT value FROM item WHERE id = 7\" -c \"{LEFT}\" \
                 || exit 1; done; \
             cat /srv/uploads/one /srv/uploads/two /etc/motd; git --git-dir=/var/lib/glxc/repo.git rev-parse main; \
             cd /var/lib/glxc; ls -A op scratch check | grep -v ':$' | grep .; ls journal 2>/dev/null; ls -A /srv/uploads | grep glxc; \
             git --git-dir=repo.git for-each-ref 'refs/glxc/**'; pgrep -fl '/usr/lib/[g]lxc/guest|/usr/bin/[g]lxc|[p]roc-receive|[r]eceive-pack|[u]pload-pack|[p]ack-objects'; true"
        );
        let until = Instant::now() + Duration::from_secs(5);
        let lines = loop {
            let text = self.world.exec(&script).accepted();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if lines.len() == 6 {
                break lines;
            }
            // A process that was told to end may take a moment.
            assert!(Instant::now() < until, "{context}: something is left:\n{text}");
        };
        let (main, values) = lines.split_last().unwrap();
        Seen { values: values.to_vec().try_into().unwrap(), main: main.clone() }
    }

    fn hits(&mut self) -> Vec<String> {
        let hits = self.world.hits();
        self.tally.hit.extend(hits.iter().cloned());
        hits
    }

    /// Runs git, in which a fault strikes at a hit. Whether it said that it worked.
    fn strike(&self, arguments: &[&str], hit: usize, kind: Kind, context: &str) -> bool {
        self.world.arm(&format!("{hit} {}\\n", kind.action().replace('\'', "'\\''")));
        let stderr = if kind == Kind::Lock { Stdio::piped() } else { Stdio::null() };
        let mut under_way = self.world.start_git(arguments, stderr);
        if kind.is_outside() {
            self.wait_for(hit, context);
            if kind == Kind::Container {
                self.kill_container();
            } else {
                let git = under_way.git.id();
                let struck = under_way.processes().into_iter().filter(|process| kind.strikes(process, git));
                let struck: Vec<String> = struck.map(|process| process.number).collect();
                assert!(!struck.is_empty(), "{context}: nobody is there to be killed");
                signal_kill(&struck);
                self.world.exec("rm -f /var/lib/glxc/failpoints/armed").accepted();
            }
        }
        let mut stderr = String::new();
        if let Some(mut pipe) = under_way.git.stderr.take() {
            pipe.read_to_string(&mut stderr).unwrap();
        }
        let said_done = under_way.git.wait().unwrap().success();
        assert!(!said_done || !kind.is_noticed(), "{context}: git was told that it worked");
        under_way.wait_until_nothing_is_left(context);
        if kind == Kind::Lock {
            self.release_lock(said_done, &stderr, context);
        }
        if kind == Kind::Server {
            let killed = self.world.exec("cd /var/lib/glxc/failpoints && cat killed && rm killed").accepted();
            assert_eq!(killed, "0\n", "{context}: no server was killed");
        }
        said_done
    }

    /// Ends who held the lock, or was waiting for it. Git had said so, if that was in its way.
    fn release_lock(&self, said_done: bool, stderr: &str, context: &str) {
        assert!(said_done || stderr.contains("lock"), "{context}: {stderr}");
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'holder'";
        // A push that replaces the database ends its sessions, and an export outwaits it.
        let ended = self.world.psql("postgres", end).accepted();
        assert!(ended == "1\n" || said_done || context.starts_with("load"), "{context}: {ended} who locked the table");
    }

    fn wait_for(&self, hit: usize, context: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        let hits = || self.world.exec("wc -l < /var/lib/glxc/failpoints/hits 2>/dev/null; true").accepted();
        while hits().trim().parse::<usize>().unwrap_or(0) < hit {
            assert!(Instant::now() < until, "{context}: hit {hit} never came");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Kills the container's init from the host, as a power cut would, and starts it again.
    fn kill_container(&self) {
        let inside: Vec<String> = self.world.processes().into_iter().map(|process| process.number).collect();
        assert!(!inside.is_empty(), "the container has processes");
        signal_kill(&inside);
        let until = Instant::now() + Duration::from_secs(60);
        let is_stopped =
            |list: &str| list.lines().any(|line| line.starts_with(&self.world.name) && line.contains("stopped"));
        while !is_stopped(&self.world.glxc(&["list"]).accepted()) {
            assert!(Instant::now() < until, "the container does not go down");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.world.glxc(&["start", &self.world.name]).accepted();
        self.world.exec("rm -f /var/lib/glxc/failpoints/armed").accepted();
    }

    /// The unit at the container's start has settled everything before anybody came by; it ran no scripts.
    fn check_unit(&mut self, context: &str) {
        let ended = "systemctl show -P ExecMainExitTimestampMonotonic glxc-recover";
        let until = Instant::now() + Duration::from_secs(60);
        while self.world.exec(ended).accepted().trim() == "0" {
            assert!(Instant::now() < until, "{context}: the unit does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(self.world.exec("systemctl show -P Result glxc-recover").accepted(), "success\n", "{context}");
        let script = "for database in app second; do \
                      runuser -u postgres -- psql -XAtq -d $database -c 'SELECT value FROM item WHERE id = 7'; done; \
                      cat /srv/uploads/one /srv/uploads/two /etc/motd; ls /var/lib/glxc/journal 2>/dev/null; cat /srv/ready";
        let text = self.world.exec(script).accepted();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let ready = lines.pop().unwrap();
        let pending = lines.pop_if(|line| line.ends_with("journal")).is_some();
        let happened = lines == self.new;
        assert!(happened || lines == self.old, "{context}: the unit left {text}");
        assert!(!pending || happened, "{context}: only `ready.rc` is left to the next contact: {text}");
        assert!(!pending || ready != self.new[4], "{context}: the unit runs no scripts: {text}");
        self.tally.units += 1;
    }

    /// One fault in a push of everything. The next contact, and the next push, work.
    fn push(&mut self, what: &'static str, options: &[&str], hit: usize, name: &str, kind: Kind) {
        self.edit(what == "both");
        let context = format!("{what}, hit {hit} ({name}), {kind:?}");
        let remote = self.world.name.clone();
        let arguments = [&["push"], options, &[&remote, "main"]].concat();
        let said_done = self.strike(&arguments, hit, kind, &context);
        let hits = self.hits();
        assert!(hits.len() >= hit && hits[hit - 1] == name, "{context}: {hits:?}");
        if kind == Kind::Container {
            self.check_unit(&context);
        }
        self.world.git(&["fetch", &remote]).accepted();
        let seen = self.look(&context);
        let happened = seen.values == self.new;
        assert!(happened || seen.values == self.old, "{context}: neither old nor new: {seen:?}");
        assert_eq!(seen.main == self.world.head(), happened, "{context}: refs and data differ: {seen:?}");
        assert!(happened || !said_done, "{context}: git was told that it worked");
        self.count(what, kind, happened);
        if !happened {
            let next = self.world.git(&arguments);
            assert!(next.ok, "{context}: the next push: {}", next.stderr);
            let seen = self.look(&context);
            assert_eq!((seen.values, seen.main), (self.new.clone(), self.world.head()), "{context}");
        }
    }

    /// A push of two databases dies, and nobody comes by: what they prepared keeps no lock for long.
    fn attended(&mut self, hit: usize, name: &str) {
        self.edit(true);
        let remote = self.world.name.clone();
        assert!(!self.strike(&["push", &remote, "main"], hit, Kind::Guest, name), "{name}");
        let left = || self.world.psql("app", "SELECT count(*) FROM pg_prepared_xacts").accepted();
        let until = Instant::now() + Duration::from_secs(20);
        while left().trim() != "0" {
            assert!(Instant::now() < until, "{name}: what is prepared stays");
            std::thread::sleep(Duration::from_millis(50));
        }
        let item = "SELECT value FROM item WHERE id = 7";
        let live = ["app", "second"].map(|database| self.world.psql(database, item).accepted().trim().to_owned());
        let wanted = if name == "committed" { &self.new } else { &self.old };
        assert_eq!(live[..], wanted[..2], "{name}");
        let hits = self.hits();
        assert_eq!(hits[hit - 1], name, "{hits:?}");
        self.world.git(&["fetch", &remote]).accepted();
        if self.look(name).values == self.old {
            self.world.push().accepted();
        }
    }

    /// One fault in a pull of everything. The next pull works.
    fn pull(&mut self, hit: usize, name: &str, kind: Kind) {
        self.change_live();
        let context = format!("pull, hit {hit} ({name}), {kind:?}");
        let remote = self.world.name.clone();
        let before = self.world.head();
        self.strike(&["fetch", &remote], hit, kind, &context);
        let hits = self.hits();
        assert!(hits.len() >= hit && hits[hit - 1] == name, "{context}: {hits:?}");
        let main = self.world.exec("git --git-dir=/var/lib/glxc/repo.git rev-parse main").accepted();
        self.world.pull().accepted();
        let seen = self.look(&context);
        assert_eq!((seen.values, seen.main), (self.new.clone(), self.world.head()), "{context}");
        assert_eq!(self.world.read("data/uploads/files/one"), format!("{}\n", self.new[2]), "{context}");
        self.count("pull", kind, main.trim() != before);
    }

    /// A push is killed, and so is its recovery, at every point.
    fn recovery(&mut self, hit: usize, name: &str, step: usize) -> bool {
        self.edit(false);
        let context = format!("recovery, hit {hit} ({name}), killed {step} hits later");
        let remote = self.world.name.clone();
        self.world.arm(&format!("{hit} kill\\n{} kill\\n", hit + step));
        assert!(!self.world.push().ok, "{context}");
        let interrupted = !self.world.git(&["fetch", &remote]).ok;
        let hits = self.hits();
        assert_eq!(hits.len() == hit + step, interrupted, "{context}: {hits:?}");
        self.world.git(&["fetch", &remote]).accepted();
        let seen = self.look(&context);
        let happened = seen.values == self.new;
        assert!(happened || seen.values == self.old, "{context}: neither old nor new: {seen:?}");
        assert_eq!(seen.main == self.world.head(), happened, "{context}: refs and data differ: {seen:?}");
        self.count("recovery", Kind::Guest, happened);
        if !happened {
            self.world.push().accepted();
        }
        interrupted
    }

    fn count(&mut self, what: &'static str, kind: Kind, happened: bool) {
        *self.tally.outcomes.entry((what, kind, if happened { "new" } else { "old" })).or_default() += 1;
    }

    /// The points that an undisturbed run passes, in order.
    fn trace(&mut self, arguments: &[&str]) -> Vec<String> {
        self.world.arm("");
        self.world.git(arguments).accepted();
        self.hits()
    }
}

#[test]
fn every_point_is_survived() {
    let Some(world) = World::with_failpoints("t-glxc-faults") else { return };
    let mut faults = Faults::new(world);
    let rounds = scaled(1) as usize;
    let of_pull = kinds_of_pull();
    let remote = faults.world.name.clone();
    faults.edit(false);
    let push = faults.trace(&["push", &remote, "main"]);
    faults.change_live();
    let pull = faults.trace(&["fetch", &remote]);
    faults.world.pull().accepted();
    faults.edit(false);
    let load = faults.trace(&["push", "-o", "replace=app", &remote, "main"]);
    faults.edit(true);
    let both = faults.trace(&["push", &remote, "main"]);
    assert_eq!(faults.look("undisturbed").values, faults.new);
    let first = |of: &[String], point: &str| of.iter().position(|name| name == point).unwrap();
    for round in 0..rounds {
        for (at, name) in push.iter().enumerate() {
            let kind = if at % 15 == 7 + round % 7 { Kind::Container } else { KINDS[(at + round) % 9] };
            faults.push("push", &[], at + 1, name, kind);
        }
        for (at, name) in pull.iter().enumerate() {
            faults.pull(at + 1, name, of_pull[(at + round) % of_pull.len()]);
        }
        let only_loads = |name: &str| name.starts_with("postgresql") || name.starts_with("commit");
        for (at, name) in load.iter().enumerate().filter(|(_, name)| only_loads(name)) {
            faults.push("load", &["-o", "replace=app"], at + 1, name, KINDS[(at + round) % 9]);
        }
        let (from, to) = (first(&both, "prepare"), first(&both, "refs"));
        for (at, name) in both.iter().enumerate().take(to).skip(from) {
            faults.push(
                "both",
                &[],
                at + 1,
                name,
                if name == "decide" { Kind::Container } else { KINDS[(at + round) % 9] },
            );
        }
        for point in ["prepared", "committed"] {
            faults.attended(first(&both, point) + 1, point);
        }
        for point in ["decide", "committed"] {
            let hit = first(&push, point) + 1;
            let steps = (1..60).take_while(|step| faults.recovery(hit, point, *step)).count();
            assert!(steps > 5, "{point}: a recovery has more than {steps} points");
        }
    }
    #[allow(clippy::print_stdout)] // what was tried is what a reader of the output wants to know
    {
        let Tally { outcomes, hit, units } = &faults.tally;
        println!("faults at {} points; settled by the unit at start: {units}; {outcomes:?}", hit.len());
    }
    let points = points();
    let never: Vec<_> = points.iter().filter(|point| !faults.tally.hit.contains(*point)).collect();
    assert!(never.is_empty(), "never hit: {never:?}");
    let outcomes: Vec<_> = faults.tally.outcomes.keys().collect();
    for outcome in ["old", "new"] {
        for what in ["push", "load", "both", "pull", "recovery"] {
            assert!(outcomes.iter().any(|of| (of.0, of.2) == (what, outcome)), "{what}: {outcome} was never seen");
        }
        for kind in KINDS.into_iter().chain([Kind::Container]) {
            assert!(outcomes.iter().any(|of| (of.1, of.2) == (kind, outcome)), "{kind:?}: {outcome} was never seen");
        }
    }
}

/// All points that the programs have, but for those of MariaDB and MongoDB, which have tests of their own.
fn points() -> BTreeSet<String> {
    let others = ["mysql", "mongodb"];
    failpoints().filter(|point| !others.iter().any(|other| point.starts_with(other))).map(str::to_owned).collect()
}

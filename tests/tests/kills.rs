//! Pushes are killed at random moments, on a real container with a real PostgreSQL: the next push or fetch works with no
//! manual step, and the data is old or new.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use glxc_tests::{Process, Said, UnderWay, World, scaled, signal_kill};

const CONFIG: &str = r#"
[container]
release = "bookworm"

[state.app]
handler = "postgresql"
path = "data/app"
database = "app"

[state.uploads]
handler = "files"
path = "data/uploads"
root = "/srv/uploads"
"#;

const SQL: &str = "CREATE TABLE item (id bigint PRIMARY KEY, value text NOT NULL); \
                   CREATE TABLE part (id bigint PRIMARY KEY, item bigint NOT NULL REFERENCES item); \
                   INSERT INTO item SELECT n, 'before' FROM generate_series(1, 2000) n; \
                   INSERT INTO part SELECT n, n FROM generate_series(1, 2000) n";

const ROWS: &str = "data/app/data/public.item/rows.tsv";
const FILE: &str = "data/uploads/files/killed";

/// From so many kills on they are spread over several containers at a time.
const MANY: u32 = 1000;

/// What a random kill strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Struck {
    /// The user's git alone, which front and keeper outlive.
    Git,
    /// Front alone.
    Front,
    /// The keeper alone.
    Keeper,
    /// git, front and keeper.
    Client,
    /// One process of ours in the container: git, a hook, what serves them.
    Guest,
    /// A process of the database server, which ends all its sessions and recovers.
    Server,
}

const ALL: [Struck; 6] = [Struck::Git, Struck::Front, Struck::Keeper, Struck::Client, Struck::Guest, Struck::Server];

impl Struck {
    fn strikes(self, process: &Process) -> bool {
        let name = process.name.as_str();
        match self {
            Struck::Git => name == "git" && process.command.starts_with("git push"),
            Struck::Front => name == "glxc",
            Struck::Keeper => process.is_keeper(),
            Struck::Client => true,
            Struck::Guest => {
                name == "glxc" || name.starts_with("guest-") || name.starts_with("git") || name.ends_with("-receive")
            }
            // Not the one that starts the others, which its service would start again only so often.
            Struck::Server => process.command.starts_with("postgres: "),
        }
    }
}

type Tally = BTreeMap<(Struck, &'static str), u32>;

/// Pushes that are killed at random moments; each gives a row and a file one new value.
struct Kills {
    world: World,
    seed: u64,
    random: u64,
    /// How long a push takes that nobody kills.
    typical: Duration,
}

impl Kills {
    fn new(world: World, seed: u64) -> Self {
        let name = world.name.clone();
        world.glxc(&["init", &name]).accepted();
        world.write("glxc.toml", CONFIG);
        world.write("sysconf/actual/deps", "sysconf.base\n");
        world.write("sysconf/actual/setup.rc", "sysconf_require_packages postgresql procps\nmkdir -p /srv/uploads\n");
        world.commit("an empty machine");
        world.push().accepted();
        world.psql("postgres", "CREATE DATABASE app TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'").accepted();
        world.psql("app", SQL).accepted();
        world.exec("echo before > /srv/uploads/killed").accepted();
        world.pull().accepted();
        Kills { world, seed, random: seed, typical: Duration::ZERO }
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.random >> 33) * end) >> 31
    }

    fn edit(&self, value: &str) {
        let text = self.world.read(ROWS);
        let line = text.lines().find(|line| line.starts_with("7\t")).unwrap();
        self.world.replace(ROWS, &format!("\n{line}\n"), &format!("\n7\t{value}\n"));
        self.world.write(FILE, &format!("{value}\n"));
        self.world.commit(value);
    }

    /// The row, the file, and the agreed commit. A server that was struck may still recover.
    fn live(&self) -> [String; 3] {
        let script = "cd /; for n in $(seq 200); do \
                      runuser -u postgres -- psql -XAtqd app -c 'SELECT value FROM item WHERE id = 7' && break; sleep 0.1; done; \
                      cat /srv/uploads/killed && git --git-dir=/var/lib/glxc/repo.git rev-parse main";
        let said = self.world.exec(script).accepted();
        said.lines().map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
    }

    /// A push of what the repository has. Where it had something to do, it tells how long one takes.
    fn push(&mut self) -> Said {
        let start = Instant::now();
        let said = self.world.push();
        if said.ok && !said.stderr.contains("up-to-date") {
            let took = start.elapsed();
            self.typical = if self.typical.is_zero() { took } else { (self.typical * 3 + took) / 4 };
        }
        said
    }

    /// Begins a push and kills somebody while it is under way. Whom, unless nobody was there to be killed; and whether git
    /// said that it worked.
    fn kill(&mut self) -> (Option<Struck>, bool) {
        let moment = self.typical.mul_f64(self.below(1_200_000) as f64 / 1e6);
        let kind = ALL[self.below(ALL.len() as u64) as usize];
        let mut push = self.world.start_git(&["push", &self.world.name, "main"], Stdio::null());
        std::thread::sleep(moment);
        let struck = push.git.try_wait().unwrap().is_none() && self.strike(kind, &push);
        let said_done = push.git.wait().unwrap().success();
        push.wait_until_nothing_is_left(&format!("seed {}, {kind:?}", self.seed));
        // What a killed git leaves in the user's own repository is between the two, whatever the remote is.
        let lock = format!(".git/refs/remotes/{}/main.lock", self.world.name);
        let _ = std::fs::remove_file(self.world.folder().join(lock));
        (struck.then_some(kind), said_done)
    }

    /// Whether there was one to kill.
    fn strike(&mut self, kind: Struck, push: &UnderWay) -> bool {
        let inside = matches!(kind, Struck::Guest | Struck::Server);
        let all = if inside { self.world.processes() } else { push.processes() };
        let mut struck: Vec<_> = all.into_iter().filter(|process| kind.strikes(process)).map(|p| p.number).collect();
        if struck.is_empty() {
            return false;
        }
        if inside {
            struck = vec![struck.swap_remove(self.below(struck.len() as u64) as usize)];
        }
        signal_kill(&struck);
        true
    }

    /// Kills so many pushes; after each the next fetch or push settles it.
    fn run(&mut self, count: u32) -> Tally {
        self.edit("first");
        self.push().accepted();
        // The row of the file's owner and mode, which was left to the export.
        self.world.pull().accepted();
        let mut before = self.live();
        let mut tally = Tally::new();
        let (mut killed, mut number) = (0, 0);
        while killed < count {
            number += 1;
            assert!(number < 4 * count + 100, "{killed} of {number} pushes could be killed");
            let value = format!("kill {number}");
            self.edit(&value);
            let wanted = [value.clone(), value, self.world.head()];
            let (struck, said_done) = self.kill();
            let context = format!("seed {}, push {number}, {struck:?}", self.seed);
            let happened = if number % 2 == 0 {
                self.world.git(&["fetch", &self.world.name]).accepted();
                let after = self.live();
                assert!(after == before || after == wanted, "{context}: {before:?} {after:?}");
                after == wanted
            } else {
                let said = self.push();
                assert!(said.ok, "{context}: {}", said.stderr);
                assert_eq!(self.live(), wanted, "{context}");
                said.stderr.contains("up-to-date")
            };
            assert!(happened || !said_done, "{context}: git was told that it worked");
            if happened || number % 2 == 1 {
                before = wanted;
            }
            let Some(struck) = struck else {
                assert!(happened, "{context}: a push that had ended did not happen");
                continue;
            };
            *tally.entry((struck, if happened { "new" } else { "old" })).or_default() += 1;
            killed += 1;
            if killed % 100 == 0 {
                self.assert_nothing_left();
                #[allow(clippy::print_stdout)] // hours pass in a soak
                {
                    println!("{}: {killed} of {count} kills", self.world.name);
                }
            }
        }
        self.push().accepted();
        self.assert_nothing_left();
        tally
    }

    /// No schema, database, role, session, prepared transaction, file or ref of ours is left in the container.
    fn assert_nothing_left(&self) {
        let sql = "SELECT nspname FROM pg_namespace WHERE nspname LIKE $$glxc%$$ \
                   UNION ALL SELECT datname FROM pg_database WHERE datname LIKE $$glxc%$$ \
                   UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE $$glxc%$$ \
                   UNION ALL SELECT application_name FROM pg_stat_activity WHERE application_name LIKE $$glxc%$$ \
                   UNION ALL SELECT gid FROM pg_prepared_xacts";
        let script = format!(
            "cd /; runuser -u postgres -- psql -XAtqd app -c '{sql}'; cd /var/lib/glxc; \
             find op scratch check journal -mindepth 1 2> /dev/null; ls -A /srv/uploads | grep glxc; \
             git --git-dir=repo.git for-each-ref 'refs/glxc/**'; \
             pgrep -fl '/usr/lib/[g]lxc/guest|/usr/bin/[g]lxc|[p]roc-receive|[r]eceive-pack|[u]pload-pack'; true"
        );
        assert_eq!(self.world.exec(&script).accepted(), "", "seed {}", self.seed);
    }
}

#[test]
fn a_push_killed_at_a_random_moment_happened_or_not() {
    let count = scaled(40);
    let containers = if count < MANY { 1 } else { 3 };
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("GLXC_TEST_SEED").map_or_else(|_| now(), |seed| seed.parse().expect("GLXC_TEST_SEED"));
    let worker = |number: u32| {
        let world = World::new(&format!("t-glxc-kills-{number}"))?;
        Some(Kills::new(world, seed + u64::from(number)).run(count.div_ceil(containers)))
    };
    let tallies: Option<Vec<Tally>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..containers).map(|number| scope.spawn(move || worker(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let Some(tallies) = tallies else { return };
    let mut tally = Tally::new();
    for (what, count) in tallies.into_iter().flatten() {
        *tally.entry(what).or_default() += count;
    }
    #[allow(clippy::print_stdout)] // what was tried is what a reader of the output wants to know
    {
        println!("{} random kills, seed {seed}: {tally:?}", tally.values().sum::<u32>());
    }
    for outcome in ["old", "new"] {
        assert!(tally.keys().any(|(_, was)| *was == outcome), "seed {seed}: {outcome} was never seen: {tally:?}");
    }
    for struck in ALL {
        assert!(tally.keys().any(|(who, _)| *who == struck), "seed {seed}: {struck:?} was never struck: {tally:?}");
    }
}

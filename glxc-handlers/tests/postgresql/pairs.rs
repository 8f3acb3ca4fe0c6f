//! One schema with rows becomes another and back, with every change that is listed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use glxc_handlers::MemoryTree;

use crate::cases::{self, SMALL, WITH_ROWS};
use crate::common::postgres::Cluster;
use crate::harness::{Subject, assert_same, chain, normalized};

/// Rows that only live has, where both schemas can hold them.
const LIVE: &str = "
    INSERT INTO s.person (id, name, mood, age, code) VALUES (100, 'Live', 'ok', 40, 100);
    INSERT INTO s.pet (id, owner, name) VALUES (100, 100, 'live');
    INSERT INTO s.event VALUES ('2020-07-07', 'live');
    INSERT INTO s.child (a, b) VALUES (5, 6);";

/// There the same rows are not the same in both schemas: they get a number in an order of their own, another default, no
/// computed value, another partition, or can not be at all.
const NO_LIVE_ROWS: &[&str] = &[
    "an identity column",
    "a domain that refuses more",
    "a column that is not computed any more",
    "an unattached partition",
    "a label that is gone, and its rows",
];

/// The files do not say where a child has the columns of its parent.
const ONLY_THERE: &str = "a table without columns";

/// What came of the pushes.
#[derive(Debug, Default)]
struct Outcomes {
    /// How many pushes altered something, and nothing worse; how many replaced something other than a table; and how many
    /// rebuilt a table.
    ways: BTreeMap<&'static str, usize>,
    /// How many had rows that only live had.
    with_live_rows: usize,
    failed: Vec<String>,
}

struct Pair<'a> {
    number: usize,
    what: &'a str,
    change: &'a str,
}

impl Pair<'_> {
    /// A copy of the first schema, and what makes it another.
    fn database(&self, side: &str, sql: &str) -> Subject {
        let name = format!("pairs_{}_{side}", self.number);
        let subject = Subject::absent(&name).unwrap();
        let create = format!("CREATE DATABASE {name} TEMPLATE pairs_first");
        subject.cluster.connect("postgres").batch_execute(&create).unwrap();
        subject.run(sql);
        subject
    }

    /// Pushes the second schema over the first, or the first over the second.
    fn run(&self, first: &MemoryTree, back: bool, outcomes: &Mutex<Outcomes>) {
        let (one, other) = (self.database("one", ""), self.database("other", self.change));
        let second = other.export();
        let has_live_rows = !NO_LIVE_ROWS.contains(&self.what) && other.connect().batch_execute(LIVE).is_ok();
        if has_live_rows {
            one.run(LIVE);
        }
        let (live, base, goal, next) =
            if back { (&other, &second, &one, first) } else { (&one, first, &other, &second) };
        let (tables, wanted) = (live.tables(), State::of(goal));
        let notes = live.push(Some(base), next).unwrap_or_else(|error| panic!("{}", chain(&error))).notes;
        wanted.assert_is(live);
        let (way, now) = (way(&notes), live.tables());
        let kept = |(name, oid): (&String, &String)| now.get(name).is_none_or(|now| now == oid);
        assert!(way == "rebuilt" || tables.iter().all(kept), "a table is another, and nobody says so: {notes:?}");
        let mut outcomes = outcomes.lock().unwrap();
        *outcomes.ways.entry(way).or_default() += 1;
        outcomes.with_live_rows += usize::from(has_live_rows);
    }
}

/// What a database holds, as we and as `pg_dump` write it.
struct State(MemoryTree, String);

impl State {
    fn of(subject: &Subject) -> State {
        State(subject.export(), normalized(&subject.cluster.dump(&subject.database, &["--exclude-schema=glxc_done_*"])))
    }

    fn assert_is(&self, subject: &Subject) {
        let now = State::of(subject);
        assert_same(&now.0, &self.0);
        let (now, wanted): (Vec<&str>, Vec<&str>) = (sorted(&now.1), sorted(&self.1));
        let lacks = |left: &[&str], right: &[&str]| -> Vec<String> {
            left.iter().filter(|line| !right.contains(line)).map(|line| line.to_string()).collect()
        };
        assert_eq!((lacks(&now, &wanted), lacks(&wanted, &now)), (Vec::new(), Vec::new()));
    }
}

/// The lines of a dump in an order of their own: that of grants and of equal objects is history.
fn sorted(dump: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = dump.lines().map(|line| line.trim_end_matches(',')).collect();
    lines.sort_unstable();
    lines
}

impl Subject {
    /// The object ids of its tables.
    fn tables(&self) -> BTreeMap<String, String> {
        let sql = "SELECT oid::regclass || ' ' || oid FROM pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384";
        let all = self.ask(sql);
        all.split(',').filter_map(|line| line.split_once(' ')).map(|(name, oid)| (name.into(), oid.into())).collect()
    }
}

fn way(notes: &[String]) -> &'static str {
    assert!(notes.len() <= 20 && !notes.is_empty(), "{notes:#?}");
    let any = |verb: &str| notes.iter().any(|note| note.ends_with(verb));
    match () {
        () if any(": rebuilt with its rows") => "rebuilt",
        () if any(": replaced") => "replaced",
        () => "altered",
    }
}

fn first(cluster: &Cluster) -> MemoryTree {
    let roles = "CREATE ROLE glxc_test_owner; CREATE ROLE glxc_test_reader";
    cluster.connect("postgres").batch_execute(roles).unwrap();
    cluster.create("pairs_first");
    cluster.psql("pairs_first", &own_roles(SMALL));
    Subject::absent("pairs_first").unwrap().export()
}

/// The roles of the server are other tests' too.
fn own_roles(sql: &str) -> String {
    sql.replace("app_", "glxc_test_")
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

#[test]
fn each_schema_becomes_each_other_with_its_rows() {
    let Some(probe) = Subject::absent("pairs_first") else { return };
    let first = first(probe.cluster);
    let changes: Vec<(&str, String)> = cases::changes(probe.cluster.major())
        .iter()
        .chain(WITH_ROWS)
        .map(|(what, sql)| (*what, own_roles(sql)))
        .collect();
    let both = std::env::var("GLXC_TEST_SCALE").is_ok_and(|scale| scale.parse::<f64>().is_ok_and(|scale| scale > 1.0));
    let each = changes.iter().enumerate().flat_map(|(at, change)| [false, true].map(|back| (at, back, change)));
    let pairs: Vec<_> = each
        .filter(|(at, back, (what, _))| match *what == ONLY_THERE {
            true => !*back,
            false => both || *back == (at % 2 == 1),
        })
        .collect();
    let (outcomes, next) = (Mutex::new(Outcomes::default()), AtomicUsize::new(0));
    let work = || {
        while let Some((_, back, (what, change))) = pairs.get(next.fetch_add(1, Ordering::SeqCst)) {
            let pair = Pair { number: NEXT.fetch_add(1, Ordering::SeqCst), what, change };
            let run = std::panic::AssertUnwindSafe(|| pair.run(&first, *back, &outcomes));
            if let Err(panic) = std::panic::catch_unwind(run) {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                outcomes
                    .lock()
                    .unwrap()
                    .failed
                    .push(format!("{what}, {}: {text}", if *back { "back" } else { "there" }));
            }
        }
    };
    std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(work))));
    let Outcomes { ways, with_live_rows, failed } = outcomes.into_inner().unwrap();
    println!(
        "{} pushes of {} changes: {ways:?}, {with_live_rows} with rows that only live had",
        pairs.len(),
        changes.len()
    );
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n\n"));
    let all: usize = ways.values().sum();
    assert!(all == pairs.len() && all >= changes.len());
    assert!(ways["altered"] * 2 > all && ways["rebuilt"] * 5 < all, "ALTER is the rule: {ways:?}");
    assert!(with_live_rows * 3 > all * 2, "{with_live_rows}");
}

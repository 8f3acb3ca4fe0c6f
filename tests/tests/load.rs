//! `glxc load` of two databases and files is killed on a real server: all of it happened or nothing did, and nobody waits for locks
//! that it left.

use glxc_tests::{World, scaled};

const SETUP: &str = "sysconf_require_packages postgresql procps
prepared=/etc/postgresql/15/main/conf.d/prepared.conf
if ! test -e $prepared; then
    echo 'max_prepared_transactions = 8' > $prepared
    systemctl restart postgresql
fi
";

const CONFIG: &str = r#"
[state.one]
handler = "postgresql"
path = "one"
database = "one"

[state.two]
handler = "postgresql"
path = "two"
database = "two"

[state.files]
handler = "files"
path = "files"
root = "/srv/files"
"#;

const BEGIN: &str = "set -e; cd /; umask 022; mkdir /srv/files; echo 'kill 0' > /srv/files/value
for database in one two; do
    runuser -u postgres -- createdb -T template0 -E UTF8 -l C.UTF-8 $database
    runuser -u postgres -- psql -Xqd $database -c 'CREATE TABLE item (id int PRIMARY KEY, value text); INSERT INTO item VALUES (7, $$kill 0$$)'
done
glxc dump /srv/dump";

/// Changes all three, begins a load and kills it: at a moment, or once something is prepared. Waits until nothing of it is left,
/// and prints what is live.
const KILL: &str = r#"cd /
sed -i "s/kill [0-9]*$/kill $1/" /srv/dump/one/data/public.item/rows.tsv /srv/dump/two/data/public.item/rows.tsv
echo "kill $1" > /srv/dump/files/files/value
watch='DO $$ BEGIN FOR n IN 1..5000 LOOP EXIT WHEN EXISTS (SELECT FROM pg_prepared_xacts); PERFORM pg_sleep(0.001); END LOOP; END $$'
if [ "$2" = prepared ]; then
    runuser -u postgres -- psql -Xqd postgres -c 'SELECT 1' -c "$watch" > /tmp/ready & watcher=$!
    while ! [ -s /tmp/ready ]; do sleep 0.01; done
fi
glxc load /srv/dump 2> /dev/null & load=$!
if [ "$2" = prepared ]; then wait $watcher; rm /tmp/ready; else sleep "$2"; fi
kill -9 $load 2> /dev/null && echo killed || echo ended
wait $load 2> /dev/null
for n in $(seq 200); do pgrep -f '[a]ttend-load' > /dev/null || break; sleep 0.05; done
for database in one two; do
    runuser -u postgres -- psql -XAtqd $database -c "SET lock_timeout = 1; UPDATE item SET id = id; SELECT value FROM item"
done
cat /srv/files/value
runuser -u postgres -- psql -XAtqd postgres -c 'SELECT gid FROM pg_prepared_xacts'
"#;

#[test]
fn a_load_killed_at_any_moment_happened_or_not() {
    let Some(world) = World::new("t-glxc-load") else { return };
    world.glxc(&["init", &world.name]).accepted();
    world.write("glxc.toml", "[container]\nrelease = \"bookworm\"\n");
    world.write("sysconf/actual/deps", "sysconf.base\n");
    world.write("sysconf/actual/setup.rc", SETUP);
    world.commit("an empty machine");
    world.push().accepted();
    world.exec(&format!("mkdir /srv/dump; cat > /srv/dump/glxc.toml <<'END'\n{CONFIG}END\n{BEGIN}")).accepted();
    let count = scaled(40);
    let (mut old, mut new, mut before) = (0, 0, "kill 0".to_owned());
    for number in 1..=count {
        // A load takes some 0.2 s.
        let moment = if number % 2 == 0 { "prepared".into() } else { format!("{:.3}", f64::from(number % 40) * 0.006) };
        let number = number.to_string();
        let script = ["exec", &world.name, "--", "bash", "-c", KILL, "bash", &number, &moment];
        let said = world.glxc(&script).accepted();
        let lines: Vec<&str> = said.lines().collect();
        let [killed, one, two, file] = lines.as_slice() else { panic!("kill {number} at {moment}: {said}") };
        assert!(one == two && two == file, "kill {number} at {moment}: {said}");
        let wanted = format!("kill {number}");
        assert!(**one == wanted || **one == before, "kill {number} at {moment}: {said}");
        if *killed == "killed" {
            *if **one == wanted { &mut new } else { &mut old } += 1;
        }
        world.exec("glxc load /srv/dump && glxc dump /srv/dump").accepted();
        before = wanted;
    }
    #[allow(clippy::print_stdout)]
    {
        println!("{} loads killed, {old} old, {new} new", old + new);
    }
    assert!(old > 0 && new > 0, "{old} old, {new} new");
}

//! The main job on a real container with a real PostgreSQL, as a user would do it.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use glxc_tests::{World, normalised_dump};

const CONFIG: &str = r#"
[container]
release = "bookworm"
memory = "1G"

[state.app]
handler = "postgresql"
path = "data/app"
database = "app"

[state.uploads]
handler = "files"
path = "data/uploads"
root = "/srv/uploads"
"#;

const SETUP: &str = "sysconf_require_packages postgresql\nmkdir -p /srv/uploads\n";

/// A running container with the application's data, pulled once.
fn application(name: &str) -> Option<World> {
    let world = World::new(name)?;
    world.glxc(&["init", name]).accepted();
    world.write("glxc.toml", CONFIG);
    world.write("sysconf/actual/deps", "sysconf.base\n");
    world.write("sysconf/actual/setup.rc", SETUP);
    world.write("sysconf/actual/tree/etc/motd", "made by glxc\n");
    world.commit("an empty machine");
    world.push().accepted();
    world.psql("postgres", "CREATE DATABASE app TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'").accepted();
    let mut psql = world.command(std::env::var_os("GLXC_TEST_PROGRAM").unwrap());
    psql.args(["exec", name, "--", "runuser", "-u", "postgres", "--", "psql", "-Xq", "-d", "app"]);
    psql.stdin(std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/data/app.sql")).unwrap());
    let loaded = psql.output().unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    world.exec("printf 'one\\n' > /srv/uploads/one.txt").accepted();
    world.pull().accepted();
    Some(world)
}

fn dump(world: &World) -> String {
    let dump = world.exec("runuser -u postgres -- pg_dump app").accepted();
    assert!(dump.lines().count() > 40_000, "the dump holds the rows");
    normalised_dump(&dump)
}

/// No table, schema, database, role, file or process of ours is left in the container.
#[track_caller]
fn assert_nothing_left(world: &World) {
    let sql = "SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'glxc%' \
               UNION ALL SELECT 'database ' || datname FROM pg_database WHERE datname LIKE 'glxc%' \
               UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE 'glxc%' \
               UNION ALL SELECT 'backend ' || application_name FROM pg_stat_activity WHERE application_name LIKE 'glxc%' \
               UNION ALL SELECT 'transaction ' || gid FROM pg_prepared_xacts";
    assert_eq!(world.psql("app", sql).accepted(), "");
    let files = world
        .exec("cd /var/lib/glxc && ls op scratch check; ls journal 2>/dev/null; ls -A /srv/uploads | grep glxc; true");
    assert_eq!(files.accepted(), "check:\n\nop:\n\nscratch:\n");
}

#[test]
fn everything_is_back_after_destroy_and_push() {
    let Some(world) = application("t-glxc-back") else { return };
    world.psql("app", "UPDATE orders SET status = 'returned' WHERE id = 17").accepted();
    world.exec("printf 'edited live\\n' > /etc/motd").accepted();
    world.exec("printf 'two\\n' > /srv/uploads/two.txt; rm /srv/uploads/one.txt").accepted();
    world.pull().accepted();
    assert_eq!(world.read("sysconf/actual/tree/etc/motd"), "edited live\n", "a live edit of a linked file comes back");
    let stat = world.git(&["diff", "--numstat", "HEAD~", "--", "data/app"]).accepted();
    assert!(stat.lines().any(|line| line.starts_with("1\t1\t") && line.contains("public.orders/")), "{stat}");
    let before = dump(&world);
    world.glxc(&["destroy", "--discard", &world.name]).accepted();
    world.pull().declined("does not exist");
    world.push().accepted();
    let head = world.head();
    world.pull().accepted();
    assert_eq!(world.head(), head, "the last pull brings nothing");
    let after = dump(&world);
    let differs: Vec<_> = before.lines().zip(after.lines()).filter(|(a, b)| a != b).take(5).collect();
    assert!(before == after, "pg_dump differs: {differs:?}");
    assert_eq!(world.exec("ls /srv/uploads; cat /etc/motd").accepted(), "two.txt\nedited live\n");
    assert_nothing_left(&world);
    bad_commits_are_declined(&world);
    pushes_while_the_application_writes(&world);
}

/// Each of these declines with a clear message, and nothing changes.
fn bad_commits_are_declined(world: &World) {
    let before = (dump(world), world.main_in_container(), world.head());
    let first = |folder: &str| {
        let list = world.git(&["ls-files", &format!("data/app/{folder}")]).accepted();
        list.lines().next().unwrap_or_default().to_owned()
    };
    let orders = first("data/public.orders/");
    let payment = first("data/public.payment/");
    let function = first("schema/functions/*touch*");
    let row = |name: &str| world.read(name).lines().nth(1).unwrap().to_owned();
    // The message names the file and the line of the repository, and says what is wrong there.
    let bad = |name: &str, from: &str, to: &str, words: &str| {
        let line = 1 + world.read(name).split_once(from).unwrap().0.matches('\n').count();
        world.replace(name, from, to);
        world.commit("a bad commit");
        let said = world.push();
        assert!(said.stderr.contains(&format!("{name}:{line}")), "{name}:{line} in:\n{}", said.stderr);
        said.declined(words);
        world.git(&["reset", "-q", "--hard", "HEAD~"]).accepted();
    };
    let order = row(&orders);
    bad(&orders, &order, &order.replacen("\t", "\tno number", 1), "public.orders");
    let paid = row(&payment);
    let mut fields: Vec<&str> = paid.split('\t').collect();
    fields[1] = "999999999";
    bad(&payment, &paid, &fields.join("\t"), "public.payment");
    bad(&function, "RETURN NEW", "RETRUN NEW", "touch");
    bad("glxc.toml", "memory", "memroy", "did you mean `memory`");
    assert_eq!(before, (dump(world), world.main_in_container(), world.head()));
    assert_nothing_left(world);
}

/// While the application writes other rows all the time, pushes of row edits are accepted, and nothing is lost.
fn pushes_while_the_application_writes(world: &World) {
    let writer = "for i in $(seq 100000); do \
        psql -Xqc \"BEGIN; UPDATE account SET amount = amount + 1 WHERE name = 'account 5'; \
                    INSERT INTO ledger VALUES (now(), 'writer', 'account 5'); COMMIT\" app || exit; \
        [ -e /tmp/stop-writing ] && exit; done";
    let script = format!(
        "chmod 1777 /tmp; rm -f /tmp/stop-writing; cd /; setsid runuser -u postgres -- sh -c '{writer}' >/dev/null 2>&1 &"
    );
    // The apostrophes of the SQL are inside those of the shell.
    world
        .exec(&script.replace("'account 5'", "'\\''account 5'\\''").replace("'writer'", "'\\''writer'\\''"))
        .accepted();
    let written = || {
        world.psql("app", "SELECT count(*) FROM ledger WHERE who = 'writer'").accepted().trim().parse::<u64>().unwrap()
    };
    let orders = world.git(&["ls-files", "data/app/data/public.orders/"]).accepted();
    let orders = orders.lines().next().unwrap().to_owned();
    let mut concurrent = 0;
    for number in 0..10 {
        let line = world.read(&orders).lines().nth(2 + number).unwrap().to_owned();
        let mut fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        *fields.last_mut().unwrap() = format!("edited {number}");
        world.replace(&orders, &line, &fields.join("\t"));
        world.commit("edit a row");
        let before = written();
        world.push().accepted();
        concurrent += u32::from(written() > before);
    }
    world.exec("touch /tmp/stop-writing; sleep 1").accepted();
    assert!(concurrent >= 8, "the application wrote during {concurrent} of 10 pushes");
    let total = "SELECT (SELECT amount FROM account WHERE name = 'account 5') - 1000 - \
                 (SELECT count(*) FROM ledger WHERE who = 'writer')";
    assert_eq!(world.psql("app", total).accepted().trim(), "0", "a ledger row for each change");
    let edited = "SELECT count(*) FROM orders WHERE note LIKE 'edited %'";
    assert_eq!(world.psql("app", edited).accepted().trim(), "10");
    world.pull().accepted();
    assert_nothing_left(world);
}

#[test]
fn a_first_push_that_fails_is_resumed() {
    let Some(world) = World::new("t-glxc-first") else { return };
    world.glxc(&["init", &world.name]).accepted();
    world.write("glxc.toml", "[container]\nrelease = \"bookworm\"\n[url]\nport = 8080\npath = \"/x\"\n");
    world.write("sysconf/actual/deps", "sysconf.base\n");
    world.write("sysconf/actual/setup.rc", "echo 'about to fail'; nef_fatal 'no such thing'\n");
    world.commit("a set-up that fails");
    world.git(&["push", "--dry-run", &world.name, "main"]).accepted();
    world.git(&["push", &world.name, "main:other"]).declined("main");
    world.pull().declined("does not exist");
    assert!(!world.glxc(&["list"]).accepted().contains(&world.name), "nothing of that made a container");
    let said = world.push();
    let hint = format!("look into it with `glxc shell {}`, correct, commit, push again", world.name);
    assert!(said.stderr.contains(&hint), "{}", said.stderr);
    said.declined("no such thing");
    assert!(world.glxc(&["list"]).accepted().contains(&world.name), "it stays, to be looked at");
    world.glxc(&["destroy", &world.name]).declined("nothing was ever pushed");
    world.write("sysconf/actual/setup.rc", "touch /set-up\n");
    world.commit("mended");
    let pushed = world.push();
    assert!(pushed.stderr.contains(":8080/x"), "the URL is printed: {}", pushed.stderr);
    pushed.accepted();
    world.exec("test -e /set-up").accepted();
    let url = world.glxc(&["url", &world.name]).accepted();
    assert!(url.starts_with("http://") && url.trim().ends_with(":8080/x"), "{url}");
    assert!(world.push().stderr.contains("up-to-date"));
    world.glxc(&["stop", &world.name]).accepted();
    world.pull().accepted();
    other_ways_in(&world);
}

/// `glxc::NAME` works like the remote that init made, and exec passes the exit code.
fn other_ways_in(world: &World) {
    let program = std::env::var_os("GLXC_TEST_PROGRAM").unwrap();
    let bin = world.folder().join(".git/bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(program, bin.join("git-remote-glxc")).unwrap();
    let mut fetch: Command = world.command("git");
    fetch.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()));
    let output = fetch.args(["ls-remote", &format!("glxc::{}", world.name)]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("refs/heads/main"));
    let mut exec = world.command(std::env::var_os("GLXC_TEST_PROGRAM").unwrap());
    let status = exec.args(["exec", &world.name, "--", "sh", "-c", "exit 42"]).status().unwrap();
    assert_eq!(status.code(), Some(42));
}

/// What takes long shows on a terminal while it lasts; a pipe gets lines. Neither gets what could control a terminal.
#[test]
fn a_terminal_sees_progress_and_a_pipe_sees_lines() {
    let Some(world) = World::new("t-glxc-terminal") else { return };
    world.glxc(&["init", &world.name]).accepted();
    let state = "[state.uploads]\nhandler = \"files\"\npath = \"data/uploads\"\nroot = \"/srv/uploads\"\n";
    world.write("glxc.toml", &format!("[container]\nrelease = \"bookworm\"\n{state}"));
    world.write("sysconf/actual/deps", "sysconf.base\n");
    let said = |kind: &str, program: &str, arguments: &[&str]| {
        let script = format!("mkdir -p /srv/uploads; printf '{kind}\\033[2J\\n'; sleep 1\n");
        world.write("sysconf/actual/setup.rc", &script);
        world.commit(kind);
        let output = world.command(program).env("TERM", "xterm").args(arguments).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("\\u{1b}[2J") && !said.contains("\x1b[2J"), "{said:?}");
        said
    };
    let commands = format!("git push {0} main && git pull --no-edit --no-rebase {0} main", world.name);
    let terminal = said("terminal", "script", &["-qec", &commands, "/dev/null"]);
    for seen in ["unpacking the root", "remote: setting up the system\x1b[K\r", "exporting uploads"] {
        assert!(terminal.contains(seen), "{seen:?} in {terminal:?}");
    }
    let pipe = said("pipe", "sh", &["-c", &commands]);
    assert!(!pipe.contains(['\r', '\x1b']), "{pipe:?}");
    assert!(!pipe.contains("setting up") && !pipe.contains("exporting"), "nothing of it took long: {pipe}");
    a_shell_has_the_size_of_the_terminal(&world);
}

fn a_shell_has_the_size_of_the_terminal(world: &World) {
    let program = std::env::var("GLXC_TEST_PROGRAM").unwrap();
    let resize = "(sleep 2; stty -F /dev/tty rows 33 cols 99) &";
    let script = format!("stty rows 22 cols 88; {resize} exec '{program}' shell {}", world.name);
    let mut shell = world.command("timeout");
    shell.args(["60", "script", "-qec", &script, "/dev/null"]).env("TERM", "xterm");
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let typed = "echo was $(stty size) $TERM; until [ \"$(stty size)\" = '33 99' ]; do sleep 0.1; done; tty; exit 7\n";
    let (mut stdin, mut stdout) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
    let mut said = Vec::new();
    let mut byte = [0];
    // What is typed before the prompt is thrown away.
    while !said.ends_with(b"# ") && stdout.read(&mut byte).unwrap() == 1 {
        said.extend(byte);
    }
    // An end of it would be one of the terminal: it stays open.
    stdin.write_all(typed.as_bytes()).unwrap();
    stdout.read_to_end(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(shell.wait().unwrap().code(), Some(7), "{said}");
    assert!(said.contains("was 22 88 xterm") && said.contains("/dev/pts/"), "{said}");
}

use std::time::{Duration, Instant};

use glxc_sysconf::{Error, File, Kind, Scripts};

use crate::support::{System, lines_of, scripts};

fn run(script: &str) -> (Result<(), Error>, Vec<String>) {
    let system = System::new();
    let plan = system.sysconf.plan(None, &system.files([("actual/setup.rc", script)])).unwrap();
    let mut lines = Vec::new();
    let result = system.sysconf.apply(&plan, &system.operation(), &mut scripts(&mut lines_of(&mut lines)));
    (result.map(drop), lines)
}

#[test]
fn order_and_environment() {
    let system = System::new();
    let show = "echo $(basename $PWD) $LC_ALL $container $SYSCONF_PATH $V $DEBIAN_FRONTEND; [ -t 0 ] || echo no tty";
    let next = system.files([
        ("actual/deps", "web"),
        ("actual/environment.rc", "V=$V-actual"),
        ("web/environment.rc", "V=web"),
        ("web/setup.rc", show),
        ("actual/setup.rc", "local x=1; V=changed; echo $x; command -v sysctl useradd; [ a = b ] && echo never"),
        ("web/ready.rc", "echo ready $V"),
    ]);
    let (_, lines) = system.push(None, &next).unwrap();
    let root = system.path("sysconf");
    let first = format!("web: web C lxc {} web-actual noninteractive", root.display());
    assert_eq!(lines[..3], [first, "web: no tty".into(), "actual: 1".into()]);
    assert!(lines[3..].iter().all(|line| line.contains("/sbin/")), "{lines:?}");
    let mut lines = Vec::new();
    system.sysconf.ready(&mut scripts(&mut lines_of(&mut lines))).unwrap();
    assert_eq!(lines, ["web: ready web-actual"]);
}

#[test]
fn what_decides() {
    for good in ["false", "[ -e /nowhere ] && echo x", "return 3", "nef_confirm sure && exit 1", ""] {
        run(good).0.unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    let bad =
        ["exit 3", "false; exit 3; true", "nef_fatal no", "echo x | nef_fatal no; true", "x=$(nef_fatal no); true"];
    for bad in
        bad.into_iter().chain(["nef_cmd false; true", "( nef_fatal no ); true", "sysconf_apt-get nonsense; true"])
    {
        let (result, lines) = run(bad);
        assert!(matches!(result, Err(Error::Script { .. })), "{bad}: {result:?} {lines:?}");
    }
    assert_eq!(run("exit 3").0.unwrap_err().to_string(), "profile actual: setup.rc ended with status 3");
    assert_eq!(run("kill -9 $$").0.unwrap_err().to_string(), "profile actual: setup.rc ended with signal 9");
}

#[test]
fn helpers() {
    let script = r#"
        nef_log a b; echo piped | nef_log_pipe p:; echo d | nef_log -
        NEF_LOG_PREFIX=pre nef_log x
        nef_cmd --log-prefix out sh -c 'echo plain; echo error >&2'
        hooks=(one two); one() { echo "one $1"; }; two() { echo "two $1"; }; nef_hook_run hooks h
        d=$(nef_create_temp_dir); [ -d "$d" ] && rmdir "$d" && echo made
        who=me; echo 'for "$who" $(echo us)' > t; nef_template_apply_file t; rm t
        sysconf_fix_directory sub/deep 750; stat -c %a sub/deep; rm -r sub
        sysconf_fix_user root || echo there; sysconf_fix_group root && echo there too
        sysconf_require_packages bash && echo have it
    "#;
    let (result, lines) = run(script);
    result.unwrap();
    let mut wanted = ["a b", "p: piped", "d", "pre: x", "plain", "out: error", "one h", "two h", "made"].to_vec();
    wanted.extend(["for \"me\" us", "creating folder sub/deep", "750", "there", "there too"]);
    let debian = std::path::Path::new("/var/lib/dpkg/status").exists();
    wanted.extend(debian.then_some("have it"));
    let (mut lines, mut wanted): (Vec<_>, Vec<_>) =
        (lines, wanted.iter().map(|line| format!("actual: {line}")).collect());
    // The two outputs of `nef_cmd` take different ways.
    lines[4..6].sort();
    wanted[4..6].sort();
    assert_eq!(lines, wanted);
}

#[test]
fn old_profiles_source_their_helpers() {
    let system = System::new();
    let (a, b) = (system.path("usr/lib/sysconf.base/common.sh"), system.path("usr/share/nef-common/shell-command"));
    let script = format!(". {} || exit 1\n. {} || exit 1\nnef_log sourced\n", a.display(), b.display());
    let next = system.files([("actual/deps", "sysconf.base"), ("actual/install.sh", &script)]);
    let (_, lines) = system.push(None, &next).unwrap();
    assert_eq!(lines, ["actual: sourced"]);
    assert_eq!(system.export().files, next, "the built-in profile is not exported");
    std::fs::write(&a, "edited").unwrap();
    assert_eq!(system.export().files, next);
}

#[test]
fn what_set_up_replaced_is_put_back() {
    let system = System::new();
    let script =
        "rm $SYSCONF_PATH/../etc/a; echo package > $SYSCONF_PATH/../etc/a; echo more >> $SYSCONF_PATH/../etc/c";
    let next = system.files([
        ("actual/setup.rc", script),
        ("actual/tree/etc/a", "ours"),
        ("actual/tree/etc/c", "copy"),
        ("actual/copy", "etc/c"),
    ]);
    let (applied, _) = system.push(None, &next).unwrap();
    assert_eq!((system.read("etc/a"), system.is_link("etc/a")), ("ours".into(), true));
    assert_eq!(system.read("etc/c"), "copy");
    assert_eq!(applied.notes.len(), 2, "{:?}", applied.notes);
    assert_eq!(system.export().files, next);
    // Undone, the package's file is what remains, as the package does.
    system.sysconf.undo(&system.operation(), None).unwrap();
    assert_eq!(system.read("etc/a"), "package\n");
    // So it is where the script failed after the package came.
    std::fs::remove_file(system.path("etc/a")).unwrap();
    let mut failing = next.clone();
    failing.insert("actual/setup.rc".into(), File::new(Kind::File, format!("{script}; exit 1")));
    system.push(None, &failing).unwrap_err();
    assert_eq!(system.read("etc/a"), "ours");
    system.sysconf.undo(&system.operation(), None).unwrap();
    assert_eq!(system.read("etc/a"), "package\n");
}

#[test]
fn output_in_any_form() {
    let (result, lines) = run("printf 'a\\xff\\n'; printf 'no end'; head -c 20000 /dev/zero | tr '\\0' x");
    result.unwrap();
    assert_eq!(lines[0], "actual: a\u{fffd}");
    assert_eq!(lines[1..].iter().map(|line| line.len() - "actual: ".len()).sum::<usize>(), 20006);
    assert!(lines.iter().all(|line| line.len() < 9000), "long lines come in parts");
}

#[test]
fn a_service_that_holds_the_output_is_not_waited_for() {
    let since = Instant::now();
    let (result, lines) = run("sleep 30 & echo $!; echo started");
    result.unwrap();
    assert!(since.elapsed() < Duration::from_secs(20));
    assert_eq!(lines[1], "actual: started");
    let pid = lines[0].trim_start_matches("actual: ").to_owned();
    assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success(), "it must still run");
}

/// Runs a script that starts another process and waits for it; gives the error, once both are gone.
fn stopped(script: &str, cancelled: &dyn Fn() -> bool, timeout: Duration) -> Error {
    let (system, since, mut lines) = (System::new(), Instant::now(), Vec::new());
    let next = system.files([("actual/setup.rc", &*format!("{script} sleep 60 & echo $!; wait"))]);
    let plan = system.sysconf.plan(None, &next).unwrap();
    let mut output = lines_of(&mut lines);
    let mut scripts = Scripts { output: &mut output, cancelled, timeout };
    let error = system.sysconf.apply(&plan, &system.operation(), &mut scripts).unwrap_err();
    drop(output);
    assert!(since.elapsed() < Duration::from_secs(30));
    assert_eq!(lines.len(), 1, "{lines:?}");
    let proc = format!("/proc/{}/cmdline", lines[0].trim_start_matches("actual: "));
    // A killed one that nobody has reaped yet has no command line.
    let gone = |_: &u32| {
        std::thread::sleep(Duration::from_millis(20));
        !std::fs::read(&proc).is_ok_and(|cmdline| !cmdline.is_empty())
    };
    assert!((0..50).find(gone).is_some(), "{proc} still runs");
    error
}

#[test]
fn too_slow_or_cancelled_is_killed_with_all_it_started() {
    let error = stopped("", &|| false, Duration::from_millis(500));
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    let since = Instant::now();
    let late = || since.elapsed() > Duration::from_millis(500);
    let error = stopped("trap '' TERM;", &late, Duration::from_secs(60));
    assert!(matches!(error, Error::Cancelled), "{error}");
}

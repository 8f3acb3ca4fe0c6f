//! The keeper on real containers, in a folder and on a bridge of its own.
#![cfg(feature = "keeper")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use glxc::keeper::{Caller, serve};
use glxc::protocol::{
    Base, Client, Code, Command as Program, Container, Error, Event, Limits, Name, PATIENCE, Patient, Progress, Reply,
    Request, State,
};
use glxc_lxc::{ContainerName, Host, Network, Settings, Unwatched};

/// Kept between runs, and shared with the tests of glxc-lxc: the root of a release is made once.
const ROOT: &str = "/var/lib/glxc-test-lxc";

/// Which caller a keeper of these tests serves; set in the processes that are keepers.
const CALLER: &str = "GLXC_TEST_CALLER";

type Conversation = Client<Patient<ChildStdout>, ChildStdin>;

fn host() -> Host {
    let network = Network { bridge: "glxct-lxc".into(), subnet: [10, 77, 250, 0].into() };
    Host::new(Settings { root: ROOT.into(), network }).unwrap()
}

/// Not a test of its own: the process that the other tests start as their keeper.
#[test]
fn keeper_process() {
    let Some(caller) = std::env::var_os(CALLER) else { return };
    let caller = match caller.to_str().unwrap() {
        "root" => Caller::Root,
        uid => Caller::User(uid.parse().unwrap()),
    };
    // The test harness has written to stdout already, so the conversation has other descriptors.
    let (input, output) =
        (File::open("/proc/self/fd/0").unwrap(), File::options().write(true).open("/proc/self/fd/2").unwrap());
    let _ = serve(&host(), caller, input, output);
    std::process::abort();
}

struct Keeper {
    child: Child,
    client: Option<Conversation>,
}

impl Keeper {
    fn start(caller: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "keeper_process", "--nocapture", "--quiet"])
            .env(CALLER, caller)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = ChildStdout::from(std::os::fd::OwnedFd::from(child.stderr.take().unwrap()));
        let client = Client::connect(Patient::new(output, PATIENCE), child.stdin.take().unwrap()).unwrap();
        Keeper { child, client: Some(client) }
    }

    fn client(&mut self) -> &mut Conversation {
        self.client.as_mut().unwrap()
    }

    fn call(&mut self, request: &Request) -> Result<Reply, Error> {
        self.client().call(request, &mut |_| {})
    }

    fn container(&mut self, request: &Request) -> Container {
        match self.call(request).unwrap() {
            Reply::Container(container) => container,
            other => panic!("{other:?}"),
        }
    }

    fn failure(&mut self, request: &Request) -> Code {
        match self.call(request) {
            Err(Error::Failed(failure)) => failure.code,
            other => panic!("{other:?}"),
        }
    }

    /// Runs a shell script: its exit code, stdout and stderr.
    fn sh(&mut self, name: &Name, script: &str) -> (u8, String, String) {
        let argv = ["sh", "-c", script].map(String::from).to_vec();
        let (mut input, mut output) = self.client().attach(name, Program::Exec { argv }, vec![]).unwrap();
        input.end().unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match output.event().unwrap() {
                Event::Stdout(bytes) => out.extend(bytes),
                Event::Stderr(bytes) => err.extend(bytes),
                Event::Exit(code) => {
                    return (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
                }
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.client = None;
        let _ = self.child.wait();
    }
}

/// The names of a test's containers, which are destroyed at its begin and end.
struct Names {
    names: Vec<Name>,
    _guard: MutexGuard<'static, ()>,
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Names {
    fn new(names: &[&str]) -> Option<Self> {
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        if !(rustix::process::geteuid().is_root() && Path::new("/usr/share/lxc/config/common.conf").exists()) {
            let required = ["CI", "GLXC_TEST_REQUIRE"].iter().any(|name| std::env::var_os(name).is_some());
            assert!(!required, "needs root and LXC");
            say("skipped: needs root and LXC");
            return None;
        }
        let names = names.iter().map(|name| Name::new(format!("t-lxc-k-{name}")).unwrap()).collect();
        let names = Names { names, _guard: guard };
        names.destroy();
        Some(names)
    }

    fn destroy(&self) {
        for name in &self.names {
            let _ = host().destroy(&ContainerName::new(name.as_str()).unwrap(), &mut Unwatched);
            let _ = fs::remove_file(PathBuf::from(ROOT).join("owners").join(name.as_str()));
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.destroy();
    }
}

#[allow(clippy::print_stderr)]
fn say(text: &str) {
    eprintln!("{text}");
}

fn create(name: &Name) -> Request {
    let base = Base { template: "debian".into(), release: "bookworm".into(), arch: None };
    Request::Create { name: name.clone(), base, limits: Limits::default() }
}

fn info(name: &Name) -> Request {
    Request::Info { name: name.clone() }
}

#[test]
fn a_whole_life_over_the_wire() {
    let Some(names) = Names::new(&["life"]) else { return };
    let name = &names.names[0];
    let mut keeper = Keeper::start("root");
    assert_eq!(keeper.failure(&info(name)), Code::NotFound);
    let mut told = Vec::new();
    let reply = keeper.client().call(&create(name), &mut |progress| told.push(progress)).unwrap();
    let Reply::Container(made) = reply else { panic!("{reply:?}") };
    assert_eq!((made.state, made.owner), (State::Running, None));
    assert!(told.iter().any(|p| matches!(p, Progress::Begin(text) if text.contains("unpacking"))), "{told:?}");
    assert_eq!(keeper.failure(&create(name)), Code::Exists);
    programs_are_relayed(&mut keeper, name);
    a_stream_is_exact(&mut keeper, name);
    a_guest_is_installed(&mut keeper, name);
    let limits = Limits { memory: Some(512 << 20), ..Limits::default() };
    let limited = keeper.container(&Request::SetLimits { name: name.clone(), limits: limits.clone() });
    assert_eq!(limited.limits, limits);
    assert_eq!(keeper.container(&Request::Stop { name: name.clone() }).state, State::Stopped);
    let again = keeper.container(&Request::Start { name: name.clone() });
    assert_eq!((again.state, again.address), (State::Running, made.address));
    assert_eq!(keeper.call(&Request::Destroy { name: name.clone() }).unwrap(), Reply::Done);
    assert_eq!(keeper.failure(&info(name)), Code::NotFound);
}

fn programs_are_relayed(keeper: &mut Keeper, name: &Name) {
    assert_eq!(keeper.sh(name, "echo out; echo err >&2; exit 42"), (42, "out\n".into(), "err\n".into()));
    assert_eq!(keeper.sh(name, "kill -9 $$").0, 137);
    // What a program leaves behind does not hold its end up.
    let begin = Instant::now();
    assert_eq!(keeper.sh(name, "sleep 60 & echo done"), (0, "done\n".into(), String::new()));
    assert!(begin.elapsed() < Duration::from_secs(20));
    let environment = vec![("GLXC_X".to_string(), "1".to_string())];
    let env = Program::Exec { argv: vec!["env".into()] };
    let (_, mut output) = keeper.client().attach(name, env, environment).unwrap();
    let Event::Stdout(bytes) = output.event().unwrap() else { panic!("no output") };
    let variables: Vec<&str> =
        std::str::from_utf8(&bytes).unwrap().lines().map(|l| l.split('=').next().unwrap()).collect();
    assert_eq!(variables, ["PATH", "HOME", "LANG", "GLXC_X"]);
    assert_eq!(output.event().unwrap(), Event::Exit(0));
    // SIGTERM on demand.
    let trap = vec!["sh".into(), "-c".into(), "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done".into()];
    let (mut input, mut output) = keeper.client().attach(name, Program::Exec { argv: trap }, vec![]).unwrap();
    assert_eq!(output.event().unwrap(), Event::Stdout(b"up\n".to_vec()));
    input.terminate().unwrap();
    assert_eq!(output.event().unwrap(), Event::Exit(7));
}

fn a_stream_is_exact(keeper: &mut Keeper, name: &Name) {
    let mut bytes = vec![0; 64 << 20];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    let cat = Program::Exec { argv: vec!["cat".into()] };
    let (mut input, mut output) = keeper.client().attach(name, cat, vec![]).unwrap();
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            input.write_all(&bytes).unwrap();
            input.end().unwrap();
        });
        loop {
            match output.event().unwrap() {
                Event::Stdout(bytes) => back.extend(bytes),
                event => return assert_eq!(event, Event::Exit(0)),
            }
        }
    });
    assert!(back == bytes, "{} bytes", back.len());
}

fn a_guest_is_installed(keeper: &mut Keeper, name: &Name) {
    let program = b"#!/bin/sh\necho guest \"$@\"\n";
    let sha256 = keeper.sh(name, "printf '#!/bin/sh\\necho guest \"$@\"\\n' | sha256sum").1[..64].to_string();
    let size = program.len() as u64;
    keeper.client().install_guest(name, &sha256, size, &mut &program[..]).unwrap();
    let run = Program::Guest { arguments: vec!["a b".into()] };
    let (_, mut output) = keeper.client().attach(name, run, vec![]).unwrap();
    assert_eq!(output.event().unwrap(), Event::Stdout(b"guest a b\n".to_vec()));
    assert_eq!(keeper.sh(name, "readlink -f /usr/bin/glxc").1, format!("/usr/lib/glxc/guest-{sha256}\n"));
    // A damaged or cut one changes nothing, and the conversation goes on.
    let cut = keeper.client().install_guest(name, &sha256, size, &mut &program[..9]).unwrap_err();
    let Error::Failed(failure) = cut else { panic!("{cut:?}") };
    assert!(failure.causes.iter().any(|cause| cause.contains("damaged")), "{failure:?}");
    let bad = keeper.client().install_guest(name, "../../x", size, &mut &program[..]);
    assert!(matches!(bad, Err(Error::Failed(failure)) if failure.code == Code::Invalid));
    assert_eq!(keeper.sh(name, "ls -A /usr/lib/glxc; glxc").1, format!("guest-{sha256}\nguest\n"));
}

#[test]
fn a_dead_keeper_or_front_leaves_no_program() {
    let Some(names) = Names::new(&["dead"]) else { return };
    let name = &names.names[0];
    let mut keeper = Keeper::start("root");
    keeper.container(&create(name));
    let sleeps = |keeper: &mut Keeper| {
        keeper.sh(name, "grep -al 'sleep.99[9]9' /proc/[0-9]*/cmdline | wc -l").1.trim().to_string()
    };
    let begin = |keeper: &mut Keeper| {
        let sleep = vec!["sleep".into(), "9999".into()];
        let _ = keeper.client().attach(name, Program::Exec { argv: sleep }, vec![]).unwrap();
    };
    let mut victim = Keeper::start("root");
    begin(&mut victim);
    assert_eq!(sleeps(&mut keeper), "1");
    victim.child.kill().unwrap();
    victim.child.wait().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(sleeps(&mut keeper), "0", "the keeper was killed");
    let mut left = Keeper::start("root");
    begin(&mut left);
    assert_eq!(sleeps(&mut keeper), "1");
    drop(left);
    assert_eq!(sleeps(&mut keeper), "0", "front closed its end");
}

#[test]
fn others_are_refused() {
    let Some(names) = Names::new(&["mine", "roots"]) else { return };
    let (mine, roots) = (&names.names[0], &names.names[1]);
    let mut ann = Keeper::start("4001");
    assert_eq!(ann.container(&create(mine)).owner, Some(4001));
    let mut bob = Keeper::start("4002");
    for request in [
        info(mine),
        create(mine),
        Request::Start { name: mine.clone() },
        Request::Stop { name: mine.clone() },
        Request::Destroy { name: mine.clone() },
        Request::SetLimits { name: mine.clone(), limits: Limits::default() },
        Request::Attach { name: mine.clone(), command: Program::Exec { argv: vec!["id".into()] }, environment: vec![] },
    ] {
        assert_eq!(bob.failure(&request), Code::Denied, "{request:?}");
    }
    let install = bob.client().install_guest(mine, &"0".repeat(64), 3, &mut &b"abc"[..]);
    assert!(matches!(install, Err(Error::Failed(failure)) if failure.code == Code::Denied));
    assert_eq!(bob.call(&Request::List).unwrap(), Reply::Containers(vec![]));
    let mut root = Keeper::start("root");
    root.container(&create(roots));
    assert_eq!(ann.failure(&info(roots)), Code::Denied);
    assert_eq!(ann.failure(&create(roots)), Code::Denied);
    let Reply::Containers(all) = root.call(&Request::List).unwrap() else { panic!("no list") };
    let owners: BTreeMap<&str, Option<u32>> = all.iter().map(|c| (c.name.as_str(), c.owner)).collect();
    assert_eq!((owners[mine.as_str()], owners[roots.as_str()]), (Some(4001), None));
    assert_eq!(root.call(&Request::Destroy { name: mine.clone() }).unwrap(), Reply::Done);
    // The name is free again.
    assert_eq!(bob.failure(&info(mine)), Code::NotFound);
}

#[test]
fn what_is_not_allowed_leaves_no_trace() {
    let Some(names) = Names::new(&["odd"]) else { return };
    let name = &names.names[0];
    let mut keeper = Keeper::start("4001");
    let with = |template: &str, release: &str| {
        let base = Base { template: template.into(), release: release.into(), arch: None };
        Request::Create { name: name.clone(), base, limits: Limits::default() }
    };
    assert_eq!(keeper.failure(&with("/tmp/evil", "bookworm")), Code::NotAllowed);
    assert_eq!(keeper.failure(&with("debian", "x\nlxc.hook.pre-start = /tmp/x")), Code::Invalid);
    assert_eq!(keeper.failure(&with("debian", "no-such-suite")), Code::UnknownRelease);
    assert!(!PathBuf::from(ROOT).join("owners").join(name.as_str()).exists());
    assert_eq!(keeper.failure(&info(name)), Code::NotFound);
}

#[test]
fn the_program_closes_itself_off() {
    let Some(_names) = Names::new(&[]) else { return };
    let leak = File::open("/etc/shadow").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_keeper"))
        .env("LD_LIBRARY_PATH", "/tmp")
        .env("SUDO_UID", "4001")
        .current_dir("/tmp")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(leak);
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut client = Client::connect(Patient::new(stdout, PATIENCE), stdin).unwrap();
    assert_eq!(client.call(&Request::List, &mut |_| {}).unwrap(), Reply::Containers(vec![]));
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let link = |name: &str| fs::read_link(process.join(name)).unwrap().to_string_lossy().into_owned();
    assert!(link("exe").starts_with("/memfd:"), "{}", link("exe"));
    assert_eq!(link("cwd"), "/");
    assert_eq!(fs::read_to_string(process.join("environ")).unwrap(), "SUDO_UID=4001\0");
    let status = fs::read_to_string(process.join("status")).unwrap();
    assert!(status.contains("Umask:\t0077") && status.contains("Threads:\t1"), "{status}");
    let open: Vec<String> = fs::read_dir(process.join("fd"))
        .unwrap()
        .map(|fd| link(&format!("fd/{}", fd.unwrap().file_name().to_str().unwrap())))
        .collect();
    assert!(!open.iter().any(|file| file.contains("shadow")), "{open:?}");
    drop(client);
    assert!(child.wait().unwrap().success());
    let refused = Command::new(env!("CARGO_BIN_EXE_keeper")).arg("--config=/tmp/x").output().unwrap();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("takes no arguments"));
}

#[test]
fn what_is_no_conversation_ends_it() {
    let Some(_names) = Names::new(&[]) else { return };
    for bytes in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"\0\0\0\x01\x02", b"\xff\xff\xff\xff"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keeper"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("the conversation with front broke"), "{said}");
    }
}

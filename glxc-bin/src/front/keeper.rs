//! The keeper as a child of this program, and programs in its containers.

use std::borrow::Cow;
use std::env::{self, consts::ARCH};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::thread::{self, JoinHandle};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use sha2::{Digest, Sha256};

use super::bar::{Bar, is_seen};
use super::error::{Error, Exit, Result, say};
use super::filter::Lines;
use super::repository::Repository;
use crate::protocol::{
    self, Client, Code, Command, Container, Event, Input, Name, Output, PATIENCE, Patient, Progress, Reply, Request,
    State,
};

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The most that is read of what a guest answers to a question, in bytes.
const ANSWER: usize = 1 << 20;

/// The stdin of a program in a container.
pub(super) type ProgramInput<'a> = Input<'a, ChildStdin>;

/// A conversation with a keeper about one container.
#[derive(Debug)]
pub(super) struct Keeper {
    // The order matters: the keeper ends when its streams are closed, and is waited for then.
    client: Client<Patient<ChildStdout>, ChildStdin>,
    _child: Reaper,
    environment: Vec<(String, String)>,
}

impl Keeper {
    /// Starts the keeper.
    pub(super) fn start() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            let error = Error::new(Exit::Denied, "managing containers needs root for now");
            return Err(error.hint("run the same command as root"));
        }
        let program = sealed(&load(KEEPER, "keeper")?)
            .map_err(|error| Error::new(Exit::Failed, "can not put the keeper into memory").because(&error))?;
        Keeper::run_as(Process::new(format!("/proc/self/fd/{}", program.as_raw_fd())).env_clear().current_dir("/"))
    }

    /// Runs the keeper and exchanges the first words with it.
    fn run_as(command: &mut Process) -> Result<Self> {
        let mut child = command
            .process_group(0) // A ctrl-C is for this program, which tells the keeper what it means.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io("run", "the keeper"))?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            unreachable!("all three were asked for");
        };
        let mut child = Reaper { child, messages: Some(thread::spawn(move || show_messages(stderr))) };
        match Client::connect(Patient::new(stdout, PATIENCE), stdin) {
            Ok(client) => Ok(Keeper { client, _child: child, environment: Vec::new() }),
            // Both streams are closed: where it never began, it has ended and said why.
            Err(error) => Err(child.wait().map_or_else(|| error.into(), |said| not_linked(&said))),
        }
    }

    /// What programs in the container get told.
    pub(super) fn with_environment(mut self, name: &Name, branch: Option<&str>) -> Self {
        let branch = branch.map(|branch| ("GLXC_BRANCH".to_owned(), branch.to_owned()));
        let trace = env::var_os("GLXC_TRACE").map(|_| ("GLXC_TRACE".to_owned(), "1".to_owned()));
        let progress = is_seen().then(|| ("GLXC_PROGRESS".to_owned(), "1".to_owned()));
        let container = ("GLXC_CONTAINER".to_owned(), name.to_string());
        self.environment = [container].into_iter().chain(branch).chain(trace).chain(progress).collect();
        self
    }

    /// Asks for something, and shows how it goes.
    pub(super) fn call(&mut self, request: &Request) -> Result<Reply, protocol::Error> {
        let mut bar = Bar::default();
        self.client.call(request, &mut |progress| match progress {
            Progress::Begin(text) if is_seen() => bar.show(&text),
            Progress::Begin(text) | Progress::Note(text) => say(&text),
            Progress::Alive => {}
        })
    }

    /// Asks for something that is answered by the container as it is then.
    pub(super) fn container(&mut self, request: &Request) -> Result<Container, protocol::Error> {
        match self.call(request)? {
            Reply::Container(container) => Ok(container),
            _ => Err(protocol::Error::Order { kind: protocol::Kind::Reply, due: "the reply `container`" }),
        }
    }

    /// The container, if there is one that was made to its end.
    pub(super) fn info(&mut self, name: &Name) -> Result<Option<Container>> {
        match self.container(&Request::Info { name: name.clone() }) {
            Ok(container) if container.state == State::HalfMade => Ok(None),
            Ok(container) => Ok(Some(container)),
            Err(protocol::Error::Failed(failure)) if failure.code == Code::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The container, running.
    pub(super) fn running(&mut self, container: Container) -> Result<Container> {
        match container.state {
            State::Running => Ok(container),
            _ => Ok(self.container(&Request::Start { name: container.name })?),
        }
    }

    /// Runs a program in the container, with which `talk` talks.
    pub(super) fn run<T>(
        &mut self, name: &Name, argv: Vec<String>, talk: impl FnOnce(ProgramInput<'_>, Program<'_>) -> Result<T>,
    ) -> Result<T> {
        let command = Command::Exec { argv };
        let (input, output) = self.client.attach(name, command, self.environment.clone())?;
        talk(input, Program { output, first: None, errors: Lines::default(), bar: Bar::default(), silent: true })
    }

    /// Runs the guest in the container, which is put there where it is missing. `talk` begins once the guest has
    /// said something.
    pub(super) fn run_guest<T>(
        &mut self, name: &Name, arguments: &[&str], talk: impl FnOnce(ProgramInput<'_>, Program<'_>) -> Result<T>,
    ) -> Result<T> {
        let guest = guest_of(name)?;
        let sha256: String = Sha256::digest(&guest).iter().map(|byte| format!("{byte:02x}")).collect();
        let program = format!("/usr/lib/glxc/guest-{sha256}");
        let argv = || [program.as_str()].into_iter().chain(arguments.iter().copied()).map(str::to_owned).collect();
        let mut installed = false;
        loop {
            let command = Command::Exec { argv: argv() };
            let (input, mut output) = self.client.attach(name, command, self.environment.clone())?;
            match output.event()? {
                Event::Exit(127) if !installed => installed = true,
                first => {
                    let (errors, bar) = (Lines::with_progress(), Bar::default());
                    return talk(input, Program { output, first: Some(first), errors, bar, silent: true });
                }
            }
            self.client.install_guest(name, &sha256, guest.len() as u64, &mut &*guest)?;
        }
    }

    /// What the guest answers to a question.
    pub(super) fn ask_guest(&mut self, name: &Name, question: &str) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        self.stream_guest(name, question, &mut |bytes| {
            answer.extend(bytes);
            let long = || Error::new(Exit::Failed, format!("the answer to `{question}` is too long"));
            (answer.len() <= ANSWER).then_some(()).ok_or_else(long)
        })?;
        Ok(answer)
    }

    /// Passes on what the guest answers.
    pub(super) fn stream_guest(
        &mut self, name: &Name, question: &str, sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.run_guest(name, &[question], |mut input, mut program| {
            input.end()?;
            loop {
                match program.next()? {
                    Said::Data(bytes) => sink(&bytes)?,
                    Said::Exit(0) => return Ok(()),
                    Said::Exit(code) => {
                        let message = format!("`{question}` failed in container {name} with exit code {code}");
                        return Err(Error::new(Exit::Failed, message));
                    }
                }
            }
        })
    }
}

/// What a program in a container says, without its messages.
#[derive(Debug)]
pub(super) enum Said {
    Data(Vec<u8>),
    Exit(u8),
}

/// The output of a program in a container.
#[derive(Debug)]
pub(super) struct Program<'a> {
    output: Output<'a, Patient<ChildStdout>>,
    first: Option<Event>,
    errors: Lines,
    /// What the guest is doing, until it answers.
    bar: Bar,
    /// Whether it has written nothing yet.
    pub(super) silent: bool,
}

impl Program<'_> {
    /// Waits for what comes on stdout, and shows what comes on stderr.
    pub(super) fn next(&mut self) -> Result<Said> {
        loop {
            let event = match self.first.take() {
                Some(event) => event,
                None => self.output.event()?,
            };
            self.silent &= matches!(event, Event::Exit(_));
            let (messages, said) = match event {
                Event::Stdout(bytes) => {
                    self.bar.clear();
                    self.errors.without_progress();
                    (String::new(), Some(Said::Data(bytes)))
                }
                Event::Stderr(bytes) => (self.errors.feed(&bytes), None),
                Event::Exit(code) => (self.errors.finish(), Some(Said::Exit(code))),
            };
            self.bar.print(&messages);
            if let Some(said) = said {
                return Ok(said);
            }
        }
    }
}

/// The keeper's process, waited for at the end.
#[derive(Debug)]
struct Reaper {
    child: Child,
    messages: Option<JoinHandle<Option<String>>>,
}

impl Reaper {
    /// What it said where it could not even be linked.
    fn wait(&mut self) -> Option<String> {
        let _ = self.child.wait();
        self.messages.take().and_then(|messages| messages.join().ok().flatten())
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.wait();
    }
}

/// How the line of the dynamic linker (ld.so) goes on after the program's name, with the library.
const NOT_LINKED: &str = ": error while loading shared libraries: ";

/// Shows the keeper's messages. The line of the dynamic linker is held back, for a better one.
fn show_messages(mut stderr: ChildStderr) -> Option<String> {
    let mut lines = Lines::default();
    let mut held = None;
    let mut show = |text: String| {
        for line in text.split_inclusive('\n') {
            match line.split_once(NOT_LINKED) {
                Some((_, library)) if held.is_none() => held = Some(library.trim_end().to_owned()),
                _ => drop(io::stderr().write_all(line.as_bytes())),
            }
        }
    };
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut chunk) {
        show(lines.feed(&chunk[..count]));
    }
    show(lines.finish());
    held
}

/// The packages that the machine of the containers needs.
const PACKAGES: &str = "lxc uidmap mmdebstrap iproute2 bridge-utils iptables dnsmasq-base ca-certificates";

/// The keeper needs a library that is not there: `LIBRARY: WHY`.
fn not_linked(said: &str) -> Error {
    let (library, why) = said.split_once(": ").unwrap_or((said, "it can not be loaded"));
    let error = match library.starts_with("liblxc.so") {
        true => Error::new(Exit::Failed, "LXC is not installed: its library liblxc is missing on this machine"),
        false => Error::new(Exit::Failed, format!("the keeper can not run without the library {library}: {why}")),
    };
    error.hint(format!("`apt-get install {PACKAGES}` installs what containers need"))
}

/// Whether the parts are inside this program, so that a copy of it works anywhere.
pub(super) fn is_whole() -> bool {
    KEEPER.is_some() && GUEST.is_some()
}

/// The guest for a container: the one that this repository names, else ours.
fn guest_of(name: &Name) -> Result<Cow<'static, [u8]>> {
    let repository = Repository::of_git()?.map_or_else(Repository::discover, |repository| Ok(Some(repository)))?;
    match repository.map(|repository| repository.guest(name)).transpose()?.flatten() {
        Some(path) => {
            let bytes = fs::read(&path).map(Cow::Owned).map_err(Error::io("read", &path));
            bytes.map_err(|error| error.hint(format!("`glxc init {name} --guest PATH` names another guest")))
        }
        None => load(GUEST, &format!("guest-{ARCH}")),
    }
}

/// A part of GLXC: embedded, or `<prefix>/libexec/glxc/FILE` where this program is `<prefix>/bin/glxc`. Nowhere else:
/// beside a copy in `.git` lie a stranger's files.
fn load(embedded: Option<&'static [u8]>, file: &str) -> Result<Cow<'static, [u8]>> {
    if let Some(bytes) = embedded {
        return Ok(Cow::Borrowed(bytes));
    }
    let program = env::current_exe().and_then(|path| path.canonicalize()).map_err(Error::io("find", "this program"))?;
    let folder = program.parent().filter(|folder| folder.ends_with("bin")).and_then(Path::parent);
    let Some(prefix) = folder else {
        let message = format!("the part `{file}` of glxc is not installed");
        return Err(Error::new(Exit::Failed, message).hint(
            "this glxc was built without its parts and does not lie in PREFIX/bin beside PREFIX/libexec/glxc; install \
             it there, or build it with GLXC_KEEPER and GLXC_GUEST naming the two programs",
        ));
    };
    let path = prefix.join("libexec/glxc").join(file);
    let bytes = fs::read(&path).map_err(Error::io("read", &path));
    bytes.map(Cow::Owned).map_err(|error| error.hint("install glxc with its parts, the keeper and the guest"))
}

/// A program in memory that nobody can change, to be run by its descriptor.
fn sealed(program: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know EXEC, and need it not.
    let descriptor =
        memfd_create("glxc-keeper", flags | MemfdFlags::EXEC).or_else(|_| memfd_create("glxc-keeper", flags))?;
    let mut file = File::from(descriptor);
    file.write_all(program)?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(script: &str) -> Error {
        Keeper::run_as(Process::new("sh").args(["-c", script])).unwrap_err()
    }

    #[test]
    fn a_missing_library_is_named_with_what_installs_it() {
        // What ld.so prints, and its exit code.
        let linker = |library: &str| {
            let line = format!("3: error while loading shared libraries: {library}: cannot open shared object file");
            started(&format!("echo '{line}: No such file or directory' >&2; exit 127"))
        };
        let error = linker("liblxc.so.1");
        assert_eq!(error.message, "LXC is not installed: its library liblxc is missing on this machine");
        assert!(error.shown().contains("hint: `apt-get install lxc uidmap "), "{}", error.shown());
        let error = linker("libcap.so.2");
        assert!(error.message.contains("without the library libcap.so.2: cannot open"), "{}", error.message);
    }

    #[test]
    fn a_keeper_that_ends_at_once_is_no_missing_library() {
        let error = started("exec cat >/dev/null 2>&1");
        assert!(!error.shown().contains("apt-get"), "{}", error.shown());
    }
}

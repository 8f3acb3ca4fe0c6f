//! Programs in a container, connected by pipes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::ffi::{Handle, Liblxc, Program};
use crate::{ContainerName, Error, Host, Result};

/// A program to run in a container. It gets this environment and nothing of the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    argv: Vec<String>,
    environment: Vec<(String, String)>,
}

/// Where a program without `/` in its name is looked for.
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

impl Command {
    /// A program and its arguments, with `PATH`, `HOME=/root` and `LANG=C.UTF-8`. A program without `/` in its name
    /// is looked for in that `PATH`, in the container.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        let environment =
            vec![("PATH".into(), PATH.join(":")), ("HOME".into(), "/root".into()), ("LANG".into(), "C.UTF-8".into())];
        Command { argv: argv.into_iter().map(Into::into).collect(), environment }
    }

    /// Adds a variable, or replaces one.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.environment.retain(|(other, _)| *other != name);
        self.environment.push((name, value.into()));
        self
    }

    fn program(&self) -> Result<Program> {
        let value = |value: &str, reason| Error::Value { field: "command", value: value.into(), reason };
        let Some(program) = self.argv.first().filter(|program| !program.is_empty()) else {
            return Err(value("", "it names no program"));
        };
        let paths: Vec<String> = match program.contains('/') {
            true => vec![program.clone()],
            false => PATH.iter().map(|folder| format!("{folder}/{program}")).collect(),
        };
        let environment: Vec<String> = self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Program::new(&paths, &self.argv, &environment).ok_or_else(|| value(program, "a text holds NUL"))
    }
}

/// A program that runs in a container. It is killed and waited for when this is dropped.
///
/// Of the processes that it started itself, those that did not ask to die with their parent live on then.
#[derive(Debug)]
pub struct Attached {
    pid: Pid,
    code: Option<u8>,
    /// Its stdin; dropping it is the end of the input.
    pub stdin: Option<File>,
    /// Its stdout.
    pub stdout: Option<File>,
    /// Its stderr: a stranger's bytes, to be escaped before a person sees them.
    pub stderr: Option<File>,
}

impl Attached {
    /// Its process id on the host.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits for its end: its exit status; 128 + N after signal N; 127 where there is no such program; 126
    /// where it can not be run.
    ///
    /// # Errors
    /// [`Error::Io`] where somebody else waited for it.
    pub fn wait(&mut self) -> Result<u8> {
        loop {
            if let Some(code) = self.poll(WaitOptions::empty())? {
                return Ok(code);
            }
        }
    }

    /// Like [`Attached::wait`], but nothing where it has not ended.
    ///
    /// # Errors
    /// See [`Attached::wait`].
    pub fn try_wait(&mut self) -> Result<Option<u8>> {
        self.poll(WaitOptions::NOHANG)
    }

    fn poll(&mut self, options: WaitOptions) -> Result<Option<u8>> {
        if self.code.is_none() {
            match waitpid(Some(self.pid), options) {
                Ok(Some((_, status))) => {
                    let signalled = status.terminating_signal().map(|signal| 128 + signal);
                    let code = status.exit_status().or(signalled);
                    self.code = code.map(|code| u8::try_from(code).unwrap_or(u8::MAX));
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) => return Err(Error::io("wait for", format!("/proc/{}", self.pid()))(error)),
            }
        }
        Ok(self.code)
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it (SIGKILL).
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// A process that has ended but was not waited for keeps its id, so no stranger is hit.
    fn signal(&self, signal: Signal) {
        if self.code.is_none() {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Gives it no input, and collects what it writes to both streams, at most 64 KiB, until it ends; kills it at the
    /// deadline.
    pub(crate) fn collect(mut self, deadline: Instant) -> Result<Option<(u8, Vec<u8>)>> {
        self.stdin = None;
        let mut streams: Vec<File> = self.stdout.take().into_iter().chain(self.stderr.take()).collect();
        let mut all = Vec::new();
        while !streams.is_empty() {
            let mut polled: Vec<PollFd<'_>> = streams.iter().map(|s| PollFd::new(s, PollFlags::IN)).collect();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !poll_for(&mut polled, left) {
                return Ok(None);
            }
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            let mut at = ready.into_iter();
            streams.retain_mut(|stream| !at.next().unwrap_or(false) || read_some(stream, &mut all));
            all.truncate(64 << 10);
        }
        while Instant::now() < deadline {
            if let Some(code) = self.try_wait()? {
                return Ok(Some((code, all)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(None)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.kill();
        let _ = self.wait();
    }
}

/// False where the time ran out.
fn poll_for(fds: &mut [PollFd<'_>], time: Duration) -> bool {
    let timeout = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
    !matches!(poll(fds, Some(&timeout)), Ok(0))
}

/// Reads what is there; false at the end.
fn read_some(stream: &mut File, all: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk) {
        Ok(count) => {
            all.extend_from_slice(&chunk[..count]);
            count > 0
        }
        Err(error) => error.kind() == io::ErrorKind::Interrupted,
    }
}

impl Host {
    /// Runs a program in a running container as its root, in `/`, connected by three fresh pipes: the container
    /// never gets a terminal or a file of the host.
    ///
    /// The program dies with the thread that called this. Call it from a process with one thread where you can: liblxc
    /// forks and goes on in the child.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::HalfMade`], [`Error::NotRunning`], [`Error::Lxc`]. A program that is not there is
    /// no error but its exit status 127.
    pub fn attach(&self, name: &ContainerName, command: &Command) -> Result<Attached> {
        self.record(name)?;
        let program = command.program()?;
        self.clear_log(name);
        let liblxc = Liblxc::enter();
        let handle = Handle::open(&liblxc, name.as_str(), &self.lxc_path());
        let failed = || self.lxc_error("attach to", name);
        let handle = handle.ok_or_else(failed)?;
        if handle.init_pid().is_none() {
            return Err(Error::NotRunning(name.to_string()));
        }
        let (stdin_theirs, stdin) = pipe()?;
        let (stdout, stdout_theirs) = pipe()?;
        let (stderr, stderr_theirs) = pipe()?;
        let theirs = [stdin_theirs.as_fd(), stdout_theirs.as_fd(), stderr_theirs.as_fd()];
        let pid = handle.attach(&program, theirs).and_then(Pid::from_raw).ok_or_else(failed)?;
        let [stdin, stdout, stderr] = [stdin, stdout, stderr].map(|fd| Some(File::from(fd)));
        Ok(Attached { pid, code: None, stdin, stdout, stderr })
    }
}

/// A pipe whose ends are numbered 3 or above, as liblxc wants them.
fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let high = |fd: OwnedFd| fcntl_dupfd_cloexec(fd, 3);
    let make = || -> Result<_, Errno> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok((high(reader)?, high(writer)?))
    };
    make().map_err(Error::io("create", "a pipe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_a_program_and_no_nul() {
        let reason = |command: Command| command.program().map(drop).unwrap_err().to_string();
        assert!(reason(Command::new::<&str>([])).contains("names no program"));
        assert!(reason(Command::new(["a", "b\0c"])).contains("holds NUL"));
        assert!(reason(Command::new(["a"]).env("X", "\0")).contains("holds NUL"));
    }

    #[test]
    fn a_variable_is_there_once() {
        let command = Command::new(["a"]).env("HOME", "/srv").env("HOME", "/tmp");
        let homes: Vec<_> = command.environment.iter().filter(|(name, _)| name == "HOME").collect();
        assert_eq!(homes, [&("HOME".to_string(), "/tmp".to_string())]);
    }
}

//! Runs one script to its end.

use std::collections::VecDeque;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal};

use crate::{Cx, Error, Result};

/// What runs a script. A process of its group waits on the pipe that is the standard input: a line is the end of the script,
/// whose services may live on; the end of the pipe is that of the process that runs the script, and then of the group. It is a
/// child of nobody, so that no script waits for it, and outlives the signal that asks the group to end.
///
/// (glxc-sysconf runs its scripts the same way; the crates of the ground floor know nothing of each other.)
const ATTENDED: &str = r#"
exec 3<&0 </dev/null
( { trap '' TERM HUP INT USR1 USR2; read -r _ || kill -s KILL 0; } <&3 3<&- >/dev/null 2>&1 & )
exec 3<&-
unset PWD OLDPWD SHLVL
exec "$1"
"#;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const TICK: Duration = Duration::from_millis(100);
/// How long a script has to end by itself when it is asked to.
const GRACE: Duration = Duration::from_secs(5);
/// The longest line that is handed on, in bytes; a longer one arrives in parts.
const MAX_LINE: usize = 8 << 10;
/// So many lines, and characters of each, are said again where a script fails.
const LAST: (usize, usize) = (5, 200);

/// A script with nothing of the caller's environment.
pub(super) fn attended(script: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", ATTENDED, "glxc"]).arg(script).env_clear();
    command.env("PATH", PATH).env("LC_ALL", "C.UTF-8").env("HOME", "/root");
    command
}

/// The last words of a script that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", words(.0))]
struct Said(Vec<String>);

fn words(lines: &[String]) -> String {
    if lines.is_empty() { "it said nothing".into() } else { format!("it said: {}", lines.join(" / ")) }
}

/// Runs a command in a process group of its own and hands on its lines.
pub(super) fn run(
    mut command: Command, script: &Path, timeout: Duration, note: &mut dyn FnMut(&str), cx: &Cx<'_>,
) -> Result<()> {
    cx.check()?;
    let pipe = || std::io::pipe().map_err(Error::io("open a pipe to", script));
    let ((attended, attendance), (reader, writer)) = (pipe()?, pipe()?);
    let error = writer.try_clone().map_err(Error::io("open a pipe to", script))?;
    command.stdin(attended).stdout(writer).stderr(error).process_group(0);
    let child = command.spawn().map_err(Error::io("run", script))?;
    // The command holds the writing ends, which would keep the pipe open.
    drop(command);
    let mut running = Running { child, attendance, script };
    let mut lines = Lines { reader, pending: Vec::new(), last: VecDeque::new(), note, script };
    let since = Instant::now();
    loop {
        let more = lines.read(TICK)?;
        if let Some(status) = running.ended()? {
            running.release();
            // What it wrote last. A service that it started may hold the pipe, and write to it, for ever.
            let until = Instant::now() + GRACE;
            while lines.read(Duration::ZERO)? == More::Yes && Instant::now() < until {}
            return lines.finish(status);
        }
        if more == More::Ended {
            std::thread::sleep(TICK / 10);
        }
        let out_of_time = || Error::Timeout { what: script.display().to_string(), after: timeout };
        let stop = cx.check().and_then(|()| if since.elapsed() > timeout { Err(out_of_time()) } else { Ok(()) });
        if let Err(error) = stop {
            running.stop()?;
            return Err(error);
        }
    }
}

/// A child that is stopped, with all that it started, when it is dropped while it runs.
struct Running<'a> {
    child: Child,
    /// Open as long as this process lives: see [`ATTENDED`].
    attendance: PipeWriter,
    script: &'a Path,
}

impl Running<'_> {
    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(Error::io("wait for", self.script))
    }

    /// What it started and left may live on.
    fn release(&mut self) {
        // Where nobody reads it, nobody would have ended them.
        let _ = self.attendance.write_all(b"\n");
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone needs no signal.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    /// Asks the group to end, and then ends it. (The group is there until the last signal: who attends it outlives the
    /// first.)
    fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM);
        let asked = Instant::now();
        while self.ended()?.is_none() && asked.elapsed() < GRACE {
            std::thread::sleep(TICK);
        }
        self.signal(Signal::KILL);
        self.child.wait().map(drop).map_err(Error::io("wait for", self.script))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    /// Something came.
    Yes,
    /// Nothing came in time.
    No,
    /// Nothing will come.
    Ended,
}

/// The lines of a pipe.
struct Lines<'a> {
    reader: PipeReader,
    pending: Vec<u8>,
    last: VecDeque<String>,
    note: &'a mut dyn FnMut(&str),
    script: &'a Path,
}

impl Lines<'_> {
    /// Waits for more and hands on the whole lines.
    fn read(&mut self, wait: Duration) -> Result<More> {
        let mut poll = [PollFd::from_borrowed_fd(self.reader.as_fd(), PollFlags::IN)];
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        match rustix::event::poll(&mut poll, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(More::No),
            other => other.map_err(|errno| Error::io("wait for", self.script)(errno.into()))?,
        };
        let mut buffer = [0; 4096];
        let count = self.reader.read(&mut buffer).map_err(Error::io("read the output of", self.script))?;
        self.pending.extend(&buffer[..count]);
        while let Some(end) = self.end() {
            let line: Vec<u8> = self.pending.drain(..end).collect();
            self.line(&line);
        }
        Ok(if count == 0 { More::Ended } else { More::Yes })
    }

    /// Behind the first line. One that is too long is cut, and not within a character.
    fn end(&self) -> Option<usize> {
        let newline = self.pending.iter().take(MAX_LINE + 1).position(|b| *b == b'\n');
        let begins = |at: &usize| self.pending[*at] & 0xc0 != 0x80;
        let cut = || (MAX_LINE - 3..=MAX_LINE).rev().find(begins).unwrap_or(MAX_LINE);
        newline.map(|at| at + 1).or_else(|| (self.pending.len() > MAX_LINE).then(cut))
    }

    fn line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches(['\n', '\r']);
        (self.note)(line);
        self.last.push_back(line.chars().take(LAST.1).collect());
        if self.last.len() > LAST.0 {
            self.last.pop_front();
        }
    }

    /// Hands on a last line without an end; an error where the script failed.
    fn finish(mut self, status: ExitStatus) -> Result<()> {
        if !self.pending.is_empty() {
            let line = std::mem::take(&mut self.pending);
            self.line(&line);
        }
        if status.success() {
            return Ok(());
        }
        let status = match (status.code(), status.signal()) {
            (Some(code), _) => format!("status {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        let context = format!("{} ended with {status}", self.script.display());
        Err(Error::engine(context)(Said(self.last.into())))
    }
}

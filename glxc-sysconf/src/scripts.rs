//! Runs the scripts of profiles with bash.

use std::fmt;
use std::io::{PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal};

use crate::builtin::HELPERS;
use crate::error::{Error, Result};
use crate::profiles::Profile;

/// How scripts are run and who hears of it.
pub struct Scripts<'a> {
    /// Gets each line that a script writes, with the name of its profile. The text may hold anything.
    pub output: &'a mut dyn FnMut(&str, &str),
    /// Asked several times a second, and between the steps of an installation, whether to stop.
    pub cancelled: &'a dyn Fn() -> bool,
    /// How long one script may take.
    pub timeout: Duration,
}

impl fmt::Debug for Scripts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripts").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Which script of the profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Setup,
    Ready,
}

impl Stage {
    fn script(self, profile: &Profile) -> Option<&'static str> {
        match self {
            Stage::Setup => profile.setup,
            Stage::Ready => profile.ready.then_some("ready.rc"),
        }
    }
}

/// Before everything. A process of the group waits on the pipe that is the standard input: a line is the end of the script,
/// whose services may live on; the end of the pipe is that of the process that runs the script, and then of the group. It is
/// a child of nobody, so that no script waits for it, and outlives the signal that asks the group to end.
const ATTENDED: &str = r#"
exec 3<&0 </dev/null
( { trap '' TERM HUP INT USR1 USR2; read -r _ || kill -s KILL 0; } <&3 3<&- >/dev/null 2>&1 & )
exec 3<&-
"#;

/// After the helpers. A script is sourced in a function, because existing ones say `local`; its own last status does not
/// decide, so bash ends with 0 where it did not end before.
const DRIVER: &str = r#"
_sysconf_script=$2
trap 'exit 1' USR1
for _sysconf_profile in "${@:3}"; do
    cd "$SYSCONF_PATH/$_sysconf_profile" || exit 125
    . ./environment.rc
done
cd "$SYSCONF_PATH/$1" || exit 125
_sysconf_run() { . "./$_sysconf_script"; }
_sysconf_run
exit 0
"#;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const TICK: Duration = Duration::from_millis(100);
/// How long a script has to end by itself when it is asked to.
const GRACE: Duration = Duration::from_secs(5);
/// The longest line that is handed on; a longer one arrives in parts.
const MAX_LINE: usize = 8 << 10;

impl Scripts<'_> {
    pub(crate) fn check(&self) -> Result<()> {
        if (self.cancelled)() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Runs one script of one profile. Nothing where it has none.
    pub(crate) fn run(&mut self, root: &Path, order: &[Profile], profile: &Profile, stage: Stage) -> Result<()> {
        let Some(script) = stage.script(profile) else { return Ok(()) };
        tracing::debug!(profile = profile.name, script, "run");
        let environments = order.iter().filter(|profile| profile.environment).map(|profile| profile.name.as_str());
        let mut command = bash(root, &[HELPERS, DRIVER].concat());
        command.args([&profile.name, script]).args(environments);
        let status = self.command(command, &profile.name, script)?;
        if status.success() {
            return Ok(());
        }
        let status = match (status.code(), status.signal()) {
            (Some(code), _) => format!("status {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        Err(Error::Script { profile: profile.name.clone(), script, status })
    }

    /// Waits until the system has started, for a minute at most. Whether all of it did well is not asked: a broken unit, or
    /// one that hangs, is no reason not to repair it.
    pub(crate) fn wait(&mut self, root: &Path) -> Result<()> {
        let booted =
            "[ ! -d /run/systemd/system ] || timeout 60 systemctl is-system-running --wait >/dev/null 2>&1; exit 0";
        self.command(bash(root, booted), "system", "start").map(drop)
    }

    /// Runs a command in a process group of its own and hands on its lines.
    fn command(&mut self, mut command: Command, profile: &str, script: &'static str) -> Result<ExitStatus> {
        self.check()?;
        let (attended, attendance) = std::io::pipe().map_err(Error::io("open", "a pipe"))?;
        let (reader, writer) = std::io::pipe().map_err(Error::io("open", "a pipe"))?;
        let error = writer.try_clone().map_err(Error::io("open", "a pipe"))?;
        command.stdin(attended).stdout(writer).stderr(error).process_group(0);
        let child = command.spawn().map_err(Error::io("run", command.get_program()))?;
        // The command holds the writing ends, which would keep the pipe open.
        drop(command);
        let mut running = Running { child, since: Instant::now(), attendance };
        let mut lines = Lines { reader, pending: Vec::new() };
        loop {
            let open = lines.read(TICK, &mut |line| (self.output)(profile, line))?;
            if let Some(status) = running.ended()? {
                running.release();
                // What it wrote last. A service that it started may hold the pipe, and write to it, for ever.
                let until = Instant::now() + GRACE;
                while lines.read(Duration::ZERO, &mut |line| (self.output)(profile, line))? == More::Yes
                    && Instant::now() < until
                {}
                lines.finish(&mut |line| (self.output)(profile, line));
                return Ok(status);
            }
            if open == More::Ended {
                std::thread::sleep(TICK);
            }
            if (self.cancelled)() {
                running.stop()?;
                return Err(Error::Cancelled);
            }
            if running.since.elapsed() > self.timeout {
                running.stop()?;
                return Err(Error::Timeout { profile: profile.into(), script, after: self.timeout });
            }
        }
    }
}

/// A bash with nothing of the caller's environment, and what every script is promised.
fn bash(root: &Path, text: &str) -> Command {
    let mut command = Command::new("/bin/bash");
    command.args(["--noprofile", "--norc", "-c", &[ATTENDED, text].concat(), "sysconf"]).current_dir("/").env_clear();
    command.env("PATH", PATH).env("LC_ALL", "C").env("HOME", "/root").env("SYSCONF_PATH", root);
    command.env("container", "lxc").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// A child that is stopped, with all that it started, when it is dropped while it runs.
struct Running {
    child: Child,
    since: Instant,
    /// Open as long as this process lives: see [`ATTENDED`].
    attendance: PipeWriter,
}

impl Running {
    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(Error::io("wait for", "a script"))
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

    fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM);
        let asked = Instant::now();
        while self.ended()?.is_none() && asked.elapsed() < GRACE {
            std::thread::sleep(TICK);
        }
        self.signal(Signal::KILL);
        self.child.wait().map_err(Error::io("wait for", "a script"))?;
        Ok(())
    }
}

impl Drop for Running {
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
struct Lines {
    reader: std::io::PipeReader,
    pending: Vec<u8>,
}

impl Lines {
    /// Waits for more and hands on the whole lines.
    fn read(&mut self, wait: Duration, output: &mut dyn FnMut(&str)) -> Result<More> {
        let mut poll = [PollFd::from_borrowed_fd(self.reader.as_fd(), PollFlags::IN)];
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        match rustix::event::poll(&mut poll, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(More::No),
            other => other.map_err(Error::io("wait for", "a script"))?,
        };
        let mut buffer = [0; 4096];
        let count = self.reader.read(&mut buffer).map_err(Error::io("read", "the output of a script"))?;
        self.pending.extend(&buffer[..count]);
        while let Some(end) = self.pending.iter().position(|b| *b == b'\n').or(self.too_long()) {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            output(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        }
        Ok(if count == 0 { More::Ended } else { More::Yes })
    }

    fn too_long(&self) -> Option<usize> {
        (self.pending.len() > MAX_LINE).then_some(MAX_LINE - 1)
    }

    /// Hands on a last line without an end.
    fn finish(&mut self, output: &mut dyn FnMut(&str)) {
        if !self.pending.is_empty() {
            output(&String::from_utf8_lossy(&self.pending));
        }
    }
}

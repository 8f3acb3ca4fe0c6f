//! A login shell for a person elsewhere, in a terminal of its own.

use std::fs::File;
use std::io::{self, Read, Write, stdin, stdout};
use std::process::{Command, ExitCode};
use std::thread;

use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Result;
use crate::protocol::{CHUNK, Decoder, Frame, Kind, Size};

/// Runs the shell, on a terminal that understands what one of the kind `terminal` (as `xterm`) does.
///
/// stdin brings frames: what is typed, and the size of the person's terminal, first and whenever it changes.
pub(super) fn shell(terminal: &str) -> Result<ExitCode> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let outer = openpt(flags)?;
    unlockpt(&outer)?;
    let inner = ioctl_tiocgptpeer(&outer, flags)?;
    let (mut outer, mut input) = (File::from(outer.try_clone()?), File::from(outer));
    // Front waits for a first byte before it says anything.
    say(b"\r")?;
    let mut person = Person::default();
    person.next()?.map_or(Ok(()), |first| take(&first, &mut input))?;
    // setsid does what would take `unsafe` here: a session with this terminal.
    let mut command = Command::new("setsid");
    command.args(["--ctty", "bash", "-l"]).env("TERM", terminal);
    command.stdin(inner.try_clone()?).stdout(inner.try_clone()?).stderr(inner);
    let mut child = command.spawn()?;
    // It holds the inner side, which must be closed for the outer one to end.
    drop(command);
    let session = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // Not waited for: it reads as long as the person's terminal is there.
    thread::spawn(move || {
        while let Ok(Some(frame)) = person.next() {
            if take(&frame, &mut input).is_err() {
                break;
            }
        }
        // As where a terminal is closed.
        let _ = session.map(|session| rustix::process::kill_process_group(session, Signal::HUP));
    });
    let mut chunk = vec![0; CHUNK];
    // The end is an error (EIO) where a terminal has nobody left inside.
    while let Ok(count @ 1..) = outer.read(&mut chunk) {
        say(&chunk[..count])?;
    }
    Ok(super::exit_code(child.wait()?))
}

fn say(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// What comes from the person.
#[derive(Default)]
struct Person(Decoder);

impl Person {
    fn next(&mut self) -> Result<Option<Frame>> {
        let mut chunk = vec![0; CHUNK];
        loop {
            if let Some(frame) = self.0.frame()? {
                return Ok(Some(frame));
            }
            match stdin().read(&mut chunk)? {
                0 => return Ok(None),
                count => self.0.feed(&chunk[..count]),
            }
        }
    }
}

fn take(frame: &Frame, terminal: &mut File) -> Result<()> {
    if frame.kind == Kind::Stdin {
        return Ok(terminal.write_all(&frame.payload)?);
    }
    let Size { rows, columns } = frame.value(Kind::Size, "what is typed, or a size")?;
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size).map_err(io::Error::from)?)
}

//! Connects the streams of this program with those of a program in a container.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::tcgetwinsize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::{flag, low_level::pipe};

use super::error::{Error, Result};
use super::filter::Lines;
use super::keeper::{Program, ProgramInput, Said};
use crate::protocol::{CHUNK, Frame, Kind, Size};

/// This program's stdin, unbuffered.
pub(super) fn stdin() -> Result<File> {
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(Error::io("use", "standard input"))?;
    Ok(File::from(stdin))
}

/// This program's stdout, unbuffered.
pub(super) fn stdout() -> Result<File> {
    let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(Error::io("use", "standard output"))?;
    Ok(File::from(stdout))
}

/// Passes stdin on until the program ends, and its output to `output`. Signals are passed on as a wish to end; a
/// second one ends this program, and with it the connection and the program.
///
/// Returns the program's exit code.
pub(super) fn relay(
    input: ProgramInput<'_>, program: &mut Program<'_>, output: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u8> {
    connect(input, program, output, None)
}

/// Like [`relay`], for a program that takes frames: those of stdin, a terminal, and of its size, now and when it changes.
pub(super) fn relay_terminal(
    input: ProgramInput<'_>, program: &mut Program<'_>, output: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u8> {
    let (resized, mut sender) = UnixStream::pair().map_err(Error::io("open", "a pipe"))?;
    sender.write_all(&[0]).map_err(Error::io("write to", "a pipe"))?;
    pipe::register(SIGWINCH, sender).map_err(Error::io("watch", "signals"))?;
    connect(input, program, output, Some(resized))
}

fn connect(
    input: ProgramInput<'_>, program: &mut Program<'_>, output: &mut dyn FnMut(&[u8]) -> Result<()>,
    resized: Option<UnixStream>,
) -> Result<u8> {
    let stdin = stdin()?;
    let signals = signals().map_err(Error::io("watch", "signals"))?;
    let (ended, end) = UnixStream::pair().map_err(Error::io("open", "a pipe"))?;
    thread::scope(|scope| {
        scope.spawn(|| pass(input, stdin, signals, resized, ended));
        let end = end; // Closed here, however this ends; then the thread ends too.
        let result = loop {
            match program.next() {
                Ok(Said::Data(bytes)) => match output(&bytes) {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
                Ok(Said::Exit(code)) => break Ok(code),
                Err(error) => break Err(error),
            }
        };
        drop(end);
        result
    })
}

/// A stream that gets a byte with each signal.
fn signals() -> io::Result<UnixStream> {
    let (receiver, sender) = UnixStream::pair()?;
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?;
        flag::register(signal, Arc::clone(&again))?;
        pipe::register(signal, sender.try_clone()?)?;
    }
    Ok(receiver)
}

/// Passes stdin and signals on. Where the connection breaks there is nothing to pass: the other thread reports it.
fn pass(
    mut input: ProgramInput<'_>, mut stdin: File, mut signals: UnixStream, mut resized: Option<UnixStream>,
    ended: UnixStream,
) {
    let mut chunk = [0; CHUNK];
    let mut open = true;
    loop {
        let mut fds = [
            PollFd::new(&ended, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
            PollFd::new(resized.as_ref().unwrap_or(&ended), PollFlags::IN),
            PollFd::new(&stdin, PollFlags::IN),
        ];
        let watched = if open { 4 } else { 3 };
        match poll(&mut fds[..watched], None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        let [has_ended, has_signal, has_size, has_input] = fds.map(|fd| !fd.revents().is_empty());
        if has_ended {
            return;
        }
        if has_signal && (signals.read(&mut [0]).is_err() || input.terminate().is_err()) {
            return;
        }
        if let (true, Some(resized)) = (has_size, &mut resized) {
            let told = resized.read(&mut chunk).and_then(|_| input.write_all(&size()?));
            if told.is_err() {
                return;
            }
        }
        if has_input {
            let done = match stdin.read(&mut chunk) {
                Ok(count @ 1..) if resized.is_some() => {
                    input.write_all(&Frame::data(Kind::Stdin, &chunk[..count]).encode())
                }
                Ok(count @ 1..) => input.write_all(&chunk[..count]),
                Ok(0) | Err(_) => {
                    open = false;
                    input.end().map_err(io::Error::other)
                }
            };
            if done.is_err() {
                return;
            }
        }
    }
}

/// The size of the terminal as a frame.
fn size() -> io::Result<Vec<u8>> {
    let size = tcgetwinsize(io::stdin())?;
    let size = Size { rows: size.ws_row, columns: size.ws_col };
    Frame::json(Kind::Size, &size).map(|frame| frame.encode()).map_err(io::Error::other)
}

/// This program's stdout, for the output of a program in a container: as it is, but to a terminal without what could
/// control it.
pub(super) struct Screen {
    output: File,
    lines: Option<Lines>,
}

impl Screen {
    pub(super) fn new() -> Result<Self> {
        Ok(Screen { output: stdout()?, lines: io::stdout().is_terminal().then(Lines::default) })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.lines {
            Some(lines) => self.output.write_all(lines.feed(bytes).as_bytes()),
            None => self.output.write_all(bytes),
        }
        .map_err(Error::stdout)
    }

    /// Writes the last line where it has no end.
    pub(super) fn finish(mut self) -> Result<()> {
        let rest = self.lines.as_mut().map(Lines::finish).unwrap_or_default();
        self.output.write_all(rest.as_bytes()).map_err(Error::stdout)
    }
}

//! Between front and a program in a container.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use glxc_lxc::Attached;
use rustix::event::{PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::keeper::connection::{Connection, poll_fd, timespec};
use crate::keeper::{Failure, failure};
use crate::protocol::{ALIVE, CHUNK, Code, Error, Frame, Kind, Progress, Result};

/// How long a program may go on after front went away, or after SIGTERM by a signal to this process.
const GRACE: Duration = Duration::from_secs(30);

/// What becomes of the program's output.
pub(crate) enum Outlet {
    /// It goes to front, which may also stop the program.
    Front,
    /// The end of it is kept for a message.
    Keep(Vec<u8>),
}

/// How much output is kept.
const KEPT: usize = 4 << 10;

/// A program and what front still has for it.
struct Relay<'a, 'fd> {
    connection: &'a mut Connection<'fd>,
    program: Attached,
    outlet: &'a mut Outlet,
    /// Bytes of front's that the program has not taken yet; more are read only when it has.
    pending: Vec<u8>,
    /// How many bytes of a stream came.
    received: u64,
    /// When the program is killed.
    deadline: Option<Instant>,
    front_is_gone: bool,
}

/// How a relayed program ended.
pub(crate) struct Ended {
    /// Its exit status, as the protocol has it.
    pub(crate) code: u8,
    /// How many bytes front sent it.
    pub(crate) received: u64,
}

/// Carries bytes both ways until the program ends. Where front goes away the program gets SIGTERM and the end of
/// its input, and is killed after a while; at `deadline` it is killed at once.
///
/// # Errors
/// The inner one is the answer to front; the outer one ends the conversation.
pub(crate) fn relay(
    connection: &mut Connection<'_>, program: Attached, outlet: &mut Outlet, deadline: Option<Instant>,
) -> Result<Result<Ended, Failure>> {
    connection.streaming = true;
    let mut relay =
        Relay { connection, program, outlet, pending: Vec::new(), received: 0, deadline, front_is_gone: false };
    match relay.run() {
        Err(Broken::Program(failure)) => Ok(Err(failure)),
        Err(Broken::Conversation(error)) => Err(error),
        Ok(_) if relay.front_is_gone => Err(Error::Closed),
        Ok(code) => Ok(Ok(Ended { code, received: relay.received })),
    }
}

/// Which side failed.
enum Broken {
    Conversation(Error),
    Program(Failure),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Broken::Conversation(error)
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Broken::Program(failure)
    }
}

impl Relay<'_, '_> {
    fn run(&mut self) -> Result<u8, Broken> {
        for stream in [&self.program.stdin, &self.program.stdout, &self.program.stderr].into_iter().flatten() {
            let flags = fcntl_getfl(stream).map_err(failure::io("prepare a pipe"))?;
            fcntl_setfl(stream, flags | OFlags::NONBLOCK).map_err(failure::io("prepare a pipe"))?;
        }
        let pid = Pid::from_raw(self.program.pid() as i32).ok_or_else(|| failure::invalid("no process"))?;
        let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(failure::io("watch the program"))?;
        loop {
            let program_ended = self.wait(&ended)?;
            self.check_time()?;
            self.take_frames()?;
            self.feed();
            // What it wrote before its end is in the pipes; what its own children write later is not waited for.
            let quiet = !self.forward(Kind::Stdout)? & !self.forward(Kind::Stderr)?;
            if program_ended && quiet {
                return Ok(self.program.wait().map_err(failure::of)?);
            }
        }
    }

    /// Waits until something can be done, and reads what front sent. True where the program has ended.
    fn wait(&mut self, ended: &rustix::fd::OwnedFd) -> Result<bool, Broken> {
        let listening = self.pending.is_empty() && !self.front_is_gone;
        let input = listening.then(|| self.connection.input());
        let stdin = if self.pending.is_empty() { &None } else { &self.program.stdin };
        let ended = Some(ended);
        let sources = [
            poll_fd(&ended, PollFlags::IN),
            poll_fd(&input, PollFlags::IN),
            poll_fd(stdin, PollFlags::OUT),
            poll_fd(&self.program.stdout, PollFlags::IN),
            poll_fd(&self.program.stderr, PollFlags::IN),
        ];
        let present: Vec<bool> = sources.iter().map(Option::is_some).collect();
        let mut fds: Vec<_> = sources.into_iter().flatten().collect();
        // Also the granularity of deadlines and signals.
        let _ = poll(&mut fds, Some(&timespec(Duration::from_secs(1))));
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let ready: Vec<bool> = present.into_iter().map(|there| there && ready.next().unwrap_or(false)).collect();
        drop(fds);
        if ready[1] && !self.connection.read()? {
            self.front_went();
        }
        let alive = match self.outlet {
            Outlet::Front => self.connection.keep_alive(|| Ok(Frame::data(Kind::Alive, &[]))),
            Outlet::Keep(_) => self.connection.keep_alive(|| Frame::json(Kind::Progress, &Progress::Alive)),
        };
        if alive.is_err() {
            self.front_went();
        }
        Ok(ready[0])
    }

    fn front_went(&mut self) {
        if !self.front_is_gone {
            self.front_is_gone = true;
            self.pending.clear();
            self.program.stdin = None;
            self.end_soon();
        }
    }

    fn end_soon(&mut self) {
        self.program.terminate();
        let limit = Instant::now() + GRACE;
        self.deadline = Some(self.deadline.map_or(limit, |deadline| deadline.min(limit)));
    }

    fn check_time(&mut self) -> Result<(), Broken> {
        if self.connection.stopped() {
            self.front_went();
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.program.kill();
            return Err(failure::new(Code::Timeout, "the program in the container took too long").into());
        }
        Ok(())
    }

    /// Takes frames until one has bytes for the program.
    fn take_frames(&mut self) -> Result<(), Broken> {
        while self.pending.is_empty() && !self.front_is_gone {
            let Some(frame) = self.connection.arrived()? else { return Ok(()) };
            match frame.kind {
                Kind::Stdin if self.connection.streaming => {
                    self.received += frame.payload.len() as u64;
                    // Where the program closed its input, what comes is nobody's.
                    if self.program.stdin.is_some() {
                        self.pending = frame.payload;
                    }
                }
                Kind::End if self.connection.streaming => {
                    self.connection.streaming = false;
                    self.program.stdin = None;
                }
                Kind::Terminate if matches!(self.outlet, Outlet::Front) => self.program.terminate(),
                kind => return Err(Error::Order { kind, due: "bytes for the program" }.into()),
            }
        }
        Ok(())
    }

    /// Gives the program what it takes.
    fn feed(&mut self) {
        let Some(stdin) = self.program.stdin.as_mut().filter(|_| !self.pending.is_empty()) else { return };
        match stdin.write(&self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => {
                self.program.stdin = None;
                self.pending.clear();
            }
        }
    }

    /// Passes on what the program wrote to one stream; true where there was something.
    fn forward(&mut self, kind: Kind) -> Result<bool, Broken> {
        let stream = if kind == Kind::Stdout { &mut self.program.stdout } else { &mut self.program.stderr };
        let Some(bytes) = read_some(stream) else { return Ok(false) };
        match self.outlet {
            Outlet::Front if self.front_is_gone => {}
            Outlet::Front => {
                if self.connection.send(&Frame::data(kind, &bytes)).is_err() {
                    self.front_went();
                }
            }
            Outlet::Keep(kept) => {
                kept.extend(bytes);
                kept.drain(..kept.len().saturating_sub(KEPT));
            }
        }
        Ok(true)
    }
}

/// What is there to be read; nothing where there is nothing. At its end the stream is closed.
fn read_some(stream: &mut Option<File>) -> Option<Vec<u8>> {
    let mut chunk = [0; CHUNK];
    match stream.as_mut()?.read(&mut chunk) {
        Ok(0) => *stream = None,
        Ok(count) => return Some(chunk[..count].to_vec()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(_) => *stream = None,
    }
    None
}

// The poll above must come back in time for a sign of life.
const _: () = assert!(ALIVE.as_secs() > 2);

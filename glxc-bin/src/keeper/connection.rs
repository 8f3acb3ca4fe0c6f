//! The keeper's end of a conversation.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use glxc_lxc::Watch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use crate::protocol::{ALIVE, CHUNK, Decoder, Error, Frame, Hello, Kind, PATIENCE, Progress, Request, Result};

/// The keeper's end of a conversation over two descriptors.
pub(crate) struct Connection<'fd> {
    input: BorrowedFd<'fd>,
    output: BorrowedFd<'fd>,
    decoder: Decoder,
    /// Front began a stream whose `End` has not come.
    pub(crate) streaming: bool,
    last_sent: Instant,
    /// Set by a signal that asks this process to stop.
    stop: Arc<AtomicBool>,
}

impl<'fd> Connection<'fd> {
    /// Exchanges the first frames.
    pub(crate) fn open(input: BorrowedFd<'fd>, output: BorrowedFd<'fd>, stop: Arc<AtomicBool>) -> Result<Self> {
        let decoder = Decoder::default();
        let mut connection = Connection { input, output, decoder, streaming: false, last_sent: Instant::now(), stop };
        connection.send_json(Kind::Hello, &Hello::new())?;
        let frame = connection.next(Some(PATIENCE))?.ok_or(Error::Closed)?;
        frame.value::<Hello>(Kind::Hello, "a hello")?.agree()?;
        Ok(connection)
    }

    /// The next request; nothing where front ended the conversation. The rest of an earlier stream is passed over.
    pub(crate) fn request(&mut self) -> Result<Option<Request>> {
        while let Some(frame) = self.next(None)? {
            match frame.kind {
                // Front may send it before it has heard that the program ended.
                Kind::Terminate => {}
                Kind::Stdin if self.streaming => {}
                Kind::End if self.streaming => self.streaming = false,
                _ if self.streaming => return Err(Error::Order { kind: frame.kind, due: "the end of a stream" }),
                _ => return frame.value(Kind::Request, "a request").map(Some),
            }
        }
        Ok(None)
    }

    /// Waits for a frame; nothing at the end of front's bytes.
    fn next(&mut self, patience: Option<Duration>) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decoder.frame()? {
                return Ok(Some(frame));
            }
            if self.stop.load(Ordering::SeqCst) {
                return Ok(None);
            }
            let mut fds = [PollFd::from_borrowed_fd(self.input, PollFlags::IN)];
            match poll(&mut fds, patience.map(timespec).as_ref()) {
                Ok(0) => return Err(Error::Silent),
                Err(Errno::INTR) => continue,
                result => result.map_err(std::io::Error::from)?,
            };
            if !self.read()? {
                return if self.decoder.is_midway() { Err(Error::Closed) } else { Ok(None) };
            }
        }
    }

    /// Takes a frame that has arrived already.
    pub(crate) fn arrived(&mut self) -> Result<Option<Frame>> {
        self.decoder.frame()
    }

    /// Reads what is there into the decoder; false at the end of front's bytes.
    pub(crate) fn read(&mut self) -> Result<bool> {
        let mut chunk = [0; CHUNK];
        match rustix::io::read(self.input, &mut chunk) {
            Ok(count) => {
                self.decoder.feed(&chunk[..count]);
                Ok(count > 0)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(true),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
    }

    pub(crate) fn input(&self) -> BorrowedFd<'fd> {
        self.input
    }

    /// Whether a signal asked this process to stop.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(crate) fn send(&mut self, frame: &Frame) -> Result<()> {
        let bytes = frame.encode();
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            match rustix::io::write(self.output, left) {
                Ok(count) => left = &left[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut fds = [PollFd::from_borrowed_fd(self.output, PollFlags::OUT)];
                    let _ = poll(&mut fds, None);
                }
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
        }
        self.last_sent = Instant::now();
        Ok(())
    }

    pub(crate) fn send_json<T: Serialize>(&mut self, kind: Kind, value: &T) -> Result<()> {
        self.send(&Frame::json(kind, value)?)
    }

    /// Sends a sign of life where the last frame is long ago. A failure means that front is gone.
    pub(crate) fn keep_alive(&mut self, frame: impl FnOnce() -> Result<Frame>) -> Result<()> {
        if self.last_sent.elapsed() < ALIVE / 2 {
            return Ok(());
        }
        self.send(&frame()?)
    }

    /// Whether front closed its end, without reading what it sent before.
    fn hung_up(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.input, PollFlags::RDHUP)];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ended = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
        poll(&mut fds, Some(&none)).is_ok() && fds[0].revents().intersects(ended)
    }
}

/// Long calls tell front how far they are, and stop where front is gone.
impl Watch for Connection<'_> {
    fn note(&mut self, text: &str) {
        // Where front is gone, the next `goes_on` says so.
        let _ = self.send_json(Kind::Progress, &Progress::Begin(text.into()));
    }

    fn goes_on(&mut self) -> bool {
        let alive = self.keep_alive(|| Frame::json(Kind::Progress, &Progress::Alive));
        alive.is_ok() && !self.hung_up() && !self.stopped()
    }
}

pub(crate) fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: time.subsec_nanos().into() }
}

/// A descriptor to wait for; none where it is closed.
pub(crate) fn poll_fd<F: AsFd>(fd: &Option<F>, flags: PollFlags) -> Option<PollFd<'_>> {
    fd.as_ref().map(|fd| PollFd::new(fd, flags))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_wish_to_end_that_comes_too_late_is_passed_over() {
        let (mut front, keeper) = UnixStream::pair().unwrap();
        for frame in [
            Frame::json(Kind::Hello, &Hello::new()).unwrap(),
            Frame::data(Kind::Terminate, &[]),
            Frame::json(Kind::Request, &Request::List).unwrap(),
            Frame::data(Kind::Stdin, b"no stream was begun"),
        ] {
            front.write_all(&frame.encode()).unwrap();
        }
        let mut connection = Connection::open(keeper.as_fd(), keeper.as_fd(), Arc::default()).unwrap();
        assert_eq!(connection.request().unwrap(), Some(Request::List));
        assert!(matches!(connection.request(), Err(Error::Order { kind: Kind::Stdin, .. })));
    }
}

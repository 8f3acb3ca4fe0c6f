//! Front's end of a conversation.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::{CHUNK, Command, Decoder, Error, Exit, Frame, Hello, Kind, Name, Progress, Reply, Request, Result};

/// Reads a descriptor with a limit on silence: a read that gets nothing for so long fails with
/// [`io::ErrorKind::TimedOut`], which [`Client`] reports as [`Error::Silent`].
#[derive(Debug)]
pub struct Patient<F> {
    inner: F,
    patience: Duration,
}

impl<F> Patient<F> {
    /// Waits for so long at a time; [`PATIENCE`](super::PATIENCE) is what the protocol means.
    pub fn new(inner: F, patience: Duration) -> Self {
        Patient { inner, patience }
    }
}

impl<F: Read + AsFd> Read for Patient<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let until = Instant::now() + self.patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let mut fds = [PollFd::new(&self.inner, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return self.inner.read(buffer),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Front's end of a conversation, over any pair of streams.
///
/// Where the reading stream should not wait for ever, wrap it in [`Patient`].
#[derive(Debug)]
pub struct Client<R, W> {
    receiver: Receiver<R>,
    sender: Sender<W>,
}

#[derive(Debug)]
struct Receiver<R> {
    reader: R,
    decoder: Decoder,
    /// A program was attached and its end has not come.
    attached: bool,
}

#[derive(Debug)]
struct Sender<W> {
    writer: W,
    /// A stream was begun and its `End` not sent.
    streaming: bool,
}

impl<R: Read> Receiver<R> {
    fn frame(&mut self) -> Result<Frame> {
        let mut chunk = [0; CHUNK];
        loop {
            if let Some(frame) = self.decoder.frame()? {
                return Ok(frame);
            }
            match self.reader.read(&mut chunk) {
                Ok(0) if self.decoder.seen_a_frame || !self.decoder.is_midway() => return Err(Error::Closed),
                Ok(0) => return Err(self.decoder.foreign()),
                Ok(count) => self.decoder.feed(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(Error::Silent),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What an attached program does next.
    fn event(&mut self) -> Result<Event> {
        loop {
            let frame = self.frame()?;
            match frame.kind {
                Kind::Stdout => return Ok(Event::Stdout(frame.payload)),
                Kind::Stderr => return Ok(Event::Stderr(frame.payload)),
                Kind::Alive => {}
                Kind::Failure => {
                    self.attached = false;
                    return Err(Error::Failed(frame.value(Kind::Failure, "")?));
                }
                _ => {
                    self.attached = false;
                    return Ok(Event::Exit(frame.value::<Exit>(Kind::Exit, "the process's output or exit")?.code));
                }
            }
        }
    }

    /// Waits for the end of a program whose output nobody wants any more.
    fn finish(&mut self) -> Result<()> {
        while self.attached {
            match self.event() {
                Ok(_) | Err(Error::Failed(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The answer to a request.
    fn reply(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<Reply> {
        loop {
            let frame = self.frame()?;
            match frame.kind {
                Kind::Progress => progress(frame.value(Kind::Progress, "")?),
                Kind::Failure => return Err(Error::Failed(frame.value(Kind::Failure, "")?)),
                _ => return frame.value(Kind::Reply, "a reply"),
            }
        }
    }
}

impl<W: Write> Sender<W> {
    fn send(&mut self, frame: &Frame) -> Result<()> {
        self.writer.write_all(&frame.encode())?;
        Ok(self.writer.flush()?)
    }

    fn end(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.streaming) {
            return Ok(());
        }
        self.send(&Frame::data(Kind::End, &[]))
    }
}

impl<R: Read, W: Write> Client<R, W> {
    /// Exchanges the first frames.
    ///
    /// # Errors
    /// [`Error::Foreign`] where the other side is no keeper, [`Error::Version`] where it speaks another version,
    /// and those of the streams.
    pub fn connect(reader: R, writer: W) -> Result<Self> {
        let mut receiver = Receiver { reader, decoder: Decoder::default(), attached: false };
        let mut sender = Sender { writer, streaming: false };
        sender.send(&Frame::json(Kind::Hello, &Hello::new())?)?;
        receiver.frame()?.value::<Hello>(Kind::Hello, "a hello")?.agree()?;
        Ok(Client { receiver, sender })
    }

    /// Asks for something that needs no stream, and waits for the answer; first for the end of a program that is still
    /// attached, whose input is ended.
    ///
    /// # Errors
    /// [`Error::Failed`] with the keeper's reason, and those of the conversation.
    pub fn call(&mut self, request: &Request, progress: &mut dyn FnMut(Progress)) -> Result<Reply> {
        self.begin(request)?;
        self.receiver.reply(progress)
    }

    fn begin(&mut self, request: &Request) -> Result<()> {
        self.sender.end()?;
        self.receiver.finish()?;
        self.sender.send(&Frame::json(Kind::Request, request)?)
    }

    /// Puts a guest program into a running container.
    ///
    /// # Errors
    /// Those of [`Client::call`], and reading the program.
    pub fn install_guest(&mut self, name: &Name, sha256: &str, size: u64, program: &mut dyn Read) -> Result<()> {
        self.begin(&Request::InstallGuest { name: name.clone(), sha256: sha256.into(), size })?;
        self.sender.streaming = true;
        let mut chunk = [0; CHUNK];
        loop {
            match program.read(&mut chunk)? {
                0 => break,
                count => self.sender.send(&Frame::data(Kind::Stdin, &chunk[..count]))?,
            }
        }
        self.sender.end()?;
        self.receiver.reply(&mut |_| {}).map(drop)
    }

    /// Starts a program in a container. The two ends that it returns may be used by two threads, and must be where
    /// the program may write much before it has read all.
    ///
    /// # Errors
    /// Those of [`Client::call`].
    pub fn attach(
        &mut self, name: &Name, command: Command, environment: Vec<(String, String)>,
    ) -> Result<(Input<'_, W>, Output<'_, R>)> {
        let request = Request::Attach { name: name.clone(), command, environment };
        let reply = self.call(&request, &mut |_| {})?;
        if reply != Reply::Attached {
            return Err(Error::Order { kind: Kind::Reply, due: "the reply `attached`" });
        }
        self.sender.streaming = true;
        self.receiver.attached = true;
        Ok((Input(&mut self.sender), Output(&mut self.receiver)))
    }
}

/// The stdin of an attached program. It ends at [`Input::end`], or with the next request.
#[derive(Debug)]
pub struct Input<'a, W>(&'a mut Sender<W>);

impl<W: Write> Input<'_, W> {
    /// Closes the program's stdin.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn end(&mut self) -> Result<()> {
        self.0.end()
    }

    /// Sends the program SIGTERM.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn terminate(&mut self) -> Result<()> {
        self.0.send(&Frame::data(Kind::Terminate, &[]))
    }
}

impl<W: Write> Write for Input<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK);
        if count == 0 {
            return Ok(0);
        }
        self.0.writer.write_all(&Frame::data(Kind::Stdin, &bytes[..count]).encode())?;
        self.0.writer.flush()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.writer.flush()
    }
}

/// What an attached program does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It wrote to stdout.
    Stdout(Vec<u8>),
    /// It wrote to stderr: a stranger's bytes, to be escaped before a person sees them.
    Stderr(Vec<u8>),
    /// It ended; see [`Exit::code`]. Nothing follows.
    Exit(u8),
}

/// What an attached program writes and how it ends.
#[derive(Debug)]
pub struct Output<'a, R>(&'a mut Receiver<R>);

impl<R: Read> Output<'_, R> {
    /// Waits for what comes next. After [`Event::Exit`] there is nothing to wait for.
    ///
    /// # Errors
    /// [`Error::Closed`] where the keeper died, and those of the conversation.
    pub fn event(&mut self) -> Result<Event> {
        if !self.0.attached {
            return Err(Error::Closed);
        }
        self.0.event()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tests::frames;

    fn said(frames: &[Frame]) -> Vec<u8> {
        frames.iter().flat_map(Frame::encode).collect()
    }

    fn hello() -> Frame {
        Frame::json(Kind::Hello, &Hello::new()).unwrap()
    }

    #[test]
    fn a_call_passes_progress_and_takes_the_answer() {
        let keeper = said(&[
            hello(),
            Frame::json(Kind::Progress, &Progress::Begin("installing".into())).unwrap(),
            Frame::json(Kind::Reply, &Reply::Done).unwrap(),
        ]);
        let mut wrote = Vec::new();
        let mut client = Client::connect(keeper.as_slice(), &mut wrote).unwrap();
        let mut told = Vec::new();
        let request = Request::Destroy { name: Name::new("demo").unwrap() };
        assert_eq!(client.call(&request, &mut |p| told.push(p)).unwrap(), Reply::Done);
        assert_eq!(told, [Progress::Begin("installing".into())]);
        assert_eq!(wrote, said(&[hello(), Frame::json(Kind::Request, &request).unwrap()]));
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        let stdout = Frame::data(Kind::Stdout, b"x");
        let early = Client::connect(said(std::slice::from_ref(&stdout)).as_slice(), Vec::new()).unwrap_err();
        assert_eq!(early.to_string(), "Stdout came where a hello was due");
        let bytes = said(&[hello(), stdout]);
        let mut client = Client::connect(bytes.as_slice(), Vec::new()).unwrap();
        assert!(matches!(client.call(&Request::List, &mut |_| {}), Err(Error::Order { kind: Kind::Stdout, .. })));
    }

    #[test]
    fn another_version_is_named() {
        let hello = Frame::json(Kind::Hello, &Hello { protocol: 9, program: "glxc 9.0".into() }).unwrap();
        let error = Client::connect(said(&[hello]).as_slice(), Vec::new()).unwrap_err().to_string();
        assert!(error.contains("(glxc 9.0) speaks version 9"), "{error}");
    }

    #[test]
    fn a_stream_is_ended_before_the_next_request() {
        let reply = |reply| Frame::json(Kind::Reply, &reply).unwrap();
        let exit = Frame::json(Kind::Exit, &Exit { code: 3 }).unwrap();
        let bytes = said(&[
            hello(),
            reply(Reply::Attached),
            Frame::data(Kind::Stderr, b"e"),
            exit.clone(),
            reply(Reply::Containers(vec![])),
            reply(Reply::Attached),
            Frame::data(Kind::Stdout, b"unread"),
            exit,
            reply(Reply::Done),
        ]);
        let mut wrote = Vec::new();
        let mut client = Client::connect(bytes.as_slice(), &mut wrote).unwrap();
        let command = Command::Guest { arguments: vec![] };
        let (mut input, mut output) = client.attach(&Name::new("a").unwrap(), command, vec![]).unwrap();
        input.write_all(b"in").unwrap();
        assert_eq!(output.event().unwrap(), Event::Stderr(b"e".to_vec()));
        assert_eq!(output.event().unwrap(), Event::Exit(3));
        assert!(matches!(output.event(), Err(Error::Closed)));
        client.call(&Request::List, &mut |_| {}).unwrap();
        let command = Command::Exec { argv: vec!["true".into()] };
        client.attach(&Name::new("a").unwrap(), command, vec![]).unwrap();
        assert_eq!(client.call(&Request::List, &mut |_| {}).unwrap(), Reply::Done);
        let kinds: Vec<Kind> = frames(&wrote, 9).unwrap().into_iter().map(|frame| frame.kind).collect();
        let (hello, request, stdin, end) = (Kind::Hello, Kind::Request, Kind::Stdin, Kind::End);
        assert_eq!(kinds, [hello, request, stdin, end, request, request, end, request]);
    }

    #[test]
    fn silence_is_an_error() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let reader = Patient::new(std::fs::File::from(reader), Duration::from_millis(20));
        assert!(matches!(Client::connect(reader, Vec::new()), Err(Error::Silent)));
    }
}

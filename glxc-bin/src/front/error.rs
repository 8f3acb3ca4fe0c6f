//! The one error of the program, and how a person sees it.

use std::error::Error as StdError;
use std::io::{self, Write};
use std::path::Path;

use glxc_handlers::text::escaped;

use crate::protocol;

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// The exit codes of the program; the table for people is in the page of [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Denied = 5,
    /// Whoever read our output went away. As of a program that died by SIGPIPE.
    BrokenPipe = 141,
}

/// What went wrong, why, and what the user can do.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) exit: Exit,
    pub(super) message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Error {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Error { exit, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// Adds the next step for the user.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a cause, with its own causes.
    pub(super) fn because(mut self, cause: &dyn StdError) -> Self {
        self.causes.push(cause.to_string());
        match cause.source() {
            Some(cause) => self.because(cause),
            None => self,
        }
    }

    /// A failed operation on a file.
    pub(super) fn io(operation: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let message = format!("can not {operation} {}", path.as_ref().display());
        move |error| Error::new(Exit::Failed, message).because(&error)
    }

    /// A failed write to stdout.
    pub(super) fn stdout(error: io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::BrokenPipe } else { Exit::Failed };
        Error::new(exit, "can not write to standard output").because(&error)
    }

    /// The message with its causes, where it is a part of another message.
    pub(super) fn on_a_line(&self) -> String {
        [&self.message].into_iter().chain(&self.causes).map(String::as_str).collect::<Vec<_>>().join(": ")
    }

    /// The lines that the user sees.
    pub(super) fn shown(&self) -> String {
        let mut text = format!("error: {}\n", self.message);
        self.causes.iter().for_each(|cause| text.push_str(&format!("  because: {cause}\n")));
        self.hint.iter().for_each(|hint| text.push_str(&format!("hint: {hint}\n")));
        escaped(&text)
    }

    /// Tells the user. Nothing is left to do where that fails.
    pub(super) fn show(&self) {
        if self.exit == Exit::BrokenPipe {
            return;
        }
        let _ = io::stderr().write_all(self.shown().as_bytes());
    }
}

/// An error of another part: what it says, then its causes.
fn top(exit: Exit, error: &dyn StdError) -> Error {
    let top = Error::new(exit, error.to_string());
    match error.source() {
        Some(cause) => top.because(cause),
        None => top,
    }
}

impl From<protocol::Error> for Error {
    fn from(error: protocol::Error) -> Self {
        match error {
            protocol::Error::Failed(failure) => failure.into(),
            other => top(Exit::Failed, &other),
        }
    }
}

impl From<protocol::Failure> for Error {
    fn from(failure: protocol::Failure) -> Self {
        use protocol::Code;
        let exit = match failure.code {
            Code::Invalid => Exit::Usage,
            Code::NotFound => Exit::NotFound,
            Code::Exists | Code::NotRunning => Exit::Conflict,
            Code::Denied | Code::NotAllowed => Exit::Denied,
            _ => Exit::Failed,
        };
        Error { exit, message: failure.message, causes: failure.causes, hint: failure.hint }
    }
}

impl From<protocol::InvalidName> for Error {
    fn from(error: protocol::InvalidName) -> Self {
        top(Exit::Usage, &error)
    }
}

impl From<glxc_transport::Error> for Error {
    fn from(error: glxc_transport::Error) -> Self {
        top(Exit::Failed, &error)
    }
}

/// Tells the user a line about what is going on.
pub(super) fn say(message: &str) {
    let _ = writeln!(io::stderr(), "glxc: {}", escaped(message));
}

//! Who takes over where a process dies that holds prepared transactions.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// A program that waits for the end of its standard input, which only the death of this process brings, and recovers then.
/// Dropped, it is ended; forgotten, it goes on waiting.
#[derive(Debug)]
pub struct Attendant(Child);

impl Attendant {
    /// Starts a program with its arguments, out of reach of what is sent to this process and its group.
    ///
    /// # Errors
    /// Those of [`Command::spawn`]; `InvalidInput` where no program is named.
    pub fn start(command: &[OsString]) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        command.spawn().map(Attendant)
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

//! Who takes over where a process dies that holds prepared transactions.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::{Error, Result};

/// A program that waits for the end of its standard input, which only the death of this process brings, and recovers then.
/// Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Attendant(Child);

impl Attendant {
    /// Starts it, out of reach of what is sent to this process and its group.
    pub(crate) fn start(command: &[OsString]) -> Result<Self> {
        let (program, arguments) = command.split_first().ok_or_else(|| Error::Protocol("no attendant".into()))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        command.spawn().map(Attendant).map_err(Error::io("run", program))
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

//! Programs in a container for a person or a script: `exec` and `shell`.

use std::env;
use std::io::{self, IsTerminal, Write};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::error::{Error, Result, say};
use super::keeper::Keeper;
use super::relay::{Screen, relay, relay_terminal, stdout};
use crate::protocol::Name;

/// Runs a program; its exit code is ours.
pub(super) fn exec(name: &Name, argv: Vec<String>) -> Result<u8> {
    let mut screen = Screen::new()?;
    let program_name = argv.first().cloned().unwrap_or_default();
    Keeper::start()?.with_environment(name, None).run(name, argv, |input, mut program| {
        let code = relay(input, &mut program, &mut |bytes| screen.write(bytes))?;
        match code {
            126 if program.silent => say(&format!("`{program_name}` can not be run in `{name}`")),
            127 if program.silent => say(&format!("there is no program `{program_name}` in `{name}`")),
            _ => {}
        }
        screen.finish().map(|()| code)
    })
}

/// Runs a login shell, with a terminal of its own in the container where we have one here.
pub(super) fn shell(name: &Name) -> Result<u8> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return exec(name, ["bash", "-l"].map(str::to_owned).to_vec());
    }
    let mut keeper = Keeper::start()?.with_environment(name, None);
    let mut output = stdout()?;
    keeper.run_guest(name, &["shell", &terminal_kind()], |input, mut program| {
        let _raw = Raw::enter()?;
        // What a shell prints is for the terminal as it is; whoever opens one trusts the container that far.
        relay_terminal(input, &mut program, &mut |bytes| output.write_all(bytes).map_err(Error::stdout))
    })
}

/// What `TERM` says, where that is a word.
fn terminal_kind() -> String {
    let plain =
        |kind: &String| kind.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'+' | b'_'));
    env::var("TERM").ok().filter(plain).unwrap_or_else(|| "dumb".into())
}

/// The terminal as a mere carrier of bytes, until this is dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Result<Self> {
        let failed = || Error::io("use", "the terminal");
        let before = tcgetattr(io::stdin()).map_err(|error| failed()(error.into()))?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw).map_err(|error| failed()(error.into()))?;
        Ok(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

//! What is under way, in the last line of the user's terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use glxc_handlers::text::escaped;
use indicatif::{ProgressBar, ProgressStyle};

/// How often it shows that the program lives.
const TICK: Duration = Duration::from_millis(200);

/// A line on stderr that changes, and goes away. Where stderr is no terminal there is none.
#[derive(Debug, Default)]
pub(super) struct Bar(Option<ProgressBar>);

/// Whether somebody sees the bar.
pub(super) fn is_seen() -> bool {
    io::stderr().is_terminal()
}

impl Bar {
    /// Tells what is under way; blank for nothing.
    pub(super) fn show(&mut self, text: &str) {
        if text.trim().is_empty() {
            return self.clear();
        }
        self.0.get_or_insert_with(begin).set_message(escaped(text).replace(['\n', '\t'], " "));
    }

    /// Prints lines that are safe already above it, and shows those that end with a carriage return.
    pub(super) fn print(&mut self, lines: &str) {
        for line in lines.split_inclusive(['\n', '\r']) {
            let print = || drop(io::stderr().write_all(line.as_bytes()));
            match (line.strip_suffix('\r'), &self.0) {
                (Some(text), _) => self.show(text),
                (None, Some(bar)) => bar.suspend(print),
                (None, None) => print(),
            }
        }
    }

    /// Makes room for what others print.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

fn begin() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
        bar.set_style(style.tick_chars("|/-\\ "));
    }
    if !bar.is_hidden() {
        bar.enable_steady_tick(TICK);
    }
    bar
}

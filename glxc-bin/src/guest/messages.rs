//! What the guest says to the user, on standard error.

use std::io::{Write, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use glxc_handlers::{Progress, text};

/// A task shorter than this is not mentioned.
const PATIENCE: Duration = Duration::from_secs(3);

/// Notes as lines; a long task as a line now and then, since what reads them may be a pipe.
#[derive(Debug, Default)]
pub struct Messages(Mutex<Option<Task>>);

#[derive(Debug)]
struct Task {
    name: String,
    total: Option<u64>,
    told: Instant,
}

fn line(text: &str) {
    // Nobody may be left to read it.
    let _ = writeln!(stderr(), "{}", text::escaped(text));
}

impl Messages {
    fn task(&self) -> std::sync::MutexGuard<'_, Option<Task>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Messages {
    fn begin(&self, task: &str, total: Option<u64>) {
        *self.task() = Some(Task { name: task.into(), total, told: Instant::now() });
    }

    fn advance(&self, done: u64) {
        let mut guard = self.task();
        let Some(task) = guard.as_mut().filter(|task| task.told.elapsed() >= PATIENCE) else { return };
        task.told = Instant::now();
        match task.total.filter(|total| *total > 0) {
            Some(total) => line(&format!("{}: {} %", task.name, done.saturating_mul(100) / total)),
            None => line(&format!("{}: {done}", task.name)),
        }
    }

    fn end(&self) {
        *self.task() = None;
    }

    fn note(&self, text: &str) {
        line(text);
    }
}

/// An error with its causes, a line each.
pub fn error(error: &dyn std::error::Error) {
    line(&format!("error: {error}"));
    let mut cause = error.source();
    while let Some(error) = cause {
        line(&format!("  because: {error}"));
        cause = error.source();
    }
}

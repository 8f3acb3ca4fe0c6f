//! What the guest says to the user, on standard error.

use std::io::{Write, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use glxc_handlers::{Progress, text};

/// A task shorter than this is not mentioned where it would stay.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often a line that goes away changes.
const PACE: Duration = Duration::from_millis(100);

/// The longest name of a task that is shown, in characters: lines that go away must not wrap.
const NAME: usize = 50;

/// How many characters wide a bar is.
const BAR: u64 = 20;

/// Notes as lines. What is under way as lines that end with a carriage return, as git's own, where somebody sees them
/// change; else as one line for each long task.
#[derive(Debug)]
pub struct Messages {
    changing: bool,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    step: String,
    task: Option<Task>,
    told: Instant,
}

#[derive(Debug)]
struct Task {
    name: String,
    total: Option<u64>,
    /// When it began; nothing where it is mentioned already.
    since: Option<Instant>,
}

impl Now {
    fn name(&self) -> String {
        let task = self.task.iter().map(|task| task.name.as_str());
        [self.step.as_str()].into_iter().filter(|step| !step.is_empty()).chain(task).collect::<Vec<_>>().join(": ")
    }

    fn line(&self, done: u64) -> String {
        let name: String = text::escaped(&self.name()).chars().take(NAME).collect();
        match self.task.as_ref().and_then(|task| task.total).filter(|total| *total > 0) {
            Some(total) => {
                let part = |whole: u64| (u128::from(done.min(total)) * u128::from(whole) / u128::from(total)) as usize;
                format!("{name} [{:<2$}] {} %", "#".repeat(part(BAR)), part(100), BAR as usize)
            }
            None if done > 0 => format!("{name} {done}"),
            None => name,
        }
    }
}

/// Writes at once. Nobody may be left to read it.
fn write(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}

fn line(text: &str) {
    write(&format!("{}\n", text::escaped(text)));
}

impl Messages {
    /// Messages for a reader who sees lines change, or not.
    pub fn new(changing: bool) -> Self {
        Messages { changing, now: Mutex::new(Now { step: String::new(), task: None, told: Instant::now() }) }
    }

    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, now: &mut Now, done: u64) {
        if self.changing {
            now.told = Instant::now();
            write(&format!("{}\r", now.line(done)));
        }
    }
}

impl Progress for Messages {
    fn step(&self, text: &str) {
        let mut now = self.now();
        now.step = text.into();
        now.task = None;
        self.change(&mut now, 0);
    }

    fn begin(&self, task: &str, total: Option<u64>) {
        let mut now = self.now();
        now.task = Some(Task { name: task.into(), total, since: Some(Instant::now()) });
        if now.told.elapsed() >= PACE {
            self.change(&mut now, 0);
        }
    }

    fn advance(&self, done: u64) {
        let mut now = self.now();
        if self.changing && now.told.elapsed() >= PACE {
            return self.change(&mut now, done);
        }
        let Some(task) = now.task.as_mut().filter(|_| !self.changing) else { return };
        if task.since.is_some_and(|since| since.elapsed() >= PATIENCE) {
            task.since = None;
            line(&now.name());
        }
    }

    fn end(&self) {
        self.now().task = None;
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

/// A text that was asked for.
pub fn text(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// What to do about it.
pub fn hint(text: &str) {
    line(&format!("hint: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, total: Option<u64>, done: u64) -> String {
        let task = Task { name: name.into(), total, since: None };
        Now { step: "exporting shop".into(), task: Some(task), told: Instant::now() }.line(done)
    }

    #[test]
    fn what_is_known_is_shown() {
        assert_eq!(shown("public.orders", None, 0), "exporting shop: public.orders");
        assert_eq!(shown("public.orders", None, 1234), "exporting shop: public.orders 1234");
        assert_eq!(shown("files", Some(8), 2), "exporting shop: files [#####               ] 25 %");
        assert_eq!(shown("files", Some(8), 9), "exporting shop: files [####################] 100 %");
        assert_eq!(shown("files", Some(0), 0), "exporting shop: files");
        assert_eq!(shown("a\rb", Some(u64::MAX), u64::MAX).matches("100 %").count(), 1);
        assert!(!shown("a\rb\x1b", None, 1).contains(['\r', '\x1b']));
        assert!(shown(&"x".repeat(999), Some(1), 1).len() < 80, "it must not wrap");
    }
}

//! What is told meanwhile: the crates call a trait from their thread, and a task of the program shows it as it likes.

use std::future::Future;
use std::sync::Mutex;

use glxc_handlers::{Progress, text};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Passes on what it is told.
#[derive(Debug)]
pub struct Told {
    lines: UnboundedSender<String>,
    step: Mutex<String>,
}

impl Told {
    /// The teller, and a future that shows what comes until the teller is dropped.
    #[allow(clippy::print_stderr)]
    pub fn new() -> (Told, impl Future<Output = ()> + Send) {
        let (lines, mut told) = unbounded_channel::<String>();
        let shown = async move {
            while let Some(line) = told.recv().await {
                // A name in a database may hold what a terminal obeys.
                eprintln!("{}", text::escaped(&line));
            }
        };
        (Told { lines, step: Mutex::default() }, shown)
    }

    fn tell(&self, line: String) {
        // Where nobody listens any more there is nobody to tell.
        let _ = self.lines.send(line);
    }
}

impl Progress for Told {
    fn step(&self, text: &str) {
        *self.step.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = text.into();
        self.tell(format!("> {text}"));
    }

    fn begin(&self, task: &str, total: Option<u64>) {
        let step = self.step.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.tell(match total {
            Some(total) => format!("  {step}: {task} ({total})"),
            None => format!("  {step}: {task}"),
        });
    }

    // A bar would use it; lines are enough here.
    fn advance(&self, _: u64) {}

    fn end(&self) {}

    fn note(&self, text: &str) {
        self.tell(format!("! {text}"));
    }
}

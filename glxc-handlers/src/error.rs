//! Errors of handlers.

use std::path::PathBuf;
use std::time::Duration;

use crate::StatePath;

/// The result of a handler's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error as a cause.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What a handler can answer instead of a result.
///
/// `Display` says this level only; the cause is in [`std::error::Error::source`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The application changed what the push changes too. Nothing was written.
    #[error("changed meanwhile{}", conflicts(.first, *.total))]
    Changed {
        /// The first conflicts, at most ten, as `public.orders id=17`.
        first: Vec<String>,
        /// How many there are in all.
        total: u64,
    },
    /// A file of the repository can not be used as it is.
    #[error("{}: {message}", place(.file, .line))]
    Input {
        /// The file, beneath the folder of the state.
        file: StatePath,
        /// The line, counted from 1, where it is known.
        line: Option<u64>,
        /// What is wrong with it, in the engine's own words where they are known.
        message: String,
        /// The engine's own error.
        #[source]
        source: Option<Cause>,
    },
    /// An option of the state in `glxc.toml` can not be used.
    #[error("{}{message}", option_place(.key, .line))]
    Options {
        /// The key, or empty for the state as a whole.
        key: String,
        /// The line in `glxc.toml`, counted from 1, where it is known.
        line: Option<u64>,
        /// What is wrong with it.
        message: String,
    },
    /// The live state holds something that this handler does not know how to keep.
    ///
    /// An export that would lose something is an error, never a shorter export.
    #[error("not supported: {what}")]
    Unsupported {
        /// The object or the kind of object, by name.
        what: String,
    },
    /// The live state, or what it lives in, is not there.
    #[error("{what} does not exist")]
    Gone {
        /// What is gone, by name.
        what: String,
    },
    /// The files would violate a rule of the engine: a foreign key, a unique key, a check.
    #[error("{message}")]
    Violation {
        /// The rule and the rows, by name.
        message: String,
        /// The engine's own error.
        #[source]
        source: Option<Cause>,
    },
    /// The engine refused or failed.
    #[error("{context}")]
    Engine {
        /// What was tried.
        context: String,
        /// The engine's own error.
        #[source]
        source: Cause,
    },
    /// The engine, or a lock, did not answer in time. Nothing was written.
    #[error("{what} did not answer within {} s", .after.as_secs())]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
    /// An operation on a file of the machine failed.
    #[error("{operation} {}", .path.display())]
    Io {
        /// The verb, as `open`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// What carries the trees (the repository, a stream) failed.
    #[error("{context}")]
    Carrier {
        /// What was tried.
        context: String,
        /// Its error.
        #[source]
        source: Cause,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// A file of the repository that can not be used, without a further cause.
    pub fn input(file: &StatePath, line: impl Into<Option<u64>>, message: impl Into<String>) -> Self {
        Error::Input { file: file.clone(), line: line.into(), message: message.into(), source: None }
    }

    /// An option that can not be used, without a line.
    pub fn option(key: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Options { key: key.into(), line: None, message: message.into() }
    }

    /// A failed operation on a file, as a function for `map_err`.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { operation, path, source }
    }

    /// A failed engine, as a function for `map_err`.
    pub fn engine<E: Into<Cause>>(context: impl Into<String>) -> impl FnOnce(E) -> Self {
        let context = context.into();
        move |source| Error::Engine { context, source: source.into() }
    }

    /// A failed carrier, as a function for `map_err`.
    pub fn carrier<E: Into<Cause>>(context: impl Into<String>) -> impl FnOnce(E) -> Self {
        let context = context.into();
        move |source| Error::Carrier { context, source: source.into() }
    }
}

/// How many comes first: whoever shortens a long message cuts its end.
fn conflicts(first: &[String], total: u64) -> String {
    let named = first.join(", ");
    match total.saturating_sub(first.len() as u64) {
        0 => format!(": {named}"),
        _ => format!(" ({total} in all): {named}, ..."),
    }
}

fn place(file: &StatePath, line: &Option<u64>) -> String {
    match line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_string(),
    }
}

fn option_place(key: &str, line: &Option<u64>) -> String {
    let line = line.map_or(String::new(), |line| format!("glxc.toml:{line}: "));
    let key = if key.is_empty() { String::new() } else { format!("`{key}`: ") };
    line + &key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_named_and_counted() {
        let error = Error::Changed { first: vec!["public.orders id=17".into()], total: 4 };
        assert_eq!(error.to_string(), "changed meanwhile (4 in all): public.orders id=17, ...");
    }

    #[test]
    fn input_names_file_and_line() {
        let file = StatePath::new("data/a.tsv").unwrap();
        assert_eq!(Error::input(&file, 3, "no tab").to_string(), "data/a.tsv:3: no tab");
        assert_eq!(Error::input(&file, None, "no tab").to_string(), "data/a.tsv: no tab");
    }
}

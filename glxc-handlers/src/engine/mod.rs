//! What the handlers of databases have in common.

mod files;
mod rules;

use std::thread;
use std::time::{Duration, Instant};

use crate::{Cx, Error, Result};
pub(crate) use files::{Files, Part};
pub(crate) use rules::Rules;

/// Waits until a server answers, until the deadline. `connect` tries to; `is_starting` tells whether a failure may be over a
/// little later.
pub(crate) fn wait(
    name: &str, mut connect: impl FnMut() -> Result<()>, is_starting: impl Fn(&Error) -> bool, cx: &Cx<'_>,
) -> Result<()> {
    let start = Instant::now();
    loop {
        let error = match connect() {
            Err(error) if is_starting(&error) => error,
            other => return other,
        };
        match cx.check() {
            Err(Error::Timeout { .. }) => {
                let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                return Err(Error::Timeout { what: format!("{name} ({cause})"), after: start.elapsed() });
            }
            other => other?,
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// How long to try for a moment at which nobody changes a definition, where the caller gave no deadline.
#[cfg(any(feature = "postgresql", feature = "mysql"))]
const PATIENCE: Duration = Duration::from_secs(60);

/// Tries until nobody is in the way of reading all definitions at one time.
#[cfg(any(feature = "postgresql", feature = "mysql"))]
pub(crate) fn until_quiet<T>(database: &str, cx: &Cx<'_>, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        cx.check()?;
        if let Some(done) = attempt()? {
            return Ok(done);
        }
        if start.elapsed() > PATIENCE {
            let what = format!("the database {database}, where definitions change or a table is locked all the time,");
            return Err(Error::Timeout { what, after: start.elapsed() });
        }
    }
}

/// The text of a value, where it is not NULL and holds only these escapes: the letter behind a backslash, and the byte.
#[cfg(any(feature = "postgresql", feature = "mysql"))]
pub(crate) fn unescape(value: &[u8], escapes: &[(u8, u8)]) -> Option<String> {
    let mut text = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        text.push(match byte {
            b'\\' => {
                let letter = bytes.next()?;
                escapes.iter().find(|(l, _)| l == letter)?.1
            }
            byte => byte,
        });
    }
    String::from_utf8(text).ok()
}

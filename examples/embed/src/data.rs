//! A database as files, and the files as a database elsewhere.

use std::path::Path;
use std::time::Duration;

use glxc_handlers::folder::{Control, Done, Folder, State};
use glxc_handlers::{Cancel, Options, Progress, Registry, Settings, StatePath, Value, postgresql};

use crate::Result;

/// A server that does not answer by then is not there.
const WAIT: Duration = Duration::from_secs(5);

/// A database of the server whose socket is in a folder. Nothing is reached yet.
pub fn database(socket: &str, name: &str) -> Result<State> {
    let text = |text: &str| Value::Text(text.into());
    let options = Options::new().with("database", text(name)).with("socket", text(socket));
    let settings = Settings::new(name, StatePath::new("database")?, options);
    // A tool with its own kinds of state adds them here.
    let registry = Registry::new().with("postgresql", postgresql::make);
    Ok(State::new(&registry, "postgresql", settings)?)
}

/// Dumps a database into a folder and loads it from there: over nothing, or over an empty database. What the folder and the
/// other server hold already is not overwritten.
pub fn move_over(from: State, to: State, folder: &Path, progress: &dyn Progress, cancel: &Cancel) -> Result<String> {
    let control = Control { progress, cancel: Some(cancel), wait: WAIT, attendant: None };
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    // Each has the folder for itself while it works.
    let dumped = Folder::open(folder, &machine, vec![from])?.dump(&control)?;
    let loaded = Folder::open(folder, &machine, vec![to])?.load(&[], &control)?;
    let said = |done: &Done| {
        let notes = done.notes.iter().map(|note| format!("\n  {note}")).collect::<String>();
        format!("{}: {}{notes}", done.state, done.description.summary)
    };
    Ok(dumped.iter().chain(&loaded).map(said).collect::<Vec<_>>().join("\n"))
}

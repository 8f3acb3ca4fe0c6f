//! From async code to the crates, which block: they wait for engines, files and child processes.

use glxc_handlers::Cancel;

use crate::Result;

/// Asks to stop when it is dropped. A thread can not be stopped from without, so a future that nobody waits for any more has
/// to say so: the work ends at its next step, and takes back what it began.
struct OnDrop(Cancel);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs blocking work on a thread that is made for that.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce(&Cancel) -> Result<T> + Send + 'static) -> Result<T> {
    let cancel = Cancel::new();
    let _guard = OnDrop(cancel.clone());
    tokio::task::spawn_blocking(move || work(&cancel)).await?
}

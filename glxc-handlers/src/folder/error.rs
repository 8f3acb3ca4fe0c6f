//! What a dump or a load answers instead of a result.

use std::path::PathBuf;

use crate::{Error, StatePath};

/// What a [`super::Folder`] can answer instead of a result.
///
/// `Display` says this level only; the cause is in [`std::error::Error::source`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// A handler failed, or refused what it found.
    #[error("state `{state}`: could not {doing}")]
    State {
        /// The state.
        state: String,
        /// What was tried.
        doing: &'static str,
        /// The handler's answer; files are named from the top of the folder.
        #[source]
        source: Error,
    },
    /// The folder has no record of what is live, which a load would replace. Nothing was written.
    #[error("state `{state}`: what is live was neither dumped into this folder nor loaded from it")]
    Unseen {
        /// The state.
        state: String,
    },
    /// Files were changed since they were dumped or loaded, and a dump would overwrite them. Nothing was written.
    #[error("state `{state}`: files were changed and not loaded ({total} in all): {}", .first.join(", "))]
    Edited {
        /// The state.
        state: String,
        /// The first files, at most ten.
        first: Vec<String>,
        /// How many there are.
        total: usize,
    },
    /// The state is read by other rules than at the last dump or load. Nothing was written.
    #[error("state `{state}`: its settings are not those of its last dump or load")]
    Settings {
        /// The state.
        state: String,
    },
    /// A state that was dumped or loaded has no files any more, which is not taken for a state that holds nothing.
    #[error("state `{state}`: its folder {path} has no files")]
    NoFiles {
        /// The state.
        state: String,
        /// Where its files stand.
        path: StatePath,
    },
    /// A name that is that of no state.
    #[error("there is no state `{}`", .state.escape_debug())]
    Unknown {
        /// The name.
        state: String,
    },
    /// Two states have the same name, paths that nest, or manage the same.
    #[error("states `{one}` and `{other}` {how}")]
    Meet {
        /// A state.
        one: String,
        /// Another one.
        other: String,
        /// In which way.
        how: &'static str,
    },
    /// A load was interrupted and can not be settled, since one of its states is not among the states, or has other
    /// settings now.
    #[error("an interrupted load waits for state `{state}` with the settings that it had")]
    Interrupted {
        /// The state.
        state: String,
    },
    /// Another dump or load is under way.
    #[error("another dump or load works in {}", .folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// A newer or a broken record of an interrupted operation.
    #[error("{} can not be read by this version", .path.display())]
    Journal {
        /// The file.
        path: PathBuf,
    },
    /// What is ours in the folder can not be read or written.
    #[error("could not keep the record of the folder")]
    Record(#[source] Error),
}

impl FolderError {
    pub(super) fn state(state: &str, doing: &'static str) -> impl FnOnce(Error) -> Self {
        let state = state.to_owned();
        move |source| FolderError::State { state, doing, source }
    }

    /// The same for what may name a file of the state.
    pub(super) fn files(state: &str, path: &StatePath, doing: &'static str) -> impl FnOnce(Error) -> Self {
        let (error, path) = (FolderError::state(state, doing), path.clone());
        move |source| match source {
            Error::Input { file, line, message, source } => {
                let file = path.join(file.as_bytes()).unwrap_or(file);
                error(Error::Input { file, line, message, source })
            }
            source => error(source),
        }
    }
}

impl From<Error> for FolderError {
    fn from(error: Error) -> Self {
        FolderError::Record(error)
    }
}

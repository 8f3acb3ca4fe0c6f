//! `glxc dump` and `glxc load`: states in a folder of a plain server, without git and without a container.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use glxc_handlers::folder::{Control, Done, Folder, FolderError, State};
use glxc_handlers::{Cancel, Error, Progress, Registry};
use glxc_transport::{CONFIG_FILE, Config, ConfigError};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Result;
use super::messages::{self, Messages};

const USAGE: &str = "\
usage: glxc dump [--config FILE] DIR
       glxc load [--config FILE] [--replace STATE]... DIR

dump writes the states that DIR/glxc.toml names into DIR. load applies what was changed in these files since.

  --config FILE     read the states from FILE instead of DIR/glxc.toml
  --replace STATE   let its files replace what is live, which is kept in DIR/.glxc/replaced
";

/// What the command line says.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    folder: PathBuf,
    config: Option<PathBuf>,
    replace: Vec<String>,
}

/// Runs `dump` or `load`. Exits with 2 where the command line makes no sense.
pub(super) fn run(command: &str, arguments: &[OsString], registry: &Registry) -> Result<ExitCode> {
    if arguments.iter().any(|argument| argument == "--help") {
        messages::text(USAGE);
        return Ok(ExitCode::SUCCESS);
    }
    let asked = match parse(command == "load", arguments) {
        Ok(asked) => asked,
        Err(message) => {
            messages::error(&*Box::<dyn std::error::Error>::from(message));
            messages::hint(&format!("glxc {command} --help"));
            return Ok(ExitCode::from(2));
        }
    };
    let progress = Messages::new(false);
    let folder = open(&asked, registry)?;
    let cancel = Cancel::new();
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, cancel.flag())?;
    }

    let attendant = [&[std::env::current_exe()?.into(), "attend-load".into()][..], arguments].concat();
    let control =
        Control { progress: &progress, cancel: Some(&cancel), attendant: Some(&attendant), ..Control::default() };
    let replace: Vec<&str> = asked.replace.iter().map(String::as_str).collect();
    let done = match command {
        "dump" => folder.dump(&control),
        _ => folder.load(&replace, &control),
    };
    match done {
        Ok(done) => {
            tell(&done, &progress);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            messages::error(&error);
            hint(command, &error).inspect(|hint| messages::hint(hint));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Settles a load once the process that holds the other end of standard input is gone. It gets the arguments of that load.
pub(super) fn attend(arguments: &[OsString], registry: &Registry) -> Result<ExitCode> {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    let asked = parse(true, arguments)?;
    // The lock of who died may go a moment after its pipe. Who has it later settles by itself.
    for _ in 0..50 {
        match open(&asked, registry) {
            Err(error) if matches!(error.downcast_ref(), Some(FolderError::Locked { .. })) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            folder => {
                folder?.settle(&Control::default())?;
                break;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(load: bool, arguments: &[OsString]) -> std::result::Result<Asked, String> {
    let (mut asked, mut folder, mut options) = (Asked::default(), None, true);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = |what: &str| arguments.next().ok_or(format!("{what} is missing"));
        match argument.to_str().filter(|_| options) {
            Some("--") => options = false,
            Some("--config") => asked.config = Some(value("the file after --config")?.into()),
            Some("--replace") if load => {
                asked.replace.push(value("the state after --replace")?.to_string_lossy().into_owned());
            }
            Some(option) if option.starts_with('-') => return Err(format!("unknown option {option}")),
            _ if folder.is_some() => return Err("more than one folder".into()),
            _ => folder = Some(PathBuf::from(argument)),
        }
    }
    asked.folder = folder.ok_or("no folder is named")?;
    Ok(asked)
}

fn open(asked: &Asked, registry: &Registry) -> Result<Folder> {
    let path = asked.config.clone().unwrap_or_else(|| asked.folder.join(CONFIG_FILE));
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let config = Config::parse(&text)?;
    if config.states.is_empty() {
        return Err(format!("{} has no state", path.display()).into());
    }
    let state = |state: glxc_transport::StateConfig| {
        let name = state.name().to_owned();
        State::new(registry, &state.handler, state.settings).map_err(|error| {
            let error = ConfigError::from(error);
            ConfigError { line: error.line.or(state.line), message: format!("state `{name}`: {}", error.message) }
        })
    };
    let states = config.states.into_iter().map(state).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Folder::open(&asked.folder, &machine(), states)?)
}

/// Where there is no such file, as in some containers, copies of the machine's disk are not told apart.
fn machine() -> String {
    fs::read_to_string(Path::new("/etc/machine-id")).unwrap_or_default()
}

fn tell(done: &[Done], progress: &Messages) {
    let mut changed = false;
    for Done { state, description, notes } in done {
        if !description.summary.is_empty() {
            changed = true;
            progress.note(&format!("{state}: {}", description.summary));
        }
        notes.iter().for_each(|note| progress.note(&format!("{state}: {note}")));
    }
    if !changed {
        progress.note("nothing changed");
    }
}

/// What a person may do about it.
fn hint(command: &str, error: &FolderError) -> Option<String> {
    Some(match error {
        FolderError::Unseen { state } => format!(
            "dump into another folder and compare; or `--replace {state}`, which keeps what is live in .glxc/replaced"
        ),
        FolderError::Edited { .. } => "load them, or move them away, then dump again".into(),
        FolderError::Settings { state } => {
            format!("dump with the new settings before you change files; or `--replace {state}`")
        }
        FolderError::NoFiles { .. } => "a state that is not to be managed any more is taken out of glxc.toml".into(),
        FolderError::State { source: Error::Changed { .. }, .. } => {
            "the files are older than what is live: dump into another folder, bring your change there, load that".into()
        }
        FolderError::State { state, source: Error::Gone { .. }, .. } if command == "load" => {
            format!("`--replace {state}` makes it anew from its files")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(load: bool, words: &[&str]) -> std::result::Result<Asked, String> {
        parse(load, &words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_command_line_is_read_whole() {
        let asked = parsed(true, &["--replace", "a", "d", "--config", "c", "--replace", "b"]).unwrap();
        let replace = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(asked, Asked { folder: "d".into(), config: Some("c".into()), replace });
        assert_eq!(parsed(false, &["--", "--config"]).unwrap().folder, PathBuf::from("--config"));
        for (load, words) in [
            (true, &["d", "--replace"][..]),
            (true, &["d", "e"]),
            (false, &["d", "--replace", "a"]),
            (false, &["d", "--config"]),
            (false, &["-f", "d"]),
            (false, &[]),
        ] {
            parsed(load, words).unwrap_err();
        }
    }
}

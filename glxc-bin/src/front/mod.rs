//! *Front*: the program of the user, with the user's rights.
//!
//! It registers a container as a remote of a repository, is the other end of git when that remote is pushed to or
//! fetched from, and shows and changes containers. It asks a keeper for everything that concerns containers, links no
//! liblxc, and believes nothing that comes out of a container: that is filtered before a terminal sees it.
//!
//! stdout carries data only; messages, progress and errors go to stderr.
//!
//! # Exit codes
//!
//! | code | meaning |
//! |-----:|---------|
//! | 0 | done |
//! | 1 | it failed |
//! | 2 | the command line, or a value in it, makes no sense |
//! | 3 | there is no such container, repository or setting |
//! | 4 | it contradicts what is there, as a remote of that name |
//! | 5 | not allowed to this user, or by this host |
//! | 141 | whoever read the output went away |
//!
//! `exec` and `shell` exit with the code of their program, `git-remote` with that of git in the container, where one
//! ran.

mod bar;
mod commands;
mod destroy;
mod error;
mod filter;
mod init;
mod keeper;
mod relay;
mod remote;
mod repository;
mod shell;
mod status;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::protocol::{InvalidName, Name, Request};
use error::{Error, Exit, Result};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    it failed
  2    the command line, or a value in it, makes no sense
  3    there is no such container, repository or setting
  4    it contradicts what is there, as a remote of that name
  5    not allowed to this user, or by this host
  141  whoever read the output went away
`exec` and `shell` exit with the code of their program.";

/// Manage the life of an LXC container through git push and git pull
#[derive(Debug, Parser)]
#[command(name = "glxc", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a container a remote of this repository
    #[command(after_help = "Example: glxc init shop, then git push shop main")]
    Init {
        #[arg(value_parser = name)]
        name: Name,
        /// The branch that is pushed and pulled; the current one unless given
        #[arg(long)]
        branch: Option<String>,
        /// A guest of your own, with kinds of state that this program does not have
        #[arg(long, value_name = "PATH")]
        guest: Option<PathBuf>,
    },
    /// List the containers
    #[command(after_help = "Example: glxc list prints the name, the state and the address of each")]
    List,
    /// Show the state of a container
    #[command(after_help = "Example: glxc status shop")]
    Status {
        #[arg(value_parser = name)]
        name: Name,
    },
    /// Print the URL of what runs in a container
    #[command(after_help = "Example: curl \"$(glxc url shop)\"")]
    Url {
        #[arg(value_parser = name)]
        name: Name,
    },
    /// Run a program in a container
    #[command(after_help = "Example: glxc exec shop -- tail /var/log/apache2/error.log")]
    Exec {
        #[arg(value_parser = name)]
        name: Name,
        /// The program and its arguments, after `--`
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Open a shell in a container, which then has this terminal
    #[command(after_help = "Example: glxc shell shop")]
    Shell {
        #[arg(value_parser = name)]
        name: Name,
    },
    /// Start a container
    #[command(after_help = "Example: glxc start shop")]
    Start {
        #[arg(value_parser = name)]
        name: Name,
    },
    /// Stop a container
    #[command(after_help = "Example: glxc stop shop")]
    Stop {
        #[arg(value_parser = name)]
        name: Name,
    },
    /// Remove a container, once its state is saved
    #[command(after_help = "Example: glxc destroy shop saves what this repository lacks as shop-COMMIT.bundle")]
    Destroy {
        #[arg(value_parser = name)]
        name: Name,
        /// Do not save its state
        #[arg(long)]
        discard: bool,
    },
    /// Serve git, which runs this for a remote of the form `ext::`
    #[command(hide = true)]
    GitRemote {
        service: String,
        #[arg(value_parser = name)]
        name: Name,
    },
}

fn name(text: &str) -> Result<Name, InvalidName> {
    Name::new(text)
}

/// The whole program: reads the arguments and the environment, works, and tells the user what went wrong.
///
/// Called by the name `git-remote-glxc` it is git's helper for remotes of the form `glxc::NAME`.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let program = arguments.first().map(Path::new).and_then(Path::file_name);
    let result = match program.is_some_and(|program| program == "git-remote-glxc") {
        true => help_git(&arguments),
        false => match Arguments::try_parse_from(&arguments) {
            Ok(arguments) => run(arguments.command),
            Err(error) => {
                let _ = error.print();
                return ExitCode::from(error.exit_code() as u8);
            }
        },
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            error.show();
            ExitCode::from(error.exit as u8)
        }
    }
}

fn help_git(arguments: &[OsString]) -> Result<u8> {
    match arguments {
        [_, _remote, address] => remote::helper(&address.to_string_lossy()),
        _ => Err(Error::new(Exit::Usage, "git-remote-glxc is run by git, for remotes of the form glxc::NAME")),
    }
}

fn run(command: Command) -> Result<u8> {
    match command {
        Command::GitRemote { service, name } => return remote::serve(remote::service_of(&service)?, &name),
        Command::Exec { name, command } => return shell::exec(&name, command),
        Command::Shell { name } => return shell::shell(&name),
        Command::Init { name, branch, guest } => init::init(&name, branch.as_deref(), guest.as_deref())?,
        Command::List => status::list()?,
        Command::Status { name } => status::status(&name)?,
        Command::Url { name } => status::url(&name)?,
        Command::Start { name } => change(&Request::Start { name })?,
        Command::Stop { name } => change(&Request::Stop { name })?,
        Command::Destroy { name, discard } => destroy::destroy(&name, discard)?,
    }
    Ok(0)
}

fn change(request: &Request) -> Result<()> {
    keeper::Keeper::start()?.container(request)?;
    Ok(())
}

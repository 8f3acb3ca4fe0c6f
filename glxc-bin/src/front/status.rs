//! What is there: `list`, `status`, `url`.

use std::io::{self, Write};

use glxc_handlers::text::escaped;
use glxc_transport::{Config, ObjectId};

use super::error::{Error, Exit, Result};
use super::keeper::Keeper;
use super::remote::{missing, url_of};
use super::repository::{Repository, parse_config};
use crate::protocol::{self, Container, Kind, Name, Reply, Request, State};

/// Prints the containers, one a line.
pub(super) fn list() -> Result<()> {
    let containers = match Keeper::start()?.call(&Request::List)? {
        Reply::Containers(containers) => containers,
        _ => return Err(protocol::Error::Order { kind: Kind::Reply, due: "the reply `containers`" }.into()),
    };
    let width = containers.iter().map(|container| container.name.as_str().len()).max().unwrap_or_default();
    let line = |container: &Container| {
        format!("{:width$}  {:9}  {}\n", container.name.as_str(), word(container.state), container.address)
    };
    print(&containers.iter().map(line).collect::<String>())
}

/// Prints what is known of a container.
pub(super) fn status(name: &Name) -> Result<()> {
    let (mut keeper, repository) = open(name)?;
    let container = keeper.info(name)?.ok_or_else(|| missing(name))?;
    let mut text = format!("state: {}\naddress: {}\n", word(container.state), container.address);
    if let Some(memory) = container.limits.memory {
        text.push_str(&format!("memory: {} MiB\n", memory >> 20));
    }
    if container.state == State::Running
        && let Some(main) = main_of(&mut keeper, name)?
    {
        let url = url_of(&container, &config_of(&mut keeper, name)?);
        url.iter().for_each(|url| text.push_str(&format!("url: {url}\n")));
        let here = match repository.map(|repository| repository.keeps(&main)).transpose()? {
            Some(true) => " (in this repository)",
            Some(false) => " (not in this repository)",
            None => "",
        };
        text.push_str(&format!("commit: {main}{here}\n"));
    }
    print(&text)
}

/// Prints the URL that a push prints.
pub(super) fn url(name: &Name) -> Result<()> {
    let (mut keeper, _) = open(name)?;
    let container = keeper.info(name)?.ok_or_else(|| missing(name))?;
    if container.state != State::Running {
        let error = Error::new(Exit::Conflict, format!("container `{name}` does not run"));
        return Err(error.hint(format!("`glxc start {name}` starts it")));
    }
    match url_of(&container, &config_of(&mut keeper, name)?) {
        Some(url) => print(&format!("{url}\n")),
        None => {
            let error = Error::new(Exit::NotFound, format!("glxc.toml of `{name}` has no [url]"));
            Err(error.hint("add a table `[url]`, commit and push"))
        }
    }
}

fn open(name: &Name) -> Result<(Keeper, Option<Repository>)> {
    let repository = Repository::discover()?;
    let branch = repository.as_ref().map(|repository| repository.bound(name)).transpose()?.flatten();
    Ok((Keeper::start()?.with_environment(name, branch.as_deref()), repository))
}

/// The commit that was agreed on last; nothing where nothing was pushed yet.
pub(super) fn main_of(keeper: &mut Keeper, name: &Name) -> Result<Option<ObjectId>> {
    let answer = keeper.ask_guest(name, "main")?;
    let answer = answer.trim_ascii();
    if answer.is_empty() { Ok(None) } else { Ok(Some(ObjectId::new(answer)?)) }
}

fn config_of(keeper: &mut Keeper, name: &Name) -> Result<Config> {
    parse_config(&keeper.ask_guest(name, "config")?)
}

fn word(state: State) -> &'static str {
    match state {
        State::Stopped => "stopped",
        State::Starting => "starting",
        State::Running => "running",
        State::Stopping => "stopping",
        State::Frozen => "frozen",
        State::HalfMade => "half-made",
    }
}

/// Prints data.
pub(super) fn print(text: &str) -> Result<()> {
    io::stdout().write_all(escaped(text).as_bytes()).map_err(Error::stdout)
}

//! A deployment tool of somebody's own: containers and databases by GLXC's crates, from a program on tokio.
//!
//!     embed ensure ROOT NAME                   a running container, made where it is missing; prints its address
//!     embed move FROM TO DATABASE FOLDER       a database of the server at socket FROM goes to the one at TO; FOLDER keeps it
//!
//! What to look at: `main` for liblxc, which wants a process of its own; `blocking` for the way from async code to the crates;
//! `data` for what a database takes; `progress` for what is told meanwhile.

mod blocking;
mod container;
mod data;
mod progress;

use std::path::Path;
use std::process::ExitCode;

use blocking::blocking;
use progress::Told;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // liblxc forks, so this must come before any other thread does.
    if let [container::HELPER, root, name] = words[..] {
        return container::helper(Path::new(root), name);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(run(&words)) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&*error),
    }
}

#[allow(clippy::print_stderr)]
fn failed(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    // GLXC's errors say one level each; the cause is beneath.
    let causes = std::iter::successors(Some(error), |error| error.source());
    eprintln!("embed: {}", causes.map(ToString::to_string).collect::<Vec<_>>().join(": "));
    ExitCode::FAILURE
}

async fn run(words: &[&str]) -> Result<String> {
    match *words {
        ["ensure", root, name] => {
            let (root, name) = (root.to_owned(), name.to_owned());
            blocking(move |_| container::ensure(Path::new(&root), &name)).await
        }
        ["move", from, to, database, folder] => {
            let [from, to, database, folder] = [from, to, database, folder].map(str::to_owned);
            let (told, shown) = Told::new();
            let shown = tokio::spawn(shown);
            let moved = blocking(move |cancel| {
                let (from, to) = (data::database(&from, &database)?, data::database(&to, &database)?);
                data::move_over(from, to, Path::new(&folder), &told, cancel)
            });
            let moved = moved.await;
            shown.await?;
            moved
        }
        _ => Err("usage: embed ensure ROOT NAME | move FROM TO DATABASE FOLDER".into()),
    }
}

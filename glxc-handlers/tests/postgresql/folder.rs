//! A database in a plain folder.

use std::fs;
use std::path::Path;

use glxc_handlers::folder::{Control, Done, Folder, FolderError, State};
use glxc_handlers::{Error, Registry, Settings, postgresql};

use crate::harness::{Subject, chain, normalized, path};

const ORDERS: &str = "data/shop/data/public.orders/rows.tsv";

fn open(subject: &Subject, folder: &Path) -> Folder {
    let registry = Registry::new().with("postgresql", postgresql::make);
    let settings = Settings::new("shop", path("data/shop"), subject.options.clone());
    Folder::open(folder, "here", vec![State::new(&registry, "postgresql", settings).unwrap()]).unwrap()
}

fn load(subject: &Subject, folder: &Path, replace: &[&str]) -> Result<Vec<Done>, FolderError> {
    open(subject, folder).load(replace, &Control::default())
}

fn dump(subject: &Subject, folder: &Path) -> Vec<Done> {
    open(subject, folder).dump(&Control::default()).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn look(subject: &Subject) -> String {
    normalized(&subject.cluster.dump(&subject.database, &[]))
}

#[test]
fn a_database_is_dumped_edited_and_loaded_here_and_elsewhere() {
    let sql = "CREATE TABLE orders (id int PRIMARY KEY, state text NOT NULL CHECK (state <> ''));
               INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 5) n";
    let Some(subject) = Subject::of("folder", sql) else { return };
    let here = tempfile::tempdir().unwrap();
    let file = here.path().join(ORDERS);
    let edit = |from: &str, to: &str| {
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {text}");
        fs::write(&file, text.replace(from, to)).unwrap();
    };
    dump(&subject, here.path());
    // The application writes another row meanwhile; the one that is edited is compared.
    subject.run("UPDATE orders SET state = 'live' WHERE id = 1");
    edit("3\tnew", "3\tpaid");
    let done = load(&subject, here.path(), &[]).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(done[0].description.summary, "1 row changed in public.orders");
    assert_eq!(subject.ask("SELECT state FROM orders ORDER BY id"), "live,new,paid,new,new");
    // What the application changed too declines it, and so does what the database refuses, by its line.
    edit("1\tnew", "1\tmine");
    let before = look(&subject);
    match load(&subject, here.path(), &[]).unwrap_err() {
        FolderError::State { source: Error::Changed { first, total: 1 }, .. } => {
            assert_eq!(first, ["public.orders id=1"]);
        }
        error => panic!("{}", chain(&error)),
    }
    edit("1\tmine", "1\tnew");
    edit("2\tnew", "2\t");
    let error = chain(&load(&subject, here.path(), &[]).unwrap_err());
    assert!(error.contains(ORDERS) && error.contains("orders_state_check"), "{error}");
    assert_eq!(look(&subject), before);
    edit("2\t\n", "2\tnew\n");
    assert_eq!(dump(&subject, here.path())[0].description.summary, "1 row changed in public.orders");
    // Elsewhere it is not there yet, then holds something else.
    let there = subject.beside("folder_there");
    load(&there, here.path(), &[]).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(look(&there).replace("folder_there", "folder"), look(&subject));
    there.run("DELETE FROM orders WHERE id = 5");
    let copy = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(here.path().join("data")).arg(copy.path()).status();
    assert!(copied.unwrap().success());
    let before = look(&there);
    assert!(matches!(load(&there, copy.path(), &[]).unwrap_err(), FolderError::Unseen { .. }));
    assert_eq!(look(&there), before);
    load(&there, copy.path(), &["shop"]).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(there.ask("SELECT count(*) FROM orders"), "5");
}

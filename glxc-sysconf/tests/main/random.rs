//! Any profiles follow any others, and are undone, as if nothing had been before.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use glxc_sysconf::{Error, File, Files, Kind};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::support::System;

const PLACES: [&str; 6] = ["etc/a", "etc/a/b", "etc/c", "opt/x", "opt/x/y/z", "opt/w"];

/// One file of a profile, or `None`.
type Choice = Option<(Kind, u8)>;

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    let kind = prop_oneof![3 => Just(Kind::File), 1 => Just(Kind::Executable), 1 => Just(Kind::Link)];
    proptest::collection::vec(proptest::option::of((kind, 0u8..3)), 2 * PLACES.len())
}

/// Two profiles, one above the other, and which places are copies.
fn profiles() -> impl Strategy<Value = (Vec<Choice>, Vec<bool>)> {
    (choices(), proptest::collection::vec(any::<bool>(), PLACES.len()))
}

fn files(system: &System, (choices, copied): &(Vec<Choice>, Vec<bool>)) -> Files {
    let copies: Vec<&str> = PLACES.iter().zip(copied).filter(|(_, copied)| **copied).map(|(place, _)| *place).collect();
    let mut files = system.files([("actual/deps", "web"), ("actual/copy", &copies.join("\n")), ("web/copy", "")]);
    for (index, choice) in choices.iter().enumerate() {
        let profile = if index < PLACES.len() { "actual" } else { "web" };
        let path = PathBuf::from(profile).join("tree").join(PLACES[index % PLACES.len()]);
        // A file wins over a folder in the same profile, so that most cases are good ones.
        if let Some((kind, content)) = choice.filter(|_| !files.keys().any(|other| path.starts_with(other))) {
            files.insert(path, File::new(kind, content.to_string()));
        }
    }
    files
}

/// The target alone.
fn target(system: &System) -> BTreeMap<PathBuf, String> {
    let root = system.path("").display().to_string();
    let all = system.picture().into_iter().filter(|(path, _)| !path.starts_with("sysconf") && !path.starts_with("var"));
    all.map(|(path, text)| (path, text.replace(&root, "/"))).collect()
}

/// A system in which a package has files at some places.
fn system(package: &[bool]) -> System {
    let system = System::new();
    for (place, _) in PLACES.iter().zip(package).filter(|(_, there)| **there) {
        let path = system.path(place);
        if !path.ancestors().any(|above| above.is_file()) && !path.is_dir() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "package").unwrap();
        }
    }
    system
}

#[test]
fn any_follow_any() {
    let scale: f64 = std::env::var("GLXC_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1.0);
    let cases = (40.0 * scale).ceil() as u32;
    let mut runner =
        TestRunner::new(Config { cases, max_global_rejects: 100_000, failure_persistence: None, ..Config::default() });
    let package = proptest::collection::vec(proptest::bool::weighted(0.3), PLACES.len());
    let all = (profiles(), profiles(), package, 1usize..60);
    let (cut_ones, turned) = (Cell::new(0), Cell::new(0));
    let run = runner.run(&all, |(base, next, package, cut)| follow(&base, &next, &package, cut, &cut_ones, &turned));
    run.unwrap();
    assert!(cut_ones.get() > 5 && turned.get() > 0, "{cut_ones:?} cut, {turned:?} where a file became a folder");
}

/// Whether a file of one lies where the other has a folder.
fn turns(one: &Files, other: &Files) -> bool {
    one.keys().any(|file| other.keys().any(|path| path != file && path.starts_with(file)))
}

fn follow(
    base: &(Vec<Choice>, Vec<bool>), next: &(Vec<Choice>, Vec<bool>), package: &[bool], cut: usize,
    cut_ones: &Cell<usize>, turned: &Cell<usize>,
) -> Result<(), TestCaseError> {
    let alone = system(package);
    let refused = |result: Result<_, Error>| result.map(drop).map_err(|error| TestCaseError::reject(error.to_string()));
    refused(alone.push(None, &files(&alone, next)))?;
    let system = system(package);
    let (base, next) = (files(&system, base), files(&system, next));
    let bare = target(&system);
    refused(system.push(None, &base))?;
    prop_assert_eq!(&system.export().files, &base);
    let before = (target(&system), system.picture());
    if system.push_until(Some(&base), &next, cut).is_some() {
        cut_ones.set(cut_ones.get() + 1);
        system.undo();
        prop_assert_eq!(system.picture(), before.1, "undone");
        system.push(Some(&base), &next).unwrap();
    }
    turned.set(turned.get() + usize::from(turns(&base, &next) || turns(&next, &base)));
    prop_assert_eq!(target(&system), target(&alone), "as if base had not been");
    prop_assert_eq!(&system.export().files, &next);
    system.push(None, &Files::new()).unwrap();
    prop_assert_eq!(target(&system), bare, "as if nothing had been");
    Ok(())
}

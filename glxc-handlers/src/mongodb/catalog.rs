//! What there is in a live database.

use std::collections::BTreeSet;

use super::definition::{Definition, Definitions, index_name, is_ours, unfit};
use super::session::Session;
use crate::bson::{Builder, elements, field};
use crate::engine::Rules;
use crate::{Error, Result};

/// Collections that hold no data of their own: what they say is in the definitions.
const DERIVED: [&str; 2] = ["system.views", "system.profile"];

/// What there is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Catalog {
    pub definitions: Definitions,
    /// What the rules ignore, by name.
    pub ignored: BTreeSet<String>,
}

/// Reads all definitions, but for what the rules leave out.
///
/// # Errors
/// [`Error::Unsupported`] for what a dump would lose.
pub(super) fn read(session: &mut Session, rules: &Rules) -> Result<Catalog> {
    let (context, mut all, mut ignored) = ("list the collections", Definitions::new(), BTreeSet::new());
    session.each(context, Builder::new().int32("listCollections", 1), |entry| {
        let text = |name| field(entry, name).and_then(|text| text.text()).unwrap_or_default();
        let (name, kind) = (text("name"), text("type"));
        if DERIVED.contains(&name) || name.starts_with("system.buckets.") || is_ours(name) {
            return Ok(());
        }
        if rules.ignores(&[name]) {
            ignored.insert(name.to_owned());
            return Ok(());
        }
        if let Some(why) = unfit(name) {
            return Err(Error::Unsupported { what: format!("the collection {name}: the name {why}") });
        }
        if !matches!(kind, "collection" | "view") {
            return Err(Error::Unsupported { what: format!("{name}, of the type {kind}") });
        }
        let options = field(entry, "options").and_then(|options| options.document());
        let definition = of_options(name, kind == "view", options.unwrap_or_default())?;
        all.insert(name.to_owned(), definition);
        Ok(())
    })?;
    for definition in all.values_mut().filter(|definition| !definition.is_view) {
        definition.parts = indexes(session, &definition.name)?;
    }
    match all.values().find_map(Definition::unknown) {
        Some((_, what)) => Err(Error::Unsupported { what }),
        None => Ok(Catalog { definitions: all, ignored }),
    }
}

/// Reads one of them, also one of ours.
pub(super) fn read_one(session: &mut Session, name: &str) -> Result<Option<Definition>> {
    let mut found = None;
    let filter = Builder::new().text("name", name).done();
    let command = Builder::new().int32("listCollections", 1).document("filter", &filter);
    session.each("look for a collection", command, |entry| {
        let is_view = field(entry, "type").and_then(|kind| kind.text()) == Some("view");
        let options = field(entry, "options").and_then(|options| options.document());
        found = Some(of_options(name, is_view, options.unwrap_or_default())?);
        Ok(())
    })?;
    if let Some(definition) = found.as_mut().filter(|definition| !definition.is_view) {
        definition.parts = indexes(session, name)?;
    }
    Ok(found)
}

/// The definition of what the server lists with these options. The stages of a view are not among them here.
fn of_options(name: &str, is_view: bool, options: &[u8]) -> Result<Definition> {
    let (mut kept, mut parts) = (Builder::new(), Vec::new());
    if !options.is_empty() {
        for option in elements(options).map_err(Error::engine("read the options of a collection"))? {
            let option = option.map_err(Error::engine("read the options of a collection"))?;
            match (option.name, is_view) {
                (b"pipeline", true) => {
                    let stages = option.document().map(elements).transpose().map_err(Error::engine("read a view"))?;
                    let stage = |stage: crate::bson::Element<'_>| stage.document().unwrap_or_default().to_vec();
                    parts = stages.into_iter().flatten().map_while(std::result::Result::ok).map(stage).collect();
                }
                _ => kept = kept.element(option),
            }
        }
    }
    Ok(Definition { name: name.to_owned(), is_view, options: kept.done(), parts })
}

/// The indexes of a collection, but for that of `_id`, in the order of their names.
fn indexes(session: &mut Session, name: &str) -> Result<Vec<Vec<u8>>> {
    let (mut all, mut has_id) = (Vec::new(), false);
    session.each(&format!("list the indexes of {name}"), Builder::new().text("listIndexes", name), |index| {
        match index_name(index) {
            "_id_" => has_id = true,
            _ => all.push(without_volatile(index)?),
        }
        Ok(())
    })?;
    all.sort_by(|a, b| index_name(a).cmp(index_name(b)));
    match has_id {
        true => Ok(all),
        false => Err(Error::Unsupported { what: format!("{name}, which has no index of its `_id`") }),
    }
}

/// An index without the name of its collection (old servers) and without what FerretDB says of its own.
fn without_volatile(index: &[u8]) -> Result<Vec<u8>> {
    let of_ferretdb = Builder::new().boolean("enableOrderedIndex", true).done();
    let mut kept = Builder::new();
    for option in elements(index).map_err(Error::engine("read an index"))? {
        let option = option.map_err(Error::engine("read an index"))?;
        let is_volatile = option.name == b"ns" || option.name == b"storageEngine" && option.value == of_ferretdb;
        if !is_volatile {
            kept = kept.element(option);
        }
    }
    Ok(kept.done())
}

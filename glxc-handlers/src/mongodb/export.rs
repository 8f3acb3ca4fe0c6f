//! The live database as files.

use super::catalog::{self, Catalog};
use super::definition::Definition;
use super::layout::header;
use super::session::Session;
use super::settings::Target;
use crate::bson::{self, Builder, field};
use crate::engine::Rules;
use crate::rows::{Limits, Writer, gitattributes};
use crate::{Cx, Error, Exported, Result, Sink, StatePath};

/// What is weaker than promised, for the commit.
const GRADE: &str = "documents were read one after the other, each as a whole, and not all at one point in time";

/// Writes the live database as files.
pub(super) fn export(target: &Target, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<Exported> {
    let mut session = Session::connect(target)?;
    let before = catalog::read(&mut session, &target.rules)?;
    let attributes = StatePath::new(".gitattributes").map_err(Error::carrier("name the attributes"))?;
    sink.put(&attributes, gitattributes().as_bytes())?;
    for definition in before.definitions.values() {
        sink.put(&definition.path()?, &definition.text()?)?;
        if !definition.is_view && target.rules.has_rows(&[&definition.name]) {
            write_rows(&mut session, definition, sink, cx)?;
        }
    }
    // A collection that was dropped meanwhile would be an empty one.
    match catalog::read(&mut session, &target.rules)?.definitions == before.definitions {
        true => Ok(Exported { fingerprint: None, notes: notes(&before, &target.rules) }),
        false => {
            let source = "collections or indexes were changed meanwhile; try again".into();
            Err(Error::Engine { context: "read the database".into(), source })
        }
    }
}

/// What is weaker than promised, and what the rules leave out.
fn notes(catalog: &Catalog, rules: &Rules) -> Vec<String> {
    let collections = catalog.definitions.values().filter(|definition| !definition.is_view);
    let names = catalog.ignored.iter().chain(collections.map(|definition| &definition.name));
    let left_out = names.filter_map(|name| rules.note(&[name], name, |_| false));
    [GRADE.to_owned()].into_iter().chain(left_out).collect()
}

/// A query for all documents, in the order of their `_id`.
///
/// So that one is never seen twice, whatever is written meanwhile. A collection with an order of its own is sorted by the simple one.
fn all(definition: &Definition) -> Builder {
    let query = Builder::new().text("find", &definition.name);
    let query = query.document("sort", &Builder::new().int32("_id", 1).done()).boolean("allowDiskUse", true);
    Session::batched(simply(query, definition))
}

/// The same command under the simple collation, where the collection has another.
pub(super) fn simply(command: Builder, definition: &Definition) -> Builder {
    match field(&definition.options, "collation") {
        Some(_) => command.document("collation", &Builder::new().text("locale", "simple").done()),
        None => command,
    }
}

fn write_rows(session: &mut Session, definition: &Definition, sink: &mut dyn Sink, cx: &Cx<'_>) -> Result<()> {
    let name = &definition.name;
    let context = format!("read the documents of {name}");
    let mut writer = Writer::new(sink, definition.folder()?, &header(), Limits::default())?;
    cx.progress.begin(name, None);
    let mut done = 0;
    session.each(&context, all(definition), |document| {
        done += 1;
        if done % 1000 == 0 {
            cx.check()?;
            cx.progress.advance(done);
        }
        if let Err(bad) = bson::key_of(document) {
            return Err(Error::Unsupported { what: format!("a document of {name}: {bad}") });
        }
        writer.line(&bson::to_line(document).map_err(Error::engine(context.as_str()))?)
    })?;
    writer.finish()?;
    cx.progress.end();
    cx.check()
}

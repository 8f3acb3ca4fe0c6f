//! What a collection or a view is, besides its documents; and the file that says so.
//!
//! A file has one document a line: the first has the name and the options, each further one an index of a collection, in the order of
//! their names, or a stage of a view.

use std::collections::BTreeMap;

use crate::bson::{self, Builder, elements, field};
use crate::names::encode;
use crate::{Error, Result, StatePath, Tree};

/// The options of a collection that are kept; any other is an error by its name.
const OPTIONS: [&str; 5] =
    ["validator", "validationLevel", "validationAction", "collation", "changeStreamPreAndPostImages"];
/// Those of a view, besides its stages.
const VIEW_OPTIONS: [&str; 2] = ["viewOn", "collation"];
/// The options of an index.
const INDEX_OPTIONS: [&str; 18] = [
    "v",
    "key",
    "name",
    "unique",
    "sparse",
    "hidden",
    "partialFilterExpression",
    "expireAfterSeconds",
    "collation",
    "weights",
    "default_language",
    "language_override",
    "textIndexVersion",
    "2dsphereIndexVersion",
    "bits",
    "min",
    "max",
    "wildcardProjection",
];
/// The longest file.
const LONGEST: u64 = 16 << 20;

/// A collection or a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    pub name: String,
    pub is_view: bool,
    /// A document.
    pub options: Vec<u8>,
    /// Indexes or stages: documents.
    pub parts: Vec<Vec<u8>>,
}

/// All of a database or a tree, by name.
pub(super) type Definitions = BTreeMap<String, Definition>;

impl Definition {
    /// Where its file stands.
    pub fn path(&self) -> Result<StatePath> {
        let kind = if self.is_view { "views" } else { "collections" };
        path(&format!("schema/{kind}/{}.jsonl", encode(&self.name)))
    }

    /// Where the row files of its documents stand.
    pub fn folder(&self) -> Result<StatePath> {
        path(&format!("data/{}", encode(&self.name)))
    }

    /// The text of its file.
    pub fn text(&self) -> Result<Vec<u8>> {
        let kind = if self.is_view { "view" } else { "collection" };
        let first = Builder::new().text(kind, &self.name).document("options", &self.options).done();
        let mut text = Vec::new();
        for line in [&first].into_iter().chain(&self.parts) {
            text.extend(bson::to_line(line).map_err(Error::engine(format!("write {}", self.name)))?);
            text.push(b'\n');
        }
        Ok(text)
    }

    /// Reads a file.
    pub fn read(tree: &dyn Tree, file: &StatePath) -> Result<Self> {
        let text = tree.read(file, LONGEST)?;
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        let mut lines = Vec::new();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = bson::from_line(line);
            lines.push(line.map_err(|bad| Error::input(file, number as u64 + 1, bad.to_string()))?);
        }
        let definition = Definition::of(lines).ok_or_else(|| {
            Error::input(file, 1, "must have `collection` or `view`, a name, and `options`, an object, and no more")
        })?;
        if definition.path()? != *file {
            return Err(Error::input(file, 1, format!("belongs into {}", definition.path()?)));
        }
        definition.check(file)?;
        Ok(definition)
    }

    fn of(mut lines: Vec<Vec<u8>>) -> Option<Self> {
        let first = lines.remove(0);
        let mut fields = elements(&first).ok()?.map_while(std::result::Result::ok);
        let (name, options) = (fields.next()?, fields.next()?);
        let is_view = match name.name {
            b"view" => true,
            b"collection" => false,
            _ => return None,
        };
        let options = options.document().filter(|_| options.name == b"options" && fields.next().is_none())?.to_vec();
        Some(Definition { name: name.text()?.to_owned(), is_view, options, parts: lines })
    }

    /// Refuses names and options that are not known.
    fn check(&self, file: &StatePath) -> Result<()> {
        if let Some(why) = unfit(&self.name) {
            return Err(Error::input(file, 1, format!("the name {} {why}", self.name.escape_debug())));
        }
        self.unknown().map_or(Ok(()), |(line, what)| Err(Error::input(file, line as u64, what)))?;
        if self.is_view {
            return Ok(());
        }
        let mut last = "";
        for (number, index) in self.parts.iter().enumerate() {
            let name = index_name(index);
            let has_key = field(index, "key").is_some_and(|key| key.document().is_some());
            if name.is_empty() || name == "_id_" || !has_key {
                return Err(Error::input(
                    file,
                    number as u64 + 2,
                    "not an index: it needs `key` and a `name` of its own",
                ));
            }
            if name <= last {
                return Err(Error::input(
                    file,
                    number as u64 + 2,
                    "indexes stand in the order of their names, each once",
                ));
            }
            last = name;
        }
        Ok(())
    }

    /// The first option that would be lost, with its line.
    pub fn unknown(&self) -> Option<(usize, String)> {
        let first = |document: &[u8], known: &[&str]| {
            let mut names = elements(document).ok()?.map_while(std::result::Result::ok).map(|e| e.name.to_vec());
            let name = names.find(|name| !known.iter().any(|known| known.as_bytes() == name.as_slice()));
            name.map(|name| String::from_utf8_lossy(&name).into_owned())
        };
        let known: &[&str] = if self.is_view { &VIEW_OPTIONS } else { &OPTIONS };
        if let Some(option) = first(&self.options, known) {
            return Some((1, format!("the option {option} of {}", self.name)));
        }
        let parts = self.parts.iter().filter(|_| !self.is_view).enumerate();
        parts.into_iter().find_map(|(number, index)| {
            let option = first(index, &INDEX_OPTIONS)?;
            Some((number + 2, format!("the option {option} of the index {} of {}", index_name(index), self.name)))
        })
    }

    /// The index of a name.
    pub fn index(&self, name: &str) -> Option<&Vec<u8>> {
        self.parts.iter().find(|index| index_name(index) == name)
    }

    /// Whether two documents may be refused beside each other.
    pub fn is_unique(&self) -> bool {
        self.parts.iter().any(|index| field(index, "unique").is_some_and(|unique| unique.number() == Some(1)))
    }
}

/// The name of an index.
pub(super) fn index_name(index: &[u8]) -> &str {
    field(index, "name").and_then(|name| name.text()).unwrap_or_default()
}

/// Why a collection of this name is not kept.
pub(super) fn unfit(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.contains(['\0', '$']) {
        return Some("is none that a collection can have");
    }
    if name.starts_with("system.") {
        return Some("is the server's own");
    }
    is_ours(name).then_some("is this program's own")
}

/// Whether it is a collection of an import that is under way.
pub(super) fn is_ours(name: &str) -> bool {
    let rest = name.strip_prefix("glxc_new_").or_else(|| name.strip_prefix("glxc_old_"));
    rest.and_then(|rest| rest.split_once('_')).is_some_and(|(op, _)| crate::OpId::new(op).is_ok())
}

fn path(text: &str) -> Result<StatePath> {
    StatePath::new(text).map_err(Error::carrier("name a file"))
}

//! The schema side of an import: that live is what base says, and what brings it to what is pushed.

use std::collections::{BTreeMap, BTreeSet};

use super::layout::{FILES, Part, part};
use super::schema::{self, Database, Kind, Model, ObjectId, Plan};
use super::schema_files::{LONGEST_FILE, SchemaFiles};
use super::scope::leave_out;
use super::session::{Session, as_violation, brief, server_error};
use super::settings::Target;
use super::snapshot::catalog_sign;
use super::table::folder as table_folder;
use crate::{Change, Error, MemoryTree, Mode, Result, StatePath, Tree};

pub(super) type Files = BTreeMap<StatePath, Vec<u8>>;

/// The schema that a push leads to.
#[derive(Debug)]
pub(super) struct Goal {
    pub model: Model,
    files: Files,
    plan: Plan,
}

/// The live schema, and where a push leads it.
#[derive(Debug)]
pub(super) struct Definition<'a> {
    pub target: &'a Target,
    change: &'a Change<'a>,
    /// As it was when the push was staged.
    pub live: Model,
    files: Files,
    sign: String,
    /// The files that the push changes, or on which it relies.
    relied: BTreeSet<StatePath>,
    /// Where the push changes the schema.
    pub goal: Option<Goal>,
}

/// A table and the lock that it needs.
#[derive(Debug)]
pub(super) struct Lock {
    pub qualified: String,
    pub mode: &'static str,
}

impl<'a> Definition<'a> {
    /// Reads the live schema, and plans the way to the pushed one where that differs from base.
    pub fn read(session: &mut Session, target: &'a Target, change: &'a Change<'a>) -> Result<Self> {
        let sign = catalog_sign(session)?;
        let live = read(session, target)?;
        let files = files(&live)?;
        let is_schema = |path: &&StatePath| part(path) == Some(Part::Schema);
        let relied: BTreeSet<StatePath> =
            change.differs.iter().map(|differs| &differs.path).filter(is_schema).cloned().collect();
        let mut definition = Definition { target, change, live, files, sign, relied, goal: None };
        if !definition.relied.is_empty() {
            definition.plan()?;
        }
        Ok(definition)
    }

    /// Plans the way from live to live with the pushed changes: what only live changed stays.
    fn plan(&mut self) -> Result<()> {
        let mut goal: BTreeMap<StatePath, (Mode, Vec<u8>)> =
            self.files.iter().map(|(path, bytes)| (path.clone(), (Mode::File, bytes.clone()))).collect();
        for path in &self.relied {
            match self.change.next.tree.entry(path) {
                Some(_) => goal.insert(path.clone(), (Mode::File, self.change.next.tree.read(path, LONGEST_FILE)?)),
                None => goal.remove(path),
            };
        }
        let model = self.load(&MemoryTree::new(goal))?;
        let files = files(&model)?;
        if files != self.files {
            let plan = schema::plan_touching(&self.live, &model, &self.tables_with_rows(&model)?)?;
            self.goal = Some(Goal { model, files, plan });
        }
        Ok(())
    }

    /// The tables of a schema whose rows the push changes.
    fn tables_with_rows(&self, model: &Model) -> Result<BTreeSet<String>> {
        let folders = FILES.rows_folders(self.change.differs);
        let mut tables = BTreeSet::new();
        for table in model.tables.values() {
            if folders.contains(&table_folder(&table.schema, &table.name)?) {
                tables.insert(table.qualified.clone());
            }
        }
        Ok(tables)
    }

    /// Reads a schema from files, as the server understands them.
    fn load(&self, tree: &dyn Tree) -> Result<Model> {
        let files = SchemaFiles::of(tree)?;
        let mut model = files.load(self.target, self.change.op, &self.live.database, &self.relied)?;
        leave_out(&mut model, &self.target.rules)?;
        Ok(model)
    }

    /// The schema after the push.
    pub fn goal_model(&self) -> &Model {
        self.goal.as_ref().map_or(&self.live, |goal| &goal.model)
    }

    /// What happens to the schema, a line for each object: what costs most comes first.
    pub fn notes(&self) -> Vec<String> {
        let Some(Goal { plan, .. }) = &self.goal else { return Vec::new() };
        let all = [
            ("rebuilt with its rows", &plan.rebuilt),
            ("replaced", &plan.replaced),
            ("altered", &plan.altered),
            ("created", &plan.created),
            ("dropped", &plan.dropped),
        ];
        let line = |verb: &'static str| move |object: &String| format!("{object}: {verb}");
        all.into_iter().flat_map(|(verb, objects)| objects.iter().map(line(verb))).collect()
    }

    /// Checks that the objects which the push changes, and the tables whose rows it changes, are what base says.
    pub fn check_base<'t>(&mut self, tables: impl IntoIterator<Item = &'t str>) -> Result<()> {
        for table in tables {
            if let Some(object) = self.live.objects.get(&ObjectId::new(Kind::Table, table)) {
                self.relied.insert(object.file.path()?);
            }
        }
        let Some(base) = &self.change.base else { return Ok(()) };
        let mut differing = Vec::new();
        for path in &self.relied {
            let recorded = base.tree.entry(path).map(|_| base.tree.read(path, LONGEST_FILE)).transpose()?;
            if recorded.as_ref() != self.files.get(path) {
                differing.push(path.clone());
            }
        }
        if differing.is_empty() {
            return Ok(());
        }
        // Perhaps a person wrote it, and it only is not as we would write it.
        let canonical = files(&self.load(base.tree)?)?;
        let goal = self.goal.as_ref().map_or(&canonical, |goal| &goal.files);
        // What the push does not change is taken from live, so that it equals the goal says nothing.
        let pushed = |path: &StatePath| self.change.differs.iter().any(|differs| differs.path == *path);
        differing.retain(|path| {
            let live = self.files.get(path);
            live != canonical.get(path) && !(pushed(path) && live == goal.get(path))
        });
        changed(&differing)
    }

    /// The tables to lock, in the order of their names: those whose rows change, and those that will be altered.
    pub fn tables_to_lock<'t>(&self, touched: impl IntoIterator<Item = &'t str>) -> Vec<Lock> {
        let share = "SHARE ROW EXCLUSIVE";
        let mut modes: BTreeMap<String, &'static str> =
            touched.into_iter().map(|name| (name.to_owned(), share)).collect();
        if let Some(goal) = &self.goal {
            for name in self.live.tables.keys() {
                let file = |model: &Model| model.objects.get(&ObjectId::new(Kind::Table, name)).map(|o| o.file.clone());
                let path = file(&self.live).and_then(|file| file.path().ok());
                if path.is_some_and(|path| self.files.get(&path) != goal.files.get(&path)) {
                    modes.insert(name.clone(), "ACCESS EXCLUSIVE");
                }
            }
        }
        modes.retain(|name, _| self.live.tables.contains_key(name));
        modes.into_iter().map(|(qualified, mode)| Lock { qualified, mode }).collect()
    }

    /// Checks, with the tables locked, that what the push relies on is still what it was when it was staged.
    pub fn check_unmoved(&self, session: &mut Session) -> Result<()> {
        if catalog_sign(session)? == self.sign {
            return Ok(());
        }
        let now = files(&read(session, self.target)?)?;
        let paths: BTreeSet<&StatePath> = match self.goal {
            Some(_) => now.keys().chain(self.files.keys()).collect(),
            None => self.relied.iter().collect(),
        };
        let moved = paths.into_iter().filter(|path| now.get(path) != self.files.get(path));
        changed(&moved.cloned().collect::<Vec<_>>())
    }

    /// Brings the schema to where the pushed rows fit.
    pub fn before_rows(&self, session: &mut Session) -> Result<()> {
        self.goal.iter().flat_map(|goal| &goal.plan.before_rows).try_for_each(|statement| run(session, statement))
    }

    /// Brings the schema to its goal, once the rows are there.
    pub fn after_rows(&self, session: &mut Session) -> Result<()> {
        self.goal.iter().flat_map(|goal| &goal.plan.after_rows).try_for_each(|statement| run(session, statement))
    }

    /// Checks that the live schema now is what was pushed.
    pub fn check_reached(&self, session: &mut Session) -> Result<()> {
        match &self.goal {
            Some(goal) => reached(session, self.target, &goal.files),
            None => Ok(()),
        }
    }
}

/// Reads the live schema, without what the rules ignore.
pub(super) fn read(session: &mut Session, target: &Target) -> Result<Model> {
    let _span = tracing::debug_span!("schema").entered();
    let mut model = schema::read(session.client())?;
    leave_out(&mut model, &target.rules)?;
    Ok(model)
}

/// With what the session's database was created.
pub(super) fn read_database(session: &mut Session) -> Result<Database> {
    Ok(schema::read(session.client())?.database)
}

/// The files of a schema.
pub(super) fn files(model: &Model) -> Result<Files> {
    Ok(schema::files(model)?.into_iter().collect())
}

/// Checks that the schema of the session's database is what the files say.
pub(super) fn reached(session: &mut Session, target: &Target, goal: &Files) -> Result<()> {
    let now = files(&read(session, target)?)?;
    let paths: BTreeSet<&StatePath> = now.keys().chain(goal.keys()).collect();
    let mut other = paths.into_iter().filter(|path| now.get(path) != goal.get(path));
    match other.next() {
        None => Ok(()),
        Some(path) => Err(differs(path, now.get(path), goal.get(path))),
    }
}

/// Names the first line of a file in which live, after the statements, is not what was pushed.
fn differs(path: &StatePath, now: Option<&Vec<u8>>, goal: Option<&Vec<u8>>) -> Error {
    let lines = |bytes: Option<&Vec<u8>>| -> Vec<String> {
        let text = bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let (now, goal) = (lines(now), lines(goal));
    let at = now.iter().zip(&goal).take_while(|(now, goal)| now == goal).count();
    let line = |lines: &[String]| match lines.get(at) {
        Some(line) => format!("`{}`", line.trim().chars().take(100).collect::<String>()),
        None => "nothing".into(),
    };
    let message = format!(
        "live can not be brought to this: it has {} where {} was pushed; nothing was changed",
        line(&now),
        line(&goal)
    );
    Error::input(path, at as u64 + 1, message)
}

/// Runs a statement of a plan. What the rows do not allow is their violation, values that do not become a new type too.
pub(super) fn run(session: &mut Session, statement: &str) -> Result<()> {
    let short: String = statement.chars().take(200).collect();
    // Its owner reads what it may read, as ever, where row security hides some of it
    let done = match statement.starts_with("REFRESH ") {
        true => session.run(&short, &format!("SET LOCAL row_security = on; {statement}; SET LOCAL row_security = off")),
        false => session.run(&short, statement),
    };
    let Err(error) = done else { return Ok(()) };
    match server_error(&error).filter(|db| db.code().code().starts_with("22")).map(brief) {
        Some(message) => Err(Error::Violation { message: format!("{short}: {message}"), source: Some(error.into()) }),
        None => Err(as_violation(error)),
    }
}

/// The error that names the files whose objects are not what they should be.
fn changed(paths: &[StatePath]) -> Result<()> {
    match paths.len() as u64 {
        0 => Ok(()),
        total => Err(Error::Changed { first: paths.iter().take(10).map(StatePath::to_string).collect(), total }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_came_out_otherwise_is_named() {
        let path = StatePath::new("schema/tables/t.sql").unwrap();
        let bytes = |text: &str| text.as_bytes().to_vec();
        let error = differs(&path, Some(&bytes("a\n  b\n")), Some(&bytes("a\n  c\n")));
        let words = "schema/tables/t.sql:2: live can not be brought to this: it has `b` where `c` was pushed";
        assert!(error.to_string().starts_with(words), "{error}");
        let error = differs(&path, None, Some(&bytes("a\n")));
        assert!(
            error.to_string().contains("t.sql:1: live can not be brought to this: it has nothing where `a`"),
            "{error}"
        );
    }
}

//! Compare and swap of the rows of one table, inside the transaction that holds its lock.

use std::collections::BTreeSet;

use super::schema::{Identity, Model, Table};
use super::session::{Session, brief, code, server_error};
use super::sql::{ident, list};
use super::staging::{Files, Room, Staging, input};
use super::table::printed;
use crate::{Error, Result, text};

/// A touched table with its staged rows.
#[derive(Debug)]
pub(super) struct Touched {
    /// Its place in the order of locks, which numbers its staging tables.
    pub number: usize,
    /// Where those are.
    pub room: Room,
    /// `schema.name` as in messages and, quoted, in SQL.
    pub qualified: String,
    /// The rows of base that differ, where the table is there before the push.
    pub old: Option<Staging>,
    /// The rows of next that differ, where it is there after it.
    pub new: Option<Staging>,
    /// The columns whose live values stay, since the files do not hold them.
    pub kept: Vec<Kept>,
    /// The columns that a row which is updated in place may not change; `None` where no row is. See [`fixed`].
    pub fixed: Option<BTreeSet<String>>,
}

/// A column whose live values stay.
#[derive(Debug)]
pub(super) struct Kept {
    /// Its name.
    pub name: String,
    /// Its type after the push, where the values are kept as text: the push may alter a type that the application made.
    pub by_text: Option<String>,
}

/// Conflicts of a push with what the application did meanwhile.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    first: Vec<String>,
    total: u64,
}

impl Conflicts {
    const NAMED: usize = 10;

    /// Adds rows: their names, as far as there is room, and how many there are in all.
    pub fn add(&mut self, names: impl IntoIterator<Item = String>, total: u64) {
        self.first.extend(names);
        self.first.truncate(Self::NAMED);
        self.total += total;
    }

    /// Fails where there is any.
    pub fn check(self) -> Result<()> {
        match self.total {
            0 => Ok(()),
            total => Err(Error::Changed { first: self.first, total }),
        }
    }
}

impl Touched {
    fn kept_name(&self) -> String {
        self.room.table(&format!("kept_{}", self.number))
    }

    /// Refuses a change of a row whose values that the files do not hold can not follow it.
    pub fn refuse_loss(&self, how: &str) -> Result<()> {
        match self.kept.first() {
            None => Ok(()),
            Some(kept) => {
                let (table, column) = (&self.qualified, kept.name.escape_debug());
                let what = format!(
                    "to change a row of {table} {how}, since its value of {column}, which is left out, would be lost"
                );
                Err(Error::Unsupported { what })
            }
        }
    }

    /// Whether a row that is new here is one that is gone from another table, by its key.
    pub fn takes_from(&self, other: &Touched, session: &mut Session) -> Result<bool> {
        let (Some(new), Some(old)) = (&self.new, &other.old) else { return Ok(false) };
        if new.key.is_empty() || new.key.len() != old.key.len() {
            return Ok(false);
        }
        let key = |staging: &Staging, alias: &str| {
            list(0..staging.key.len(), |number| format!("pg_catalog.concat({})", staging.key_value(alias, number)))
        };
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {} w JOIN {} o ON ({}) = ({}))",
            new.name,
            old.name,
            key(new, "w"),
            key(old, "o")
        );
        session.holds(&format!("look for moved rows of {}", self.qualified), &sql)
    }

    /// Whether both sides are keyed alike, so that changes have a row on either side.
    fn paired(&self) -> bool {
        matches!((&self.old, &self.new), (Some(old), Some(new)) if old.key.len() == new.key.len())
    }

    /// Both rows of every change side by side, by the number of the change: keys `k0`, ..., and the rows as text.
    fn pairs(&self) -> Option<(String, &Staging)> {
        let pairs = match (&self.old, &self.new) {
            (Some(old), Some(new)) if self.paired() => {
                let keys = (0..old.key.len()).map(|number| {
                    format!("coalesce({}, {}) AS k{number}, ", old.key_value("o", number), new.key_value("w", number))
                });
                let (had, has) = (present("o", &old.text("o")), present("w", &new.text("w")));
                let sql = format!(
                    "SELECT {}coalesce(o.n, w.n) AS n, {had} AS old, {has} AS new FROM {} o FULL JOIN {} w ON o.n = w.n",
                    keys.collect::<String>(),
                    old.name,
                    new.name
                );
                (sql, old)
            }
            (Some(only), _) => {
                let keys = (0..only.key.len()).map(|number| format!("{} AS k{number}, ", only.key_value("o", number)));
                let text = only.text("o");
                let sql = format!(
                    "SELECT {}o.n, {text} AS old, {text} AS new FROM {} o",
                    keys.collect::<String>(),
                    only.name
                );
                (sql, only)
            }
            (None, _) => return None,
        };
        Some(pairs)
    }

    /// Whether a row that the push adds is live already, by its key.
    pub fn adds_live(&self, session: &mut Session) -> Result<bool> {
        let (Some(old), Some(new), true) = (&self.old, &self.new, self.paired()) else { return Ok(false) };
        if new.key.is_empty() {
            return Ok(false);
        }
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {} w JOIN ONLY {} t ON {} WHERE NOT EXISTS (SELECT FROM {} o WHERE o.n = w.n))",
            new.name,
            self.qualified,
            new.is_row("t", "w"),
            old.name
        );
        session.holds(&format!("look for the new rows of {}", self.qualified), &sql)
    }

    /// Finds the rows that are not what base has, nor already what next has.
    pub fn conflicts(&self, session: &mut Session, conflicts: &mut Conflicts) -> Result<()> {
        let Some((pairs, keyed)) = self.pairs() else { return Ok(()) };
        if keyed.key.is_empty() {
            return self.bag_conflicts(session, keyed, conflicts);
        }
        let old = present_row("t", &keyed.live_text("t"));
        let new = self.new.as_ref().map_or(old.clone(), |new| present_row("t", &new.live_text("t")));
        let keys = (0..keyed.key.len())
            .map(|number| format!("left(pg_catalog.concat(p.k{number}), 200), "))
            .collect::<String>();
        let join = keyed.has_key("t", |number| format!("p.k{number}"));
        let sql = format!(
            "SELECT {keys}count(*) OVER () FROM ({pairs}) p LEFT JOIN ONLY {} t ON {join} \
             WHERE {old} IS DISTINCT FROM p.old AND {new} IS DISTINCT FROM p.new ORDER BY p.n LIMIT {}",
            self.qualified,
            Conflicts::NAMED
        );
        let rows = session.rows(&format!("compare the rows of {}", self.qualified), &sql)?;
        self.report(rows, keyed, conflicts)
    }

    fn report(&self, rows: Vec<Vec<Option<String>>>, keyed: &Staging, conflicts: &mut Conflicts) -> Result<()> {
        let total = rows.first().and_then(|row| row.last()?.as_deref()?.parse().ok()).unwrap_or(0);
        let name = |row: Vec<Option<String>>| {
            let part = |(value, (at, _)): (&Option<String>, &(usize, _))| {
                format!(" {}={}", keyed.columns[*at].name.escape_debug(), excerpt(value.as_deref().unwrap_or_default()))
            };
            format!("{}{}", self.qualified, row.iter().zip(&keyed.key).map(part).collect::<String>())
        };
        conflicts.add(rows.into_iter().map(name), total);
        Ok(())
    }

    /// In a bag, as many equal rows must be there as the push removes.
    fn bag_conflicts(&self, session: &mut Session, old: &Staging, conflicts: &mut Conflicts) -> Result<()> {
        let sql = format!(
            "WITH gone AS ({}), there AS (SELECT {row} AS line, count(*) AS n FROM ONLY {} t \
             WHERE {row} IN (SELECT line FROM gone) GROUP BY 1) \
             SELECT left(g.line, 200), count(*) OVER () FROM gone g LEFT JOIN there h ON h.line = g.line \
             WHERE coalesce(h.n, 0) < g.n ORDER BY 1 LIMIT {}",
            gone(old),
            self.qualified,
            Conflicts::NAMED,
            row = old.live_text("t"),
        );
        let rows = session.rows(&format!("compare the rows of {}", self.qualified), &sql)?;
        let total = rows.first().and_then(|row| row.last()?.as_deref()?.parse().ok()).unwrap_or(0);
        let name = |row: Vec<Option<String>>| {
            format!("{} row {}", self.qualified, excerpt(row.first().and_then(Option::as_deref).unwrap_or_default()))
        };
        conflicts.add(rows.into_iter().map(name), total);
        Ok(())
    }

    /// Finds live rows that base never had, where the push drops the whole table.
    pub fn unseen(&self, session: &mut Session, conflicts: &mut Conflicts) -> Result<()> {
        let seen = self.old.as_ref().map_or("0".into(), |old| format!("(SELECT count(*) FROM {})", old.name));
        let sql = format!("SELECT greatest((SELECT count(*) FROM ONLY {}) - {seen}, 0)", self.qualified);
        let unseen = session.value(&format!("count the rows of {}", self.qualified), &sql)?;
        let unseen = unseen.parse().map_err(Error::engine("count rows"))?;
        if unseen > 0 {
            conflicts.add([format!("{} ({unseen} new rows)", self.qualified)], unseen);
        }
        Ok(())
    }

    /// Sets aside what the files do not hold of the rows that change.
    pub fn keep(&self, session: &mut Session) -> Result<()> {
        let (false, Some((pairs, keyed))) = (self.kept.is_empty(), self.pairs()) else { return Ok(()) };
        if keyed.key.is_empty() {
            return Ok(());
        }
        let kept = list(self.kept.iter().enumerate(), |(at, kept)| {
            let value = format!("t.{}", ident(&kept.name));
            let value = if kept.by_text.is_some() { printed(&value) } else { value };
            format!("{value} AS c{}", at + 1)
        });
        let join = keyed.has_key("t", |number| format!("p.k{number}"));
        let sql = format!(
            "{} AS SELECT p.n, {kept} FROM ({pairs}) p JOIN ONLY {} t ON {join}",
            self.room.create(&format!("kept_{}", self.number)),
            self.qualified
        );
        session.run(&format!("keep values of {}", self.qualified), &sql)
    }

    /// What updates a changed row in place, and the condition on its old row `o` and its new row `w` that it can be.
    ///
    /// A row that is deleted and inserted again is another one to who waits for it: an application that inserts a child of
    /// it would be told that the parent is gone, and one that locks it would find nothing.
    fn update(&self) -> Option<(String, String)> {
        let (Some(fixed), Some(old), Some(new)) = (&self.fixed, &self.old, &self.new) else { return None };
        if new.key.is_empty() || !self.paired() {
            return None;
        }
        let (mut stays, mut set) = (Vec::new(), Vec::new());
        for column in &new.columns {
            let value = new.value_of("w", &column.name)?;
            match fixed.contains(&column.name) {
                true => stays.push((old.value_of("o", &column.name)?, value)),
                false => set.push(format!("{} = {value}", ident(&column.name))),
            }
        }
        let row = |values: Vec<String>| format!("ROW({})::text COLLATE \"C\"", values.join(", "));
        let (before, after) = stays.into_iter().unzip();
        let alike = format!("{} = {}", row(before), row(after));
        (!set.is_empty()).then(|| (set.join(", "), alike))
    }

    /// Deletes the removed rows, the changed ones that are not updated in place, and those that are already there.
    pub fn delete(&self, session: &mut Session) -> Result<()> {
        let context = format!("delete rows of {}", self.qualified);
        let bag = |staging: &Staging| staging.key.is_empty();
        if let Some(old) = self.old.as_ref().filter(|old| bag(old)) {
            let sql = format!(
                "WITH gone AS ({}) DELETE FROM ONLY {table} WHERE ctid = ANY (ARRAY(SELECT x.ctid FROM \
                 (SELECT t.ctid, {row} AS line, row_number() OVER (PARTITION BY {row}) AS i FROM ONLY {table} t \
                 WHERE {row} IN (SELECT line FROM gone)) x JOIN gone g ON g.line = x.line AND x.i <= g.n))",
                gone(old),
                table = self.qualified,
                row = old.live_text("t"),
            );
            session.run(&context, &sql)?;
        }
        let new = self.new.as_ref().filter(|_| self.paired());
        let but = match (self.update(), &self.old, new) {
            (Some((_, alike)), Some(old), Some(new)) => format!(
                " AND NOT EXISTS (SELECT FROM {} w JOIN {} o ON o.n = w.n WHERE w.n = s.n AND {alike})",
                new.name, old.name
            ),
            _ => String::new(),
        };
        for side in [self.old.as_ref(), new].into_iter().flatten().filter(|side| !bag(side)) {
            let is_row = side.is_row("t", "s");
            let sql = format!("DELETE FROM ONLY {} t USING {} s WHERE {is_row}{but}", self.qualified, side.name);
            session.run(&context, &sql)?;
        }
        Ok(())
    }

    /// Updates the changed rows or inserts them, and inserts the new ones, into `table`: the table itself, or the root of its
    /// partitions.
    pub fn write(&self, session: &mut Session, table: &str, files: &Files) -> Result<()> {
        let Some(new) = &self.new else { return Ok(()) };
        let context = format!("write rows of {}", self.qualified);
        let most = session.value(&context, &format!("SELECT coalesce(max(n), 0) FROM {}", new.name))?;
        let most: u64 = most.parse().map_err(Error::engine(context.clone()))?;
        let insert = |session: &mut Session, from: u64, to: u64| -> Result<()> {
            let statements = self.statements(new, table, &format!("w.n BETWEEN {from} AND {to}"));
            session.run(&context, "SAVEPOINT glxc")?;
            match session.run(&context, &statements) {
                Err(error) if server_error(&error).is_some() => {
                    session.run(&context, "ROLLBACK TO SAVEPOINT glxc").and(Err(error))
                }
                other => other.and_then(|()| session.run(&context, "RELEASE SAVEPOINT glxc")),
            }
        };
        let Err(mut error) = insert(session, 1, most) else { return Ok(()) };
        if code(&error).is_none_or(|code| !is_about_a_row(code.code())) {
            return Err(error);
        }
        // Halve what is left until the one row that fails remains.
        let (mut from, mut to) = (1, most);
        while from < to {
            let middle = from + (to - from) / 2;
            match insert(session, from, middle) {
                Ok(()) => from = middle + 1,
                Err(earlier) => (error, to) = (earlier, middle),
            }
        }
        let sql = format!("SELECT file, line FROM {} WHERE n = {from}", new.name);
        let place = session.rows(&context, &sql)?.into_iter().next();
        Err(located(place, files, error))
    }

    fn statements(&self, new: &Staging, table: &str, which: &str) -> String {
        let (Some((set, alike)), Some(old)) = (self.update(), &self.old) else {
            return self.insert_statements(new, table, which);
        };
        let rest = format!("{which} AND NOT EXISTS (SELECT FROM {} o WHERE o.n = w.n AND {alike})", old.name);
        format!(
            "UPDATE ONLY {} t SET {set} FROM {} w JOIN {} o ON o.n = w.n WHERE {which} AND {alike} AND {}; {}",
            self.qualified,
            new.name,
            old.name,
            new.is_row("t", "w"),
            self.insert_statements(new, table, &rest)
        )
    }

    fn insert_statements(&self, new: &Staging, table: &str, which: &str) -> String {
        let names = list(&new.columns, |column| ident(&column.name));
        let values = list(0..new.columns.len(), |at| format!("w.c{}", at + 1));
        if new.columns.is_empty() {
            return format!("INSERT INTO {table} SELECT FROM {} w WHERE {which}", new.name);
        }
        let into = |more: &str| format!("INSERT INTO {table} ({names}{more}) OVERRIDING SYSTEM VALUE SELECT {values}");
        if self.kept.is_empty() || new.key.is_empty() || self.old.is_none() {
            return format!("{} FROM {} w WHERE {which}", into(""), new.name);
        }
        let kept_names = self.kept.iter().map(|kept| format!(", {}", ident(&kept.name))).collect::<String>();
        let kept_value = |(at, kept): (usize, &Kept)| match &kept.by_text {
            Some(type_name) => format!(", CAST(k.c{} AS {type_name})", at + 1),
            None => format!(", k.c{}", at + 1),
        };
        let kept_values = self.kept.iter().enumerate().map(kept_value).collect::<String>();
        let (new, kept) = (&new.name, self.kept_name());
        format!(
            "{}{kept_values} FROM {new} w JOIN {kept} k ON k.n = w.n WHERE {which}; \
             {} FROM {new} w WHERE {which} AND NOT EXISTS (SELECT FROM {kept} k WHERE k.n = w.n)",
            into(&kept_names),
            into("")
        )
    }
}

/// The text of a row that a full join may lack.
fn present(alias: &str, text: &str) -> String {
    format!("CASE WHEN {alias}.n IS NOT NULL THEN {text} END")
}

/// The text of a live row that a left join may lack.
fn present_row(alias: &str, text: &str) -> String {
    format!("CASE WHEN {alias}.ctid IS NOT NULL THEN {text} END")
}

/// The rows that a push removes from a bag, and how many times.
fn gone(old: &Staging) -> String {
    format!("SELECT {} AS line, count(*) AS n FROM {} o GROUP BY 1", old.text("o"), old.name)
}

/// Whether an error may be about one row: a violated rule, or a value that an expression can not take.
fn is_about_a_row(code: &str) -> bool {
    ["22", "23", "P0"].iter().any(|class| code.starts_with(class))
}

/// An error of the server at the line of the row that it is about.
fn located(place: Option<Vec<Option<String>>>, files: &Files, error: Error) -> Error {
    let field = |at: usize| place.as_ref()?.get(at)?.as_deref();
    let file = field(0).and_then(|number| files.get(number));
    let line = field(1).and_then(|line| line.parse().ok());
    let words = server_error(&error).map(brief);
    match (file, line, words) {
        (Some(file), Some(line), Some(words)) => input(file.clone(), line, words, Some(error)),
        _ => error,
    }
}

/// The beginning of a value, for a message.
pub(super) fn excerpt(value: &str) -> String {
    let short: String = value.chars().take(60).collect();
    let more = if short.len() < value.len() { "…" } else { "" };
    text::escaped(&short).replace(['\n', '\t'], " ") + more
}

/// The columns of a table that a row which is updated in place may not change: those by which others refer to it, or of which
/// a swap with another row would be a duplicate in between, and those that the server gives. `None` where that is not told by
/// columns.
pub(super) fn fixed(table: &Table) -> Option<BTreeSet<String>> {
    if table.hash_partitioned_by_enum {
        return None;
    }
    let identity = table.columns.iter().filter(|column| column.identity == Some(Identity::Always));
    let mut fixed: BTreeSet<String> = identity.map(|column| column.name.clone()).collect();
    for unique in &table.uniques {
        // The files do not hold what is computed, so whether it changes is not known.
        let computed = |name: &String| table.columns.iter().any(|column| column.generated && column.name == *name);
        if unique.columns.is_empty() || unique.predicate.is_some() || unique.columns.iter().any(computed) {
            return None;
        }
        fixed.extend(unique.columns.iter().cloned());
    }
    Some(fixed)
}

/// The table to insert into: the root of the partitions where the server must choose among them itself.
pub(super) fn insert_target<'m>(model: &'m Model, table: &'m Table) -> &'m str {
    let mut target = table;
    if table.hash_partitioned_by_enum {
        while let Some(parent) = target.partition_of.as_ref().and_then(|name| model.tables.get(name)) {
            target = parent;
        }
    }
    &target.qualified
}

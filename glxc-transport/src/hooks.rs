//! The hooks of a push: `pre-receive` checks, `proc-receive` does the work.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read, Write};

use crate::journal::RefUpdate;
use crate::push::causes;
use crate::{Error, ObjectId, Result, StateRepository, pkt};

/// The hook `pre-receive`: reads `OLD NEW REF` lines and checks the commit that is pushed to the bound branch, while
/// its objects are still in git's quarantine.
///
/// # Errors
/// Those of [`StateRepository::check`]; the program prints them and exits with 1, which declines the push.
pub fn pre_receive(repository: &StateRepository, input: &mut dyn BufRead) -> Result<()> {
    let main = repository.main_ref()?;
    for line in input.lines() {
        let line = line.map_err(Error::io("read", "standard input"))?;
        let update = parse_update(line.as_bytes())?;
        if update.name == main && !update.new.is_zero() {
            refuse_other_objects(repository, &update.new)?;
            let _span = tracing::debug_span!("check").entered();
            // That it follows this commit is what `proc-receive` insists on.
            let old = (!update.old.is_zero()).then_some(&update.old);
            Error::point("check")?;
            repository.check(old, &update.new)?;
            Error::point("checked")?;
        }
    }
    Ok(())
}

fn refuse_other_objects(repository: &StateRepository, commit: &ObjectId) -> Result<()> {
    let object = repository.git().object(commit.as_str())?;
    match object.as_ref().map(|object| object.kind.as_str()) {
        Some("commit") => Ok(()),
        other => Err(Error::Refused(format!("a branch can not point to a {}", other.unwrap_or("missing object")))),
    }
}

/// The hook `proc-receive` (githooks): reads the commands and push options of a push, does it, and reports on each ref.
///
/// # Errors
/// Where the protocol breaks; then git reports every ref as failed. A declined ref is no error here.
pub fn proc_receive(repository: &StateRepository, input: &mut dyn Read, output: &mut dyn Write) -> Result<()> {
    let request = read_request(input, output)?;
    let _span = tracing::debug_span!("receive").entered();
    let verdicts = repository.receive(&request);
    for update in &request.updates {
        let verdict = match verdicts.get(&update.name) {
            Some(Some(reason)) => format!("ng {} {}", update.name, one_line(reason)),
            _ => format!("ok {}", update.name),
        };
        pkt::write(output, verdict.as_bytes())?;
    }
    pkt::flush(output)
}

/// What a client wants of a push.
#[derive(Debug)]
pub(crate) struct Request {
    updates: Vec<RefUpdate>,
    options: Vec<String>,
    atomic: bool,
}

fn read_request(input: &mut dyn Read, output: &mut dyn Write) -> Result<Request> {
    let version = pkt::read_line(input)?.unwrap_or_default();
    let mut halves = version.splitn(2, |b| *b == 0);
    if halves.next() != Some(b"version=1") {
        return Err(Error::Protocol(format!("proc-receive: {}", version.escape_ascii())));
    }
    let features = halves.next().unwrap_or_default().to_vec();
    let offered = |feature: &[u8]| features.split(|b| *b == b' ').any(|word| word == feature);
    while pkt::read_line(input)?.is_some() {}
    let answer: &[u8] = if offered(b"push-options") { b"version=1\0push-options\n" } else { b"version=1\n" };
    pkt::write(output, answer)?;
    pkt::flush(output)?;
    let mut updates = Vec::new();
    while let Some(line) = pkt::read_line(input)? {
        updates.push(parse_update(&line)?);
    }
    let mut options = Vec::new();
    while offered(b"push-options") {
        let Some(line) = pkt::read_line(input)? else { break };
        options.push(String::from_utf8_lossy(&line).into_owned());
    }
    Ok(Request { updates, options, atomic: offered(b"atomic") })
}

fn parse_update(line: &[u8]) -> Result<RefUpdate> {
    let unexpected = || Error::Protocol(format!("not a ref update: {}", line.escape_ascii()));
    let mut words = line.splitn(3, |b| *b == b' ');
    match (words.next(), words.next(), words.next().map(std::str::from_utf8)) {
        (Some(old), Some(new), Some(Ok(name))) => {
            Ok(RefUpdate { name: name.into(), old: ObjectId::new(old)?, new: ObjectId::new(new)? })
        }
        _ => Err(unexpected()),
    }
}

/// A reason fits into one line of git's report.
fn one_line(reason: &str) -> String {
    let plain: String = reason.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).collect();
    let safe = glxc_handlers::text::escaped(&plain);
    match safe.char_indices().nth(1000) {
        Some((at, _)) => format!("{}...", &safe[..at]),
        None => safe,
    }
}

/// The setting with the first commits of the history that a container was made from.
const ROOTS: &str = "glxc.roots";

const ANOTHER_REPOSITORY: &str =
    "this is another repository: it shares no first commit with the one this container was made from";

/// The push option that shows what a push would do.
pub const PLAN: &str = "plan";

/// Why every ref of such a push is declined.
pub const PLAN_ONLY: &str = "plan only: nothing was changed";

/// Why a ref was declined; nothing where it was accepted.
type Verdicts = BTreeMap<String, Option<String>>;

impl StateRepository {
    /// Does a push, under the lock.
    pub(crate) fn receive(&self, request: &Request) -> Verdicts {
        let mut verdicts = Verdicts::new();
        if let Err(error) = self.receive_locked(request, &mut verdicts) {
            let reason = causes(&error);
            for update in &request.updates {
                verdicts.entry(update.name.clone()).or_insert(None).get_or_insert_with(|| reason.clone());
            }
        }
        verdicts
    }

    fn receive_locked(&self, request: &Request, verdicts: &mut Verdicts) -> Result<()> {
        let _lock = self.begin("a push")?;
        let main = self.main_ref()?;
        let options = PushOptions::read(&request.options)?;
        let now = self.git().references()?;
        let unrelated = self.unrelated(&request.updates)?;
        for update in &request.updates {
            let moved = *now.get(&update.name).unwrap_or(&ObjectId::zero()) != update.old;
            let verdict = match () {
                () if moved => Some("fetch first: it moved meanwhile"),
                () if unrelated.contains(&update.new) => Some(ANOTHER_REPOSITORY),
                () if update.name == main => self.bound_verdict(update)?,
                () => None,
            };
            verdicts.insert(update.name.clone(), verdict.map(str::to_owned));
        }
        let declined = |verdicts: &Verdicts| verdicts.values().any(Option::is_some);
        if request.atomic && declined(verdicts) {
            decline_all(verdicts);
            return Ok(());
        }
        let accepted = |verdicts: &Verdicts| -> Vec<RefUpdate> {
            request.updates.iter().filter(|update| verdicts[&update.name].is_none()).cloned().collect()
        };
        let refs = accepted(verdicts);
        let bound = refs.iter().find(|update| update.name == main);
        if options.plan {
            let outcome =
                bound.map_or(Ok(()), |update| self.preview(update.base(), &update.new, &refs, &options.replace));
            let reason = match outcome {
                Ok(()) => PLAN_ONLY.to_owned(),
                Err(error) => format!("{PLAN_ONLY}; the push would be declined: {}", causes(&error)),
            };
            verdicts.values_mut().for_each(|verdict| _ = verdict.get_or_insert_with(|| reason.clone()));
            return Ok(());
        }
        if let Some(update) = bound {
            let Err(error) = self.apply(update.base(), &update.new, &refs, &options.replace) else {
                self.tell_stored(&refs, &main);
                return Ok(());
            };
            verdicts.insert(main.clone(), Some(causes(&error)));
            if request.atomic {
                decline_all(verdicts);
                return Ok(());
            }
        }
        let rest: Vec<_> = accepted(verdicts);
        self.move_refs(&rest)?;
        self.tell_stored(&rest, &main);
        Ok(())
    }

    /// The rules for the bound branch, before anything is applied.
    fn bound_verdict(&self, update: &RefUpdate) -> Result<Option<&'static str>> {
        if update.new.is_zero() {
            return Ok(Some("the bound branch can not be deleted; `glxc destroy` ends a container"));
        }
        if !update.old.is_zero() && !self.git().is_ancestor(&update.old, &update.new)? {
            return Ok(Some("not a fast-forward: pull, merge, push again (a forced push would lose what is live)"));
        }
        Ok(None)
    }

    /// The first commits that the histories of some objects begin with.
    fn roots<'a>(&self, objects: impl IntoIterator<Item = &'a ObjectId>) -> Result<BTreeSet<String>> {
        let objects: String = objects.into_iter().map(|id| format!("{id}\n")).collect();
        let roots = self.git().feed(&["rev-list", "--max-parents=0", "--stdin"], objects.as_bytes())?;
        Ok(String::from_utf8_lossy(&roots).lines().map(str::to_owned).collect())
    }

    /// The new objects whose history shares no first commit with what this container was made from.
    fn unrelated(&self, updates: &[RefUpdate]) -> Result<BTreeSet<ObjectId>> {
        let Some(known) = self.git().setting(ROOTS)? else { return Ok(BTreeSet::new()) };
        let known: BTreeSet<String> = known.split(' ').map(str::to_owned).collect();
        let new: BTreeSet<_> = updates.iter().map(|update| &update.new).filter(|new| !new.is_zero()).collect();
        // Mostly one walk answers for all of them.
        if self.roots(new.iter().copied())?.is_subset(&known) {
            return Ok(BTreeSet::new());
        }
        let mut unrelated = BTreeSet::new();
        for object in new {
            let roots = self.roots([object])?;
            if !roots.is_empty() && roots.is_disjoint(&known) {
                unrelated.insert(object.clone());
            }
        }
        Ok(unrelated)
    }

    /// A container remembers what it was made from. (Not more than fits into a setting.)
    pub(crate) fn record_roots(&self, commit: &ObjectId) -> Result<()> {
        let roots = self.roots([commit])?.into_iter().take(100).collect::<Vec<_>>().join(" ");
        match self.git().setting(ROOTS)? {
            Some(known) if known == roots => Ok(()),
            _ => self.git().set(ROOTS, &roots),
        }
    }

    fn tell_stored(&self, refs: &[RefUpdate], main: &str) {
        let branch = |name: &str| name.strip_prefix("refs/heads/").map(str::to_owned);
        for update in refs.iter().filter(|update| update.name != main && !update.new.is_zero()) {
            if let (Some(stored), Some(bound)) = (branch(&update.name), branch(main)) {
                self.note(&format!("{stored} is stored, not applied: this container is bound to {bound}"));
            }
        }
    }
}

fn decline_all(verdicts: &mut Verdicts) {
    for verdict in verdicts.values_mut() {
        verdict.get_or_insert_with(|| "atomic push: another ref was declined".into());
    }
}

/// What `git push -o` asks for.
#[derive(Debug, Default)]
struct PushOptions {
    /// Nothing is done, and what would be done is told.
    plan: bool,
    /// The states whose live data may be replaced.
    replace: BTreeSet<String>,
}

impl PushOptions {
    fn read(options: &[String]) -> Result<Self> {
        let mut read = PushOptions::default();
        for option in options {
            match (option.as_str(), option.strip_prefix("replace=")) {
                (PLAN, _) => read.plan = true,
                (_, Some(name)) => _ = read.replace.insert(name.to_owned()),
                _ => {
                    let known = "known are plan and replace=NAME";
                    return Err(Error::Refused(format!("unknown push option `{}`; {known}", option.escape_debug())));
                }
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What git writes to the hook.
    fn request(features: &str, updates: &[RefUpdate], options: &[String]) -> Vec<u8> {
        let mut bytes = Vec::new();
        pkt::write(&mut bytes, format!("version=1\0{features}\n").as_bytes()).unwrap();
        pkt::flush(&mut bytes).unwrap();
        for update in updates {
            pkt::write(&mut bytes, format!("{} {} {}\n", update.old, update.new, update.name).as_bytes()).unwrap();
        }
        pkt::flush(&mut bytes).unwrap();
        if features.contains("push-options") {
            options.iter().for_each(|option| pkt::write(&mut bytes, option.as_bytes()).unwrap());
            pkt::flush(&mut bytes).unwrap();
        }
        bytes
    }

    fn updates() -> impl Strategy<Value = Vec<RefUpdate>> {
        let id = || "[0-9a-f]{40}".prop_map(|hex| ObjectId::new(hex).unwrap());
        let update = ("refs/[a-z/ é]{1,20}", id(), id()).prop_map(|(name, old, new)| RefUpdate { name, old, new });
        prop::collection::vec(update, 0..5)
    }

    proptest! {
        #[test]
        fn a_request_is_read_as_git_writes_it(
            updates in updates(), options in prop::collection::vec("[a-z=é\u{1b}]{0,9}", 0..4),
            push_options in any::<bool>(), atomic in any::<bool>(),
        ) {
            let features = [("push-options", push_options), ("atomic", atomic)];
            let features: Vec<_> = features.iter().filter(|(_, on)| *on).map(|(word, _)| *word).collect();
            let bytes = request(&features.join(" "), &updates, &options);
            let mut answer = Vec::new();
            let read = read_request(&mut bytes.as_slice(), &mut answer).unwrap();
            prop_assert_eq!((read.updates, read.atomic), (updates, atomic));
            prop_assert_eq!(read.options, if push_options { options } else { Vec::new() });
            prop_assert_eq!(answer.ends_with(b"\0push-options\n0000"), push_options);
        }

        #[test]
        fn a_damaged_request_is_an_error_or_another_request(
            updates in updates(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
        ) {
            let mut bytes = request("push-options atomic", &updates, &["x".into()]);
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            let read = read_request(&mut bytes.as_slice(), &mut Vec::new());
            prop_assert!(!cut || read.is_err(), "a request that breaks off is none");
        }

        #[test]
        fn any_bytes_are_a_request_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = Vec::new();
            pkt::write(&mut framed, b"version=1\0atomic").unwrap();
            pkt::flush(&mut framed).unwrap();
            pkt::write(&mut framed, &bytes).unwrap();
            pkt::flush(&mut framed).unwrap();
            if let Ok(read) = read_request(&mut framed.as_slice(), &mut Vec::new()) {
                let update = &read.updates[0];
                let text = format!("{} {} {}", update.old, update.new, update.name);
                prop_assert_eq!(text.as_bytes(), bytes.strip_suffix(b"\n").unwrap_or(&bytes));
            }
            let _ = read_request(&mut bytes.as_slice(), &mut Vec::new());
        }

        #[test]
        fn a_reason_is_one_harmless_line(
            reason in "([\\x00-\\x1f\\x7f-\\x9f]|\\PC|\u{202e}){0,20}", times in 1..200usize,
        ) {
            let line = one_line(&reason.repeat(times));
            prop_assert!(line.len() <= 4100 && !line.chars().any(glxc_handlers::text::is_unsafe), "{line:?}");
        }
    }
}

#!/usr/bin/env bash
# Tests the tests: switches off one guard at a time, in a copy of the sources, and looks that the tests turn red.
#
#     scripts/mutants.sh [WORD]     (root; needs what `make test` needs; only the guards whose names have the word)
source "$(dirname "$0")/common.sh"
STEPS=2
need_root mutants
need_rust
WORD=${1:-}
# shellcheck disable=SC2086
need_packages $BUILD_PACKAGES postgresql postgresql-contrib mariadb-server strace util-linux mmdebstrap
need_ferretdb_root
COPY=$(mktemp -d)
trap 'rm -rf "$COPY"' EXIT
git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$COPY"
cd "$COPY"
export CARGO_TARGET_DIR=$TARGET/mutants GLXC_TEST_REQUIRE=1
CAUGHT=0
SURVIVED=()

postgresql() { cargo test --quiet -p glxc-handlers --features postgresql --test postgresql "$@"; }
schema() { cargo test --quiet -p glxc-handlers --features postgresql --test postgresql_schema "$@"; }
mysql() { cargo test --quiet -p glxc-handlers --features mysql --test mysql "$@"; }
mongodb() {
    GLXC_TEST_FERRETDB=$(ferretdb_root) cargo test --quiet -p glxc-handlers --features mongodb --test mongodb "$@"
}
files() { cargo test --quiet -p glxc-handlers --test files "$@"; }
folder() { cargo test --quiet -p glxc-handlers --test folder "$@"; }
script() { cargo test --quiet -p glxc-handlers --test script "$@"; }
transport() {
    local test=$1
    shift
    cargo build --quiet -p glxc-transport --example host && cargo test --quiet -p glxc-transport --test "$test" "$@"
}

# NAME FILE OLD NEW TESTS [FILTER...]: the tests must compile, and fail, with NEW in the place of OLD, which stands once in FILE.
mutant() {
    local name=$1 file=$2 old=$3 new=$4 tests=$5
    shift 5
    [[ $name == *"$WORD"* ]] || return 0
    cp "$file" "$COPY/original"
    OLD=$old NEW=$new perl -0pi -e '$n = s/\Q$ENV{OLD}\E/$ENV{NEW}/g; END { exit($n != 1) }' "$file" ||
        fail "the guard '$name' is not where scripts/mutants.sh looks for it, in $file"
    $tests --no-run >"$COPY/log" 2>&1 || { cat "$COPY/log" >&2; fail "without the guard '$name' nothing compiles"; }
    if $tests -- "$@" >"$COPY/log" 2>&1; then
        SURVIVED+=("$name")
        printf 'SURVIVED  %s\n' "$name"
    else
        CAUGHT=$((CAUGHT + 1))
        local by
        by=$(sed -nE 's/^([a-z_:]+) --- FAILED$/\1/p' "$COPY/log" | head -n 3 | paste -sd ' ')
        printf 'caught    %-55s %s\n' "$name" "$by"
    fi
    cp "$COPY/original" "$file"
}

step "the tests with all guards on"
for tests in postgresql schema mysql mongodb files folder script "transport durable" "transport states" "transport faults" "transport script"; do
    $tests >"$COPY/log" 2>&1 || { cat "$COPY/log" >&2; fail "$tests: red already"; }
done

step "switch off one guard at a time"
P=glxc-handlers/src/postgresql
M=glxc-handlers/src/mongodb
F=glxc-handlers/src/files
S=glxc-handlers/src/script
T=glxc-transport/src

mutant "compare and swap of rows" $P/differential.rs '        conflicts.check()' '        Ok(())' postgresql conformance differential
mutant "compare and swap of definitions" $P/definition.rs 'changed(&moved.cloned().collect::<Vec<_>>())' \
    '{ drop(moved); Ok(()) }' postgresql schema differential
mutant "compare and swap of files" $F/import.rs 'if !as_expected {' 'if !as_expected && false {' files
mutant "live rows of a dropped table" $P/differential.rs '                table.rows.unseen(&mut self.session, &mut conflicts)?;' '' \
    postgresql schema
mutant "foreign keys: the lock of the parents" $P/foreign_keys.rs ' FOR KEY SHARE OF p' '' postgresql differential
mutant "foreign keys: parents that are not there" $P/foreign_keys.rs \
    '        check_child(session, model, key, child, (old, new), files)?;' '        let _ = (child, old, new, files);' \
    postgresql differential
mutant "foreign keys: children that are left" $P/foreign_keys.rs \
    '            check_parent(session, model, key, child, (parent, old))?;' '            let _ = (child, old);' \
    postgresql differential
mutant "live is what was staged over" $P/load.rs 'if There::of(&mut live)? != self.there {' 'if false {' postgresql load
mutant "a declined replace ends nobody's session" $P/load.rs '        self.decline_early()?;
' '' postgresql load
mutant "all waits for locks together" $P/differential.rs 'Watch::of_locks(&mut self.session, self.definition.target, &self.name, self.cx)?' \
    'Watch::new(&self.session, self.cx)' postgresql differential
mutant "nobody came in before the new name" $P/load.rs 'now.is_none_or(|now| now == visits)' \
    'now.is_none_or(|now| now == visits) || true' postgresql load
mutant "commits are durable" $P/session.rs '    ("synchronous_commit", "on"),
' '' postgresql load
mutant "changed rows stay the same rows" $P/apply.rs '        return None;
    }
    let identity' '        return None;
    }
    if true { return None }
    let identity' postgresql differential
mutant "documents that were written meanwhile" $M/import.rs \
    'if now != edit.old_print() && now != edit.new_print() {' 'if false {' mongodb import
mutant "a definition that was changed meanwhile" $M/import.rs 'if there != before && there != after {' 'if false {' mongodb import
mutant "a write finds the document that was compared" $M/edits.rs \
    '{ vec![same_size, same] }' '{ let _ = same; vec![same_size] }' mongodb import
mutant "a collection that goes takes no documents along" $M/import.rs \
    'self.session.count(&name, 0)? != removed' 'false' mongodb import rules
mutant "a collection is taken away before it is dropped" $M/import.rs 'if self.session.count(away, 1)? == 0 {' 'if true {' \
    mongodb import recover
mutant "what the server forgets" $M/import.rs '    (_, None) => return Err(Error::input(&path, 1, format!("the server forgets {option}"))),' \
    '    (_, None) => {}' mongodb import
mutant "unique values are tried" $M/import.rs 'self.rehearse(&after, temporary).and_then(|()| self.fill(&after, temporary))' \
    'self.fill(&after, temporary)' mongodb import
mutant "an index that live documents do not keep" $M/import.rs 'Err(error) if code(&error).is_some() => {
                    let (name' 'Err(error) if code(&error).is_some() && false => {
                    let (name' mongodb import
mutant "collections that are ignored" $M/catalog.rs 'if rules.ignores(&[name]) {' 'if false {' mongodb rules answers
mutant "documents that both sides manage" $M/import.rs 'self.rules.iter().all(|rules| rules.has_rows(&[name]))' \
    '{ let _ = name; true }' mongodb rules
mutant "the server proves that it knows the password" $M/session.rs 'if said(&answer) != Some(last.as_str()) {' 'if false {' \
    mongodb login
mutant "what comes back to a collection that was away" $M/mod.rs '        import::put_back(&self.target, change, cx)?;
' '' mongodb recover
mutant "files that came since a crash" $F/mod.rs '        plan.recall(cx.op_dir)?;' \
    '        if false { plan.recall(cx.op_dir)?; }' files
mutant "files that are written while they are replaced" $F/swap.rs \
    '(Expected::Seen(seen), _) => Ok(Stamp::at(folder, name)? == *seen),' '(Expected::Seen(_), _) => Ok(true),' files
mutant "triggers stay quiet" $P/differential.rs ' SET LOCAL session_replication_role = replica; \' ' \' postgresql differential
mutant "the scratch database: no rights" $P/schema/scratch.rs ' SECURITY DEFINER
' '
' schema
mutant "the scratch database: what it guards itself by" $P/schema/scratch.rs '} else if self.places != places {' \
    '} else if false {' schema
mutant "live is what was pushed, after a change of the schema" $P/definition.rs \
    'Some(goal) => reached(session, self.target, &goal.files),' 'Some(_) => Ok(()),' postgresql schema
mutant "a mark tells that it committed" $P/recover.rs 'session.holds("look for the mark of the operation", &sql)' \
    '{ let _ = (sql, session); Ok(false) }' postgresql recover conformance
mutant "a recovery ends what is prepared" $P/recover.rs '    end_prepared(&mut maintenance, target, op, decision)?;' \
    '' postgresql conformance
mutant "a script ends with the process that runs it" $S/run.rs 'read -r _ || kill -s KILL 0' 'read -r _' script
mutant "a script gets nothing of the caller's environment" $S/run.rs '.arg(script).env_clear()' '.arg(script)' script
mutant "a script is bounded in time" $S/run.rs 'if since.elapsed() > timeout {' 'if since.elapsed() > timeout * 20 {' script
mutant "no link on the way to what a script left" $S/folder.rs ' | ResolveFlags::NO_SYMLINKS' '' script
mutant "names that a script gives" $S/folder.rs '            if let Some(why) = unfit(&path) {' \
    '            if let Some(why) = unfit(&path).filter(|_| false) {' script
mutant "a failed import puts back what was live" glxc-handlers/src/simple.rs \
    'self.0.import(&FolderTree::open(&before)?, &Cx { cancel: &never, deadline: None, ..*cx })?;' 'let _ = never;' script
mutant "attributes are nothing live" glxc-handlers/src/simple.rs \
    'paths.retain(|path| path.as_bytes() != b".gitattributes");' '' script
mutant "each state has a folder of the operation" $T/repository.rs '.join("states").join(state)' '.join("states")' \
    "transport script"
mutant "the programs before the push put back" $T/push.rs '(decided || !part.is_compensated())' 'true' "transport script"
mutant "the journal is durable" $T/journal.rs 'write_all(&line).and_then(|()| self.file.sync_data())' 'write_all(&line)' "transport durable"
mutant "the journal decides" $T/push.rs '&& let Err(error) = journal.add(&Step::Decided)' \
    '&& let Err(error) = Ok::<(), Error>(())' "transport states" together
mutant "what is live belongs to one state" $T/check.rs '        self.check_claims(new, &config)?;' '' "transport states"
mutant "fingerprints end with a push" $T/push.rs '            self.forget_fingerprints(&main)?;' '' "transport states"
mutant "a fingerprint is for its commit only" $T/export.rs 'remembered.unchanged == Some(now)' \
    'remembered.unchanged.is_some_and(|was| was.fingerprint == now.fingerprint)' "transport states"
mutant "one operation at a time" $T/lock.rs 'flock(&file, FlockOperation::NonBlockingLockExclusive)' \
    'flock(&file, FlockOperation::NonBlockingLockShared)' "transport states"
mutant "somebody attends what is prepared" $T/push.rs 'self.parts.attendant.as_deref().map(Attendant::start).transpose()?' \
    'None::<Attendant>' "transport states" together
mutant "the next contact settles" $T/repository.rs '        self.settle(true)?;' '' "transport faults"

Y=glxc-handlers/src/mysql
mutant "mysql: compare and swap of rows" $Y/differential.rs '        if conflicts.total > 0 {' '        if false {' mysql conformance differential
mutant "mysql: rows that point nowhere" $Y/differential.rs '            self.check_foreign_keys(&name)?;' '' mysql differential
mutant "mysql: live is what base has when it is replaced" $Y/load.rs '        compare(wanted, &look_at(&mut guard, &model, self.cx)?)?;' \
    '        let _ = (wanted, look_at(&mut guard, &model, self.cx)?);' mysql load conformance
mutant "mysql: a mark tells that it committed" $Y/recover.rs 'session.finds("look for the mark of the operation", &sql)?' \
    '{ let _ = sql; false }' mysql conformance load
mutant "mysql: a load that touched nothing never began" $Y/load.rs '    Ok(!old.is_empty() && old' '    Ok(false && old' mysql load
mutant "mysql: triggers do not act again" $Y/mod.rs 'let triggered = if whole { None } else { self.triggered(change)? };' \
    'let triggered = None;' mysql differential load

D=glxc-handlers/src/folder
mutant "folder: edited files are not overwritten" $D/mod.rs '    if paths.is_empty() {' '    if true {' folder
mutant "folder: one works in it at a time" $D/mod.rs 'flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()' \
    'flock(&lock, FlockOperation::NonBlockingLockShared).is_err()' folder
mutant "folder: no link on the way to a state" $D/mod.rs 'metadata.is_symlink())' 'metadata.is_symlink() && false)' folder
mutant "folder: what it has not seen is not replaced" $D/load.rs 'true if !asked =>' 'true if !asked && false =>' folder
mutant "folder: what is replaced is kept" $D/load.rs 'let keep = base.is_none()' 'let keep = false && base.is_none()' folder
mutant "folder: other settings decline" $D/load.rs '            if !known.same_rules {' '            if false {' folder
mutant "folder: a load that began is settled" $D/load.rs 'let decision = if happened { Decision::Commit } else { Decision::Abort };' \
    'let decision = Decision::Abort;' folder

printf '\n%d guards, %d caught, %d survived\n' $((CAUGHT + ${#SURVIVED[@]})) "$CAUGHT" "${#SURVIVED[@]}"
[ ${#SURVIVED[@]} = 0 ] || fail "no test notices that these are off: $(printf '%s; ' "${SURVIVED[@]}")"

//! Expressions in the form that they keep when they are read again.
//!
//! The server writes `kind IN ('a', 'b')` over a `varchar` column as `(ARRAY['a'::character varying, ...])::text[]`, but
//! reads that as `ARRAY[('a'::character varying)::text, ...]`, and writes it so from then on. Files must not differ by how
//! often a schema was loaded, so the second form is always written.

use super::model::{Definition, Kind, Model};

const OPEN: &str = "(ARRAY['";
const CLOSE: &str = "])::text[]";

/// Brings all definitions into the form that they keep. The source text of functions stays as it is.
pub(super) fn settle(model: &mut Model) {
    for (id, object) in &mut model.objects {
        match &mut object.definition {
            Definition::Statement(text) | Definition::Column { spec: text, .. } => *text = settled(text),
            Definition::Replaceable { body, .. } if id.kind == Kind::View || !body.contains("\nAS $") => {
                *body = settled(body);
            }
            _ => {}
        }
    }
}

fn settled(text: &str) -> String {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\'', '(']) {
        done += &rest[..at];
        rest = &rest[at..];
        match rest.strip_prefix(OPEN).and_then(|_| elements(&rest[OPEN.len() - 1..])) {
            Some((elements, after)) => {
                let cast: Vec<String> = elements.iter().map(|element| format!("({element})::text")).collect();
                done += &format!("ARRAY[{}]", cast.join(", "));
                rest = after;
            }
            None => {
                let (passed, after) = rest.split_at(quoted(rest).unwrap_or(1));
                done += passed;
                rest = after;
            }
        }
    }
    done + rest
}

/// The length of a constant or name in quotes at the start of a text.
fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut characters = text[1..].char_indices().peekable();
    loop {
        let (at, c) = characters.next()?;
        if c == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 2);
        }
    }
}

/// The elements of an array of `varchar` constants up to its cast, and what follows.
fn elements(text: &str) -> Option<(Vec<&str>, &str)> {
    let mut elements = Vec::new();
    let mut rest = text;
    loop {
        let length = constant(rest)?;
        elements.push(&rest[..length]);
        rest = &rest[length..];
        if let Some(after) = rest.strip_prefix(CLOSE) {
            return Some((elements, after));
        }
        rest = rest.strip_prefix(", ")?;
    }
}

/// The length of `'text'::character varying` at the start of a text.
fn constant(text: &str) -> Option<usize> {
    let end = text.starts_with('\'').then(|| quoted(text))??;
    let cast = "::character varying";
    text[end..].starts_with(cast).then_some(end + cast.len())
}

#[cfg(test)]
mod tests {
    use super::settled;

    #[test]
    fn a_list_of_varchar_is_cast_one_by_one() {
        let first = "((k)::text = ANY ((ARRAY['a'::character varying, 'it''s'::character varying])::text[])) AND x";
        let second =
            "((k)::text = ANY (ARRAY[('a'::character varying)::text, ('it''s'::character varying)::text])) AND x";
        assert_eq!(settled(first), second);
        assert_eq!(settled(second), second);
    }

    #[test]
    fn anything_else_stays() {
        for text in [
            "(ARRAY['a'::text, 'b'::text])",
            "(ARRAY['a",
            "(ARRAY['a'::character varying])::text[",
            "(ARRAY['ä",
            "\"(ARRAY['a'::character varying])::text[]\"",
        ] {
            assert_eq!(settled(text), text);
        }
    }
}

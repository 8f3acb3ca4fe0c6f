//! Names and values as SQL text.

/// A quoted name.
pub(super) fn ident(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The quoted name of something in a database.
pub(super) fn qualified(database: &str, name: &str) -> String {
    format!("{}.{}", ident(database), ident(name))
}

/// A text constant. The sessions have neither `NO_BACKSLASH_ESCAPES` nor another character set than utf8mb4.
pub(super) fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// A list with commas.
pub(super) fn list<T>(items: impl IntoIterator<Item = T>, one: impl FnMut(T) -> String) -> String {
    items.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The definition of a table without the collations that its columns have by the table: MySQL prints them, where they are not the
/// usual ones, but does not take them back as such. What is set for a column alone stands behind its character set.
pub(super) fn without_implied_collations(printed: &str) -> String {
    let (mut sql, mut rest) = (String::with_capacity(printed.len()), printed);
    while let Some(at) = rest.find(['\'', '`', ' ']) {
        let (before, from) = rest.split_at(at);
        sql.push_str(before);
        let end = match (from.as_bytes()[0], from.strip_prefix(" COLLATE ")) {
            (b' ', Some(collation)) if !has_character_set(&sql) => {
                let length = collation.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
                rest = &collation[length..];
                continue;
            }
            (b' ', _) => 1,
            (quote, _) => end_of_quoted(from, quote),
        };
        sql.push_str(&from[..end]);
        rest = &from[end..];
    }
    sql + rest
}

fn has_character_set(before: &str) -> bool {
    before.rsplit_once(' ').is_some_and(|(before, _)| before.ends_with(" CHARACTER SET"))
}

/// Where a quoted text ends, in which a doubled quote, or in a text one behind a backslash, is none.
pub(super) fn end_of_quoted(text: &str, quote: u8) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if quote == b'\'' => drop(bytes.next()),
            // A doubled quote closes and opens again.
            byte if byte == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collation_goes_where_it_has_no_character_set() {
        for (printed, wanted) in [
            ("`a` text COLLATE utf8mb4_bin NOT NULL,", "`a` text NOT NULL,"),
            ("`a` char(3) COLLATE utf8mb4_bin", "`a` char(3)"),
            (
                "`a` text CHARACTER SET utf8mb3 COLLATE utf8mb3_bin",
                "`a` text CHARACTER SET utf8mb3 COLLATE utf8mb3_bin",
            ),
            (
                "`a`` COLLATE b` int COMMENT ' COLLATE ''x\\' COLLATE y'",
                "`a`` COLLATE b` int COMMENT ' COLLATE ''x\\' COLLATE y'",
            ),
            (") ENGINE=InnoDB COLLATE=utf8mb4_bin", ") ENGINE=InnoDB COLLATE=utf8mb4_bin"),
        ] {
            assert_eq!(without_implied_collations(printed), wanted);
        }
    }
}

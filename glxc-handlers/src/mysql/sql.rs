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

//! Text from a stranger, made safe for a person's terminal.

/// Whether a character could do more on a terminal than show itself: control characters (newline and tab
/// included) and the invisible characters that reorder or hide text (bidi controls, zero width, line and
/// paragraph separators, tags).
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with what [`is_unsafe`] names escaped, but newline and tab kept.
///
/// ```
/// assert_eq!(glxc_handlers::text::escaped("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\n");
/// ```
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => safe.push(c),
            c if is_unsafe(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

/// What a file system that ignores case makes of a name or a path.
#[cfg(any(feature = "files", feature = "postgresql", feature = "mysql", feature = "mongodb"))]
pub(crate) fn folded(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_uppercase().to_lowercase()
}

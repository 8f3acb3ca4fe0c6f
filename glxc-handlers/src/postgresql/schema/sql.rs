//! SQL files cut into statements, as `psql` does it with `standard_conforming_strings` on.

use std::ops::Range;

/// As many tokens as a statement may have: each takes far more memory than text.
const MOST_TOKENS: usize = 1 << 18;

/// One statement of a file, without the semicolon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement<'a> {
    /// The line of its first token, counted from 1.
    pub(super) line: u64,
    /// From its first token to its last.
    pub(super) text: &'a str,
    /// Its tokens.
    pub(super) tokens: Vec<Token>,
}

/// One token; comments are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// What it is.
    pub(super) kind: TokenKind,
    /// Its place in [`Statement::text`].
    pub(super) span: Range<usize>,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A key word or a plain name, in upper case.
    Word(String),
    /// A name in quotes, without them.
    Name(String),
    /// A constant in quotes of any kind.
    Constant,
    /// Digits.
    Number,
    /// Anything else, one character.
    Symbol(char),
}

/// A file that can not be cut: the line and the reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) line: u64,
    pub(super) message: &'static str,
}

/// Cuts a file into statements, one after the other: what is not asked for is not read.
pub(super) fn split(text: &str) -> impl Iterator<Item = Result<Statement<'_>, Malformed>> {
    Cutter { text, at: 0, line: 1, statement: None, done: None, parentheses: 0, blocks: 0 }
}

struct Cutter<'a> {
    text: &'a str,
    at: usize,
    line: u64,
    /// The statement that was begun: where, in which line, and its tokens with places in the file.
    statement: Option<(usize, u64, Vec<Token>)>,
    /// The one that was ended.
    done: Option<Statement<'a>>,
    parentheses: usize,
    /// How many `BEGIN` and `CASE` of a function's body are open.
    blocks: usize,
}

impl<'a> Iterator for Cutter<'a> {
    type Item = Result<Statement<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.done.is_none() && self.at < self.text.len() {
            if let Err(malformed) = self.step() {
                (self.at, self.statement) = (self.text.len(), None);
                return Some(Err(malformed));
            }
        }
        if self.done.is_none() {
            self.end();
        }
        self.done.take().map(Ok)
    }
}

impl Cutter<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Takes one token, comment or run of white space.
    fn step(&mut self) -> Result<(), Malformed> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(()) };
        match first {
            '\0' => Err(self.malformed("a NUL character")),
            c if c.is_ascii_whitespace() || c == '\x0b' => self.skip(first.len_utf8()),
            '-' if rest.starts_with("--") => self.skip(rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => {
                let length = self.comment()?;
                self.skip(length)
            }
            ';' if self.parentheses == 0 && self.blocks == 0 => {
                self.end();
                self.skip(1)
            }
            '\\' => Err(self.malformed("a backslash: commands of psql are not SQL")),
            '\'' => {
                let escapes = self.after_escape_prefix();
                let length = self.quoted('\'', escapes)?;
                self.token(TokenKind::Constant, length)
            }
            '"' => {
                let length = self.quoted('"', false)?;
                let name = self.rest()[1..length - 1].replace("\"\"", "\"");
                self.token(TokenKind::Name(name), length)
            }
            '$' => self.dollar(),
            c if c.is_ascii_digit() => {
                let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                self.token(TokenKind::Number, length)
            }
            c if is_name_start(c) => self.word(),
            c => self.symbol(c),
        }
    }

    fn malformed(&self, message: &'static str) -> Malformed {
        Malformed { line: self.line, message }
    }

    fn skip(&mut self, length: usize) -> Result<(), Malformed> {
        self.line += self.rest()[..length].bytes().filter(|byte| *byte == b'\n').count() as u64;
        self.at += length;
        Ok(())
    }

    fn token(&mut self, kind: TokenKind, length: usize) -> Result<(), Malformed> {
        let span = self.at..self.at + length;
        let (_, _, tokens) = self.statement.get_or_insert((self.at, self.line, Vec::new()));
        if tokens.len() == MOST_TOKENS {
            return Err(self.malformed("a statement of more than 262144 words and signs"));
        }
        tokens.push(Token { kind, span });
        self.skip(length)
    }

    /// Ends the statement that was begun.
    fn end(&mut self) {
        (self.parentheses, self.blocks) = (0, 0);
        let Some((start, line, mut tokens)) = self.statement.take() else { return };
        let end = tokens.last().map_or(start, |token| token.span.end);
        for token in &mut tokens {
            token.span = token.span.start - start..token.span.end - start;
        }
        self.done = Some(Statement { line, text: &self.text[start..end], tokens });
    }

    /// The length of a comment, which may hold others.
    fn comment(&self) -> Result<usize, Malformed> {
        let (rest, mut depth, mut at) = (self.rest().as_bytes(), 0, 0);
        while at + 1 < rest.len() {
            match &rest[at..at + 2] {
                b"/*" => (depth, at) = (depth + 1, at + 2),
                b"*/" => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
            if depth == 0 {
                return Ok(at);
            }
        }
        Err(self.malformed("a comment without an end"))
    }

    /// Whether an `E` stands directly before a quote.
    fn after_escape_prefix(&self) -> bool {
        let last = self.statement.as_ref().and_then(|(_, _, tokens)| tokens.last());
        last.is_some_and(|token| token.span.end == self.at && token.kind == TokenKind::Word("E".into()))
    }

    /// The length of what stands in quotes. A doubled quote, and with `escapes` a backslash, does not end it.
    fn quoted(&self, quote: char, escapes: bool) -> Result<usize, Malformed> {
        let mut characters = self.rest().char_indices().skip(1).peekable();
        while let Some((at, c)) = characters.next() {
            match c {
                '\0' => break,
                '\\' if escapes => _ = characters.next(),
                c if c == quote => match characters.next_if(|(_, next)| *next == quote) {
                    Some(_) => {}
                    None => return Ok(at + 1),
                },
                _ => {}
            }
        }
        Err(self.malformed("a quote without an end"))
    }

    /// Takes a constant in dollar quotes, or a parameter.
    fn dollar(&mut self) -> Result<(), Malformed> {
        let rest = self.rest();
        let tag = rest[1..].find('$').map(|end| &rest[..end + 2]);
        let is_tag = |tag: &&str| {
            let name = &tag[1..tag.len() - 1];
            !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(|c| c != '$' && is_name(c))
        };
        let Some(tag) = tag.filter(is_tag) else { return self.symbol('$') };
        match rest[tag.len()..].find(tag) {
            Some(end) => {
                let length = 2 * tag.len() + end;
                match self.rest()[..length].contains('\0') {
                    true => Err(self.malformed("a NUL character")),
                    false => self.token(TokenKind::Constant, length),
                }
            }
            None => Err(self.malformed("a dollar quote without an end")),
        }
    }

    fn word(&mut self) -> Result<(), Malformed> {
        let rest = self.rest();
        let length = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        let word = rest[..length].to_ascii_uppercase();
        match word.as_str() {
            "BEGIN" if self.in_function() => self.blocks += 1,
            "CASE" if self.blocks > 0 => self.blocks += 1,
            "END" => self.blocks = self.blocks.saturating_sub(1),
            _ => {}
        }
        self.token(TokenKind::Word(word), length)
    }

    /// Whether a `BEGIN` here starts the body of a function.
    fn in_function(&self) -> bool {
        let Some((_, _, tokens)) = &self.statement else { return false };
        let words: Vec<&str> = tokens.iter().take(4).map_while(Token::word).collect();
        matches!(
            words.as_slice(),
            ["CREATE", "FUNCTION" | "PROCEDURE", ..] | ["CREATE", "OR", "REPLACE", "FUNCTION" | "PROCEDURE"]
        )
    }

    fn symbol(&mut self, symbol: char) -> Result<(), Malformed> {
        match symbol {
            '(' => self.parentheses += 1,
            ')' => self.parentheses = self.parentheses.saturating_sub(1),
            _ => {}
        }
        self.token(TokenKind::Symbol(symbol), symbol.len_utf8())
    }
}

impl Token {
    /// The word, where it is one.
    pub(super) fn word(&self) -> Option<&str> {
        match &self.kind {
            TokenKind::Word(word) => Some(word),
            _ => None,
        }
    }

    /// Whether it is a certain word.
    pub(super) fn is(&self, word: &str) -> bool {
        self.word() == Some(word)
    }

    /// The name, where it can be one: a plain one is in lower case.
    pub(super) fn name(&self) -> Option<String> {
        match &self.kind {
            TokenKind::Word(word) => Some(word.to_ascii_lowercase()),
            TokenKind::Name(name) => Some(name.clone()),
            _ => None,
        }
    }
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn is_name(c: char) -> bool {
    is_name_start(c) || c.is_ascii_digit() || c == '$'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(sql: &str) -> Result<Vec<Statement<'_>>, Malformed> {
        split(sql).collect()
    }

    fn texts(sql: &str) -> Vec<(u64, &str)> {
        all(sql).unwrap().into_iter().map(|statement| (statement.line, statement.text)).collect()
    }

    #[test]
    fn semicolons_inside_do_not_cut() {
        let inside = [
            "SELECT ';', ''';', E'\\';', \"a;\"\"b\"",
            "SELECT $$;$$, $a$ $$ ; $b$ ; $a$",
            "SELECT /* ; /* ; */ ; */ 1 -- ;\n + 1",
            "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b)",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 1; END",
            "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC SELECT 1; END",
            "SELECT a$b$c, 'x' -- $a$\n",
        ];
        for sql in inside {
            let text = format!("\n{sql}\n;x");
            let cut = texts(&text);
            assert_eq!(cut.len(), 2, "{sql}: {cut:?}");
            assert_eq!(cut[0], (2, sql.split(" -- ;\n + 1x").next().unwrap().trim_end_matches("-- $a$\n").trim_end()));
        }
    }

    #[test]
    fn what_ends_nowhere_is_malformed_with_its_line() {
        for sql in ["'", "E'\\'", "\"", "$a$ $", "/* /* */", "\\! ls", "a\0", "'\0'", "$$\0$$"] {
            assert_eq!(all(&format!("x;\n{sql}")).unwrap_err().line, 2, "{sql}");
        }
        assert!(all("BEGIN; COMMIT; END").unwrap().len() == 3);
    }

    proptest! {
        #[test]
        fn any_text_is_cut_without_a_panic(sql in "[ ;'\"$aEe\\\\*/\\-()\n\u{e9}0BEGIN]{0,60}") {
            for statement in split(&sql).map_while(Result::ok) {
                prop_assert!(sql.contains(statement.text));
                prop_assert!(statement.tokens.iter().all(|token| statement.text.get(token.span.clone()).is_some()));
                // A statement is read again by itself.
                prop_assert_eq!(all(statement.text), Ok(vec![Statement { line: 1, ..statement.clone() }]));
            }
        }
    }
}

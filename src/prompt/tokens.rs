//! Tokens: reads the tags of a Jinja template, and single expressions, exactly as the template engine reads them.
//!
//! The guards against template bombs rely on this: text that the engine reads differently would not be guarded. Text
//! that the engine refuses to compile may be read in any way.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Word,
    /// Names of attributes, filters and tests are literals too, because they are never keywords.
    Literal,
    Open,
    Close,
    Sign,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(crate) kind: TokenKind,
    pub(crate) text: &'a str,
    pub(crate) end: usize,
}

pub(super) const KEYWORDS: &[&str] = &["and", "or", "not", "in", "is", "if", "else"];

impl Token<'_> {
    /// The result is wrong for a variable that is named like a keyword.
    pub(crate) fn ends_operand(&self) -> bool {
        match self.kind {
            TokenKind::Word => !KEYWORDS.contains(&self.text),
            TokenKind::Literal | TokenKind::Close => true,
            TokenKind::Open | TokenKind::Sign => false,
        }
    }

    pub(crate) fn is(&self, sign: &str) -> bool {
        self.kind == TokenKind::Sign && self.text == sign
    }
}

#[derive(Debug)]
pub(super) struct Tag<'a> {
    /// The bytes of the tag with its delimiters. An open tag ends with the template; a `raw` block ends with `endraw`.
    pub(crate) span: Range<usize>,
    pub(crate) tokens: Vec<Token<'a>>,
    pub(crate) depth: usize,
    pub(crate) is_block: bool,
}

pub(super) fn next_tag(source: &str, from: usize) -> Option<Tag<'_>> {
    let mut at = from;
    loop {
        let start = at + source[at..].find('{')?;
        match source.as_bytes().get(start + 1) {
            Some(b'#') => at = source[start + 2..].find("#}").map_or(source.len(), |end| start + end + 4),
            Some(b'{') => return Some(tag(source, start, "}}")),
            Some(b'%') => return Some(tag(source, start, "%}")),
            _ => at = start + 1,
        }
    }
}

fn tag<'a>(source: &'a str, start: usize, close: &str) -> Tag<'a> {
    let mut tag = read(source, start, start + 2, close);
    let trims = |token: Option<&Token<'_>>| token.is_some_and(|token| token.is("-") || token.is("+"));
    if trims(tag.tokens.last()) {
        tag.tokens.pop();
    }
    if trims(tag.tokens.first()) {
        tag.tokens.remove(0);
    }
    tag.is_block = close == "%}";
    if tag.is_block && tag.tokens.len() == 1 && tag.tokens[0].text == "raw" {
        tag.span.end = end_of_raw(source, tag.span.end);
    }
    tag
}

pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    read(source, 0, 0, "\0").tokens
}

fn read<'a>(source: &'a str, start: usize, mut at: usize, close: &str) -> Tag<'a> {
    let mut tag = Tag { span: start..source.len(), tokens: Vec::new(), depth: 0, is_block: false };
    let mut depth = 0_isize;
    while at < source.len() {
        if depth == 0 && source[at..].starts_with(close) {
            tag.span.end = at + close.len();
            break;
        }
        let (kind, end) = token(source, at);
        match kind {
            Some(TokenKind::Open) => depth += 1,
            Some(TokenKind::Close) => depth -= 1,
            _ => {}
        }
        tag.depth = tag.depth.max(depth.unsigned_abs());
        if let Some(kind) = kind {
            let text = &source[at..end];
            let is_name = kind == TokenKind::Word && expects_name(&tag.tokens, text);
            tag.tokens.push(Token { kind: if is_name { TokenKind::Literal } else { kind }, text, end });
        }
        at = end;
    }
    tag
}

fn expects_name(tokens: &[Token<'_>], word: &str) -> bool {
    let is_word = |token: &Token<'_>, word: &str| token.kind == TokenKind::Word && token.text == word;
    let is_test =
        |tokens: &[Token<'_>]| matches!(tokens, [.., before, last] if is_word(last, "is") && before.ends_operand());
    match tokens {
        [.., last] if last.is(".") || last.is("|") => true,
        [before @ .., last] if is_word(last, "not") => is_test(before),
        tokens => is_test(tokens) && word != "not",
    }
}

fn token(source: &str, at: usize) -> (Option<TokenKind>, usize) {
    let rest = &source[at..];
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let Some(first) = rest.chars().next() else { return (None, source.len()) };
    let until = |end: Option<usize>| end.map_or(source.len(), |end| at + end);
    match first {
        c if c.is_whitespace() => (None, until(rest.find(|c: char| !c.is_whitespace()))),
        '"' | '\'' => (Some(TokenKind::Literal), until(end_of_string(rest, first))),
        c if c.is_ascii_digit() => (Some(TokenKind::Literal), end_of_number(source.as_bytes(), at)),
        c if is_word(c) => (Some(TokenKind::Word), until(rest.find(|c| !is_word(c)))),
        '(' | '[' | '{' => (Some(TokenKind::Open), at + 1),
        ')' | ']' | '}' => (Some(TokenKind::Close), at + 1),
        _ if ["**", "//", "==", "!=", "<=", ">="].iter().any(|sign| rest.starts_with(sign)) => {
            (Some(TokenKind::Sign), at + 2)
        }
        c => (Some(TokenKind::Sign), at + c.len_utf8()),
    }
}

fn end_of_string(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(i + 1),
            _ => {}
        }
    }
    None
}

fn end_of_number(bytes: &[u8], at: usize) -> usize {
    #[derive(Clone, Copy)]
    enum Part {
        Integer,
        Fraction,
        Exponent,
        Digits,
    }

    let get = |at: usize| bytes.get(at).copied().unwrap_or(b' ');
    let base = if get(at) == b'0' { get(at + 1).to_ascii_lowercase() } else { b' ' };
    if matches!(base, b'b' | b'o' | b'x') {
        let is_digit = |b: &u8| b.is_ascii_digit() || *b == b'_' || base == b'x' && b.is_ascii_hexdigit();
        return at + 2 + bytes[at + 2..].iter().take_while(|b| is_digit(b)).count();
    }
    let is_index = at > 0 && bytes[at - 1] == b'.';
    let (mut part, mut end) = (Part::Integer, at);
    loop {
        let (next, after) = (get(end + 1), get(end + 2));
        let is_exponent = next.eq_ignore_ascii_case(&b'e') && matches!(after, b'+' | b'-' | b'0'..=b'9');
        let is_attribute = !is_exponent && (next.is_ascii_alphabetic() || next == b'_');
        part = match (get(end), part) {
            (b'.', Part::Integer) if !is_index && !is_attribute => Part::Fraction,
            (b'e' | b'E', Part::Integer | Part::Fraction) => Part::Exponent,
            (b'+' | b'-' | b'0'..=b'9', Part::Exponent) => Part::Digits,
            (b'0'..=b'9' | b'_', part) => part,
            _ => return end,
        };
        end += 1;
    }
}

fn end_of_raw(source: &str, from: usize) -> usize {
    let sign = |text: &'_ str| text.len() - text.strip_prefix(['-', '+']).unwrap_or(text).len();
    let mut at = from;
    while let Some(start) = source[at..].find("{%").map(|i| at + i) {
        at = start + 2;
        let tag = source[at + sign(&source[at..])..].trim_ascii_start();
        let Some(rest) = tag.strip_prefix("endraw").map(str::trim_ascii_start) else { continue };
        if let Some(rest) = rest[sign(rest)..].strip_prefix("%}") {
            return source.len() - rest.len();
        }
    }
    source.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text).collect()
    }

    #[test]
    fn numbers_end_where_the_engine_ends_them() {
        assert_eq!(texts("1.5e-3*x.0.1"), ["1.5e-3", "*", "x", ".", "0", ".", "1"]);
        assert_eq!(texts("1.~a"), ["1.", "~", "a"]);
        assert_eq!(
            texts("1.e5 1.real 1if 0x1Fif 1_0e+2"),
            ["1.e5", "1", ".", "real", "1", "if", "0x1F", "if", "1_0e+2"]
        );
    }

    #[test]
    fn names_are_never_keywords() {
        let kinds = |source| tokens(source).iter().map(|token| token.kind).collect::<Vec<_>>();
        assert_eq!(kinds("a.if")[2], TokenKind::Literal);
        assert_eq!(kinds("a is not in")[3], TokenKind::Literal);
        assert_eq!(kinds("a is filter")[2], TokenKind::Literal);
        assert_eq!(kinds("a not in b")[2], TokenKind::Word);
        assert_eq!(kinds("a if is if [b]")[3], TokenKind::Word);
    }

    #[test]
    fn comments_and_raw_text_end_where_the_engine_ends_them() {
        let first = |source: &'static str| next_tag(source, 0).map(|tag| (tag.tokens[0].text, &source[tag.span.end..]));
        assert_eq!(first("{#} {% raw %} #}{{ a }}b"), Some(("a", "b")));
        assert_eq!(first("{# {{ a }}"), None);
        assert_eq!(first("{%- raw -%}{{ a }}{% endrawx %}{%+ endraw -%}b"), Some(("raw", "b")));
        assert_eq!(first("{{ raw }}b"), Some(("raw", "b")));
        assert_eq!(first("{{ 'a}}' ~ {'b': {}} }}c"), Some(("'a}}'", "c")));
    }
}

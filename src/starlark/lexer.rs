//! The lexer: from text to tokens, with the indentation of blocks.

use std::rc::Rc;

use super::meter::{ProgramError, Stop, error};

/// The most bytes of a program.
pub(crate) const LONGEST_PROGRAM: usize = 1 << 16;

/// The most levels of blocks and of brackets.
const DEEPEST: usize = 60;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Name(Rc<str>),
    Int(i64),
    Float(f64),
    Text(String),
    /// An f-string, between its quotation marks.
    Format(Vec<RawPart>),
    /// An operator, a bracket or a keyword.
    Sign(&'static str),
    Line,
    Indent,
    Dedent,
    End,
}

/// A part of an f-string.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RawPart {
    Text(String),
    /// The code of a value, and how it is formatted.
    Code(String, String),
}

const KEYWORDS: &[&str] = &[
    "and", "break", "continue", "def", "elif", "else", "for", "if", "in", "is", "lambda", "not", "or", "pass",
    "return", "None", "True", "False",
];

/// Words of Python that Starlark lacks, each with what to write instead.
const MISSING: &[(&str, &str)] = &[
    ("while", "there is no `while`; use `for` over `range(n)` with `break`"),
    ("import", "there are no modules; use the functions that are listed"),
    ("from", "there are no modules; use the functions that are listed"),
    ("load", "there are no modules; use the functions that are listed"),
    ("try", "there are no exceptions; test what may be missing with `if`"),
    ("except", "there are no exceptions; test what may be missing with `if`"),
    ("raise", "there are no exceptions; use `fail(message)`"),
    ("class", "there are no classes; use dicts and functions"),
    ("with", "there are no files and no `with`"),
    ("global", "a function can't assign a variable outside of it; return the value"),
    ("nonlocal", "a function can't assign a variable outside of it; return the value"),
    ("assert", "there is no `assert`; use `if` and `fail(message)`"),
    ("del", "there is no `del`; use `pop`"),
    ("yield", "there are no generators; return a list"),
    ("async", "there is no `async`"),
    ("await", "there is no `await`"),
];

/// Longer signs come first.
const SIGNS: &[&str] = &[
    "**=", "//=", "<<=", ">>=", "**", "//", "<<", ">>", "<=", ">=", "==", "!=", "+=", "-=", "*=", "/=", "%=", "&=",
    "|=", "^=", "->", "+", "-", "*", "/", "%", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ":", ";", ".", "&",
    "|", "^", "~",
];

pub(crate) fn tokens(source: &str) -> Result<Vec<(Token, u32)>, Stop> {
    if source.len() > LONGEST_PROGRAM {
        return error(format!("the program has {} bytes; at most {LONGEST_PROGRAM} are allowed", source.len()));
    }
    let mut lexer = Lexer { rest: source, line: 1, indents: vec![0], brackets: Vec::new(), tokens: Vec::new() };
    lexer.all().map_err(|stop| stop.at(lexer.line))?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
    indents: Vec<usize>,
    brackets: Vec<char>,
    tokens: Vec<(Token, u32)>,
}

impl<'a> Lexer<'a> {
    fn all(&mut self) -> Result<(), Stop> {
        let mut at_start = true;
        while !self.rest.is_empty() {
            if at_start && self.brackets.is_empty() {
                at_start = false;
                if self.indentation()? {
                    at_start = true;
                    continue;
                }
            }
            let Some(next) = self.rest.chars().next() else { break };
            match next {
                '\n' => {
                    self.rest = &self.rest[1..];
                    if self.brackets.is_empty() {
                        self.push(Token::Line);
                        at_start = true;
                    }
                    self.line += 1;
                }
                ' ' | '\t' | '\r' | '\u{feff}' => self.rest = &self.rest[next.len_utf8()..],
                '\\' if self.rest[1..].trim_start_matches('\r').starts_with('\n') => {
                    let end = self.rest.find('\n').map_or(self.rest.len(), |end| end + 1);
                    self.rest = &self.rest[end..];
                    self.line += 1;
                }
                '#' => self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..],
                _ => self.token(next)?,
            }
        }
        if let Some(open) = self.brackets.last() {
            return error(format!("`{open}` is not closed"));
        }
        self.push(Token::Line);
        while self.indents.len() > 1 {
            self.indents.pop();
            self.push(Token::Dedent);
        }
        self.push(Token::End);
        Ok(())
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    /// Reads the indentation of a line. Returns whether the line is blank; it is then skipped.
    fn indentation(&mut self) -> Result<bool, Stop> {
        let text = self.rest.trim_start_matches([' ', '\t', '\r', '\u{feff}']);
        let width = self.rest[..self.rest.len() - text.len()]
            .chars()
            .fold(0, |width, c| if c == '\t' { (width / 8 + 1) * 8 } else { width + usize::from(c == ' ') });
        if text.is_empty() || text.starts_with(['\n', '#']) {
            let end = text.find('\n').map_or(text.len(), |end| end + 1);
            self.line += u32::from(end > 0 && text[..end].ends_with('\n'));
            self.rest = &text[end..];
            return Ok(true);
        }
        self.rest = text;
        let current = self.indents.last().copied().unwrap_or(0);
        if width > current {
            if self.indents.len() > DEEPEST {
                return error(format!("blocks are nested deeper than {DEEPEST} levels"));
            }
            self.indents.push(width);
            self.push(Token::Indent);
        }
        while width < self.indents.last().copied().unwrap_or(0) {
            self.indents.pop();
            self.push(Token::Dedent);
        }
        if width != self.indents.last().copied().unwrap_or(0) {
            return error("this line is indented differently than the lines before it");
        }
        Ok(false)
    }

    fn token(&mut self, next: char) -> Result<(), Stop> {
        if next == '"' || next == '\'' {
            return self.string("");
        }
        if next.is_alphabetic() || next == '_' {
            return self.word();
        }
        if next.is_ascii_digit() || next == '.' && self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            return self.number();
        }
        let Some(sign) = SIGNS.iter().find(|sign| self.rest.starts_with(**sign)) else {
            return error(format!("`{}` is not a sign of the language", next.escape_debug()));
        };
        match *sign {
            "(" | "[" | "{" => {
                if self.brackets.len() >= DEEPEST {
                    return error(format!("brackets are nested deeper than {DEEPEST} levels"));
                }
                self.brackets.push(next);
            }
            ")" | "]" | "}" => {
                let open = match next {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if self.brackets.pop() != Some(open) {
                    return error(format!("`{next}` does not close a bracket"));
                }
            }
            _ => {}
        }
        self.rest = &self.rest[sign.len()..];
        self.push(Token::Sign(sign));
        Ok(())
    }

    fn word(&mut self) -> Result<(), Stop> {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        let after = &self.rest[end..];
        if after.starts_with(['"', '\'']) && ["r", "R", "f", "F", "rf", "fr", "b", "B"].contains(&word) {
            let prefix = word.to_ascii_lowercase();
            self.rest = after;
            return self.string(&prefix);
        }
        if let Some((word, instead)) = MISSING.iter().find(|(missing, _)| *missing == word) {
            // A name after a dot or before `=` in a call is not the keyword.
            if !matches!(self.tokens.last(), Some((Token::Sign("."), _))) {
                return error(format!("`{word}`: {instead}"));
            }
        }
        let keyword = KEYWORDS.iter().find(|keyword| **keyword == word);
        let token = keyword.map_or_else(|| Token::Name(word.into()), |keyword| Token::Sign(keyword));
        self.rest = after;
        self.push(token);
        Ok(())
    }

    fn number(&mut self) -> Result<(), Stop> {
        let radix = [("0x", 16), ("0X", 16), ("0o", 8), ("0b", 2)];
        if let Some((prefix, radix)) = radix.iter().find(|(prefix, _)| self.rest.starts_with(prefix)) {
            let digits = &self.rest[prefix.len()..];
            let end = digits.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(digits.len());
            let text = digits[..end].replace('_', "");
            let Ok(number) = i64::from_str_radix(&text, *radix) else {
                return error(format!("`{prefix}{text}` is not a number"));
            };
            self.rest = &digits[end..];
            self.push(Token::Int(number));
            return Ok(());
        }
        let bytes = self.rest.as_bytes();
        let mut end = 0;
        while end < bytes.len() {
            let is_exponent = matches!(bytes[end], b'e' | b'E')
                && bytes.get(end + 1).is_some_and(|next| next.is_ascii_digit() || matches!(next, b'+' | b'-'));
            match bytes[end] {
                b'0'..=b'9' | b'.' | b'_' => end += 1,
                _ if is_exponent => end += 2,
                _ => break,
            }
        }
        let text = self.rest[..end].replace('_', "");
        let token = match text.parse::<i64>() {
            Ok(number) => Token::Int(number),
            Err(_) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                return error(format!("the integer `{text}` exceeds 64 bits"));
            }
            Err(_) => match text.parse::<f64>() {
                Ok(number) => Token::Float(number),
                Err(_) => return error(format!("`{text}` is not a number")),
            },
        };
        self.rest = &self.rest[end..];
        self.push(token);
        Ok(())
    }

    /// Reads a string whose prefix has been read.
    fn string(&mut self, prefix: &str) -> Result<(), Stop> {
        if prefix.contains('b') {
            return error("there are no bytes; leave out the `b` before the string");
        }
        let line = self.line;
        let quote = if self.rest.starts_with('"') { "\"" } else { "'" };
        let triple = quote.repeat(3);
        let quote = if self.rest.starts_with(&triple) { triple.as_str() } else { quote };
        let body = &self.rest[quote.len()..];
        let Some(end) = end_of(body, quote) else { return error("the string is not closed") };
        let (raw, after) = (&body[..end], &body[end + quote.len()..]);
        self.rest = after;
        let is_raw = prefix.contains('r');
        let token = match prefix.contains('f') {
            true => Token::Format(format_parts(raw, is_raw)?),
            false => Token::Text(unescaped(raw, is_raw)?),
        };
        self.tokens.push((token, line));
        self.line += raw.matches('\n').count() as u32;
        Ok(())
    }
}

/// The place where a string ends. A short string ends on its line.
fn end_of(body: &str, quote: &str) -> Option<usize> {
    let bytes = body.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'\n' if quote.len() == 1 => return None,
            _ if bytes[at..].starts_with(quote.as_bytes()) => return Some(at),
            _ => at += 1,
        }
    }
    None
}

fn unescaped(raw: &str, is_raw: bool) -> Result<String, Stop> {
    if is_raw || !raw.contains('\\') {
        return Ok(raw.to_owned());
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(sign) = rest.chars().next() else { break };
        rest = &rest[sign.len_utf8()..];
        let digits = match sign {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        match sign {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            '0' => text.push('\0'),
            '\n' => {}
            '\\' | '\'' | '"' => text.push(sign),
            _ if digits > 0 => {
                let code =
                    rest.get(..digits).and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
                let Some(code) = code else { return error(format!("`\\{sign}` needs {digits} hexadecimal digits")) };
                text.push(code);
                rest = &rest[digits..];
            }
            // As in Python, a backslash before any other character stays, as in a pattern such as "\d".
            other => text.extend(['\\', other]),
        }
    }
    text.push_str(rest);
    Ok(text)
}

fn format_parts(raw: &str, is_raw: bool) -> Result<Vec<RawPart>, Stop> {
    let mut parts = Vec::new();
    let (mut text, mut rest) = (String::new(), raw);
    while let Some(at) = rest.find(['{', '}']) {
        let sign = &rest[at..=at];
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(sign) {
            text.push_str(sign);
            rest = after;
            continue;
        }
        if sign == "}" {
            return error("a `}` in an f-string is written `}}`");
        }
        let Some(end) = end_of_code(rest) else { return error("a `{` in an f-string is not closed") };
        parts.push(RawPart::Text(unescaped(&std::mem::take(&mut text), is_raw)?));
        let (code, spec) = split_spec(&rest[..end]);
        parts.push(RawPart::Code(code.trim().to_owned(), spec.to_owned()));
        rest = &rest[end + 1..];
    }
    text.push_str(rest);
    parts.push(RawPart::Text(unescaped(&text, is_raw)?));
    Ok(parts)
}

/// The place of the bracket that closes the code of an f-string.
fn end_of_code(rest: &str) -> Option<usize> {
    places(rest).find(|(_, sign, depth)| *sign == '}' && *depth == 0).map(|(at, ..)| at)
}

/// The code and the format after its colon. `!r` is a format too.
fn split_spec(code: &str) -> (&str, &str) {
    let found = places(code)
        .find(|(at, sign, depth)| *depth == 0 && (*sign == ':' || *sign == '!' && !code[at + 1..].starts_with('=')));
    match found {
        Some((at, ':', _)) => (&code[..at], &code[at + 1..]),
        Some((at, ..)) => (&code[..at], &code[at..]),
        None => (code, ""),
    }
}

/// The signs outside of strings, each with its place and the number of open brackets before it.
fn places(code: &str) -> impl Iterator<Item = (usize, char, usize)> {
    let (mut quote, mut depth) = (None, 0_usize);
    code.char_indices().filter_map(move |(at, sign)| {
        if let Some(open) = quote {
            if sign == open {
                quote = None;
            }
            return None;
        }
        let before = depth;
        match sign {
            '"' | '\'' => quote = Some(sign),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        Some((at, sign, before))
    })
}

/// A mistake in the syntax, at a line.
pub(crate) fn mistake<T>(message: impl Into<String>, line: u32) -> Result<T, Stop> {
    Err(Stop::Error(ProgramError { message: message.into(), line: Some(line) }))
}

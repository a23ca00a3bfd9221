//! Operators: what `~`, `+` and `*` are given in a template, made to pass by the rendering's allowance.
//!
//! The engine has no hook for its operators, and `{% set b = a ~ a %}` a few dozen times is more than any memory. So the
//! text of a template is read once, and behind each operand of these operators a filter of [`super::allowance`] is put:
//! `{{ a ~ b }}` is compiled as `{{ a|_part(1) ~ b|_part(1) }}`. Lines stay where they are. Pure.

use std::ops::Range;

use super::allowance::{NUMBER, PART};

/// Lists, tables and groups that a template may open in its tags: each can hold the one before it, and what is nested
/// thousands of levels deep can't even be dropped.
const MOST_GROUPS: usize = 2000;
/// How deep they may be nested in one tag: the engine's parser takes about ten calls for each, on the caller's stack.
const DEEPEST_GROUP: usize = 40;

/// A template's text with its operators under control.
#[derive(Debug)]
pub(super) struct Checked {
    /// The text to compile.
    pub text: String,
    /// The longest text that stands between two tags, if the template puts some of its own output aside (`set` blocks,
    /// macros, `filter` blocks); 0 if it doesn't.
    pub longest_aside: usize,
}

/// Blocks in each other at most.
const DEEPEST_BLOCK: usize = 20;
/// Operators, parts and filters at most in one tag: each stands inside of the one before it, for the engine's compiler too.
const MOST_STEPS: usize = 200;

/// What a word, number or sign of a tag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    /// A number or a text.
    Literal,
    Open,
    Close,
    Sign,
}

struct Token<'a> {
    kind: Kind,
    text: &'a str,
    end: usize,
}

/// Words that end no operand, although they look like names.
const KEYWORDS: &[&str] =
    &["and", "or", "not", "in", "is", "if", "else", "elif", "for", "set", "with", "do", "call", "filter", "recursive"];
/// Tags that put output aside.
const ASIDE: &[&str] = &["macro", "call", "filter", "endset"];

impl Token<'_> {
    fn ends_an_operand(&self) -> bool {
        match self.kind {
            Kind::Word => !KEYWORDS.contains(&self.text),
            Kind::Literal | Kind::Close => true,
            Kind::Open | Kind::Sign => false,
        }
    }

    /// Whether it makes an expression one step deeper.
    fn is_a_step(&self) -> bool {
        match self.kind {
            Kind::Sign => !matches!(self.text, "," | ":" | "="),
            Kind::Word => matches!(self.text, "and" | "or" | "not" | "in" | "is" | "if"),
            Kind::Literal | Kind::Open | Kind::Close => false,
        }
    }

    fn is(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }
}

/// Reads a template; the error is its line and a sentence. What is no template passes, for the engine to judge.
pub(super) fn checked(source: &str) -> Result<Checked, (usize, String)> {
    let mut inserted: Vec<(usize, String)> = Vec::new();
    let (mut groups, mut blocks, mut elifs, mut longest, mut aside) = (0, 0, 0, 0, false);
    let mut at = 0;
    while let Some(tag) = next_tag(source, at) {
        longest = longest.max(tag.start - at);
        let tokens = tokens(source, tag.clone());
        at = tag.end;
        groups += tokens.iter().filter(|token| token.kind == Kind::Open).count();
        let line = || source[..tag.start].matches('\n').count() + 1;
        if groups > MOST_GROUPS {
            return Err((line(), format!("more than {MOST_GROUPS} brackets in the tags of one template")));
        }
        let is_call = |i: usize| i > 0 && tokens[i].kind == Kind::Open && tokens[i - 1].ends_an_operand();
        if (0..tokens.len()).filter(|i| tokens[*i].is_a_step() || is_call(*i)).count() > MOST_STEPS {
            return Err((line(), format!("more than {MOST_STEPS} operators in one tag")));
        }
        if source[tag.start..].starts_with("{%") {
            blocks = opened(&tokens, blocks);
            elifs += usize::from(tokens.first().is_some_and(|first| first.text == "elif"));
        }
        if blocks > DEEPEST_BLOCK || elifs > MOST_STEPS {
            return Err((line(), format!("more than {DEEPEST_BLOCK} blocks in each other, or {MOST_STEPS} `elif`")));
        }
        if depth(&tokens) > DEEPEST_GROUP {
            return Err((line(), format!("brackets are nested deeper than {DEEPEST_GROUP} levels")));
        }
        aside |= tokens.first().is_some_and(|first| ASIDE.contains(&first.text));
        if tokens.len() == 1 && tokens[0].text == "raw" {
            at = end_of_raw(source, at);
            continue;
        }
        guard(&tokens, &mut inserted);
    }
    longest = longest.max(source.len() - at);
    inserted.sort_by_key(|(place, _)| *place);
    let mut text = String::with_capacity(source.len() + inserted.len() * 12);
    let mut from = 0;
    for (place, filter) in inserted {
        text.push_str(&source[from..place]);
        text.push_str(&filter);
        from = place;
    }
    text.push_str(&source[from..]);
    Ok(Checked { text, longest_aside: if aside { longest } else { 0 } })
}

/// How many blocks are open behind a tag, of so many before it.
fn opened(tokens: &[Token<'_>], before: usize) -> usize {
    let first = tokens.first().map_or("", |first| first.text);
    match first {
        "for" | "if" | "macro" | "call" | "filter" | "with" | "block" | "autoescape" => before + 1,
        "set" if !tokens.iter().any(|token| token.is("=")) => before + 1,
        end if end.starts_with("end") => before.saturating_sub(1),
        _ => before,
    }
}

/// How deep the groups of a tag are nested.
fn depth(tokens: &[Token<'_>]) -> usize {
    let mut open = 0_usize;
    let depths = tokens.iter().map(|token| {
        match token.kind {
            Kind::Open => open += 1,
            Kind::Close => open = open.saturating_sub(1),
            _ => {}
        }
        open
    });
    depths.max().unwrap_or(0)
}

/// Puts the filters behind the operands of a tag's operators.
fn guard(tokens: &[Token<'_>], inserted: &mut Vec<(usize, String)>) {
    let is_binary = |i: usize| i > 0 && tokens[i - 1].ends_an_operand();
    let joins = |i: usize| tokens[i].is("~") || tokens[i].is("+");
    // Every join copies what was joined before it.
    let joined = (0..tokens.len()).filter(|i| joins(*i) && is_binary(*i)).count();
    for i in (0..tokens.len()).filter(|i| is_binary(*i)) {
        let filter = match () {
            () if joins(i) => format!("|{PART}({joined})"),
            () if tokens[i].is("*") => format!("|{NUMBER}"),
            () => continue,
        };
        for place in [Some(tokens[i - 1].end), end_of_operand(tokens, i + 1)].into_iter().flatten() {
            if !inserted.iter().rev().take(2).any(|(there, other)| *there == place && *other == filter) {
                inserted.push((place, filter.clone()));
            }
        }
    }
}

/// Where the operand that begins with token `i` ends: behind its parts, calls and filters.
fn end_of_operand(tokens: &[Token<'_>], mut i: usize) -> Option<usize> {
    while tokens.get(i)?.is("-") || tokens[i].is("+") || tokens[i].text == "not" {
        i += 1;
    }
    let mut last = group(tokens, i)?;
    loop {
        let next = tokens.get(last + 1);
        last = match next {
            Some(next) if next.is(".") => last + 2,
            Some(next) if next.is("|") => last + 2,
            Some(next) if next.kind == Kind::Open && next.text != "{" => group(tokens, last + 1)?,
            _ => break,
        };
    }
    tokens.get(last).map(|token| token.end)
}

/// The last token of the group that token `i` opens, or `i` itself.
fn group(tokens: &[Token<'_>], i: usize) -> Option<usize> {
    let mut open = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(i) {
        match token.kind {
            Kind::Open => open += 1,
            Kind::Close => open = open.checked_sub(1)?,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

/// The next `{{ }}` or `{% %}`, delimiters included, or up to the end of the text where it isn't closed.
fn next_tag(source: &str, from: usize) -> Option<Range<usize>> {
    let mut at = from;
    loop {
        let start = at + source[at..].find("{")?;
        match source.as_bytes().get(start + 1) {
            Some(b'#') => at = source[start..].find("#}").map_or(source.len(), |end| start + end + 2),
            Some(b'{' | b'%') => return Some(start..end_of_tag(source, start)),
            _ => at = start + 1,
        }
    }
}

fn end_of_tag(source: &str, start: usize) -> usize {
    let close = if source[start..].starts_with("{{") { "}}" } else { "%}" };
    let mut depth = 0_i32;
    let mut at = start + 2;
    while at < source.len() {
        if depth == 0 && source[at..].starts_with(close) {
            return at + 2;
        }
        let (kind, end) = token(source, at);
        depth += match kind {
            Some(Kind::Open) => 1,
            Some(Kind::Close) => -1,
            _ => 0,
        };
        at = end;
    }
    source.len()
}

/// The tokens of a tag, without its delimiters and the signs that trim white space.
fn tokens(source: &str, tag: Range<usize>) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = tag.start + 2;
    let closed = tag.len() >= 4 && ["}}", "%}"].iter().any(|close| source[..tag.end].ends_with(close));
    let end = if closed { tag.end - 2 } else { tag.end };
    while at < end {
        let (kind, next) = token(source, at);
        let next = next.min(end);
        if let Some(kind) = kind {
            tokens.push(Token { kind, text: &source[at..next], end: next });
        }
        at = next;
    }
    let trims = |token: &Token<'_>| token.is("-") || token.is("+");
    if tokens.last().is_some_and(|last| trims(last) && last.end == end) {
        tokens.pop();
    }
    if tokens.first().is_some_and(trims) {
        tokens.remove(0);
    }
    tokens
}

/// What stands at `at`, and where it ends; white space is nothing.
fn token(source: &str, at: usize) -> (Option<Kind>, usize) {
    let rest = &source[at..];
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let Some(first) = rest.chars().next() else { return (None, source.len()) };
    let until = |end: Option<usize>| end.map_or(source.len(), |end| at + end);
    match first {
        c if c.is_whitespace() => (None, until(rest.find(|c: char| !c.is_whitespace()))),
        '"' | '\'' => (Some(Kind::Literal), until(end_of_text(rest, first))),
        c if c.is_ascii_digit() => (Some(Kind::Literal), at + end_of_number(source, at)),
        c if is_word(c) => (Some(Kind::Word), until(rest.find(|c| !is_word(c)))),
        '(' | '[' | '{' => (Some(Kind::Open), at + 1),
        ')' | ']' | '}' => (Some(Kind::Close), at + 1),
        _ if ["**", "//", "==", "!=", "<=", ">="].iter().any(|sign| rest.starts_with(sign)) => {
            (Some(Kind::Sign), at + 2)
        }
        c => (Some(Kind::Sign), at + c.len_utf8()),
    }
}

/// The length of a text in quotes; none where it isn't closed.
fn end_of_text(rest: &str, quote: char) -> Option<usize> {
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

/// The length of a number; one behind a dot is an index and has no fraction.
fn end_of_number(source: &str, at: usize) -> usize {
    let rest = &source.as_bytes()[at..];
    let index = source[..at].ends_with('.');
    let mut end = 0;
    while let Some(byte) = rest.get(end) {
        let after = rest.get(end + 1).is_some_and(u8::is_ascii_digit);
        let exponent = end > 0 && matches!(rest[end - 1], b'e' | b'E') && !rest.starts_with(b"0x");
        match byte {
            b'.' if !index && after => {}
            b'+' | b'-' if exponent && after => {}
            c if c.is_ascii_alphanumeric() || *c == b'_' => {}
            _ => break,
        }
        end += 1;
    }
    end
}

/// Where the text behind `{% raw %}` goes on as a template.
fn end_of_raw(source: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(start) = source[at..].find("{%").map(|i| at + i) {
        let tag = source[start + 2..].trim_start_matches(['-', '+']).trim_start();
        if tag.starts_with("endraw") {
            return end_of_tag(source, start);
        }
        at = start + 2;
    }
    source.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str) -> String {
        checked(source).unwrap().text
    }

    #[test]
    fn operands_are_checked_and_nothing_else_is_touched() {
        for (source, expected) in [
            ("a ~ b {{ x }} {% if a > 1 %}", "a ~ b {{ x }} {% if a > 1 %}"),
            ("{{ a ~ b }}", "{{ a|_part(1) ~ b|_part(1) }}"),
            (
                "{{- a.b[0]|upper ~ f(x, 'q')|join(' ') -}}",
                "{{- a.b[0]|upper|_part(1) ~ f(x, 'q')|join(' ')|_part(1) -}}",
            ),
            ("{% set a = (a + 1) * -b %}", "{% set a = (a|_part(1) + 1|_part(1))|_number * -b|_number %}"),
            ("{{ a ~ b ~ 'c' }}", "{{ a|_part(2) ~ b|_part(2) ~ 'c'|_part(2) }}"),
            ("{{ '}} ~ ' ~ \"\\\"~\" }}", "{{ '}} ~ '|_part(1) ~ \"\\\"~\"|_part(1) }}"),
            ("{# a ~ b #}{{ -a }}{{ a +}}", "{# a ~ b #}{{ -a }}{{ a +}}"),
            ("{% raw %}{{ a ~ b }}{% endraw %}{{ a ** 2 }}", "{% raw %}{{ a ~ b }}{% endraw %}{{ a ** 2 }}"),
            ("{{ 1.5e-3 * x.0.1 }}", "{{ 1.5e-3|_number * x.0.1|_number }}"),
            ("{{ {'a': {'b': 1}} }} {{ f(*args) }}", "{{ {'a': {'b': 1}} }} {{ f(*args) }}"),
            ("{{ a ~", "{{ a|_part(1) ~"),
            ("{{ 'open ~ b }}", "{{ 'open ~ b }}"),
            ("{", "{"),
            ("{{ a ~ b:\u{3a2}}", "{{ a|_part(1) ~ b|_part(1):\u{3a2}}"),
        ] {
            assert_eq!(text(source), expected);
        }
    }

    #[test]
    fn what_is_put_aside_is_measured() {
        assert_eq!(checked("long text {{ a }} b").unwrap().longest_aside, 0);
        assert_eq!(checked("{% set a %}12345{% endset %} 678").unwrap().longest_aside, 5);
        assert_eq!(checked("{%- macro f() -%}12{% endmacro %}345").unwrap().longest_aside, 3);
        let nested = format!("\n{{% set a = {}1{} %}}", "[".repeat(50), "]".repeat(50));
        assert_eq!(checked(&nested).unwrap_err().0, 2);
        let many = format!("\n\n{}", "{% set a = [a] %}".repeat(3000));
        assert!(checked(&many).unwrap_err().1.starts_with("more than 2000 brackets"));
    }
}

//! Guards: filters inserted into a template where the engine makes large values and has no hook.
//!
//! - Operands of `~` and `+`: `{{ a ~ b }}` is compiled as `{{ a|_charge(1) ~ b|_charge(1) }}`.
//! - Operands of `*`: they must be numbers.
//! - Slices (`a[1:]`), and lists, tables and tuples of variables: values can nest in them without limit.
//!
//! The guards charge the render budget and do not move lines. Tags that are nested too deeply are refused: the engine's
//! compiler recurses on the caller's stack.

use super::render_budget::{CHARGE, NUMBER};
use super::tokens::{KEYWORDS, Tag, Token, TokenKind, next_tag};

/// Levels of brackets in one tag: the engine's parser makes about ten nested calls per level.
const DEEPEST_GROUP: usize = 40;
const DEEPEST_BLOCK: usize = 20;
/// Operators, parts, filters and calls in one tag, and `elif` in one template: each is nested in the previous one.
pub(super) const MOST_STEPS: usize = 200;

const CAPTURES: &[&str] = &["macro", "call", "filter", "endset"];

/// Tags that read templates from files.
const OTHER_TEMPLATES: &[&str] = &["include", "import", "from", "extends"];

#[derive(Debug)]
pub(super) struct Guarded {
    pub(crate) text: String,
    /// The longest text in bytes; 0 if the template captures no output (`set` blocks, macros, `filter` blocks).
    pub(crate) longest_captured: usize,
}

/// The error is a line number and a message. Text that is not a template passes: the engine reports it.
pub(super) fn guarded(source: &str, most_steps: usize) -> Result<Guarded, (usize, String)> {
    let mut inserted: Vec<(usize, String)> = Vec::new();
    let (mut blocks, mut elifs, mut longest, mut captures, mut at) = (0, 0, 0, false, 0);
    while let Some(tag) = next_tag(source, at) {
        let first = tag.tokens.first().map_or("", |token| token.text);
        let raw = if tag.is_block && first == "raw" { tag.span.len() } else { 0 };
        longest = longest.max(tag.span.start - at).max(raw);
        at = tag.span.end;
        if tag.is_block {
            blocks = open_blocks(first, &tag.tokens, blocks);
            elifs += usize::from(first == "elif");
            captures |= CAPTURES.contains(&first);
            if OTHER_TEMPLATES.contains(&first) {
                let message = format!("`{first}` reads another template, and there is only this one");
                return Err((source[..tag.span.start].matches('\n').count() + 1, message));
            }
        }
        if let Some(message) = too_deep(&tag, blocks, elifs, most_steps) {
            return Err((source[..tag.span.start].matches('\n').count() + 1, message));
        }
        guard(&tag, &mut inserted);
    }
    longest = longest.max(source.len() - at);
    inserted.sort_by_key(|(place, _)| *place);
    let mut text = String::with_capacity(source.len() + inserted.len() * 12);
    let mut from = 0;
    for (place, guard) in inserted {
        text.push_str(&source[from..place]);
        text.push_str(&guard);
        from = place;
    }
    text.push_str(&source[from..]);
    Ok(Guarded { text, longest_captured: if captures { longest } else { 0 } })
}

fn open_blocks(first: &str, tokens: &[Token<'_>], before: usize) -> usize {
    match first {
        "for" | "if" | "macro" | "call" | "filter" | "with" | "block" | "autoescape" => before + 1,
        "set" if !tokens.iter().any(|token| token.is("=")) => before + 1,
        end if end.starts_with("end") => before.saturating_sub(1),
        _ => before,
    }
}

fn too_deep(tag: &Tag<'_>, blocks: usize, elifs: usize, most_steps: usize) -> Option<String> {
    let is_step = |i: usize| match tag.tokens[i].kind {
        TokenKind::Sign => !matches!(tag.tokens[i].text, "," | ":" | "="),
        TokenKind::Word => KEYWORDS.contains(&tag.tokens[i].text),
        TokenKind::Open => is_behind_operand(tag, i),
        TokenKind::Literal | TokenKind::Close => false,
    };
    match () {
        () if tag.depth > DEEPEST_GROUP => Some(format!("brackets are nested deeper than {DEEPEST_GROUP} levels")),
        () if blocks > DEEPEST_BLOCK => Some(format!("blocks are nested deeper than {DEEPEST_BLOCK} levels")),
        () if elifs > MOST_STEPS => Some(format!("more than {MOST_STEPS} `elif` in one template")),
        () if (0..tag.tokens.len()).filter(|i| is_step(*i)).count() > most_steps => {
            Some(format!("more than {most_steps} operators in one tag"))
        }
        () => None,
    }
}

fn is_behind_operand(tag: &Tag<'_>, i: usize) -> bool {
    i > usize::from(tag.is_block) && tag.tokens[i - 1].ends_operand()
}

fn guard(tag: &Tag<'_>, inserted: &mut Vec<(usize, String)>) {
    let tokens = tag.tokens.as_slice();
    let mut put = |place: usize, guard: String| {
        if !inserted.iter().rev().take(2).any(|(other, same)| *other == place && *same == guard) {
            inserted.push((place, guard));
        }
    };
    let joins = |i: usize| i > 0 && (tokens[i].is("~") || tokens[i].is("+"));
    let joined = (0..tokens.len()).filter(|i| joins(*i)).count();
    let from = first_expression(tag);
    for i in 0..tokens.len() {
        let operator = match () {
            () if joins(i) => Some(format!("|{CHARGE}({joined})")),
            () if tokens[i].is("*") && i > 0 && !tokens[i - 1].is(",") && tokens[i - 1].text != "(" => {
                Some(format!("|{NUMBER}"))
            }
            () => None,
        };
        if let Some(guard) = operator {
            put(tokens[i - 1].end, guard.clone());
            if let Some(last) = end_of_operand(tokens, i + 1) {
                put(tokens[last].end, guard);
            }
        } else if i >= from
            && makes_a_value(tag, i)
            && let Some(last) = end_of_operand(tokens, i)
        {
            // The engine does not count the variable of a slice (`text[:9]`) as used, but it counts an argument.
            let seen = if tokens[i].text == "[" { path_before(tokens, i) } else { String::new() };
            put(tokens[last].end, format!("|{CHARGE}(1{seen})"));
        }
    }
    if tag.is_block && tokens[0].text == "set" && from < tokens.len() && has_comma(&tokens[from..]) {
        put(tokens[from - 1].end, "(".to_owned());
        put(tokens[tokens.len() - 1].end, format!(")|{CHARGE}(1)"));
    }
}

fn first_expression(tag: &Tag<'_>) -> usize {
    let behind = |found: Option<usize>| found.map_or(tag.tokens.len(), |at| at + 1);
    match tag.tokens.first().filter(|_| tag.is_block).map(|first| first.text) {
        Some("set") => behind(tag.tokens.iter().position(|token| token.is("="))),
        Some("for") => behind(tag.tokens.iter().position(|token| token.text == "in")),
        Some("call") if tag.tokens.get(1).is_some_and(|next| next.text == "(") => behind(end_of_group(&tag.tokens, 1)),
        _ => 0,
    }
}

fn makes_a_value(tag: &Tag<'_>, i: usize) -> bool {
    let tokens = tag.tokens.as_slice();
    let Some(close) = end_of_group(tokens, i).filter(|close| *close > i) else { return false };
    let inner = &tokens[i + 1..close];
    let is_target = tokens.get(close + 1).is_some_and(|next| next.is("="));
    let is_slice = tokens[i].text == "[" && inner.iter().any(|token| token.is(":"));
    let holds_variables = inner.iter().any(|token| token.kind == TokenKind::Word);
    let is_group = tokens[i].text == "(" && !has_comma(inner);
    !is_target && (is_slice || !is_behind_operand(tag, i) && holds_variables && !is_group)
}

fn path_before(tokens: &[Token<'_>], i: usize) -> String {
    let mut from = i;
    while from >= 3 && tokens[from - 1].kind == TokenKind::Literal && tokens[from - 2].is(".") {
        from -= 2;
    }
    let is_variable = from > 0 && tokens[from - 1].kind == TokenKind::Word && tokens[from - 1].ends_operand();
    let path: String = tokens[from.saturating_sub(1)..i].iter().map(|token| token.text).collect();
    if is_variable { format!(", {path}") } else { String::new() }
}

fn has_comma(tokens: &[Token<'_>]) -> bool {
    tokens.iter().any(|token| token.is(","))
}

/// Returns the last token of the operand that starts at token `i`, with attributes, calls and filters.
fn end_of_operand(tokens: &[Token<'_>], mut i: usize) -> Option<usize> {
    while tokens.get(i)?.is("-") {
        i += 1;
    }
    let mut last = end_of_group(tokens, i)?;
    let is_string = |token: &Token<'_>| token.text.starts_with(['"', '\'']);
    loop {
        last = match tokens.get(last + 1) {
            Some(next) if next.is(".") || next.is("|") => last + 2,
            Some(next) if next.kind == TokenKind::Open && next.text != "{" => end_of_group(tokens, last + 1)?,
            // Adjacent strings are one operand.
            Some(next) if is_string(next) && is_string(&tokens[last]) => last + 1,
            _ => return tokens.get(last).map(|_| last),
        };
    }
}

fn end_of_group(tokens: &[Token<'_>], i: usize) -> Option<usize> {
    let mut open = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(i) {
        match token.kind {
            TokenKind::Open => open += 1,
            TokenKind::Close => open = open.checked_sub(1)?,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str) -> String {
        guarded(source, MOST_STEPS).unwrap().text
    }

    #[test]
    fn other_templates_are_refused_at_their_line() {
        let refused = guarded("{{ a }}\n{%- include 'b' %}", MOST_STEPS).unwrap_err();
        assert_eq!(refused, (2, "`include` reads another template, and there is only this one".to_owned()));
        assert!(guarded("{% extends 'b' %}", MOST_STEPS).is_err());
        assert!(guarded("{% raw %}{% include 'b' %}{% endraw %} include {{ include }}", MOST_STEPS).is_ok());
    }

    #[test]
    fn operands_are_guarded_and_nothing_else_is_touched() {
        for (source, expected) in [
            ("a ~ b {{ x }} {% if a > 1 %}", "a ~ b {{ x }} {% if a > 1 %}"),
            ("{{ a ~ b }}", "{{ a|_charge(1) ~ b|_charge(1) }}"),
            (
                "{{- a.b[0]|upper ~ f(x, 'q')|join(' ') -}}",
                "{{- a.b[0]|upper|_charge(1) ~ f(x, 'q')|join(' ')|_charge(1) -}}",
            ),
            ("{% set a = (a + 1) * -b %}", "{% set a = (a|_charge(1) + 1|_charge(1))|_number * -b|_number %}"),
            ("{{ a ~ b ~ 'c' }}", "{{ a|_charge(2) ~ b|_charge(2) ~ 'c'|_charge(2) }}"),
            ("{{ '}} ~ ' ~ \"\\\"~\" }}", "{{ '}} ~ '|_charge(1) ~ \"\\\"~\"|_charge(1) }}"),
            ("{# a ~ b #}{{ -a }}{{ a +}}", "{# a ~ b #}{{ -a }}{{ a +}}"),
            ("{% raw %}{{ a ~ b }}{% endraw %}{{ a ** 2 }}", "{% raw %}{{ a ~ b }}{% endraw %}{{ a ** 2 }}"),
            ("{{ 1.5e-3 * x.0.1 }}", "{{ 1.5e-3|_number * x.0.1|_number }}"),
            ("{{ {'a': {'b': 1}} }} {{ f(*args) }}", "{{ {'a': {'b': 1}} }} {{ f(*args) }}"),
            ("{{ a ~", "{{ a|_charge(1) ~"),
            ("{{ 'open ~ b }}", "{{ 'open ~ b }}"),
            ("{", "{"),
            ("{{ a ~ b:\u{3a2}}", "{{ a|_charge(1) ~ b|_charge(1):\u{3a2}}"),
            // Names that are keywords elsewhere.
            ("{{ raw }}{{ if ~ x.not }}", "{{ raw }}{{ if|_charge(1) ~ x.not|_charge(1) }}"),
            ("{{ 1. ~ a }}", "{{ 1.|_charge(1) ~ a|_charge(1) }}"),
            ("{{ a ~ 'b' 'c' }}", "{{ a|_charge(1) ~ 'b' 'c'|_charge(1) }}"),
            ("{#} {% raw %} #}{{ a ~ b }}", "{#} {% raw %} #}{{ a|_charge(1) ~ b|_charge(1) }}"),
        ] {
            assert_eq!(text(source), expected);
        }
    }

    #[test]
    fn values_that_can_hold_the_one_before_are_guarded() {
        for (source, expected) in [
            ("{% set a = [a] %}", "{% set a = [a]|_charge(1) %}"),
            ("{% set a = {'b': a}.b %}", "{% set a = {'b': a}.b|_charge(1) %}"),
            ("{% set a = a, 1 %}", "{% set a =( a, 1)|_charge(1) %}"),
            ("{% with b = (a,) %}", "{% with b = (a,)|_charge(1) %}"),
            ("{{ f([a]) }}{{ f[a] }}", "{{ f([a]|_charge(1)) }}{{ f[a] }}"),
            ("{{ a[1:][0] }}", "{{ a[1:][0]|_charge(1, a) }}"),
            ("{{ row.a[:2] | upper }}", "{{ row.a[:2] | upper|_charge(1, row.a) }}"),
            ("{% if if[:2] %}", "{% if if[:2]|_charge(1) %}"),
            ("{% for (a, b), c in d %}", "{% for (a, b), c in d %}"),
            ("{% with (a, b) = c %}", "{% with (a, b) = c %}"),
            ("{% set (a, b) = c %}", "{% set (a, b) = c %}"),
            ("{% call(a, b) f(c) %}{% macro f(a, b) %}", "{% call(a, b) f(c) %}{% macro f(a, b) %}"),
            ("{% if a in ['b', 'c'] and (a or b) %}", "{% if a in ['b', 'c'] and (a or b) %}"),
        ] {
            assert_eq!(text(source), expected);
        }
    }

    #[test]
    fn captured_text_is_measured() {
        assert_eq!(guarded("long text {{ a }} b", MOST_STEPS).unwrap().longest_captured, 0);
        assert_eq!(guarded("{% set a %}12345{% endset %} 678", MOST_STEPS).unwrap().longest_captured, 5);
        assert_eq!(guarded("{%- macro f() -%}12{% endmacro %}345", MOST_STEPS).unwrap().longest_captured, 3);
        assert!(guarded("{% set a %}{% raw %}12345{% endraw %}{% endset %}", MOST_STEPS).unwrap().longest_captured > 5);
        let nested = format!("\n{{% set a = {}1{} %}}", "[".repeat(50), "]".repeat(50));
        assert_eq!(guarded(&nested, MOST_STEPS).unwrap_err().0, 2);
    }
}

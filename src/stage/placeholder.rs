//! Placeholders: finds columns that a prompt names in the style of other languages, such as `{remark}`, and prompts that
//! read nothing of the row. Pure.

use arrow_schema::Schema;

use super::ask::BindContext;
use super::question::TextColumn;
use crate::document::Diagnostic;
use crate::name::nearest;
use crate::prompt::Bound;
use crate::table::listed_columns;

/// The text before and after a name in the template languages of Python, JavaScript, C, shells and forms.
const FORMS: [(&str, &str); 6] = [("${", "}"), ("%(", ")s"), ("{", "}"), ("<", ">"), ("[", "]"), ("$", "")];
/// The first forms, which no plain text contains. The others are also used for markup.
const CERTAIN: usize = 3;
/// Placeholders without a name.
const NAMELESS: [&str; 5] = ["%s", "%d", "{}", "{0}", "{1}"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placeholder<'s> {
    at: usize,
    written: &'s str,
    /// `None` if a value is meant by its position.
    name: Option<&'s str>,
    is_certain: bool,
}

/// Returns the placeholders in `source`, in order. They are not parts of a Jinja template.
fn placeholders(source: &str) -> Vec<Placeholder<'_>> {
    let mut found = Vec::new();
    for (form, (open, close)) in FORMS.iter().enumerate() {
        for (at, _) in source.match_indices(open) {
            let rest = &source[at + open.len()..];
            let Some(length) = name_length(rest, close) else { continue };
            let (name, end) = (&rest[..length], at + open.len() + length + close.len());
            let is_part = |place: &Placeholder<'_>| place.at < at && at < place.at + place.written.len();
            let in_braces = *open == "{" && source[..at].ends_with(['{', '$']) || source[end..].starts_with('}');
            if !in_braces && !name.trim().is_empty() && !found.iter().any(is_part) {
                let (written, name) = (&source[at..end], Some(name.trim()));
                found.push(Placeholder { at, written, name, is_certain: form < CERTAIN });
            }
        }
    }
    for written in NAMELESS {
        let places = source.match_indices(written);
        let free =
            places.filter(|(at, _)| !source[..*at].ends_with('{') && !source[at + written.len()..].starts_with('}'));
        found.extend(free.map(|(at, written)| Placeholder { at, written, name: None, is_certain: false }));
    }
    found.sort_by_key(|placeholder| placeholder.at);
    found
}

/// The length of the name at the beginning of `rest`. It is on one line and holds no other bracket.
fn name_length(rest: &str, close: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if close.is_empty() {
        return Some(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
    }
    let length = rest.find(close)?;
    rest[..length].chars().all(|c| is_word(c) || matches!(c, ' ' | '-' | '.')).then_some(length)
}

/// How a template reads a column.
fn variable(column: &str) -> String {
    let mut letters = column.chars();
    let starts = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    match starts && letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => format!("{{{{ {column} }}}}"),
        false => format!("{{{{ row[\"{column}\"] }}}}"),
    }
}

/// What the author of a template probably meant by a placeholder.
fn meant(name: &str, input: &Schema, text: TextColumn<'_>) -> Option<String> {
    if name == "text" && text.name.is_some() {
        return Some(variable("text"));
    }
    let columns = || input.fields().iter().map(|field| field.name().as_str());
    let exact = columns().find(|column| *column == name);
    exact.or_else(|| nearest(name, columns())).map(variable)
}

/// Returns the problem of a prompt that reads nothing of the row. Its key in the stage's table is `key`.
pub(super) fn constant(
    context: &BindContext<'_>,
    (prompt, key): (&Bound, &str),
    text: TextColumn<'_>,
    system: Option<&str>,
) -> Diagnostic {
    let message = "the prompt reads nothing of the row, so it is the same for every row";
    let found = placeholders(prompt.source());
    let named = found.iter().find_map(|placeholder| {
        let meant = meant(placeholder.name?, context.input, text)?;
        Some(format!("`{}` is plain text: did you mean `{meant}`?", placeholder.written))
    });
    let columns = || format!("the columns are {}", listed_columns(context.input));
    let is_meant = |place: &&Placeholder<'_>| place.is_certain || matches!(place.name, None | Some("text" | "row"));
    let help = match (named, found.iter().find(is_meant)) {
        (Some(help), _) => help,
        _ if system.is_some_and(|system| system.contains("{{")) => {
            "`system` has no variables: move the part with `{{ }}` into the prompt".to_owned()
        }
        _ if text.name.is_some() => "write `{{ text }}` where the text of the row belongs".to_owned(),
        (None, Some(Placeholder { written, .. })) => {
            format!("`{written}` is plain text: write `{{{{ column }}}}` instead; {}", columns())
        }
        (None, None) => format!(
            "write `{{{{ column }}}}` where the text of the row belongs; {}; for samples of one answer write \
             `replicates`",
            columns()
        ),
    };
    Diagnostic::error("constant-prompt", context.path.key(key), message).help(help)
}

/// Returns warnings about a prompt that reads the columns `reads`, but perhaps fewer than its author meant.
pub(super) fn doubts(
    context: &BindContext<'_>,
    (prompt, key): (&Bound, &str),
    reads: &[usize],
    (text, system): (TextColumn<'_>, Option<&str>),
) -> Vec<Diagnostic> {
    if reads.is_empty() {
        return Vec::new();
    }
    let warning = |key: &str, rule, message: String| Diagnostic::warning(rule, context.path.key(key), message);
    let mut found = Vec::new();
    for placeholder in placeholders(prompt.source()).into_iter().filter(|placeholder| placeholder.is_certain) {
        let Some(name) = placeholder.name else { continue };
        let is_text = name == "text" && text.name.is_some();
        if is_text || context.input.index_of(name).is_ok() {
            let meant = if is_text { variable("text") } else { variable(name) };
            let problem = warning(key, "literal-placeholder", literal(placeholder.written));
            found.push(problem.help(format!("did you mean `{meant}`?")));
        }
    }
    if let Some(variable) = system.and_then(written_variable) {
        let problem = warning("system", "literal-placeholder", literal(variable));
        found.push(problem.help("`system` has no variables, since all rows share it: move this part into the prompt"));
    }
    if let (Some(name), Some(index)) = (text.name, text.index)
        && !reads.contains(&index)
    {
        let message = format!("the prompt does not read the text column `{name}`");
        let problem = warning("text_column", "unread-text-column", message);
        found.push(problem.help("write `{{ text }}` where the text belongs, or leave `text_column` out"));
    }
    found
}

/// The first variable in a text that has none.
pub(super) fn written_variable(text: &str) -> Option<&str> {
    let text = &text[text.find("{{")?..];
    Some(&text[..text.find("}}").map_or(text.len().min(2), |end| end + 2)])
}

pub(super) fn literal(written: &str) -> String {
    format!("`{written}` is plain text and not the value of a column")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_of_other_languages_are_found() {
        let found = |source: &'static str| -> Vec<(&str, Option<&str>)> {
            placeholders(source).iter().map(|placeholder| (placeholder.written, placeholder.name)).collect()
        };
        assert_eq!(found("Tone of {remark}?"), [("{remark}", Some("remark"))]);
        assert_eq!(
            found("{ a } ${b} $c %(d)s"),
            [("{ a }", Some("a")), ("${b}", Some("b")), ("$c", Some("c")), ("%(d)s", Some("d"))]
        );
        assert_eq!(
            found("<text> [the text] %s {}"),
            [("<text>", Some("text")), ("[the text]", Some("the text")), ("%s", None), ("{}", None)]
        );
        for plain in
            ["{{ remark }}", "{{remark}}", "{% if a %}{% endif %}", "{# b #}", "a < b", "{\"a\": 1}", "$5", "100 %"]
        {
            let names: Vec<_> = found(plain).into_iter().filter(|(_, name)| *name != Some("5")).collect();
            assert!(names.is_empty(), "{plain}: {names:?}");
        }
    }
}

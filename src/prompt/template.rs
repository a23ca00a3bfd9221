//! Templates: a prompt's text with places for a row's cells. Jinja, by minijinja, with strict variables.
//!
//! Row text is only ever a value: it is printed as it is and never parsed as a template. A null cell prints as nothing.
//!
//! No template and no row can take all memory or all day: instructions are counted by the engine, bytes by [`allowance`],
//! what is printed here. For that `*` is for numbers only, and there is no `namespace`.

use std::collections::BTreeMap;

use arrow_schema::{Schema, SchemaRef};
use minijinja::value::ValueKind;
use minijinja::{Environment, UndefinedBehavior, Value};

use super::{allowance, operators};
use crate::document::{Diagnostic, Path};
use crate::name::{listed, nearest};
use crate::table::{Cell, Row};

/// Instructions of the template engine that one prompt may take.
const FUEL: u64 = 1_000_000;
/// Bytes of the template's own text that a prompt may put aside, as far as its fuel goes.
const ASIDE: u64 = 256 << 20;
/// How deep macros and loops may call themselves.
const RECURSION: usize = 64;
/// Bytes at most of one prompt.
const LONGEST: usize = 8 << 20;
/// What the template's own name is in its messages.
const NAME: &str = "prompt";

/// A template that compiles.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    source: String,
}

/// Why a template does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The line of the template, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// A template with the columns that its variables stand for.
#[derive(Debug)]
pub struct Bound {
    template: Template,
    /// Each variable with its column.
    columns: Vec<(String, usize)>,
    /// The names of all columns, if the template asks for the whole `row`.
    row: Option<SchemaRef>,
    /// The variables whose values are given beside the row.
    others: Vec<String>,
}

/// Variables that stand for nothing, each with the name that was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(Vec<(String, Option<String>)>);

impl Unknown {
    /// The variables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// A problem at `path` for each; `what` ("the template") uses the columns of `input`.
    pub fn problems(self, path: &Path, what: &str, input: &Schema) -> Vec<Diagnostic> {
        let problem = |(name, near): (String, Option<String>)| {
            let message = format!("{what} uses `{name}`, but the input has no such column");
            let problem = Diagnostic::error("unknown-variable", path.clone(), message);
            match near {
                Some(near) => problem.meant(Some(&near)),
                None if name == "text" => problem.help("say which column it is with `text_column`"),
                None => problem.help(format!("the columns are {}", columns(input))),
            }
        };
        self.0.into_iter().map(problem).collect()
    }

    /// All but `name`, which has been reported.
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(n, _)| n != name);
        self
    }
}

/// The columns for a message, not too many.
fn columns(input: &Schema) -> String {
    let names: Vec<&str> = input.fields().iter().map(|f| f.name().as_str()).take(12).collect();
    let more = input.fields().len() - names.len();
    let listed = listed(names);
    if more > 0 { format!("{listed} and {more} more") } else { listed }
}

impl Template {
    /// Whether `source` is an expression.
    pub fn check_expression(source: &str) -> Result<(), TemplateError> {
        let error = |error: minijinja::Error| TemplateError { line: error.line(), message: said(&error) };
        operators::checked(&format!("{{{{{source}}}}}")).map_err(placed)?;
        Environment::new().compile_expression(source).map(drop).map_err(error)
    }

    /// Compiles `source`.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let checked = operators::checked(source).map_err(placed)?;
        environment.set_fuel(Some(FUEL.min(ASIDE / checked.longest_aside.max(1) as u64)));
        environment.set_recursion_limit(RECURSION);
        allowance::install(&mut environment);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::None => Ok(()),
            _ => {
                allowance::charge_value(state, value)?;
                minijinja::escape_formatter(out, state, value)
            }
        });
        // It would print the whole context into the prompt.
        environment.remove_global("debug");
        // What a loop can carry from turn to turn can double with each.
        environment.remove_global("namespace");
        match environment.add_template_owned(NAME, checked.text) {
            Ok(()) => Ok(Template { environment, source: source.to_owned() }),
            Err(error) => Err(TemplateError { line: error.line(), message: said(&error) }),
        }
    }

    /// The text of the template.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The variables that it uses, sorted; a part of one is written with a dot (`row.party`).
    pub fn variables(&self) -> Vec<String> {
        let Ok(template) = self.environment.get_template(NAME) else { return Vec::new() };
        let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
        names.sort();
        names
    }

    /// An error of rendering, with its line where there are several.
    fn placed(&self, error: &minijinja::Error) -> String {
        match error.line().filter(|_| self.source.contains('\n')) {
            Some(line) => format!("line {line} of the template: {}", said(error)),
            None => said(error),
        }
    }

    /// Whether the engine itself knows `name` (`range`, `dict`, ..).
    fn is_global(&self, name: &str) -> bool {
        self.environment.globals().any(|(global, _)| global == name)
    }

    /// Binds the variables to the columns of `input`; `text` stands for `text_column`, `row` for all columns, and those of
    /// `others` for values that are given with each row.
    pub fn bind(self, input: &SchemaRef, text_column: Option<usize>, others: &[&str]) -> Result<Bound, Unknown> {
        let mut bound = Bound { template: self, columns: Vec::new(), row: None, others: Vec::new() };
        let mut unknown = Vec::new();
        for variable in bound.template.variables() {
            let (name, part) = match variable.split_once('.') {
                Some((name, part)) => (name, Some(part)),
                None => (variable.as_str(), None),
            };
            if others.contains(&name) {
                if !bound.others.iter().any(|o| o == name) {
                    bound.others.push(name.to_owned());
                }
                continue;
            }
            let column = text_column.filter(|_| name == "text").or_else(|| input.index_of(name).ok());
            match column {
                Some(column) if !bound.columns.iter().any(|(n, _)| n == name) => {
                    bound.columns.push((name.to_owned(), column));
                }
                Some(_) => {}
                None if name == "row" => {
                    bound.row = Some(input.clone());
                    if let Some(part) = part.filter(|part| input.index_of(part).is_err()) {
                        unknown.push((format!("row.{part}"), near(part, input).map(|n| format!("row.{n}"))));
                    }
                }
                None if bound.template.is_global(name) => {}
                None => unknown.push((name.to_owned(), near(name, input))),
            }
        }
        if unknown.is_empty() { Ok(bound) } else { Err(Unknown(unknown)) }
    }
}

fn placed((line, message): (usize, String)) -> TemplateError {
    TemplateError { line: Some(line), message }
}

fn near(name: &str, input: &Schema) -> Option<String> {
    nearest(name, input.fields().iter().map(|f| f.name().as_str())).map(str::to_owned)
}

impl Bound {
    /// The text of the template.
    pub fn source(&self) -> &str {
        self.template.source()
    }

    /// The columns that it reads.
    pub fn reads(&self) -> Vec<usize> {
        match &self.row {
            Some(schema) => (0..schema.fields().len()).collect(),
            None => self.columns.iter().map(|(_, column)| *column).collect(),
        }
    }

    /// The variables whose values are given beside the row.
    pub fn others(&self) -> &[String] {
        &self.others
    }

    /// The template with the cells of `row` and the values of `others`; the error names the variable or the limit.
    pub fn render(&self, row: Row<'_>, others: &[(&str, &Cell)]) -> Result<String, String> {
        let given = others.iter().filter(|(name, _)| self.others.iter().any(|o| o == name));
        let mut context: BTreeMap<String, Value> =
            given.map(|(name, cell)| ((*name).to_owned(), value_of((*cell).clone()))).collect();
        for (name, column) in &self.columns {
            context.insert(name.clone(), value_of(row.cell(*column)));
        }
        if let Some(schema) = &self.row {
            let cells = schema.fields().iter().enumerate();
            let cells: BTreeMap<String, Value> =
                cells.map(|(i, f)| (f.name().clone(), value_of(row.cell(i)))).collect();
            context.insert("row".to_owned(), Value::from(cells));
        }
        let template = self.template.environment.get_template(NAME).map_err(|e| said(&e))?;
        let mut text = Capped(Vec::new());
        template.render_captured_to(Value::from(context), &mut text).map_err(|e| match text.0.len() > LONGEST {
            true => format!("the prompt is longer than {LONGEST} bytes"),
            false => self.template.placed(&e),
        })?;
        String::from_utf8(text.0).map_err(|e| e.to_string())
    }
}

/// A prompt that is written, until it is too long.
struct Capped(Vec<u8>);

impl std::io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(&bytes[..bytes.len().min(LONGEST + 1)]);
        match self.0.len() > LONGEST {
            true => Err(std::io::ErrorKind::FileTooLarge.into()),
            false => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn value_of(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::from(()),
        Cell::Boolean(b) => Value::from(b),
        Cell::Integer(i) => Value::from(i),
        Cell::Number(n) => Value::from(n),
        Cell::Text(t) => Value::from(t),
        Cell::List(items) => items.into_iter().map(value_of).collect(),
    }
}

/// An error of the engine as one sentence.
fn said(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use std::sync::Arc;

    fn batch() -> RecordBatch {
        let speech: ArrayRef = Arc::new(StringArray::from(vec![Some("{{ 7*7 }}{% include 'x' %}"), None]));
        let year: ArrayRef = Arc::new(Int64Array::from(vec![1790, 1800]));
        let party: ArrayRef = Arc::new(StringArray::from(vec!["A & B <b>", "C"]));
        RecordBatch::try_from_iter([("speech", speech), ("year", year), ("the party", party)]).unwrap()
    }

    fn render(source: &str, row: usize) -> Result<String, String> {
        let batch = batch();
        let bound = Template::new(source).unwrap().bind(&batch.schema(), Some(0), &[]).unwrap();
        bound.render(Row::new(&batch, row, 0), &[])
    }

    #[test]
    fn cells_stand_where_the_template_says_and_are_never_parsed() {
        assert_eq!(render("{{ year }}: {{ speech }}", 0).unwrap(), "1790: {{ 7*7 }}{% include 'x' %}");
        assert_eq!(render("{{ text }}|{{ row['the party'] }}", 0).unwrap(), "{{ 7*7 }}{% include 'x' %}|A & B <b>");
        let batch = batch();
        let bound = Template::new("{{ text }} {{ range(2) }}").unwrap().bind(&batch.schema(), Some(1), &[]).unwrap();
        assert_eq!(bound.render(Row::new(&batch, 0, 0), &[]).unwrap(), "1790 [0, 1]");
        assert_eq!(render("[{{ speech }}]{% if not speech %} none{% endif %}", 1).unwrap(), "[] none");
        assert_eq!(render("{% for x in [1,2] %}{{ x }}{{ loop.index }} {% endfor %}", 1).unwrap(), "11 22 ");
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_ever_a_template(text in "[ {}%#a-z|~*'\"\\\\\u{0}-\u{1f}é-]{0,60}") {
            let cells: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
            let rows = RecordBatch::try_from_iter([("text", cells)]).unwrap();
            let bound = Template::new("<{{ text }}|{{ row.text }}>").unwrap().bind(&rows.schema(), None, &[]).unwrap();
            proptest::prop_assert_eq!(bound.render(Row::new(&rows, 0, 0), &[]).unwrap(), format!("<{text}|{text}>"));
        }
    }

    #[test]
    fn unknown_variables_are_listed_with_the_near_column() {
        let template = Template::new("{{ speach }} {{ year }} {{ row.yaer }} {{ zzz }}").unwrap();
        let unknown = template.bind(&batch().schema(), None, &[]).unwrap_err();
        let expected = [
            ("row.yaer".to_owned(), Some("row.year".to_owned())),
            ("speach".to_owned(), Some("speech".to_owned())),
            ("zzz".to_owned(), None),
        ];
        assert_eq!(unknown.0, expected);
    }

    #[test]
    fn a_template_that_does_not_compile_says_where() {
        let error = Template::new("one\n{{ two").unwrap_err();
        assert_eq!(error.line, Some(2));
        assert!(error.message.starts_with("syntax error"), "{}", error.message);
    }

    #[test]
    fn loops_without_end_run_out_of_fuel() {
        let source = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
        assert!(render(source, 0).unwrap_err().contains("fuel"));
    }

    /// Templates that would take all memory or all day: by operators, by filters, by what is put aside, by recursion.
    fn bombs() -> Vec<String> {
        let doubled = |how: &str| {
            let steps: String = (0..40).map(|_| how.to_owned()).collect();
            format!("{{% set a = text %}}\n{steps}{{{{ a }}}}")
        };
        let looped =
            |what: &str| format!("\n{{% for i in range(99999) %}}{{% if {what} %}}{{% endif %}}{{% endfor %}}");
        let mut bombs: Vec<String> = [
            "{% set a = a ~ a %}",
            "{% set a = a + a %}",
            "{% set a = a * 2 %}",
            "{% set a = [a, a] %}",
            "{% set a = [a, a] | join(',') %}",
            "{% set a = a | replace('', a) %}",
            "{% set a = '%s%s' | format(a, a) %}",
            "{% set a = a | list | chain(a | list) %}",
            "{% set a %}{{ a }}{{ a }}{% endset %}",
        ]
        .map(doubled)
        .into();
        bombs.extend(
            [
                "{{ 'x' * 100000000 }}",
                "{{ [1] * 100000000 }}",
                "{{ 'x\ny' | indent(99999999) }}",
                "{{ 'x' | indent(width=999999999999, first=true) }}",
                "{{ '%999999999d' | format(1) }}",
                "{{ '%*d' | format(999999999, 1) }}",
                "{{ [1] | batch(99999999, 'x') }}",
                "{{ [1] | slice(99999999, 'x') }}",
                "{{ range(99999) | join('x' | indent(9999, true)) }}",
                "{{ 'x' | indent(100000, true) | replace(' ', 'y' | indent(20000, true)) }}",
                "{{ range(10 ** 9) | list }}",
                "{{ 9 ** 9 ** 9 ** 9 }}",
                "{% macro f(a) %}{{ f(a ~ a) }}{% endmacro %}{{ f('xxxxxxxx') }}",
                "{% macro f(a) %}{{ f([a]) }}{% endmacro %}{{ f(1) }}",
                "{% for a in [1] recursive %}{{ loop([a]) }}{% endfor %}",
                "{% include 'prompt' %}",
                "{{ [text] | map('!replace', '', text) | list }}",
            ]
            .map(str::to_owned),
        );
        bombs.extend(["'x' * 99999999 == 1", "text | indent(99999) == 1", "range(9999) | join(text) == 1"].map(looped));
        let long = "y".repeat(100_000);
        let turns = "{% for i in range(9999) %}";
        bombs.push(format!("{turns}{turns}{long}{{% endfor %}}{{% endfor %}}"));
        bombs.push(format!("{{% set a %}}{turns}{turns}{long}{{% endfor %}}{{% endfor %}}{{% endset %}}"));
        bombs
    }

    #[test]
    fn bombs_are_refused_soon_on_a_small_stack() {
        let all = || {
            for bomb in bombs() {
                let start = std::time::Instant::now();
                let shown: String = bomb.chars().take(120).collect();
                let bound = Template::new(&bomb).and_then(|t| {
                    let none = |_| TemplateError { line: None, message: "unknown".to_owned() };
                    t.bind(&batch().schema(), Some(0), &[]).map_err(none)
                });
                let error = match bound {
                    Ok(bound) => bound.render(Row::new(&batch(), 0, 0), &[]).unwrap_err(),
                    Err(error) => error.message,
                };
                println!("{:?} {shown}: {error}", start.elapsed());
                assert!(error != "unknown", "{shown}");
            }
        };
        std::thread::Builder::new().stack_size(2 << 20).spawn(all).unwrap().join().unwrap();
    }

    #[test]
    fn the_line_of_a_bomb_is_told() {
        let error = render("one\n{{ 'x' * year * 'y' }}", 0).unwrap_err();
        assert!(error.starts_with("line 2 of the template: ") && error.contains("`*` is for numbers"), "{error}");
        let error = render("one\n{% set a = text %}\n{{ a | indent(99999999) }}", 0).unwrap_err();
        assert!(error.starts_with("line 3 of the template: ") && error.contains("more than 64 MiB"), "{error}");
    }

    #[test]
    fn operators_and_filters_do_what_they_did() {
        for (source, expected) in [
            ("{{ 'a' ~ (year + 1) }}", "a1791"),
            ("{{ (year + 10) * 2 - 1 }}", "3599"),
            ("{{ 'a' ~ 1 ~ none ~ year | string | upper }}", "a1None1790"),
            ("{{ [1] + [2] }} {{ 'a' + 'b' }}", "[1, 2] ab"),
            ("{{ ['b', 'a'] | sort | map('upper') | join(', ') }}", "A, B"),
            ("{{ 'a-b' | replace('-', '+') }} {{ 'x\ny' | indent(2) }}", "a+b x\n  y"),
            ("{{ [1, 2, 3] | batch(2) | list }} {{ '%.2f' | format(1.234) }}", "[[1, 2], [3]] 1.23"),
            ("{{ {'b': 1, 'a': 2} | dictsort }} {{ [1, 2] | sum }}", "[('a', 2), ('b', 1)] 3"),
            ("{{ missing | default('x') }}{{ 2.345 | round(2) }}", "x2.35"),
            ("{% macro f(a, b=1 + 1) %}{{ a * b }}{% endmacro %}{{ f(3) }}{{ f(a=4, b=5) }}", "620"),
        ] {
            let template = Template::new(source).unwrap();
            let batch = batch();
            let bound = template.bind(&batch.schema(), Some(0), &["missing"]).unwrap();
            assert_eq!(bound.render(Row::new(&batch, 0, 0), &[]).unwrap(), expected, "{source}");
        }
    }
}

//! Templates: the text of a prompt in Jinja, rendered by minijinja over a row's cells with strict variables.
//!
//! Row text is only ever a value: it is printed unchanged and never parsed as a template. A null cell prints nothing.
//!
//! Rendering is bounded in time and memory. The engine counts instructions; [`render_budget`] counts bytes in the
//! filters that [`guards`] inserts. Therefore `*` accepts only numbers, and `namespace` does not exist.

use std::collections::BTreeMap;

use arrow_schema::{Schema, SchemaRef};
use minijinja::value::ValueKind;
use minijinja::{Environment, UndefinedBehavior, Value};

use super::nested::value_of;
use super::tree::{Fault, Known, ROW, Walk};
use super::{Message, compare, guards, nested, render_budget, rewrite};
use crate::document::{Diagnostic, Path};
use crate::name::nearest;
use crate::table::{Cell, Row, listed_columns};

const FUEL: u64 = 1_000_000;
/// The most bytes of the template's own text that one prompt may capture in variables.
const CAPTURED: u64 = 256 << 20;
const RECURSION: usize = 64;
/// The longest prompt, in bytes.
const LONGEST: usize = 8 << 20;
const NAME: &str = "prompt";

#[derive(Debug)]
pub(crate) struct Template {
    environment: Environment<'static>,
    source: String,
    /// What runs: the source, or what a condition means by it.
    text: String,
    constant: (String, String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateError {
    pub(crate) line: Option<usize>,
    pub(crate) message: String,
}

#[derive(Debug)]
pub(crate) struct Bound {
    template: Template,
    columns: Vec<(String, usize)>,
    /// The variable that holds all columns by name, and their schema.
    row: Option<(&'static str, SchemaRef)>,
    /// The columns that the template takes from it; `None` if it can take any.
    row_uses: Option<Vec<usize>>,
    others: Vec<String>,
}

/// What a template names but does not exist: variables, each with the near column, then parts, filters and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unknown(Vec<(String, Option<String>)>, Vec<Fault>);

impl Unknown {
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The problems besides unknown variables.
    pub(crate) fn faults(&self, path: &Path, what: &str) -> Vec<Diagnostic> {
        let problem = |fault: &Fault| {
            let line = if fault.line > 1 { format!(", line {}", fault.line) } else { String::new() };
            let problem = Diagnostic::error(fault.rule, path.clone(), format!("{what}{line}: {}", fault.message));
            fault.help.iter().fold(problem, |problem, help| problem.help(help.clone()))
        };
        self.1.iter().map(problem).collect()
    }

    pub(crate) fn problems(self, path: &Path, what: &str, input: &Schema) -> Vec<Diagnostic> {
        let problem = |(name, near): (String, Option<String>)| {
            let message = format!("{what} uses `{name}`, but the input has no such column");
            let problem = Diagnostic::error("unknown-variable", path.clone(), message);
            match near {
                Some(near) => problem.meant(Some(&near)),
                None if name == "text" => problem.help("say which column it is with `text_column`"),
                None => problem
                    .help(dotted(&name, input).unwrap_or_else(|| format!("the columns are {}", listed_columns(input)))),
            }
        };
        let faults = self.faults(path, what);
        self.0.into_iter().map(problem).chain(faults).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty() && self.1.is_empty()
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(n, _)| n != name);
        self
    }
}

impl Template {
    pub(crate) fn check_expression(source: &str) -> Result<(), TemplateError> {
        let error = |error: minijinja::Error| TemplateError { line: error.line(), message: said(&error) };
        guards::guarded(&format!("{{{{{source}}}}}"), guards::MOST_STEPS).map_err(placed)?;
        Environment::new().compile_expression(source).map(drop).map_err(error)
    }

    pub(crate) fn new(source: &str) -> Result<Self, TemplateError> {
        Template::compiled(source, source, guards::MOST_STEPS)
    }

    /// A template that is written as `source` and runs as `text`, with at most `steps` operators in a tag.
    pub(super) fn compiled(source: &str, text: &str, steps: usize) -> Result<Self, TemplateError> {
        let guarded = guards::guarded(text, steps).map_err(placed)?;
        let mut environment = render_budget::environment();
        nested::add_filters(&mut environment);
        compare::add_filters(&mut environment);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL.min(CAPTURED / guarded.longest_captured.max(1) as u64)));
        environment.set_recursion_limit(RECURSION);
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::None => Ok(()),
            _ => {
                render_budget::charge_value(state, value)?;
                minijinja::escape_formatter(out, state, value)
            }
        });
        match environment.add_template_owned(NAME, guarded.text) {
            Ok(()) => {
                let (constant, source, text) = (constant(source), source.to_owned(), text.to_owned());
                Ok(Template { environment, source, text, constant })
            }
            Err(error) => Err(TemplateError { line: error.line(), message: said(&error) }),
        }
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The names are sorted; a part of a variable is written with a dot (`row.party`).
    pub(crate) fn variables(&self) -> Vec<String> {
        let Ok(template) = self.environment.get_template(NAME) else { return Vec::new() };
        let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
        names.sort();
        names
    }

    fn placed(&self, error: &minijinja::Error) -> String {
        match error.line().filter(|_| self.source.contains('\n')) {
            Some(line) => format!("line {line} of the template: {}", said(error)),
            None => said(error),
        }
    }

    pub(super) fn over(&self, context: BTreeMap<String, Value>) -> Result<String, String> {
        let template = self.environment.get_template(NAME).map_err(|e| said(&e))?;
        let mut text = Capped(Vec::new());
        template.render_captured_to(Value::from(context), &mut text).map_err(|e| match text.0.len() > LONGEST {
            true => format!("the prompt is longer than {LONGEST} bytes"),
            false => self.placed(&e),
        })?;
        String::from_utf8(text.0).map_err(|e| e.to_string())
    }

    pub(super) fn is_global(&self, name: &str) -> bool {
        self.environment.globals().any(|(global, _)| global == name)
    }

    /// `text` is the `text_column`, `row` contains all columns, and each row comes with values for `others`.
    ///
    /// A variable that is reached into is read with the steps that follow it, so that JSON text can be reached into
    /// too. `row` followed by a step always means all columns, and a call always means a function.
    pub(crate) fn bind(self, input: &SchemaRef, text_column: Option<usize>, others: &[&str]) -> Result<Bound, Unknown> {
        let known = Known::new(input, text_column, others);
        let mut walk = Walk::new(&known);
        let text = self.text();
        walk.template(text);
        let rewritten = rewrite::rewritten(text, &walk, &known);
        let calls = walk.unknown_calls();
        let row = if rewritten.hides_row { rewrite::ALL_COLUMNS } else { ROW };
        let (template, faults) = match rewritten.text {
            Some(text) => match Template::compiled(&self.source, &text, guards::MOST_STEPS * 4) {
                Ok(template) => (template, walk.faults),
                Err(error) => {
                    let fault = Fault {
                        rule: "bad-template",
                        message: error.message,
                        help: None,
                        line: error.line.unwrap_or(1),
                    };
                    (self, walk.faults.into_iter().chain([fault]).collect())
                }
            },
            None => (self, walk.faults),
        };
        let mut unknown = Vec::new();
        for access in walk.accesses.iter().filter(|access| access.name == ROW) {
            if let Some(part) = access.unknown_column(input) {
                unknown.push((format!("row.{part}"), near(&part, input).map(|n| format!("row.{n}"))));
            }
        }
        let parts = walk.accesses.iter().filter(|access| access.name == ROW).map(|access| access.column(input));
        let row_uses = parts.collect::<Option<Vec<usize>>>().filter(|_| !walk.whole_row);
        let mut bound = Bound { template, columns: Vec::new(), row: None, row_uses, others: Vec::new() };
        for variable in bound.template.variables() {
            let name = variable.split_once('.').map_or(variable.as_str(), |(name, _)| name);
            if others.contains(&name) {
                if !bound.others.iter().any(|o| o == name) {
                    bound.others.push(name.to_owned());
                }
                continue;
            }
            let column = text_column.filter(|_| name == "text").or_else(|| input.index_of(name).ok());
            match column {
                _ if name == rewrite::ALL_COLUMNS => bound.row = Some((row, input.clone())),
                Some(column) if !bound.columns.iter().any(|(n, _)| n == name) => {
                    bound.columns.push((name.to_owned(), column));
                }
                Some(_) => {}
                None if name == ROW => bound.row = Some((row, input.clone())),
                None if bound.template.is_global(name) || calls.contains(name) => {}
                None => unknown.push((name.to_owned(), near(name, input))),
            }
        }
        unknown.sort();
        unknown.dedup();
        let unknown = Unknown(unknown, faults);
        if unknown.is_empty() { Ok(bound) } else { Err(unknown) }
    }

    /// The text that runs, without guards.
    fn text(&self) -> &str {
        &self.text
    }
}

/// Returns the constant beginning and end; less if a closing brace in the text looks like the end of a tag.
fn constant(source: &str) -> (String, String) {
    // The engine drops one line break at the end of a template.
    let text = source.strip_suffix('\n').map_or(source, |text| text.strip_suffix('\r').unwrap_or(text));
    let Some(first) = ["{{", "{%", "{#"].iter().filter_map(|tag| text.find(tag)).min() else {
        return (text.to_owned(), String::new());
    };
    let last = ["}}", "%}", "#}"].iter().filter_map(|tag| text.rfind(tag)).max().unwrap_or(text.len() - 2);
    let (start, end) = (&text[..first], text.get(last + 2..).unwrap_or_default());
    let trims = |sign: Option<&u8>| sign == Some(&b'-');
    let start = if trims(text.as_bytes().get(first + 2)) { start.trim_end() } else { start };
    let end = if trims(last.checked_sub(1).and_then(|at| text.as_bytes().get(at))) { end.trim_start() } else { end };
    (start.to_owned(), end.to_owned())
}

fn placed((line, message): (usize, String)) -> TemplateError {
    TemplateError { line: Some(line), message }
}

/// The way to read a column whose name has a dot, if that is what `name` may be the beginning of.
fn dotted(name: &str, input: &Schema) -> Option<String> {
    let start = format!("{name}.");
    let column = input.fields().iter().find(|field| field.name().starts_with(&start))?.name();
    Some(format!("the column `{column}` is read as `row[\"{column}\"]`"))
}

fn near(name: &str, input: &Schema) -> Option<String> {
    nearest(name, input.fields().iter().map(|f| f.name().as_str())).map(str::to_owned)
}

impl Bound {
    pub(crate) fn source(&self) -> &str {
        self.template.source()
    }

    pub(crate) fn reads(&self) -> Vec<usize> {
        match &self.row {
            Some((_, schema)) => (0..schema.fields().len()).collect(),
            None => self.columns.iter().map(|(_, column)| *column).collect(),
        }
    }

    /// The columns whose values can appear in the text: of `row["a name"]` only that one.
    pub(crate) fn uses(&self) -> Vec<usize> {
        match (&self.row, &self.row_uses) {
            (Some(_), None) => self.reads(),
            (_, row) => self.columns.iter().map(|(_, column)| *column).chain(row.iter().flatten().copied()).collect(),
        }
    }

    pub(crate) fn others(&self) -> &[String] {
        &self.others
    }

    pub(crate) fn message(&self, row: Row<'_>) -> Result<Message, String> {
        let (start, end) = &self.template.constant;
        Ok(Message::user(self.render(row, &[])?).around(start, end))
    }

    pub(crate) fn render(&self, row: Row<'_>, others: &[(&str, &Cell)]) -> Result<String, String> {
        self.render_values(row, others.iter().map(|(name, cell)| (*name, value_of((*cell).clone()))))
    }

    pub(super) fn render_values<'v>(
        &self,
        row: Row<'_>,
        others: impl Iterator<Item = (&'v str, Value)>,
    ) -> Result<String, String> {
        let given = others.filter(|(name, _)| self.others.iter().any(|o| o == name));
        let given: BTreeMap<String, Value> = given.map(|(name, value)| (name.to_owned(), value)).collect();
        self.template.over(self.context(given, |column| value_of(row.cell(column))))
    }

    /// Adds the columns that the template reads to the values `given`.
    fn context(&self, mut given: BTreeMap<String, Value>, cell: impl Fn(usize) -> Value) -> BTreeMap<String, Value> {
        given.extend(self.columns.iter().map(|(name, column)| (name.clone(), cell(*column))));
        if let Some((name, schema)) = &self.row {
            let cells = schema.fields().iter().enumerate().map(|(i, field)| (field.name().clone(), cell(i)));
            given.insert((*name).to_owned(), Value::from(cells.collect::<BTreeMap<String, Value>>()));
        }
        given
    }

    pub(super) fn render_blank(&self, given: &[(&str, Value)]) -> Result<String, String> {
        let others = self.others.iter().map(|name| (name.clone(), Value::from(""))).collect();
        let mut context = self.context(others, |_| Value::from(""));
        context.extend(given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.template.over(context)
    }
}

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

pub(super) fn said(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests;

//! HTML: a page as one file without links to other files.
//!
//! The templates escape every text. The policy of the page allows only its own style and script, by their hashes.

use std::borrow::Cow;
use std::cell::Cell;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, State, Value, context, escape_formatter};
use sha2::{Digest, Sha256};

use super::content::{Block, Grid, Page};
use super::data::DataTable;
use super::format::{long_text, shown, shown_rows};
use crate::report::text::printable;

pub(super) const STYLE: &str =
    concat!(include_str!("page.css"), include_str!("chart/chart.css"), include_str!("data.css"));
const PATTERNS: &str = include_str!("chart/patterns.svg");
const SCRIPT: &str = concat!(include_str!("page.js"), include_str!("data.js"));
/// The most bytes of the CSV of one table, and of all tables, so that the page stays small.
const CSV_BYTES: usize = 200_000;
const ALL_CSV_BYTES: usize = 450_000;
/// The rows of data that are shown without the script.
const PLAIN_ROWS: usize = 20;

/// What a server adds to a page. Both are trusted HTML.
pub(crate) struct Served {
    /// The style and the script of the server, for the head of the page.
    pub(crate) links: String,
    /// The panel above the sections.
    pub(crate) panel: String,
}

impl Served {
    /// What a page that a server sends may load, as the header Content-Security-Policy.
    pub(crate) fn policy() -> String {
        let (style, script) = (hash(STYLE), hash(SCRIPT));
        format!(
            "default-src 'none'; style-src 'self' '{style}'; script-src 'self' '{script}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    }
}

pub(super) fn html(page: &Page, served: Option<&Served>) -> Result<String, String> {
    let writer = Writer::new().map_err(|error| error.to_string())?;
    let mut sections = Vec::new();
    for section in &page.sections {
        let blocks = writer.blocks(&section.blocks, &section.id, 3)?;
        sections.push(context! { id => section.id.as_str(), title => section.title.as_str(), blocks });
    }
    let safe = |text: &String| Value::from_safe_string(text.clone());
    let served = served.map(|served| context! { links => safe(&served.links), panel => safe(&served.panel) });
    let page = context! {
        served, title => page.title.as_str(), lead => with_fixed_percents(&page.lead), notices => &page.notices, sections,
        style => Value::from_safe_string(STYLE.to_owned()), style_hash => hash(STYLE),
        script => Value::from_safe_string(SCRIPT.to_owned()), script_hash => hash(SCRIPT),
        patterns => Value::from_safe_string(PATTERNS.to_owned()), version => env!("CARGO_PKG_VERSION"),
    };
    writer.render("page", page)
}

/// The hash of a style or a script, as a Content-Security-Policy names it.
fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}

struct Writer {
    environment: Environment<'static>,
    /// The bytes that are left for CSV.
    csv_bytes: Cell<usize>,
}

impl Writer {
    fn new() -> Result<Writer, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_formatter(write_printable);
        environment.add_template("page", include_str!("page.html"))?;
        environment.add_template("block", include_str!("block.html"))?;
        environment.add_template("data", include_str!("data.html"))?;
        Ok(Writer { environment, csv_bytes: Cell::new(ALL_CSV_BYTES) })
    }

    fn render(&self, template: &str, context: Value) -> Result<String, String> {
        let template = self.environment.get_template(template).map_err(|error| error.to_string())?;
        template.render(context).map_err(|error| error.to_string())
    }

    /// The blocks as HTML. `id` is the section; headings have this level.
    fn blocks(&self, blocks: &[Block], id: &str, level: usize) -> Result<Value, String> {
        let blocks: Result<String, String> = blocks.iter().map(|block| self.block(block, id, level)).collect();
        blocks.map(Value::from_safe_string)
    }

    fn block(&self, block: &Block, id: &str, level: usize) -> Result<String, String> {
        let drawn = match block {
            Block::Data(table) => return self.data(table),
            Block::Text { text } => context! { parts => Value::from(Serde(inline(&with_fixed_percents(text)))) },
            Block::Figure(figure) => context! {
                svg => Value::from_safe_string(figure.chart.svg(&figure.title)?),
                table => self.table(&figure.title, &figure.numbers, id)?,
            },
            Block::Table { title, table: grid } => context! { table => self.table(title, grid, id)? },
            Block::Group { blocks, .. } => context! { inner => self.blocks(blocks, id, (level + 1).min(6))? },
            Block::Fold { blocks, .. } => context! { inner => self.blocks(blocks, id, level)? },
            Block::Code { text, .. } => context! { text => long_text(text) },
            Block::Marked { .. } | Block::Checks { .. } => context! {},
        };
        self.render("block", context! { block => Value::from(Serde(block)), level, ..drawn })
    }

    /// All rows as JSON for the script, and the first ones as a table for readers without it.
    fn data(&self, table: &DataTable) -> Result<String, String> {
        let json = serde_json::to_string(table).map_err(|error| error.to_string())?;
        // A text cannot end the script element.
        let json = Value::from_safe_string(json.replace('<', "\\u003c"));
        let rows: Vec<Vec<String>> =
            table.rows.iter().take(PLAIN_ROWS).map(|row| row.cells.iter().map(shown).collect()).collect();
        let numbers: Vec<u64> = table.rows.iter().map(|row| row.number).take(PLAIN_ROWS).collect();
        let columns: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
        let more = table.rows.len() > rows.len();
        self.render("data", context! { json, rows, numbers, columns, more, label => table.path.clone() })
    }

    /// A table as it is shown, with a link to all its numbers as CSV.
    fn table(&self, title: &str, grid: &Grid, id: &str) -> Result<Value, String> {
        let csv = grid.csv()?;
        let grid = &grid.without_empty_columns();
        let numeric: Vec<bool> = (0..grid.columns.len()).map(|column| grid.is_numeric(column)).collect();
        let (rows, cut) = shown_rows(grid);
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(shown).collect()).collect();
        let left = self.csv_bytes.get();
        let has_room = csv.len() <= CSV_BYTES.min(left);
        self.csv_bytes.set(left - if has_room { csv.len() } else { 0 });
        let no_csv = (!has_room).then_some("Its CSV is too long for this page; `--format json` has all numbers.");
        let cut: Vec<&str> = cut.as_deref().into_iter().chain(no_csv).collect();
        let link = (has_room && !grid.rows.is_empty())
            .then(|| format!("data:text/csv;charset=utf-8;base64,{}", BASE64_STANDARD.encode(csv)))
            // Base64 has no character that ends an attribute.
            .map(Value::from_safe_string);
        let file = format!("{id}-{}.csv", slug(title));
        Ok(context! { title, columns => &grid.columns, rows, numeric, cut => cut.join(" "), link, file })
    }
}

/// Writes a value escaped and without characters that control a terminal or turn the direction of text.
fn write_printable(
    out: &mut minijinja::Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    match value.as_str().filter(|_| !value.is_safe()).map(printable) {
        Some(Cow::Owned(text)) => escape_formatter(out, state, &Value::from(text)),
        _ => escape_formatter(out, state, value),
    }
}

/// A text whose per cent signs stay on the lines of their numbers.
fn with_fixed_percents(text: &str) -> String {
    text.replace(" %", "\u{a0}%")
}

/// A text in parts; the flag marks code, which a text has between backquotes.
fn inline(text: &str) -> Vec<(&str, bool)> {
    let parts: Vec<&str> = text.split('`').collect();
    match parts.len() % 2 {
        1 => parts.into_iter().enumerate().map(|(at, part)| (part, at % 2 == 1)).collect(),
        _ => vec![(text, false)],
    }
}

/// A title as a part of a file name.
fn slug(title: &str) -> String {
    let plain = title.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' });
    let slug: Vec<String> = plain.collect::<String>().split_whitespace().map(str::to_owned).collect();
    slug.join("-").chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_between_two_backquotes() {
        assert_eq!(inline("rows of `tone`."), [("rows of ", false), ("tone", true), (".", false)]);
        assert_eq!(inline("a ` b"), [("a ` b", false)]);
        assert_eq!(inline("plain"), [("plain", false)]);
    }

    #[test]
    fn a_file_name_has_only_plain_characters() {
        assert_eq!(slug("Shares of `a/b` <c>"), "shares-of-a-b-c");
        assert_eq!(slug("../../é"), "");
    }
}

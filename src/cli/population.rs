//! `fanfold population`

use std::fmt::Write;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr;

use super::exit::Exit;
use super::load::load_or_show;
use super::status::Format;
use super::terminal::Terminal;
use crate::name::{Name, listed, nearest};
use crate::report::preview::table;
use crate::report::printable::printable;
use crate::report::summary::{count, number};
use crate::source::population::report::{Part, Report, Share};
use crate::source::{self, SourceError};
use crate::spec::Spec;
use crate::table::{Cell, cell_at};

/// Shows what the populations of a spec come out as: shares beside their targets, how raking went, the first rows.
///
/// Makes every respondent, in memory that doesn't grow with them; sends and writes nothing.
#[derive(Debug, clap::Args)]
pub struct Population {
    /// The spec.
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// Only this source.
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
    /// Show the first N rows.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(..=1000))]
    rows: u32,
    /// How it is shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

/// A source of type `population` with its name.
type Named<'a> = (&'a Name, &'a source::Population);

impl Population {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let Some(spec) = load_or_show(&self.spec, terminal) else { return Exit::Spec };
        let chosen = match chosen(&spec, self.source.as_deref()) {
            Ok(chosen) => chosen,
            Err(error) => {
                terminal.error(&error.message, error.help.as_deref());
                return Exit::Spec;
            }
        };
        let mut reports = Vec::new();
        for (name, population) in chosen {
            match population.report(&spec.folder, self.rows as usize) {
                Ok(report) => reports.push((name, population, report)),
                Err(error) => {
                    terminal.error(&format!("source `{name}`: {}", error.message), error.help.as_deref());
                    return Exit::Environment;
                }
            }
        }
        match self.format {
            Format::Human => {
                let room = terminal.width();
                let shown: Vec<String> = reports.iter().map(|(name, p, report)| human(name, p, report, room)).collect();
                terminal.text(&shown.join("\n"));
            }
            Format::Json => {
                let sources: Vec<Value> = reports.iter().map(|(name, p, report)| as_json(name, p, report)).collect();
                let value = json!({ "schema_version": 1, "populations": sources });
                terminal.json(&(serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"));
            }
        }
        Exit::Ok
    }
}

/// The population that is asked for, or all.
fn chosen<'a>(spec: &'a Spec, wanted: Option<&str>) -> Result<Vec<Named<'a>>, SourceError> {
    let all: Vec<Named<'a>> =
        spec.sources().filter_map(|(_, source)| Some((&source.name, source.source.population()?))).collect();
    let names = || all.iter().map(|(name, _)| name.as_str());
    if all.is_empty() {
        let error = SourceError::new("no source of this spec is a population");
        return Err(error.help("a population has `type = \"population\"`"));
    }
    let Some(wanted) = wanted else { return Ok(all) };
    if let Some(found) = all.iter().find(|(name, _)| name.as_str() == wanted) {
        return Ok(vec![*found]);
    }
    let error = match spec.sources().any(|(_, source)| source.name.as_str() == wanted) {
        true => SourceError::new(format!("the source `{wanted}` is no population")),
        false => SourceError::new(format!("there is no source `{wanted}`")),
    };
    Err(match nearest(wanted, names()) {
        Some(near) => error.meant(Some(near)),
        None => error.help(format!("the populations are {}", listed(names()))),
    })
}

fn human(name: &Name, population: &source::Population, report: &Report, room: usize) -> String {
    let mut out = format!("source {name}: {}, {}\n", count(report.rows, "row"), population.about());
    if let Some(raking) = &report.raking {
        let _ = writeln!(
            out,
            "  converged after {}, largest deviation {:.1e}; design effect {:.3}, effective sample size {} of {}",
            count(raking.iterations.into(), "iteration"),
            raking.largest_deviation,
            raking.design_effect,
            number(raking.effective_sample_size.round() as u64),
            number(population.n()),
        );
    }
    for part in &report.parts {
        out.push('\n');
        match part {
            Part::Shares { of, depends_on, options } => shares(&mut out, &title(of, depends_on), options),
            Part::Numbers { of, depends_on, mean, sd, minimum, maximum } => {
                let title = title(of, depends_on);
                let _ = writeln!(out, "{title}: mean {mean:.3}, sd {sd:.3}, from {minimum} to {maximum}");
            }
        }
    }
    if report.first.num_rows() > 0 {
        let rows = count(report.first.num_rows() as u64, "row");
        let _ = write!(out, "\nthe first {rows}:\n{}", table(&report.first, room));
    }
    out
}

fn title(of: &[String], depends_on: &[String]) -> String {
    let of = of.join(" x ");
    match depends_on {
        [] => of,
        parents => format!("{of}, by {}", parents.join(" and ")),
    }
}

/// A line per option: target and drawn in percent.
fn shares(out: &mut String, title: &str, options: &[Share]) {
    let names: Vec<String> = options.iter().map(|share| printable(&share.option).replace(['\n', '\t'], " ")).collect();
    let width = names.iter().map(|name| name.width() + 2).chain([title.width()]).max().unwrap_or(0);
    let pad = |text: &str| " ".repeat(width - text.width());
    let _ = writeln!(out, "{title}{}    target     drawn", pad(title));
    for (name, share) in names.iter().zip(options) {
        let name = format!("  {name}");
        let _ = writeln!(out, "{name}{}  {:>6.2} %  {:>6.2} %", pad(&name), share.target * 100.0, share.drawn * 100.0);
    }
}

fn as_json(name: &Name, population: &source::Population, report: &Report) -> Value {
    let rows: Vec<Value> = (0..report.first.num_rows()).map(|row| row_of(&report.first, row)).collect();
    json!({
        "name": name, "n": population.n(), "rows": report.rows, "about": population.about(), "raking": report.raking,
        "parts": report.parts, "first": rows,
    })
}

fn row_of(rows: &RecordBatch, row: usize) -> Value {
    let schema = rows.schema();
    let cells = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
        let value = match cell_at(column.as_ref(), row) {
            Cell::Boolean(truth) => json!(truth),
            Cell::Integer(number) => json!(number),
            Cell::Number(number) => json!(number),
            Cell::Text(text) => json!(text),
            Cell::Null | Cell::List(_) => Value::Null,
        };
        (field.name().clone(), value)
    });
    Value::Object(cells.collect::<Map<_, _>>())
}

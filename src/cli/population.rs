//! The command `fanfold population`.

use std::path::PathBuf;

use super::{Exit, Failure, OutputFormat, Terminal, load_spec};
use crate::name::{Name, listed, nearest};
use crate::report::population::{PopulationReport, PopulationsReport};
use crate::source;
use crate::spec::Spec;

/// Previews the generated populations of a spec: drawn shares next to their targets, how raking converged, the first
/// rows.
///
/// Generates every respondent. Sends and writes nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Population {
    /// The spec.
    spec: PathBuf,
    /// Only this source.
    source: Option<String>,
    /// Show the first N rows.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(..=1000))]
    rows: u32,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

type Named<'a> = (&'a Name, &'a source::Population);

impl Population {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let spec = load_spec(&self.spec, terminal)?;
        let mut populations = Vec::new();
        for (name, population) in chosen(&spec, self.source.as_deref())? {
            let report = population.report(&spec.folder, self.rows as usize).map_err(|error| {
                Failure::new(Exit::Environment, format!("source `{name}`: {}", error.message)).help_if(error.help)
            })?;
            populations.push(PopulationReport { name: name.as_str(), population, report });
        }
        self.format.write(&PopulationsReport { schema_version: 1, populations, width: terminal.width() }, terminal);
        Ok(Exit::Ok)
    }
}

fn chosen<'a>(spec: &'a Spec, wanted: Option<&str>) -> Result<Vec<Named<'a>>, Failure> {
    let all: Vec<Named<'a>> =
        spec.sources().filter_map(|(_, source)| Some((&source.name, source.source.population()?))).collect();
    if all.is_empty() {
        let failure = Failure::new(Exit::Spec, "this spec has no source of type `population`");
        return Err(failure.help("add a source with `type = \"population\"`"));
    }
    let Some(wanted) = wanted else { return Ok(all) };
    if let Some(found) = all.iter().find(|(name, _)| name.as_str() == wanted) {
        return Ok(vec![*found]);
    }
    let message = match spec.sources().any(|(_, source)| source.name.as_str() == wanted) {
        true => format!("the source `{wanted}` is not a population"),
        false => format!("unknown source `{wanted}`"),
    };
    let names = || all.iter().map(|(name, _)| name.as_str());
    Err(Failure::new(Exit::Spec, message).help(match nearest(wanted, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the populations are {}", listed(names())),
    }))
}

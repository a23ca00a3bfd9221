//! The report of `fanfold population`: shows drawn shares next to their targets, the raking result and the first rows.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};
use serde_json::json;

use super::preview::table;
use super::text::{count, grid, number, printable};
use crate::source::Population;
use crate::source::population::report::{Part, Report, Share};
use crate::table::cells_at;

#[derive(Serialize)]
pub(crate) struct PopulationsReport<'a> {
    pub(crate) schema_version: u32,
    pub(crate) populations: Vec<PopulationReport<'a>>,
    #[serde(skip)]
    pub(crate) width: usize,
}

pub(crate) struct PopulationReport<'a> {
    pub(crate) name: &'a str,
    pub(crate) population: &'a Population,
    pub(crate) report: Report,
}

impl Display for PopulationsReport<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, population) in self.populations.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            population.write(f, self.width)?;
        }
        Ok(())
    }
}

impl PopulationReport<'_> {
    fn write(&self, f: &mut Formatter<'_>, width: usize) -> fmt::Result {
        let PopulationReport { name, population, report } = self;
        writeln!(f, "source {name}: {}, {}", count(report.rows, "row"), population.about())?;
        if let Some(raking) = &report.raking {
            writeln!(
                f,
                "  converged after {}, largest deviation {:.1e}; design effect {:.3}, effective sample size {} of {}",
                count(raking.iterations.into(), "iteration"),
                raking.largest_deviation,
                raking.design_effect,
                number(raking.effective_sample_size.round() as u64),
                number(population.n),
            )?;
        }
        for part in &report.parts {
            writeln!(f)?;
            match part {
                Part::Shares { of, depends_on, options } => shares(f, &title(of, depends_on), options)?,
                Part::Numbers { of, depends_on, mean, sd, minimum, maximum } => {
                    let title = title(of, depends_on);
                    writeln!(f, "{title}: mean {mean:.3}, sd {sd:.3}, from {minimum} to {maximum}")?;
                }
            }
        }
        if report.first.num_rows() > 0 {
            let rows = count(report.first.num_rows() as u64, "row");
            write!(f, "\nthe first {rows}:\n{}", table(&report.first, width))?;
        }
        Ok(())
    }
}

fn title(of: &[String], depends_on: &[String]) -> String {
    let of = of.join(" x ");
    match depends_on {
        [] => of,
        parents => format!("{of}, by {}", parents.join(" and ")),
    }
}

fn shares(f: &mut Formatter<'_>, title: &str, options: &[Share]) -> fmt::Result {
    let percent = |share: f64| format!("{:>6.2} %", share * 100.0);
    let mut rows = vec![[title, "target", "drawn"].map(str::to_owned).to_vec()];
    rows.extend(options.iter().map(|share| {
        let name = printable(&share.option).replace(['\n', '\t'], " ");
        vec![format!("  {name}"), percent(share.target), percent(share.drawn)]
    }));
    f.write_str(&grid(&rows, "", |i| i > 0))
}

impl Serialize for PopulationReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let PopulationReport { name, population, report } = self;
        let rows: Vec<_> = (0..report.first.num_rows()).map(|row| cells_at(&report.first, row)).collect();
        let value = json!({
            "name": name, "n": population.n, "rows": report.rows, "about": population.about(),
            "raking": report.raking, "parts": report.parts, "first": rows,
        });
        value.serialize(serializer)
    }
}

//! The measure of a stability: how far replicates and wordings agree.

use indexmap::IndexSet;

use crate::stage::agreement::{Alpha, ReadColumn};
use crate::stage::method::columns::Rows;
use crate::stage::method::frame::Method;
use crate::stage::method::tidy::{Statistic, counted};
use crate::stage::transform::DataError;
use crate::stage::view::{Estimates, Shown, View};

/// The first reads.
const VALUE: usize = 0;
const UNIT: usize = 1;

/// The reads after the value and the unit; `None` for what does not vary. The first row has the stage's own prompt.
#[derive(Debug)]
pub(super) struct Measuring {
    pub(super) alpha: Alpha,
    pub(super) prompt: Option<usize>,
    pub(super) replicate: Option<usize>,
    pub(super) model: Option<usize>,
    pub(super) temperature: Option<usize>,
    /// The replicates of each other wording.
    pub(super) others: usize,
}

/// The rows of a model at a temperature, with the place of their prompt and their replicate, from 0.
struct Asked {
    of: [Option<String>; 2],
    rows: Vec<(usize, usize, usize)>,
}

impl Method for Measuring {
    fn views(&self) -> Vec<View> {
        let alphas = Estimates {
            lines: &["statistic", "model", "temperature"],
            series: Some("statistic"),
            mark: Some(0.0),
            ..Estimates::default()
        };
        vec![View::new("Stability of the answers", Shown::Estimates(alphas))]
    }

    fn statistics(&self, rows: &Rows<'_>) -> Result<Vec<Statistic>, DataError> {
        let column = self.alpha.read(rows, VALUE)?;
        let units = rows.labels(UNIT);
        if units.contains(&None) {
            return Err(DataError::at("unit", "a row names no unit"));
        }
        let mut statistics = Vec::new();
        for asked in self.asked(rows) {
            statistics.extend(self.of(&asked, &column, (&units, rows))?);
        }
        Ok(statistics)
    }
}

impl Measuring {
    /// The rows of each model and temperature, in their order.
    fn asked(&self, rows: &Rows<'_>) -> Vec<Asked> {
        let read = |read: Option<usize>| match read {
            Some(read) => rows.labels(read),
            None => vec![None; rows.len()],
        };
        let (prompts, models, temperatures) = (read(self.prompt), read(self.model), read(self.temperature));
        let replicates = read(self.replicate);
        // Numbers of replicates are sorted as texts, but they start at 1.
        let number = |name: usize| {
            let names = self.replicate.map(|read| rows.names(read))?;
            names.get_index(name)?.parse::<usize>().ok()?.checked_sub(1)
        };
        let mut order = IndexSet::new();
        let mut groups: Vec<(Option<usize>, Option<usize>)> = Vec::new();
        let mut asked: Vec<Asked> = Vec::new();
        for row in 0..rows.len() {
            let group = (models[row], temperatures[row]);
            let place = groups.iter().position(|other| *other == group).unwrap_or_else(|| {
                let name = |read: Option<usize>, name: Option<usize>| Some(rows.names(read?).get_index(name?)?.clone());
                let of = [name(self.model, group.0), name(self.temperature, group.1)];
                groups.push(group);
                asked.push(Asked { of, rows: Vec::new() });
                groups.len() - 1
            });
            let prompt = order.insert_full(prompts[row]).0;
            let replicate = replicates[row].and_then(number).unwrap_or(0);
            asked[place].rows.push((row, prompt, replicate));
        }
        asked
    }

    fn of(
        &self,
        asked: &Asked,
        column: &ReadColumn,
        (units, rows): (&[Option<usize>], &Rows<'_>),
    ) -> Result<Vec<Statistic>, DataError> {
        let count =
            |place: fn(&(usize, usize, usize)) -> usize| asked.rows.iter().map(place).max().map_or(0, |max| max + 1);
        let (prompts, replicates) = (count(|row| row.1), count(|row| row.2));
        let unit = |row: usize| units[row].expect("each row has a unit");
        let statistic = |name: &'static str, compared: String, found: Result<Statistic, usize>| {
            let twice = |unit: usize| {
                let unit = rows.names(UNIT).get_index(unit).map_or("", String::as_str);
                DataError::at("unit", format!("several rows have the unit `{unit}`"))
            };
            let of = asked.of.iter().cloned().chain([Some(compared)]).collect();
            found.map_err(twice).map(|found| Statistic { name, of, ..found })
        };
        let mut statistics = Vec::new();
        if self.replicate.is_some() {
            let own = asked.rows.iter().filter(|(_, prompt, _)| *prompt == 0);
            let intra =
                self.alpha.of(column, replicates, own.map(|(row, _, replicate)| (unit(*row), *replicate, *row)));
            statistics.push(statistic("intra_alpha", counted(replicates as u64, "replicate", "replicates"), intra)?);
        }
        if self.prompt.is_some() {
            let each = self.others;
            let some = asked.rows.iter().filter(|(_, _, replicate)| *replicate < each);
            let coded = some.map(|(row, prompt, replicate)| (unit(*row), prompt * each + replicate, *row));
            let inter = self.alpha.of(column, prompts * each, coded);
            let compared = counted(prompts as u64, "wording", "wordings");
            let compared = if each > 1 { format!("{compared}, {each} replicates each") } else { compared };
            statistics.push(statistic("inter_alpha", compared, inter)?);
        }
        Ok(statistics)
    }
}

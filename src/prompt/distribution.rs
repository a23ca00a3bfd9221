//! Distributions: how probable each label of an answer is, measured in several ways, and the columns of the result.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::table::{Cell, Column, Shape, Type};

/// The answers of `sample` without `samples`.
const SAMPLES: u32 = 20;
const MOST_SAMPLES: u32 = 1000;
/// The `min_option_mass` of a distribution that sets none.
const MIN_OPTION_MASS: f64 = 0.5;
/// How far the sum of stated probabilities may be from 1: they are rounded.
pub(crate) const TOLERANCE: f64 = 0.05;

/// A way to measure how probable each label is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// The shares of the labels in `samples` answers to the same question.
    Sample,
    /// The probabilities of the tokens that begin a label in the answer.
    Logprobs,
    /// The probabilities that the model states when it is asked for them.
    Verbalized,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Sample => "sample",
            Mode::Logprobs => "logprobs",
            Mode::Verbalized => "verbalized",
        }
    }
}

/// How the distribution of an answer is measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distribution {
    modes: Vec<Mode>,
    /// The answers of `sample`, of which the first is the answer in the table.
    samples: u32,
    /// The smallest probability of all labels together, before they are scaled to 1.
    min_option_mass: f64,
}

/// What was found about one answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) answer: Option<Cell>,
    /// The further answers of `sample`.
    pub(crate) draws: Vec<Cell>,
    /// The mass of each label: an object, or null if the provider reported none.
    pub(crate) masses: Option<Cell>,
    /// The stated probabilities: an object.
    pub(crate) stated: Option<Cell>,
}

impl Distribution {
    /// Returns `None` without modes. The error is the wrong key and a sentence.
    pub(crate) fn new(
        modes: &[Mode],
        samples: Option<u32>,
        min_option_mass: Option<f64>,
    ) -> Result<Option<Distribution>, (&'static str, String)> {
        if let Some(twice) = modes.iter().enumerate().find(|(i, mode)| modes[..*i].contains(mode)).map(|(_, mode)| mode)
        {
            return Err(("distribution", format!("`{}` is listed twice", twice.name())));
        }
        let needs = |key: &'static str, mode: Mode| {
            Err((key, format!("`{key}` is for `distribution = [\"{}\"]`", mode.name())))
        };
        match (samples, min_option_mass) {
            (Some(_), _) if !modes.contains(&Mode::Sample) => return needs("samples", Mode::Sample),
            (_, Some(_)) if !modes.contains(&Mode::Logprobs) => return needs("min_option_mass", Mode::Logprobs),
            (Some(samples), _) if !(2..=MOST_SAMPLES).contains(&samples) => {
                return Err(("samples", format!("`samples` must be from 2 to {MOST_SAMPLES}, not {samples}")));
            }
            (_, Some(mass)) if !(0.0..=1.0).contains(&mass) => {
                return Err(("min_option_mass", format!("`min_option_mass` must be from 0 to 1, not {mass}")));
            }
            _ => {}
        }
        let distribution = Distribution {
            modes: modes.to_vec(),
            samples: samples.unwrap_or(SAMPLES),
            min_option_mass: min_option_mass.unwrap_or(MIN_OPTION_MASS),
        };
        Ok(Some(distribution).filter(|distribution| !distribution.modes.is_empty()))
    }

    pub(crate) fn has(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }

    /// The number of answers after the first one.
    pub(crate) fn draws(&self) -> usize {
        if self.has(Mode::Sample) { self.samples as usize - 1 } else { 0 }
    }

    /// The number of prompts after the first one.
    pub(crate) fn more_prompts(&self) -> usize {
        self.draws() + usize::from(self.has(Mode::Verbalized))
    }

    /// The columns about the answer in column `name`. Each distribution has its mode.
    pub(crate) fn columns(&self, name: &str, labels: &[String]) -> Vec<(Column, Option<Mode>)> {
        let shape = Shape::Object(labels.iter().map(|label| (label.clone(), Shape::Number)).collect());
        let mut columns = Vec::new();
        for mode in &self.modes {
            let column = Column::json(format!("{name}_distribution_{}", mode.name()), shape.clone());
            columns.push((column, Some(*mode)));
            if *mode == Mode::Logprobs {
                columns.push((Column::new(format!("{name}_option_mass"), Type::Number), None));
            }
        }
        columns
    }

    /// The cells of these columns.
    pub(crate) fn cells(&self, labels: &[String], measured: &Measured) -> Vec<Cell> {
        let mut cells = Vec::new();
        for mode in &self.modes {
            match mode {
                Mode::Sample => cells.push(self.shares(labels, measured)),
                Mode::Logprobs => {
                    let mass = mass(measured);
                    let enough = mass.filter(|mass| *mass > 0.0 && *mass >= self.min_option_mass);
                    let scaled = enough
                        .zip(measured.masses.as_ref())
                        .map(|(mass, masses)| object(labels, |label| number(masses, label) / mass));
                    cells.push(scaled.unwrap_or(Cell::Null));
                    cells.push(mass.map_or(Cell::Null, |mass| Cell::Number(mass.min(1.0))));
                }
                Mode::Verbalized => {
                    let stated = measured.stated.as_ref().filter(|stated| **stated != Cell::Null);
                    cells.push(stated.map_or(Cell::Null, |stated| object(labels, |label| number(stated, label))));
                }
            }
        }
        cells
    }

    fn shares(&self, labels: &[String], measured: &Measured) -> Cell {
        let answers = || measured.answer.iter().chain(measured.draws.iter().take(self.draws()));
        let of = |label: &str| answers().filter(|answer| matches!(answer, Cell::Text(text) if text == label)).count();
        let all = self.samples as usize;
        if answers().count() < all || labels.iter().map(|label| of(label)).sum::<usize>() < all {
            return Cell::Null;
        }
        object(labels, |label| of(label) as f64 / all as f64)
    }

    /// Why the labels of `name` have no probabilities.
    pub(crate) fn problem(&self, name: &str, measured: &Measured) -> Option<String> {
        if !self.has(Mode::Logprobs) || self.min_option_mass == 0.0 {
            return None;
        }
        match mass(measured) {
            None => Some(format!("the server reported no probabilities of `{name}`")),
            Some(mass) if mass < self.min_option_mass => {
                let least = self.min_option_mass;
                Some(format!("the options of `{name}` have a mass of {mass:.3}, below `min_option_mass` ({least})"))
            }
            Some(_) => None,
        }
    }

    pub(crate) fn meaning(&self) -> Value {
        let samples = self.has(Mode::Sample).then_some(self.samples);
        let mass = self.has(Mode::Logprobs).then_some(self.min_option_mass);
        json!({ "modes": self.modes, "samples": samples, "min_option_mass": mass })
    }
}

/// The sum of the masses; `None` if they are not known.
fn mass(measured: &Measured) -> Option<f64> {
    match measured.masses.as_ref()? {
        Cell::Object(masses) if !masses.is_empty() => {
            Some(masses.iter().map(|(_, mass)| if let Cell::Number(mass) = mass { *mass } else { 0.0 }).sum())
        }
        _ => None,
    }
}

fn number(object: &Cell, label: &str) -> f64 {
    let Cell::Object(members) = object else { return 0.0 };
    members
        .iter()
        .find_map(|(name, cell)| match cell {
            Cell::Number(number) if name == label => Some(*number),
            _ => None,
        })
        .unwrap_or(0.0)
}

/// The text of an object with a number for each label.
fn object(labels: &[String], of: impl Fn(&str) -> f64) -> Cell {
    let members: Map<String, Value> = labels.iter().map(|label| (label.clone(), json!(of(label)))).collect();
    Cell::Text(Value::Object(members).to_string())
}

/// The numbers in the text of such an object.
pub(crate) fn read_distribution(text: &str, labels: &[String]) -> Option<Vec<f64>> {
    let members: Map<String, Value> = serde_json::from_str(text).ok()?;
    labels.iter().map(|label| members.get(label)?.as_f64()).collect()
}

/// The key of a field's masses in [`Probabilities`](super::Probabilities): the probabilities of its labels before they
/// are scaled to 1. No field has such a name.
pub(crate) fn mass_key(field: &str) -> String {
    format!("\u{1f}{field}")
}

/// The respondent of further answer `number` to a question, which is asked of `respondent`.
pub(crate) fn draw(respondent: Option<u64>, number: usize) -> u64 {
    let hash = blake3::hash(format!("draw {number} of {respondent:?}").as_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<String> {
        ["yes", "no"].map(str::to_owned).to_vec()
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    fn numbers(yes: f64, no: f64) -> Option<Cell> {
        Some(Cell::Object(vec![("no".to_owned(), Cell::Number(no)), ("yes".to_owned(), Cell::Number(yes))]))
    }

    #[test]
    fn every_mode_has_its_column() {
        let modes = [Mode::Sample, Mode::Logprobs, Mode::Verbalized];
        let all = Distribution::new(&modes, Some(4), Some(0.25)).unwrap().unwrap();
        assert_eq!((all.draws(), all.more_prompts()), (3, 4));
        let names: Vec<String> = all.columns("q", &labels()).into_iter().map(|(column, _)| column.name).collect();
        assert_eq!(
            names,
            ["q_distribution_sample", "q_distribution_logprobs", "q_option_mass", "q_distribution_verbalized"]
        );
        let measured = Measured {
            answer: Some(text("yes")),
            draws: ["no", "yes", "yes"].map(text).to_vec(),
            masses: numbers(0.3, 0.1),
            stated: numbers(0.5, 0.5),
        };
        let cells = all.cells(&labels(), &measured);
        assert_eq!(cells[0], text(r#"{"yes":0.75,"no":0.25}"#));
        assert_eq!(read_distribution(r#"{"yes":0.75,"no":0.25}"#, &labels()), Some(vec![0.75, 0.25]));
        let Cell::Text(scaled) = &cells[1] else { panic!("{cells:?}") };
        let scaled = read_distribution(scaled, &labels()).unwrap();
        assert!((scaled[0] - 0.75).abs() < 1e-12 && (scaled[1] - 0.25).abs() < 1e-12);
        assert_eq!((&cells[2], &cells[3]), (&Cell::Number(0.4), &text(r#"{"yes":0.5,"no":0.5}"#)));
        assert_eq!(all.problem("q", &measured), None);
    }

    #[test]
    fn what_is_missing_or_too_little_is_null() {
        let one = |mode, mass| Distribution::new(&[mode], None, mass).unwrap().unwrap();
        let few = Measured { answer: Some(text("yes")), draws: vec![text("no"); 18], ..Measured::default() };
        assert_eq!(one(Mode::Sample, None).cells(&labels(), &few), [Cell::Null]);
        let low = Measured { masses: numbers(0.3, 0.1), ..Measured::default() };
        let logprobs = one(Mode::Logprobs, None);
        assert_eq!(logprobs.cells(&labels(), &low), [Cell::Null, Cell::Number(0.4)]);
        let expected = "the options of `q` have a mass of 0.400, below `min_option_mass` (0.5)";
        assert_eq!(logprobs.problem("q", &low).as_deref(), Some(expected));
        let none = Measured { masses: Some(Cell::Null), ..Measured::default() };
        assert_eq!(logprobs.problem("q", &none).as_deref(), Some("the server reported no probabilities of `q`"));
        assert_eq!(one(Mode::Logprobs, Some(0.0)).problem("q", &none), None);
        assert_eq!(one(Mode::Verbalized, None).cells(&labels(), &none), [Cell::Null]);
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        let refused = |modes: &[Mode], samples, mass| Distribution::new(modes, samples, mass).unwrap_err();
        assert_eq!(refused(&[Mode::Sample, Mode::Sample], None, None).1, "`sample` is listed twice");
        assert_eq!(refused(&[], Some(3), None).1, "`samples` is for `distribution = [\"sample\"]`");
        assert_eq!(refused(&[Mode::Sample], None, Some(0.1)).0, "min_option_mass");
        assert_eq!(refused(&[Mode::Sample], Some(1), None).1, "`samples` must be from 2 to 1000, not 1");
        assert_eq!(refused(&[Mode::Logprobs], None, Some(1.5)).1, "`min_option_mass` must be from 0 to 1, not 1.5");
        assert_eq!(Distribution::new(&[], None, None), Ok(None));
    }
}

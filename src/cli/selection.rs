//! The arguments of `run` and `plan` that choose rows, stages and settings.

use std::str::FromStr;

use crate::name::listed;
use crate::plan::{RowChoice, Selection};
use crate::report::runs::{rows_in_words, settings_in_words};

/// Rows, stages and settings. The outputs of such a run have other names than those of a full run.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SelectionArguments {
    /// Only the first N rows of each source. The outputs are written as `NAME.limit-N.csv` and replace no others.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), group = "some_rows")]
    limit: Option<u64>,
    /// Only N rows of each source, drawn by the seed of the spec. The outputs are written as `NAME.sample-N.csv`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), group = "some_rows")]
    sample: Option<u64>,
    /// Only these rows of each source, by number: `100:200`, `100:` or `:200`. The outputs are written as
    /// `NAME.rows-100-200.csv`.
    #[arg(long, value_name = "FROM:TO", group = "some_rows")]
    rows: Option<RowRange>,
    /// Only this stage and the stages it reads; may be repeated. The outputs are written as `NAME.select-STAGE.csv`.
    #[arg(long, value_name = "STAGE")]
    select: Vec<String>,
    /// Change a setting of the spec for this time, such as `models.small.temperature=0.7`; may be repeated. The outputs are
    /// written as `NAME.set-models.small.temperature-0.7.csv`.
    #[arg(long, value_name = "SETTING=VALUE")]
    pub(crate) set: Vec<String>,
}

/// The numbers of the first and the last row, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RowRange(u64, u64);

impl FromStr for RowRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write the numbers of the first and the last row, such as 100:200".to_owned();
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        let number = |text: &str, missing: u64| match text.trim() {
            "" if !text.is_empty() || first != last => Ok(missing),
            digits => digits.parse::<u64>().map_err(|_| wrong()),
        };
        let range = RowRange(number(first, 1)?, number(last, u64::MAX)?);
        if range.0 == 0 {
            return Err("rows are counted from 1".to_owned());
        }
        if range.0 > range.1 { Err(format!("row {} is after row {}", range.0, range.1)) } else { Ok(range) }
    }
}

impl SelectionArguments {
    fn choice(&self) -> RowChoice {
        match (self.limit, self.sample, self.rows) {
            (Some(rows), ..) => RowChoice::First(rows),
            (_, Some(rows), _) => RowChoice::Sample(rows),
            (.., Some(RowRange(first, last))) => RowChoice::Range(first, last),
            _ => RowChoice::All,
        }
    }

    pub(crate) fn selection(&self) -> Selection {
        Selection { stages: self.select.clone(), rows: self.choice(), set: self.set.clone() }
    }

    /// What a partial run ran.
    pub(crate) fn words(&self) -> String {
        let stages = (!self.select.is_empty())
            .then(|| format!("{} with the stages before", listed(self.select.iter().map(String::as_str))));
        let parts: Vec<String> = rows_in_words(self.choice()).into_iter().chain(stages).collect();
        let ran = if parts.is_empty() { String::new() } else { format!("ran only {}", parts.join(", and only ")) };
        let settings = settings_in_words(&self.set).map(|set| format!("ran {set}"));
        [ran].into_iter().filter(|ran| !ran.is_empty()).chain(settings).collect::<Vec<_>>().join("; ")
    }

    /// The arguments as they are typed, each after a space.
    pub(crate) fn typed(&self) -> String {
        let stages = self.select.iter().map(|stage| format!(" --select {stage}"));
        let rows = match self.choice() {
            RowChoice::All => None,
            RowChoice::First(rows) => Some(format!(" --limit {rows}")),
            RowChoice::Sample(rows) => Some(format!(" --sample {rows}")),
            RowChoice::Range(first, u64::MAX) => Some(format!(" --rows {first}:")),
            RowChoice::Range(first, last) => Some(format!(" --rows {first}:{last}")),
        };
        let set = self.set.iter().map(|setting| format!(" --set {}", quoted(setting)));
        stages.chain(rows).chain(set).collect()
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._-=/:,+".contains(c));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_rows_are_read_in_all_forms() {
        let range = |text: &str| text.parse::<RowRange>().map(|range| (range.0, range.1));
        assert_eq!(range("100:200"), Ok((100, 200)));
        assert_eq!(range("100:"), Ok((100, u64::MAX)));
        assert_eq!(range(":200"), Ok((1, 200)));
        assert_eq!(range("7"), Ok((7, 7)));
        for wrong in ["", ":", "a:b", "0:5", "9:5", "1:2:3", "-1:4"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_arguments_are_typed_again_for_a_shell() {
        let set = vec!["models.a.temperature=0.7".to_owned(), "stages.b.prompt=It's {{ x }}".to_owned()];
        let arguments = SelectionArguments { sample: Some(9), set, ..SelectionArguments::default() };
        let expected = r" --sample 9 --set models.a.temperature=0.7 --set 'stages.b.prompt=It'\''s {{ x }}'";
        assert_eq!(arguments.typed(), expected);
    }
}

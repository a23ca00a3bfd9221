//! Findings: the main statistics of the table of a method, in words for a text.

use arrow_array::RecordBatch;
use arrow_schema::Schema;

use super::text::{figure, number};
use crate::plan::Plan;
use crate::store::RunDir;
use crate::table::{Cell, cell_at};

/// The most statistics of a table that are shown.
const MOST: usize = 8;
const ROWS: usize = 1024;
const STATISTIC: &str = "statistic";
const ESTIMATE: &str = "estimate";

/// The main statistics by their names in a table, with words. Of each family, the first one in the table is shown.
const MAIN: [&[(&str, &str)]; 9] = [
    &[
        ("krippendorff_alpha", "Krippendorff's alpha"),
        ("cohen_kappa", "Cohen's kappa"),
        ("cohen_kappa_quadratic", "Cohen's kappa with quadratic weights"),
        ("cohen_kappa_linear", "Cohen's kappa with linear weights"),
        ("fleiss_kappa", "Fleiss' kappa"),
        ("gwet_ac1", "Gwet's AC1"),
        ("gwet_ac2", "Gwet's AC2"),
        ("percent", "percent agreement"),
    ],
    &[
        ("accuracy", "accuracy"),
        ("mae", "mean absolute error"),
        ("exact_match", "equal texts"),
        ("found", "quotes found"),
    ],
    &[("f1_macro", "macro F1")],
    &[("brier", "Brier score")],
    &[("ece", "expected calibration error")],
    &[("auroc", "AUROC")],
    &[("mean", "mean")],
    &[("coefficient", "coefficient")],
    &[("log_likelihood", "log-likelihood")],
];
/// The columns that say what a main statistic is of. If a further column has a value, the statistic is a detail.
const SUBJECTS: [&str; 5] = ["coders", "column", "probability", "term", "coder"];
/// Columns that only describe a statistic.
const DESCRIPTIONS: [&str; 2] = ["reference", "variance"];
/// The methods of estimates.
const METHODS: [(&str, &str); 5] =
    [("naive", "naive"), ("gold_only", "gold only"), ("dsl", "DSL"), ("ppi", "PPI"), ("ppi++", "PPI++")];

/// The findings of the stages of a finished run: the name of the stage and its lines.
pub(crate) fn of_run(plan: &Plan, folder: &RunDir) -> Vec<(String, Vec<String>)> {
    let methods = plan.transforms().filter_map(|id| {
        let transform = plan.spec.transform(id);
        is_tidy(&transform.relation.schema).then_some(&transform.name)
    });
    let lines = methods.filter_map(|name| {
        let table = folder.committed(name, 0)?.table;
        let batches = table.read(0, table.rows(), ROWS).ok()?.collect::<Result<Vec<_>, _>>().ok()?;
        Some((name.clone(), lines(&batches))).filter(|(_, lines)| !lines.is_empty())
    });
    lines.collect()
}

/// Whether a table has a row for each statistic.
pub(crate) fn is_tidy(schema: &Schema) -> bool {
    [STATISTIC, ESTIMATE, "ci_low", "ci_high", "level", "n"].iter().all(|name| schema.index_of(name).is_ok())
}

/// The main statistics of a tidy table, a line for each.
pub(crate) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let rows = || batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| Finding { batch, row }));
    let mut lines = Vec::new();
    let mut more = 0;
    for family in MAIN {
        let main = |name: &str| -> Vec<Finding<'_>> {
            rows().filter(|found| found.text(STATISTIC).as_deref() == Some(name) && found.is_main()).collect()
        };
        let found = family.iter().map(|(name, words)| (words, main(name))).find(|(_, rows)| !rows.is_empty());
        let Some((words, found)) = found else { continue };
        let are_several = found.len() > 1;
        for found in found {
            match lines.len() < MOST {
                true => lines.push(found.words(words, are_several)),
                false => more += 1,
            }
        }
    }
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

struct Finding<'a> {
    batch: &'a RecordBatch,
    row: usize,
}

impl Finding<'_> {
    fn cell(&self, name: &str) -> Cell {
        self.batch.column_by_name(name).map_or(Cell::Null, |column| cell_at(column.as_ref(), self.row))
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.cell(name) {
            Cell::Null => None,
            cell => Some(cell.text()),
        }
    }

    fn figure(&self, name: &str) -> Option<f64> {
        match self.cell(name) {
            Cell::Number(number) => Some(number),
            Cell::Integer(number) => Some(number as f64),
            _ => None,
        }
    }

    /// Whether it is about all rows and about no single label or bin.
    fn is_main(&self) -> bool {
        let schema = self.batch.schema();
        let end = schema.index_of(ESTIMATE).unwrap_or(0);
        schema.fields().iter().take(end).map(|field| field.name().as_str()).all(|name| {
            name == STATISTIC
                || SUBJECTS.contains(&name)
                || DESCRIPTIONS.contains(&name)
                || self.cell(name) == Cell::Null
        })
    }

    fn words(&self, words: &str, are_several: bool) -> String {
        let coders = self.text("coders");
        let subject = SUBJECTS.iter().filter(|name| **name != "coders" || are_several).find_map(|name| self.text(name));
        let subject = subject.map_or(String::new(), |subject| format!(" of {subject}"));
        let reference = self.text("reference").map_or(String::new(), |reference| format!(" (against {reference})"));
        let method = self.text("method");
        let method = METHODS.iter().find(|(name, _)| method.as_deref() == Some(*name));
        let method = method.map_or(String::new(), |(_, words)| format!(", {words}"));
        let start = format!("{words}{subject}{reference}{method}");
        let note = self.text("note").map_or(String::new(), |note| format!("; {note}"));
        let Some(estimate) = self.figure(ESTIMATE) else { return format!("{start} is undefined{note}") };
        let mut details = Vec::new();
        if let (Some(level), Some(low), Some(high)) =
            (self.figure("level"), self.figure("ci_low"), self.figure("ci_high"))
        {
            details.push(format!("{} % CI {} to {}", figure(100.0 * level), rounded(low), rounded(high)));
        }
        let n = self.figure("n").unwrap_or(0.0) as u64;
        details.push(format!("{} {}", number(n), if n == 1 { "unit" } else { "units" }));
        details.extend(coders.map(|coders| format!("{} coders", coders.split(", ").count())));
        format!("{start} {} ({}){note}", rounded(estimate), details.join(", "))
    }
}

/// Two decimals, or two digits of a small number.
fn rounded(value: f64) -> String {
    match value.abs() {
        0.0 | 0.095.. => format!("{value:.2}"),
        _ => {
            let digits = (1.0 - value.abs().log10().floor()).clamp(2.0, 12.0) as usize;
            format!("{value:.digits$}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};

    use super::*;

    /// The columns before `estimate`, then estimate, ends of the interval, units, method and note.
    type Line<'a> = (&'a [&'a str], [f64; 3], i64, &'a str, &'a str);

    /// A tidy table.
    fn table(names: &[&str], rows: &[Line<'_>]) -> Vec<RecordBatch> {
        let text = |text: &&str| (!text.is_empty()).then(|| (*text).to_owned());
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let cells: StringArray = rows.iter().map(|row| text(&row.0[i])).collect();
            columns.push(((*name).to_owned(), Arc::new(cells)));
        }
        for (i, name) in ["estimate", "ci_low", "ci_high"].iter().enumerate() {
            let cells: Float64Array = rows.iter().map(|row| Some(row.1[i]).filter(|value| !value.is_nan())).collect();
            columns.push(((*name).to_owned(), Arc::new(cells)));
        }
        let level: Float64Array = rows.iter().map(|row| (!row.1[1].is_nan()).then_some(0.95)).collect();
        let n: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
        let method: StringArray = rows.iter().map(|row| text(&row.3)).collect();
        let note: StringArray = rows.iter().map(|row| text(&row.4)).collect();
        let rest: [(&str, ArrayRef); 4] =
            [("level", Arc::new(level)), ("n", Arc::new(n)), ("method", Arc::new(method)), ("note", Arc::new(note))];
        columns.extend(rest.map(|(name, column)| (name.to_owned(), column)));
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
        vec![batch.unwrap()]
    }

    const NONE: f64 = f64::NAN;

    #[test]
    fn an_agreement_is_one_line_about_all_coders() {
        let names = ["party", "statistic", "coders", "label"];
        let rows: [Line<'_>; 4] = [
            (&["", "krippendorff_alpha", "a, b, c, d", ""], [0.743_421, 0.61, 0.8512], 12, "bootstrap_bca", ""),
            (&["", "krippendorff_alpha", "a, b, c, d", "peace"], [0.5, 0.4, 0.6], 12, "bootstrap_bca", ""),
            (&["Whig", "krippendorff_alpha", "a, b, c, d", ""], [0.5, 0.4, 0.6], 6, "bootstrap_bca", ""),
            (&["", "gwet_ac1", "a, b, c, d", ""], [0.775, 0.6, 0.9], 12, "bootstrap_bca", ""),
        ];
        let batches = table(&names, &rows);
        assert!(is_tidy(&batches[0].schema()));
        assert_eq!(lines(&batches), ["Krippendorff's alpha 0.74 (95 % CI 0.61 to 0.85, 12 units, 4 coders)"]);
        let rows: [Line<'_>; 2] = [
            (&["", "cohen_kappa", "a, b", ""], [0.4, 0.151, 0.649], 50, "", ""),
            (&["", "cohen_kappa", "a, c", ""], [NONE, NONE, NONE], 50, "", "only one label"),
        ];
        let expected = [
            "Cohen's kappa of a, b 0.40 (95 % CI 0.15 to 0.65, 50 units, 2 coders)",
            "Cohen's kappa of a, c is undefined; only one label",
        ];
        assert_eq!(lines(&table(&names, &rows)), expected);
    }

    #[test]
    fn the_other_methods_have_their_main_lines() {
        let rows: [Line<'_>; 4] = [
            (&["accuracy", "tone_a", "", ""], [0.8, 0.7, 0.9], 100, "wilson", ""),
            (&["accuracy", "tone_a", "tone_b", ""], [0.1, 0.0, 0.2], 100, "", ""),
            (&["recall", "tone_a", "", "sad"], [0.5, 0.4, 0.6], 40, "wilson", ""),
            (&["f1_macro", "tone_a", "", ""], [0.75, NONE, NONE], 100, "", ""),
        ];
        let expected =
            ["accuracy of tone_a 0.80 (95 % CI 0.70 to 0.90, 100 units)", "macro F1 of tone_a 0.75 (100 units)"];
        assert_eq!(lines(&table(&["statistic", "column", "versus", "label"], &rows)), expected);
        let rows: [Line<'_>; 3] = [
            (&["mean", "", "", "HC0"], [0.6, 0.58, 0.62], 1, "naive", "the interval excludes the estimate by dsl"),
            (&["mean", "", "", "HC0"], [0.7, 0.4158, 0.9842], 1500, "dsl", ""),
            (&["lambda", "", "", ""], [0.9, NONE, NONE], 30, "ppi++", ""),
        ];
        let expected = [
            "mean, naive 0.60 (95 % CI 0.58 to 0.62, 1 unit); the interval excludes the estimate by dsl",
            "mean, DSL 0.70 (95 % CI 0.42 to 0.98, 1,500 units)",
        ];
        assert_eq!(lines(&table(&["statistic", "term", "reference", "variance"], &rows)), expected);
        let rows: [Line<'_>; 1] =
            [(&["coefficient", "party: Whig", "Democrat", "CR1"], [-0.0123, -0.04, 0.015], 300, "dsl", "")];
        let expected =
            ["coefficient of party: Whig (against Democrat), DSL -0.012 (95 % CI -0.040 to 0.015, 300 units)"];
        assert_eq!(lines(&table(&["statistic", "term", "reference", "variance"], &rows)), expected);
    }
}

//! Findings: the main statistics of the table of a method, in words for a text.

use std::collections::BTreeSet;

use arrow_array::RecordBatch;
use arrow_schema::Schema;

use super::text::{figure, number};
use crate::plan::Plan;
use crate::store::RunDir;
use crate::table::{Cell, cell_at};

/// The most statistics of a table that are shown.
const MOST: usize = 12;
const ROWS: usize = 1024;
const STATISTIC: &str = "statistic";
const ESTIMATE: &str = "estimate";

/// The main statistics by their names in a table, with words. Of each family, the first one in the table is shown.
const MAIN: [&[(&str, &str)]; 18] = [
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
    &[("prior", "share")],
    &[
        ("accuracy", "accuracy"),
        ("expected_accuracy", "expected accuracy"),
        ("mae", "mean absolute error"),
        ("exact_match", "equal texts"),
        ("found", "quotes found"),
    ],
    &[("f1_macro", "macro F1")],
    &[
        ("accuracy_difference", "difference in accuracy"),
        ("mae_difference", "difference in mean absolute error"),
        ("exact_match_difference", "difference in equal texts"),
        ("found_difference", "difference in quotes found"),
    ],
    &[("brier", "Brier score")],
    &[("ece", "expected calibration error")],
    &[("auroc", "AUROC")],
    &[("threshold", "threshold of the probability")],
    &[("threshold_coverage", "share of rows from the threshold on")],
    &[("threshold_accuracy", "accuracy from the threshold on")],
    &[("mean", "mean")],
    &[("coefficient", "coefficient")],
    &[("total_variation", "total variation distance"), ("wasserstein", "Wasserstein distance")],
    &[("correlation_rmse", "RMSE of the correlations")],
    &[("sign_agreement", "share of coefficients with the same sign")],
    &[("cramers_v", "Cramer's V of position and choice")],
    &[("p_value", "p value of the order of the options")],
];
/// The columns that say what a main statistic is of. If a further column has a value, the statistic is a detail.
const SUBJECTS: [&str; 6] = ["coders", "column", "probability", "term", "coder", "truth"];
/// Columns that only describe a statistic.
const DESCRIPTIONS: [&str; 4] = ["reference", "variance", "threshold", "predictors"];
/// The kinds of probabilities, in words.
const PROBABILITIES: [(&str, &str); 3] =
    [("stated", ""), ("temperature", " after temperature scaling"), ("isotonic", " after isotonic regression")];
/// The methods of estimates, and the order in which one of them corrects the naive one.
const METHODS: [(&str, &str); 5] =
    [("dsl", "DSL"), ("ppi++", "PPI++"), ("ppi", "PPI"), ("gold_only", "gold only"), ("naive", "naive")];
/// The second column of a difference.
const VERSUS: &str = "versus";
const NAIVE: &str = "naive";
const INTERCEPT: &str = "intercept";

/// Statistics that are not main ones, in words.
const OTHERS: [(&str, &str); 6] = [
    ("jensen_shannon", "Jensen-Shannon divergence (bits)"),
    ("variance_ratio", "ratio of the variances"),
    ("group_means_rank_correlation", "rank correlation of the group means"),
    ("matthews", "Matthews' correlation"),
    ("log_loss", "log loss"),
    ("f1_macro_difference", "difference in macro F1"),
];

/// A value of the column `statistic` or `method` in words. Values of other columns are names and stay as they are.
pub(crate) fn in_words(column: &str, value: &str) -> String {
    let known =
        |words: &[(&str, &str)]| words.iter().find(|(name, _)| *name == value).map(|(_, words)| (*words).to_owned());
    match column {
        "method" => known(&METHODS).unwrap_or_else(|| value.to_owned()),
        STATISTIC => MAIN.iter().find_map(|family| known(family)).or_else(|| known(&OTHERS)).unwrap_or_else(|| {
            // `precision_macro` is the macro precision.
            let means = ["macro", "micro", "weighted"];
            let words = match value.rsplit_once('_').filter(|(_, mean)| means.contains(mean)) {
                Some((of, mean)) => format!("{mean} {of}"),
                None => value.replace('_', " "),
            };
            words.replace("f1", "F1")
        }),
        _ => value.to_owned(),
    }
}

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
    // A note that several lines share is shown once.
    let mut notes = BTreeSet::new();
    for family in MAIN {
        let main = |name: &str| -> Vec<Finding<'_>> {
            rows().filter(|found| found.text(STATISTIC).as_deref() == Some(name) && found.is_main(name)).collect()
        };
        let found = family.iter().map(|(name, words)| (name, words, main(name))).find(|(.., rows)| !rows.is_empty());
        let Some((name, words, mut found)) = found else { continue };
        match *name {
            "coefficient" => found = corrections(found),
            // A temperature changes no order.
            "auroc" => found.truncate(1),
            _ => {}
        }
        let are_several = found.len() > 1;
        for found in found {
            if lines.len() == MOST {
                more += 1;
                continue;
            }
            let note = found.text("note").filter(|note| notes.insert(note.clone()));
            lines.push(found.words(words, are_several, note));
        }
    }
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// The coefficients of each term but the intercept: the naive one, and the best corrected one.
fn corrections(found: Vec<Finding<'_>>) -> Vec<Finding<'_>> {
    let place =
        |found: &Finding<'_>| METHODS.iter().position(|(name, _)| found.text("method").as_deref() == Some(*name));
    let corrected = found.iter().filter_map(place).min();
    let shown = [corrected, METHODS.iter().position(|(name, _)| *name == NAIVE)];
    let mut terms: Vec<Option<String>> = Vec::new();
    for term in found.iter().map(|found| found.text("term")) {
        if !terms.contains(&term) {
            terms.push(term);
        }
    }
    let has_others = terms.len() > 1;
    terms.retain(|term| !has_others || term.as_deref() != Some(INTERCEPT));
    let is_shown = |found: &Finding<'_>| terms.contains(&found.text("term")) && shown.contains(&place(found));
    let mut found: Vec<Finding<'_>> = found.into_iter().filter(is_shown).collect();
    found.sort_by_key(|found| (terms.iter().position(|term| *term == found.text("term")), place(found)));
    found
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
    fn is_main(&self, statistic: &str) -> bool {
        let schema = self.batch.schema();
        let end = schema.index_of(ESTIMATE).unwrap_or(0);
        schema.fields().iter().take(end).map(|field| field.name().as_str()).all(|name| {
            name == STATISTIC
                || name == VERSUS && statistic.ends_with("_difference")
                || SUBJECTS.contains(&name)
                || DESCRIPTIONS.contains(&name)
                || self.cell(name) == Cell::Null
        })
    }

    /// `note` is its own, unless it has been shown.
    fn words(&self, words: &str, are_several: bool, note: Option<String>) -> String {
        let coders = self.text("coders");
        let subject = SUBJECTS.iter().filter(|name| **name != "coders" || are_several).find_map(|name| self.text(name));
        let kind = PROBABILITIES.iter().find(|(kind, _)| subject.as_deref() == Some(*kind));
        let subject = subject.map_or(String::new(), |subject| {
            kind.map_or_else(|| format!(" of {subject}"), |(_, words)| (*words).to_owned())
        });
        let versus = self.text(VERSUS).map_or(String::new(), |versus| format!(" and {versus}"));
        let reference = self.text("reference").map_or(String::new(), |reference| format!(" (against {reference})"));
        let method = self.text("method");
        let method = METHODS.iter().find(|(name, _)| method.as_deref() == Some(*name));
        let method = method.map_or(String::new(), |(_, words)| format!(", {words}"));
        let start = format!("{words}{subject}{versus}{reference}{method}");
        let note = note.map_or(String::new(), |note| format!("; {note}"));
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
    fn statistics_and_methods_have_words_and_names_keep_theirs() {
        let cases = [
            (STATISTIC, "krippendorff_alpha", "Krippendorff's alpha"),
            (STATISTIC, "f1_micro", "micro F1"),
            (STATISTIC, "precision_weighted", "weighted precision"),
            (STATISTIC, "coverage", "coverage"),
            ("method", "gold_only", "gold only"),
            ("column", "tone_a", "tone_a"),
        ];
        for (column, value, words) in cases {
            assert_eq!(in_words(column, value), words);
        }
    }

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

    #[test]
    fn of_a_regression_the_corrected_and_the_naive_coefficients_are_shown() {
        let names = ["statistic", "term", "reference", "variance"];
        let row = |term: &'static str, method: &'static str, note: &'static str| -> Line<'static> {
            let of: &'static [&'static str] = match term {
                "intercept" => &["coefficient", "intercept", "", "HC1"],
                "year" => &["coefficient", "year", "", "HC1"],
                _ => &["coefficient", "party[Whig]", "Tory", "HC1"],
            };
            (of, [0.5, 0.25, 0.75], 40, method, note)
        };
        let rows: Vec<Line<'_>> = ["naive", "gold_only", "ppi", "dsl"]
            .into_iter()
            .flat_map(|method| ["intercept", "party[Whig]", "year"].map(|term| row(term, method, "scaled")))
            .collect();
        let expected = [
            "coefficient of party[Whig] (against Tory), DSL 0.50 (95 % CI 0.25 to 0.75, 40 units); scaled",
            "coefficient of party[Whig] (against Tory), naive 0.50 (95 % CI 0.25 to 0.75, 40 units)",
            "coefficient of year, DSL 0.50 (95 % CI 0.25 to 0.75, 40 units)",
            "coefficient of year, naive 0.50 (95 % CI 0.25 to 0.75, 40 units)",
        ];
        assert_eq!(lines(&table(&names, &rows)), expected);
        let only = [row("intercept", "gold_only", ""), row("intercept", "naive", "")];
        assert_eq!(lines(&table(&names, &only)).len(), 2);
    }

    #[test]
    fn probabilities_and_thresholds_are_in_words() {
        let rows: [Line<'_>; 6] = [
            (&["brier", "stated", "", ""], [0.25, 0.2, 0.3], 40, "", ""),
            (&["brier", "temperature", "", ""], [0.2, 0.15, 0.3], 40, "", ""),
            (&["auroc", "stated", "", ""], [0.7, 0.6, 0.8], 40, "", ""),
            (&["auroc", "isotonic", "", ""], [0.7, 0.6, 0.8], 40, "", ""),
            (&["threshold", "stated", "", "0.9"], [0.9, 0.95, 1.0], 46, "", "found on the part `dev`"),
            (&["bin_accuracy", "stated", "1", ""], [0.7, 0.6, 0.8], 4, "", ""),
        ];
        let expected = [
            "Brier score 0.25 (95 % CI 0.20 to 0.30, 40 units)",
            "Brier score after temperature scaling 0.20 (95 % CI 0.15 to 0.30, 40 units)",
            "AUROC 0.70 (95 % CI 0.60 to 0.80, 40 units)",
            "threshold of the probability 0.90 (95 % CI 0.95 to 1.00, 46 units); found on the part `dev`",
        ];
        assert_eq!(lines(&table(&["statistic", "probability", "bin", "threshold"], &rows)), expected);
    }

    #[test]
    fn the_coders_of_an_ensemble_and_differences_of_columns_are_shown() {
        let rows: [Line<'_>; 5] = [
            (&["log_likelihood", "", "", ""], [-80.0, NONE, NONE], 40, "", ""),
            (&["prior", "", "pos", ""], [0.4, NONE, NONE], 40, "", ""),
            (&["prior", "", "neg", ""], [0.6, NONE, NONE], 40, "", ""),
            (&["expected_accuracy", "anna", "", ""], [0.9, NONE, NONE], 40, "", ""),
            (&["confusion", "anna", "pos", "neg"], [0.1, NONE, NONE], 40, "", ""),
        ];
        let expected = [
            "share of pos 0.40 (40 units)",
            "share of neg 0.60 (40 units)",
            "expected accuracy of anna 0.90 (40 units)",
        ];
        assert_eq!(lines(&table(&["statistic", "coder", "truth", "label"], &rows)), expected);
        let rows: [Line<'_>; 1] = [(&["accuracy_difference", "a", "b", ""], [0.19, 0.05, 0.3], 74, "", "")];
        let expected = ["difference in accuracy of a and b 0.19 (95 % CI 0.050 to 0.30, 74 units)"];
        assert_eq!(lines(&table(&["statistic", "column", "versus", "label"], &rows)), expected);
    }
}

//! Compares the statistics with those of other packages, which `tests/methods_numbers.py` made.

use serde_json::Value;

use super::calibration::{Forecast, Isotonic, Ranked};
use super::classification::{Average, Confusion, Score, confusion_cells};
use super::numeric::errors;

const CLASSIFICATION: &str = include_str!("../../tests/data/methods/classification.json");
const NUMERIC: &str = include_str!("../../tests/data/methods/numeric.json");
const CALIBRATION: &str = include_str!("../../tests/data/methods/calibration.json");

fn tables(text: &str) -> Vec<Value> {
    let tables: Vec<Value> = serde_json::from_str(text).expect("JSON");
    assert_eq!(tables.len(), 50);
    tables
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn classes(value: &Value) -> Vec<usize> {
    numbers(value).into_iter().map(|class| class as usize).collect()
}

fn equal(name: &str, found: Option<f64>, expected: &Value) {
    let near = match (found, expected.as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() <= 1e-12 * expected.abs().max(1.0),
        (found, expected) => found == expected,
    };
    assert!(near, "{name}: {found:?}, not {expected}");
}

#[test]
fn scores_of_50_tables_of_labels() {
    for table in tables(CLASSIFICATION) {
        let scores = &table["scores"];
        let mut confusion = Confusion::new(table["classes"].as_u64().expect("a number") as usize);
        let rows = classes(&table["truth"]).into_iter().zip(classes(&table["predicted"]));
        let rows = rows.zip(numbers(&table["weight"])).map(|((truth, predicted), w)| (truth, predicted, w));
        rows.clone().for_each(|(truth, predicted, w)| confusion.add(truth, predicted, w));
        let cells = confusion_cells(rows);
        for (truth, row) in scores["confusion"].as_array().expect("a list").iter().enumerate() {
            for (predicted, weight) in row.as_array().expect("a list").iter().enumerate() {
                let found = cells.get(&(truth, predicted)).copied().unwrap_or_default();
                equal("confusion", Some(found), weight);
            }
        }
        equal("accuracy", confusion.accuracy(), &scores["accuracy"]);
        equal("balanced_accuracy", confusion.balanced_accuracy(), &scores["balanced_accuracy"]);
        equal("matthews", confusion.matthews(), &scores["matthews"]);
        for (score, name) in [(Score::Precision, "precision"), (Score::Recall, "recall"), (Score::F1, "f1")] {
            for (class, expected) in scores[name].as_array().expect("a list").iter().enumerate() {
                equal(name, confusion.score(score, class), expected);
                equal("support", Some(confusion.support(class)), &scores["support"][class]);
            }
            equal(name, confusion.average(score, Average::Macro), &scores[format!("{name}_macro")]);
            equal(name, confusion.average(score, Average::Weighted), &scores[format!("{name}_weighted")]);
        }
    }
}

#[test]
fn errors_of_50_tables_of_numbers() {
    for table in tables(NUMERIC) {
        let (truth, predicted, weight) = (&table["truth"], &table["predicted"], &table["weight"]);
        let pairs = numbers(truth).into_iter().zip(numbers(predicted)).zip(numbers(weight));
        let found = errors(pairs.map(|((truth, predicted), weight)| (truth, predicted, weight))).expect("pairs");
        for (name, found) in [
            ("mae", Some(found.mean_absolute)),
            ("rmse", Some(found.root_mean_square)),
            ("bias", Some(found.bias)),
            ("pearson", found.pearson),
            ("concordance", found.concordance),
        ] {
            equal(name, found, &table["scores"][name]);
        }
    }
}

#[test]
fn scores_of_50_tables_of_probabilities() {
    for table in tables(CALIBRATION) {
        let rows = numbers(&table["p"]).into_iter().zip(classes(&table["hit"])).zip(numbers(&table["weight"]));
        let forecasts: Vec<Forecast> = rows.map(|((p, hit), weight)| Forecast { p, hit: hit == 1, weight }).collect();
        let scores = &table["scores"];
        let mut sorted = forecasts.clone();
        sorted.sort_by(|a, b| a.p.total_cmp(&b.p));
        let found = Ranked::new(sorted).scores(&vec![1.0; forecasts.len()], 10);
        equal("brier", found.brier.map(|brier| brier.score), &scores["brier"]);
        equal("log_loss", found.log_loss, &scores["log_loss"]);
        equal("auroc", found.auroc, &scores["auroc"]);
        let fit = Isotonic::fit(&forecasts).expect("forecasts");
        for (i, expected) in scores["isotonic"].as_array().expect("a list").iter().enumerate() {
            equal("isotonic", Some(fit.at(i as f64 / 20.0)), expected);
        }
    }
}

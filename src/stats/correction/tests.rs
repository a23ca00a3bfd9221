//! Corrected estimates, on published numbers and on random tables that reference packages have computed.

use serde_json::Value;

use super::super::sampling::units;
use super::*;

const METHODS: [(&str, Method); 5] = [
    ("naive", Method::Naive),
    ("gold_only", Method::GoldOnly),
    ("dsl", Method::Dsl),
    ("ppi", Method::Ppi),
    ("ppi++", Method::PpiTuned),
];
const Z: f64 = 1.959_963_984_540_054;

fn mean_of(machine: Vec<f64>, gold: Vec<Option<f64>>, probability: f64) -> Rows {
    let n = machine.len();
    Rows { x: DMatrix::from_element(n, 1, 1.0), machine, gold, probability: vec![probability; n], clusters: None }
}

/// Ten documents with gold, and twenty that only the machine has read.
fn thirty() -> Rows {
    let gold = [1, 0, 1, 1, 0, 0, 1, 0, 1, 1].map(f64::from);
    let machine = [1, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1];
    let gold = gold.into_iter().map(Some).chain(vec![None; 20]).collect();
    mean_of(machine.map(f64::from).to_vec(), gold, 1.0 / 3.0)
}

fn close(found: f64, expected: f64, within: f64, what: &str) {
    assert!((found - expected).abs() <= within, "{what}: {found}, expected {expected}");
}

#[test]
fn a_mean_has_its_reference_numbers() {
    let fit = |method| thirty().estimate(Model::Mean, method, &[]).unwrap();
    let interval = |method, estimate, low, high, within| {
        let fit = fit(method);
        let (found, half) = (fit.coefficients[0], Z * fit.std_errors[0]);
        close(found, estimate, within, "estimate");
        close(found - half, low, within, "low");
        close(found + half, high, within, "high");
    };
    interval(Method::Ppi, 0.75, 0.41408, 1.08592, 5e-6);
    interval(Method::PpiTuned, 0.664444, 0.400534, 0.928355, 5e-7);
    interval(Method::GoldOnly, 0.6, 0.296364, 0.903636, 5e-7);
    let dsl = fit(Method::Dsl);
    close(dsl.coefficients[0], 0.7, 1e-12, "dsl");
    close(dsl.std_errors[0], 0.145033, 5e-7, "standard error");
    assert_eq!((dsl.n, fit(Method::GoldOnly).n, fit(Method::Naive).coefficients[0]), (30, 10, 0.7));
}

/// The numbers of `ppi_py`, `statsmodels` and `scipy` over random tables (`tests/methods_numbers.py`).
#[test]
fn random_tables_agree_with_other_packages() {
    let tables: Vec<Value> = serde_json::from_str(include_str!("../../../tests/data/methods/estimate.json")).unwrap();
    let mut compared = 0;
    for (number, table) in tables.iter().enumerate() {
        let column = |name: &str| table["rows"][name].as_array().unwrap();
        let numbers = |name: &str| column(name).iter().map(|cell| cell.as_f64().unwrap()).collect::<Vec<f64>>();
        let (party, year) = (numbers("party"), numbers("year"));
        let clusters: Vec<usize> = column("cluster").iter().map(|cell| cell.as_u64().unwrap() as usize).collect();
        for (name, method) in METHODS {
            for (of, expected) in table["numbers"][name].as_object().into_iter().flatten() {
                let predictors = if of == "mean" { 1 } else { 3 };
                let rows = Rows {
                    x: DMatrix::from_fn(party.len(), predictors, |i, j| [1.0, party[i], year[i]][j]),
                    machine: numbers("machine"),
                    gold: column("gold").iter().map(Value::as_f64).collect(),
                    probability: numbers("probability"),
                    clusters: of.ends_with("_cluster").then(|| clusters.clone()),
                };
                let model = match of.split('_').next().unwrap() {
                    "mean" => Model::Mean,
                    "ols" => Model::Regression(Link::Identity),
                    _ => Model::Regression(Link::Logit),
                };
                let fit = rows.estimate(model, method, &[]).unwrap();
                // `ppi_py` minimises the loss of a logit numerically.
                let within = if of == "logit" && name.starts_with("ppi") { 2e-5 } else { 1e-8 };
                for (found, key) in [(&fit.coefficients, "estimate"), (&fit.std_errors, "std_error")] {
                    for (i, found) in found.iter().enumerate() {
                        let expected = expected[key][i].as_f64().unwrap();
                        close(*found, expected, within, &format!("table {number}, {name}, {of}, {key} {i}"));
                        compared += 1;
                    }
                }
            }
        }
    }
    assert_eq!(compared, 12 * 2 * (3 * 7 + 2 * 3 + 3 + 3) + 6 * 2 * 2 * 7);
}

/// The numbers of the authors' package `dsl`, without its random forest (`tests/methods_numbers.py`): the same estimates,
/// and the same standard errors before the correction for few rows or clusters.
#[test]
fn design_based_supervised_learning_agrees_with_its_authors() {
    let tables: Vec<Value> = serde_json::from_str(include_str!("../../../tests/data/methods/dsl.json")).unwrap();
    assert_eq!(tables.len(), 3);
    for table in tables {
        let column = |name: &str| table["rows"][name].as_array().unwrap();
        let numbers = |name: &str| column(name).iter().map(|cell| cell.as_f64().unwrap()).collect::<Vec<f64>>();
        let (party, year, name) = (numbers("party"), numbers("year"), table["model"].as_str().unwrap());
        let (model, k) = match name {
            "mean" => (Model::Mean, 1),
            "ols" => (Model::Regression(Link::Identity), 3),
            _ => (Model::Regression(Link::Logit), 3),
        };
        let n = party.len();
        let clusters: Vec<usize> = column("cluster").iter().map(|cell| cell.as_u64().unwrap() as usize).collect();
        let g = clusters.iter().collect::<std::collections::BTreeSet<_>>().len() as f64;
        let mut rows = Rows {
            x: DMatrix::from_fn(n, k, |i, j| [1.0, party[i], year[i]][j]),
            machine: numbers("machine"),
            gold: column("gold").iter().map(Value::as_f64).collect(),
            probability: numbers("probability"),
            clusters: None,
        };
        let codes = table["codes"].as_u64().unwrap() as usize;
        let (few, few_clusters) =
            ((n as f64 / (n - k) as f64).sqrt(), (g / (g - 1.0) * (n as f64 - 1.0) / (n - k) as f64).sqrt());
        let fit = rows.estimate(model, Method::Dsl, &[codes]).unwrap();
        rows.clusters = Some(clusters);
        let clustered = rows.estimate(model, Method::Dsl, &[]).unwrap();
        let near = |found: &[f64], key: &str, factor: f64| {
            for (i, found) in found.iter().enumerate() {
                let expected = table[key][i].as_f64().unwrap() * factor;
                close(found / expected, 1.0, 1e-8, &format!("{name}, {key} {i}"));
            }
        };
        near(&fit.coefficients, "estimate", 1.0);
        near(&fit.std_errors, "std_error", few);
        near(&fit.expected[0], "expected_std_error", few);
        near(&clustered.coefficients, "estimate", 1.0);
        near(&clustered.std_errors, "std_error_cluster", few_clusters);
    }
}

/// Documents of which 30 % are positive, read by a machine with sensitivity 0.9 and specificity 0.8.
fn documents(count: usize, gold: usize, seed: u64) -> Rows {
    let mut unit = units(seed);
    let truth: Vec<f64> = (0..count).map(|_| f64::from(u8::from(unit() < 0.3))).collect();
    let read = |truth: &f64| f64::from(u8::from(unit() < if *truth == 1.0 { 0.9 } else { 0.2 }));
    let machine = truth.iter().map(read).collect();
    let mut order: Vec<(f64, usize)> = (0..count).map(|i| (unit(), i)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut drawn = vec![None; count];
    order[..gold].iter().for_each(|(_, i)| drawn[*i] = Some(truth[*i]));
    mean_of(machine, drawn, gold as f64 / count as f64)
}

#[test]
fn corrected_intervals_cover_the_truth_and_the_naive_one_does_not() {
    let runs = 300;
    let mut found = METHODS.map(|_| (0, 0.0));
    for seed in 0..runs {
        let rows = documents(2000, 200, seed);
        for ((covered, width), (_, method)) in found.iter_mut().zip(METHODS) {
            let fit = rows.estimate(Model::Mean, method, &[]).unwrap();
            let half = Z * fit.std_errors[0];
            *covered += u32::from((fit.coefficients[0] - 0.3).abs() <= half);
            *width += 2.0 * half / runs as f64;
        }
    }
    let [naive, gold_only, others @ ..] = found;
    assert_eq!(naive.0, 0, "{found:?}");
    for (covered, width) in others {
        assert!((276..=296).contains(&covered), "{found:?}");
        assert!(width < gold_only.1, "{found:?}");
    }
    assert!((276..=296).contains(&gold_only.0), "{found:?}");
}

#[test]
fn the_standard_error_to_expect_is_the_one_that_more_codes_have() {
    for (_, method) in &METHODS[1..] {
        let average = |gold, power: &[usize]| {
            let one = |seed| {
                let fit = documents(3000, gold, seed).estimate(Model::Mean, *method, power).unwrap();
                fit.expected.first().map_or(fit.std_errors[0], |errors| errors[0])
            };
            (0..40).map(one).sum::<f64>() / 40.0
        };
        let (expected, found) = (average(100, &[400]), average(400, &[]));
        assert!((expected / found - 1.0).abs() < 0.05, "{method:?}: {expected} {found}");
        // With as many codes as there are, it is the standard error itself.
        close(average(100, &[100]), average(100, &[]), 1e-12, "the same");
    }
}

#[test]
fn estimates_without_an_answer_say_why() {
    let mut rows = documents(50, 10, 3);
    let undefined = |rows: &Rows, model, method| rows.estimate(model, method, &[]).unwrap_err();
    rows.gold = rows.gold.iter().map(|gold| gold.map(|_| 1.0)).collect();
    assert_eq!(undefined(&rows, Model::Regression(Link::Logit), Method::GoldOnly), Undefined::Separated);
    rows.clusters = Some(vec![0; 50]);
    assert_eq!(undefined(&rows, Model::Mean, Method::Naive), Undefined::FewClusters);
    rows.clusters = None;
    // All rows have gold: nothing is left for the machine alone.
    rows.gold = vec![Some(1.0); 50];
    assert_eq!(undefined(&rows, Model::Mean, Method::Ppi), Undefined::TooFew);
    rows.gold = vec![None; 50];
    for (_, method) in &METHODS[1..] {
        assert_eq!(undefined(&rows, Model::Mean, *method), Undefined::TooFew);
    }
}

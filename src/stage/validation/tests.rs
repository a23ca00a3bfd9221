//! How often the intervals of a validation contain the figure of the population, in simulated samples.

use indexmap::IndexSet;

use super::comparison::{Compared, Matching, statistics};
use crate::random::Streams;
use crate::stats::{Average, Bootstrap, Confusion, Score};

/// The share of the units with a true label (row) and a predicted one (column).
const POPULATION: [[f64; 3]; 3] = [[0.40, 0.06, 0.04], [0.05, 0.22, 0.03], [0.04, 0.04, 0.12]];
/// The probability of a unit to be in the sample, by its predicted label.
const PROBABILITY: [f64; 3] = [0.3, 0.5, 0.8];
const STUDIES: u64 = 400;
const UNITS: usize = 400;

const CELLS: [(usize, usize); 9] = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)];

/// How many units of each cell are in a sample.
fn sampled(study: u64) -> [u64; 9] {
    let mut stream = Streams::new(study, &["validation"]).of(0);
    let mut counts = [0; 9];
    for _ in 0..UNITS {
        let mut point = stream.unit();
        let cell = CELLS.iter().position(|(truth, predicted)| {
            point -= POPULATION[*truth][*predicted];
            point < 0.0
        });
        let cell = cell.unwrap_or(8);
        counts[cell] += u64::from(stream.unit() < PROBABILITY[CELLS[cell].1]);
    }
    counts
}

#[test]
fn intervals_contain_the_figures_of_the_population() {
    let mut all = Confusion::new(3);
    CELLS.iter().for_each(|(truth, predicted)| all.add(*truth, *predicted, POPULATION[*truth][*predicted]));
    let figures = [
        ("accuracy", None, all.accuracy()),
        ("balanced_accuracy", None, all.balanced_accuracy()),
        ("f1_macro", None, all.average(Score::F1, Average::Macro)),
        ("matthews", None, all.matthews()),
        ("precision", Some("b"), all.score(Score::Precision, 1)),
        ("recall", Some("c"), all.score(Score::Recall, 2)),
        ("f1", Some("c"), all.score(Score::F1, 2)),
    ];
    let (names, labels) = (["x".to_owned()], ["a", "b", "c"].map(str::to_owned).into_iter().collect::<IndexSet<_>>());
    let mut covered = figures.map(|(name, ..)| (name, 0));
    for study in 0..STUDIES {
        let drawn: Vec<(usize, u64)> = sampled(study).into_iter().enumerate().filter(|(_, count)| *count > 0).collect();
        let compared = Compared {
            names: &names,
            truth: "h",
            labels: &labels,
            columns: vec![Matching::Labels(drawn.iter().map(|(cell, _)| Some(CELLS[*cell])).collect())],
            without_truth: 0,
            weights: drawn.iter().map(|(cell, _)| 1.0 / PROBABILITY[CELLS[*cell].1]).collect(),
            counts: drawn.iter().map(|(_, count)| *count).collect(),
            clusters: None,
        };
        let streams = Streams::new(study, &["bootstrap"]);
        let found = statistics(&compared, &Bootstrap { replicates: 300, confidence: 0.95, bca: true, streams });
        for ((name, label, truth), (_, covered)) in figures.iter().zip(&mut covered) {
            let is = |statistic: &&crate::stage::method::tidy::Statistic| {
                statistic.name == *name && statistic.of[2].as_deref() == *label
            };
            let (low, high) = found.iter().find(is).and_then(|statistic| statistic.interval).unwrap();
            *covered += u64::from((low..=high).contains(&truth.unwrap()));
        }
    }
    // 95 % of 400 are 380; the standard deviation is 4.4.
    assert!(covered.iter().all(|(_, covered)| (366..=394).contains(covered)), "{covered:?}");
}

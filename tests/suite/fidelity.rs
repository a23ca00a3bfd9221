//! The `fidelity` stage: a synthetic sample beside a human one.

use crate::project::{Project, Table};

/// A spec with one stage `far` over the sources `models` and `people`. `types` are those of both sources.
fn project(types: &str, stage: &str, models: &[Vec<String>], people: &[Vec<String>]) -> Project {
    let source = |name: &str| {
        let types = if types.is_empty() { String::new() } else { format!("types = {{ {types} }}\n") };
        format!("[sources.{name}]\ntype = \"file\"\npath = \"{name}.csv\"\n{types}")
    };
    let spec = format!(
        "seed = 3\n{}{}[stages.far]\ntype = \"fidelity\"\nsynthetic = \"models\"\nhuman = \"people\"\n{stage}\n\
         [outputs.far]\ninput = \"far\"\npath = \"far.parquet\"\n",
        source("models"),
        source("people"),
    );
    let csv = |rows: &[Vec<String>]| rows.iter().map(|row| row.join(",") + "\n").collect::<String>();
    Project::new().spec(&spec).file("models.csv", csv(models)).file("people.csv", csv(people))
}

fn computed(project: &Project) -> Table {
    project.run(&["run", "pipeline.toml"]).exits(0);
    project.table("far.parquet")
}

/// A header, then each value as often as it is counted.
fn counted(name: &str, values: &[&str], counts: [usize; 5]) -> Vec<Vec<String>> {
    let rows = values.iter().zip(counts).flat_map(|(value, count)| vec![vec![(*value).to_owned()]; count]);
    [vec![name.to_owned()]].into_iter().chain(rows).collect()
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// The estimate of a statistic of all rows.
fn estimate(table: &Table, statistic: &str, column: &str) -> Option<f64> {
    let rows = table.texts("statistic").into_iter().zip(table.strings("column")).zip(table.floats("estimate"));
    rows.into_iter().find(|((name, of), _)| name == statistic && of.as_deref().unwrap_or_default() == column)?.1
}

fn near(found: Option<f64>, expected: f64) {
    assert!(found.is_some_and(|found| (found - expected).abs() < 5e-8), "{found:?}, expected {expected}");
}

const SYNTHETIC: [usize; 5] = [2, 4, 8, 4, 2];
const HUMAN: [usize; 5] = [1, 3, 10, 5, 1];

#[test]
fn distances_have_their_reference_values() {
    let values = ["1", "2", "3", "4", "5"];
    let (models, people) = (counted("trust", &values, SYNTHETIC), counted("trust", &values, HUMAN));
    let table = computed(&project("trust = \"integer\"", "columns = [\"trust\"]", &models, &people));
    let expected = ["total_variation", "jensen_shannon", "wasserstein", "variance_ratio"];
    assert_eq!(table.texts("statistic"), expected);
    // SciPy 1.17.1: jensenshannon(p, q, 2) ** 2 and wasserstein_distance. The variances are 1.2 and 0.79.
    for (statistic, expected) in expected.into_iter().zip([0.15, 0.020_864_360_7, 0.2, 1.2 / 0.79]) {
        near(estimate(&table, statistic, "trust"), expected);
    }
    assert_eq!((table.ints("n"), table.ints("left_out")), (vec![Some(40); 4], vec![Some(0); 4]));
    assert!(table.texts("method").iter().all(|method| method.starts_with("bootstrap_")));
    let (low, high) = (table.floats("ci_low"), table.floats("ci_high"));
    for (i, found) in table.floats("estimate").into_iter().enumerate().filter(|(i, _)| *i > 1) {
        assert!(low[i] <= found && found <= high[i] && low[i] < high[i], "{i}: {low:?} {high:?}");
    }
    // Ordered labels have the same distances in steps; labels without an order have those of shares.
    let words = ["never", "rarely", "sometimes", "mostly", "always"];
    let (models, people) = (counted("trust", &words, SYNTHETIC), counted("trust", &words, HUMAN));
    let order = format!("columns = [\"trust\"]\norder.trust = {words:?}");
    let ordered = computed(&project("", &order, &models, &people));
    assert_eq!(ordered.floats("estimate"), table.floats("estimate"));
    let labels = computed(&project("", "columns = [\"trust\"]", &models, &people));
    assert_eq!(labels.texts("statistic"), ["total_variation", "jensen_shannon"]);
    assert_eq!(labels.floats("estimate")[0], table.floats("estimate")[0]);
}

#[test]
fn survey_weights_count_on_the_human_side() {
    let values = ["1", "2", "3", "4", "5"];
    let mut models = counted("trust", &values, SYNTHETIC);
    models.iter_mut().for_each(|row| row.push(String::new()));
    models[0][1] = "w".to_owned();
    let mut people = vec![row(&["trust", "w"])];
    people.extend(values.iter().zip(HUMAN).map(|(value, count)| row(&[value, &(count as f64 / 2.0).to_string()])));
    let stage = "columns = [\"trust\"]\nweight = \"w\"\nbootstrap = { replicates = 0 }";
    let types = "trust = \"integer\", w = \"number\"";
    let table = computed(&project(types, stage, &models, &people));
    near(estimate(&table, "jensen_shannon", "trust"), 0.020_864_360_7);
    near(estimate(&table, "variance_ratio", "trust"), 1.2 / 0.79);
    people[2][1] = "-1".to_owned();
    let ran = project(types, stage, &models, &people).run(&["run", "pipeline.toml"]).exits(2);
    assert!(ran.stderr.contains("1 row has no weight, or one below 0"), "{}", ran.stderr);
}

#[test]
fn groups_relations_and_regressions_are_compared() {
    // In both samples the answers rise from party to party; only people answer less with age.
    let mut models = vec![row(&["party", "age", "trust", "tax"])];
    let mut people = models.clone();
    for (i, party) in ["a", "b", "c", "d"].into_iter().enumerate() {
        for age in 0..10usize {
            let (noise, own) = ((age * 7 + i) % 3, (age * 3 + i) % 4);
            let cells = |trust: usize| row(&[party, &age.to_string(), &trust.to_string(), &own.to_string()]);
            models.push(cells(10 + 3 * i + age + noise));
            people.push(cells(40 + 5 * i - age + noise));
        }
    }
    let stage = "columns = [\"trust\", \"tax\"]\nby = [\"party\"]\nbootstrap = { replicates = 200 }\n\
                 regressions = [{ outcome = \"trust\", predictors = [\"age\", \"party\"] }]";
    let types = "age = \"integer\", trust = \"integer\", tax = \"integer\"";
    let table = computed(&project(types, stage, &models, &people));
    near(estimate(&table, "group_means_rank_correlation", "trust"), 1.0);
    // The coefficients of three parties have the same sign, that of age has not.
    near(estimate(&table, "sign_agreement", "trust"), 0.75);
    let place = table.texts("statistic").iter().position(|name| name == "sign_agreement").expect("a regression");
    assert_eq!(table.strings("predictors")[place].as_deref(), Some("age, party"));
    assert!(estimate(&table, "correlation_rmse", "").is_some_and(|rmse| rmse > 0.0));
    let groups = table.strings("party").into_iter().flatten().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(groups.into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    // A sample beside itself.
    let same = computed(&project(types, stage, &people, &people));
    for (statistic, expected) in [
        ("total_variation", 0.0),
        ("wasserstein", 0.0),
        ("variance_ratio", 1.0),
        ("group_means_rank_correlation", 1.0),
        ("sign_agreement", 1.0),
    ] {
        near(estimate(&same, statistic, "trust"), expected);
    }
    near(estimate(&same, "correlation_rmse", ""), 0.0);
}

#[test]
fn what_cannot_be_compared_has_a_note() {
    let people = [row(&["vote", "age"]), row(&["Left", "30"]), row(&["Right", "30"]), row(&["Right", "30"])];
    let models = [row(&["vote", "age"]), row(&["left", ""]), row(&["Right", ""]), row(&["Green", ""])];
    let table = computed(&project("age = \"integer\"", "columns = [\"vote\", \"age\"]", &models, &people));
    let notes: Vec<String> = table.strings("note").into_iter().map(Option::unwrap_or_default).collect();
    assert_eq!(notes[0], "only one sample has `Green`, `Left`, `left`");
    assert_eq!(notes[2..], ["no row of the synthetic sample has a value"; 4]);
    assert!(table.floats("estimate")[2..].iter().all(Option::is_none));
}

#[test]
fn an_interval_beside_its_estimate_has_a_note() {
    // 30 rows of each sample with 60 different values.
    let rows = |first: usize| {
        let values = (0..30).map(|i| row(&[&(first + 7 * i % 60).to_string()]));
        [row(&["age"])].into_iter().chain(values).collect::<Vec<_>>()
    };
    let stage = "columns = [\"age\"]\nbootstrap = { replicates = 200 }";
    let table = computed(&project("age = \"integer\"", stage, &rows(0), &rows(3)));
    let notes = table.strings("note");
    assert_eq!(
        notes[0].as_deref(),
        Some("too few rows for many values: the bootstrap interval lies beside the estimate")
    );
    assert_eq!(notes[2], None, "the Wasserstein distance has no such bias");
}

#[test]
fn wrong_settings_are_reported_at_their_place() {
    let rows = [row(&["vote", "age"]), row(&["Left", "30"]), row(&["Right", "40"])];
    let types = "age = \"integer\"";
    for (stage, place, message) in [
        ("columns = []", "columns", "`columns` is empty"),
        ("columns = [\"votes\"]", "columns", "`models` has no column `votes`"),
        ("columns = [\"vote\", \"vote\"]", "columns", "`vote` is listed twice"),
        ("columns = [\"vote\"]\norder.age = [\"a\", \"b\"]", "order", "`age` is not one of `columns`"),
        ("columns = [\"vote\"]\norder.vote = [\"Left\"]", "order", "needs two labels or more"),
        ("columns = [\"age\"]\nweight = \"vote\"", "weight", "`vote` holds text, but numbers are needed here"),
        (
            "columns = [\"age\"]\nregressions = [{ outcome = \"vote\", predictors = [\"age\"] }]",
            "outcome",
            "`vote` holds labels, but an outcome needs numbers or ordered labels",
        ),
    ] {
        let ran = project(types, stage, &rows, &rows).run(&["validate", "pipeline.toml"]).exits(2);
        assert!(ran.stderr.contains(message) && ran.stderr.contains(place), "{stage}: {}", ran.stderr);
        assert_eq!(ran.stderr.matches(message).count(), 1, "{stage}: {}", ran.stderr);
    }
    let stage = "columns = [\"vote\"]\norder.vote = [\"Right\", \"Centre\"]";
    let ran = project(types, stage, &rows, &rows).run(&["run", "pipeline.toml"]).exits(2);
    assert!(ran.stderr.contains("`vote` has the label `Left`, which is not in its order"), "{}", ran.stderr);
}

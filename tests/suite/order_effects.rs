//! The `order-effects` stage: whether the orders of a survey change its answers.

use crate::project::{Project, Table};

const OPTIONS: &str = r#"options = ["never", "sometimes", "always"]"#;

/// A survey of `people` respondents by a mock, with these questions, and its order effects. `stage` are lines of the
/// survey, `effects` of the method.
fn project(pick: &str, people: usize, (stage, questions): (&str, &str), effects: &str) -> Project {
    let spec = format!(
        "seed = 5\n[providers.made_up]\ntype = \"mock\"\npick = \"{pick}\"\n[models.a]\nprovider = \"made_up\"\nmodel = \"m\"\n\
         [models.b]\nprovider = \"made_up\"\nmodel = \"n\"\n\
         [sources.people]\ntype = \"file\"\npath = \"people.csv\"\nkey = \"id\"\n\
         [stages.talk]\ntype = \"survey\"\ninput = \"people\"\n{stage}\nquestions = [{questions}]\n\
         [stages.effects]\ntype = \"order-effects\"\ninput = \"talk\"\n{effects}\n\
         [outputs.talk]\ninput = \"talk\"\npath = \"talk.parquet\"\n\
         [outputs.effects]\ninput = \"effects\"\npath = \"effects.parquet\"\n"
    );
    let rows: String = (1..=people).map(|id| format!("{id}\n")).collect();
    Project::new().spec(&spec).file("people.csv", format!("id\n{rows}"))
}

fn computed(project: &Project) -> Table {
    project.run(&["run", "pipeline.toml"]).exits(0);
    project.table("effects.parquet")
}

/// The estimates of a statistic, in the order of the rows.
fn estimates(table: &Table, statistic: &str) -> Vec<Option<f64>> {
    let rows = table.texts("statistic").into_iter().zip(table.floats("estimate"));
    rows.filter(|(name, _)| name == statistic).map(|(_, estimate)| estimate).collect()
}

fn one(table: &Table, statistic: &str) -> f64 {
    let found = estimates(table, statistic);
    assert_eq!(found.len(), 1, "{statistic}: {found:?}");
    found[0].unwrap_or_else(|| panic!("{statistic} is null"))
}

#[test]
fn a_model_that_always_takes_the_first_option_is_found_out() {
    let question = format!("{{ id = \"use\", text = \"How often?\", {OPTIONS} }}");
    for order in ["cyclic", "latin"] {
        let stage = format!("models = [\"a\"]\noption_order = \"{order}\"");
        let project = project("first", 60, (&stage, &question), "");
        let table = computed(&project);
        assert!(one(&table, "p_value") < 1e-6, "{order}: {:?}", table.rows());
        assert!((one(&table, "cramers_v") - 1.0).abs() < 1e-12);
        assert_eq!(estimates(&table, "position_share"), [Some(1.0), Some(0.0), Some(0.0)]);
        // Over all respondents the balanced orders make the answers uniform.
        let answers = project.table("talk.parquet").texts("use");
        for option in ["never", "sometimes", "always"] {
            assert_eq!(answers.iter().filter(|answer| *answer == option).count(), 20, "{order}, {option}");
        }
    }
    let project = project("first", 60, ("models = [\"a\"]\noption_order = \"random\"", &question), "");
    let table = computed(&project);
    assert!(one(&table, "p_value") < 1e-6 && one(&table, "cramers_v") > 0.9, "{:?}", table.rows());
}

#[test]
fn a_model_that_does_not_look_at_the_order_has_uniform_p_values() {
    // 200 questions of one run are 200 independent draws of answers and of orders.
    let question = |number| format!("{{ id = \"q{number}\", text = \"Question {number}?\", {OPTIONS} }}");
    let questions = (1..=200).map(question).collect::<Vec<_>>().join(", ");
    for order in ["cyclic", "random"] {
        let stage = format!("models = [\"a\"]\nper = \"respondent\"\noption_order = \"{order}\"");
        let table = computed(&project("random", 150, (&stage, &questions), ""));
        let mut found: Vec<f64> = estimates(&table, "p_value").into_iter().flatten().collect();
        assert_eq!(found.len(), 200);
        found.sort_unstable_by(f64::total_cmp);
        let gap = |(i, p): (usize, &f64)| (p - i as f64 / 200.0).abs().max((p - (i + 1) as f64 / 200.0).abs());
        let distance = found.iter().enumerate().map(gap).fold(0.0, f64::max);
        // The Kolmogorov-Smirnov distance of 200 uniform values is above 0.115 in 1 % of cases.
        assert!(distance < 0.115, "{order}: {distance}");
    }
}

/// A table of answers with their orders, as another program may make it.
fn answers(rows: &[(&[&str], &str, usize)], effects: &str) -> Project {
    let line = |(order, answer, count): &(&[&str], &str, usize)| {
        let row = serde_json::json!({ "use": answer, "use_shown": order });
        format!("{row}\n").repeat(*count)
    };
    let spec = format!(
        "[sources.talk]\ntype = \"file\"\npath = \"talk.jsonl\"\n[stages.effects]\ntype = \"order-effects\"\ninput = \"talk\"\n{effects}\n\
         [outputs.effects]\ninput = \"effects\"\npath = \"effects.parquet\"\n"
    );
    Project::new().spec(&spec).file("talk.jsonl", rows.iter().map(line).collect::<String>())
}

/// The counts of the choices of a, b and c after each rotation are [[30, 20, 10], [20, 20, 20], [10, 20, 30]].
const ROTATED: [(&[&str], &str, usize); 9] = [
    (&["a", "b", "c"], "a", 30),
    (&["a", "b", "c"], "b", 20),
    (&["a", "b", "c"], "c", 10),
    (&["b", "c", "a"], "a", 20),
    (&["b", "c", "a"], "b", 20),
    (&["b", "c", "a"], "c", 20),
    (&["c", "a", "b"], "a", 10),
    (&["c", "a", "b"], "b", 20),
    (&["c", "a", "b"], "c", 30),
];

#[test]
fn positions_and_choices_are_counted_by_the_recorded_orders() {
    let table = computed(&answers(&ROTATED, ""));
    let names = table.texts("statistic");
    assert_eq!(names[..4], ["chi_square", "df", "p_value", "cramers_v"]);
    assert_eq!(names[4..7], ["position_share"; 3]);
    assert_eq!(names[7..], ["chosen_share"; 9]);
    assert_eq!(table.ints("n")[..7], [Some(180); 7]);
    let shares: Vec<f64> = estimates(&table, "position_share").into_iter().flatten().collect();
    assert_eq!(shares, [80.0 / 180.0, 50.0 / 180.0, 50.0 / 180.0]);
    // SciPy 1.17.1, chi2_contingency: statistic 20, 4 degrees of freedom, p 4.994e-4.
    let near = |statistic: &str, expected: f64| {
        let found = one(&table, statistic);
        assert!((found - expected).abs() < 1e-12, "{statistic}: {found}");
    };
    near("chi_square", 20.0);
    near("df", 4.0);
    near("p_value", 11.0 * (-10f64).exp());
    near("cramers_v", (20.0f64 / 360.0).sqrt());
    // The option `a` was shown 60 times at the first position, and chosen there 30 times.
    assert_eq!(estimates(&table, "chosen_share")[0], Some(0.5));
    assert_eq!(
        (table.strings("position")[7].as_deref(), table.strings("option")[7].as_deref()),
        (Some("1"), Some("a"))
    );
    let (low, high) = (table.floats("ci_low")[7].unwrap(), table.floats("ci_high")[7].unwrap());
    assert!(low < 0.5 && high > 0.5 && table.texts("method")[7] == "wilson");
}

#[test]
fn what_has_no_order_effect_has_a_note() {
    let table = computed(&answers(&[(&["a", "b"], "a", 3), (&["a", "b"], "b", 4), (&["a", "b"], "c", 2)], ""));
    let notes: Vec<String> = table.strings("note").into_iter().map(Option::unwrap_or_default).collect();
    assert_eq!(
        notes[0],
        "all saw the same order, or all chose the same option; 2 rows name an option that was not shown"
    );
    assert_eq!((table.floats("estimate")[0], table.ints("n")[0], table.ints("left_out")[0]), (None, Some(7), Some(2)));
}

#[test]
fn groups_models_and_the_order_of_questions_have_their_own_tests() {
    let questions = format!(
        "{{ id = \"use\", text = \"How often?\", {OPTIONS} }}, {{ id = \"trust\", text = \"Whom?\", {OPTIONS} }}, \
         {{ id = \"why\", text = \"Why?\" }}"
    );
    let orders = "option_order = \"random\"\nquestion_order = \"random\"\nmemory = true\nfanout = true";
    let models = format!("models = [\"a\", \"b\"]\n{orders}");
    let wide =
        computed(&project("random", 40, (&models, &questions), "question_order_column = \"talk_question_order_b\""));
    let columns = |table: &Table| -> std::collections::BTreeSet<String> { table.texts("column").into_iter().collect() };
    assert_eq!(columns(&wide).into_iter().collect::<Vec<_>>(), ["trust_a", "trust_b", "use_a", "use_b"]);
    assert!(estimates(&wide, "question_p_value").into_iter().all(|p| p.is_some_and(|p| p > 0.0)));
    assert_eq!(estimates(&wide, "question_df"), [Some(4.0); 4]);
    let long = format!("{models}\nlayout = \"long\"");
    let long = computed(&project("random", 40, (&long, &questions), "by = [\"model\"]\ncolumns = [\"use\"]"));
    assert_eq!(columns(&long).into_iter().collect::<Vec<_>>(), ["use"]);
    let of_groups = estimates(&long, "p_value");
    assert_eq!(of_groups.len(), 3);
    let of_wide = estimates(&wide, "p_value");
    assert_eq!((of_groups[1], of_groups[2]), (of_wide[0], of_wide[2]), "each group has the test of its model");
}

#[test]
fn columns_without_an_order_are_refused() {
    let question = format!("{{ id = \"use\", text = \"How often?\", {OPTIONS} }}");
    let problems = |stage: &str, effects: &str| {
        project("random", 4, (stage, &question), effects).run(&["validate", "pipeline.toml"]).exits(2).stderr
    };
    let given = "models = [\"a\"]";
    let found = problems(given, "");
    assert!(found.contains("no column of `talk` records in which order options were shown"), "{found}");
    let found = problems(given, "columns = [\"use\"]");
    assert!(found.contains("no column `use_shown` records in which order the options were shown"), "{found}");
    let found = problems("models = [\"a\"]\noption_order = \"random\"", "columns = [\"used\"]");
    assert!(found.contains("there is no column `used`") || found.contains("has no column `used`"), "{found}");
}

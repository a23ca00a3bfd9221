//! Whole populations, from the spec to the batches.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use proptest::prelude::*;
use statrs::function::gamma::gamma_ur;

use super::*;
use crate::document;
use crate::document::{Document, SourcePosition, SpecFormat};
use crate::table::{Cell, cell_at};

/// The problems of a source: the path or key that each points to, and its message.
type Told = Vec<(String, String)>;

fn try_read(text: &str) -> (Option<Box<dyn Source>>, Told) {
    let text = text.replace("type = \"population\"", "");
    let document = Document::parse("s.toml", text, SpecFormat::Toml).unwrap_or_else(|e| panic!("{:?}", e.problems));
    let mut problems = document::Problems::default();
    let source = (KIND.decode)(&document.root, &document::Path::root(), &mut problems);
    let told = problems.into_iter().map(|problem| match problem.place {
        SourcePosition::Value(path) => (path.to_string(), problem.message),
        SourcePosition::Key(path) => (format!("key {path}"), problem.message),
        SourcePosition::Span(_) => panic!("no span is known here"),
    });
    (source, told.collect())
}

fn read(text: &str) -> Box<dyn Source> {
    let (source, told) = try_read(text);
    source.unwrap_or_else(|| panic!("{told:#?}"))
}

fn told(text: &str) -> Told {
    let (source, told) = try_read(text);
    assert!(source.is_none(), "this is valid:\n{text}");
    told
}

fn batches(source: &dyn Source) -> Vec<RecordBatch> {
    let batches: Result<Vec<_>, _> = source.read(Path::new("")).unwrap().collect();
    batches.unwrap()
}

fn cells(source: &dyn Source) -> BTreeMap<String, Vec<Cell>> {
    let mut columns: BTreeMap<String, Vec<Cell>> = BTreeMap::new();
    let schema = source.schema(Path::new("")).unwrap();
    for batch in batches(source) {
        assert_eq!(batch.schema(), schema);
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            let cells = (0..batch.num_rows()).map(|row| cell_at(column.as_ref(), row));
            columns.entry(field.name().clone()).or_default().extend(cells);
        }
    }
    columns
}

fn text(cell: &Cell) -> &str {
    let Cell::Text(text) = cell else { panic!("{cell:?} is not text") };
    text
}

/// How often each combination of the cells of `columns` occurs.
fn counts(cells: &BTreeMap<String, Vec<Cell>>, columns: &[&str]) -> BTreeMap<Vec<String>, u64> {
    let mut counts = BTreeMap::new();
    for (row, _) in cells["ID"].iter().enumerate() {
        let key: Vec<String> = columns.iter().map(|column| text(&cells[*column][row]).to_owned()).collect();
        *counts.entry(key).or_default() += 1;
    }
    counts
}

/// The probability of a chi-square statistic at least as large, of counts with these expected shares.
fn chi_square(counts: &BTreeMap<Vec<String>, u64>, shares: &[(&str, f64)]) -> f64 {
    let total: u64 = counts.values().sum();
    let found = |option: &str| counts.iter().filter(|(key, _)| key[0] == option).map(|(_, n)| *n).sum::<u64>() as f64;
    let statistic: f64 = shares
        .iter()
        .map(|(option, share)| {
            let expected = share * total as f64;
            (found(option) - expected).powi(2) / expected
        })
        .sum();
    assert_eq!(counts.len(), shares.len(), "{counts:?}");
    gamma_ur((shares.len() - 1) as f64 / 2.0, statistic / 2.0)
}

const PEOPLE: &str = r#"
seed = 7
fixed_values = { country = "US", wave = 2, share = 0.5, panel = true }
[characteristics]
gender = ["female", "male"]
age = { "18-29" = 0.2, "30-49" = 0.35, "50+" = 0.45 }
party = { depends_on = ["age", "gender"], distributions = { "18-29" = { female = { a = 0.7, b = 0.3 }, male = ["a", "b", "c"] }, "30-49" = { female = { b = 1.0 }, male = { c = 0.25, a = 0.75 } }, "50+" = { female = ["a", "c"], male = { a = 0.1, b = 0.2, c = 0.7 } } } }
income = { depends_on = "age", distributions = { "18-29" = { low = 0.6, high = 0.4 }, "30-49" = ["low", "high"], "50+" = { high = 0.9, low = 0.1 } } }
height = { distribution = "normal", mean = 170, sd = 10, minimum = 140, maximum = 210, decimals = 0 }
hours = { distribution = "uniform", minimum = 0, maximum = 60, decimals = 1 }
child = [0, 1, 2]
"#;

fn people(n: u64, allocation: &str) -> Box<dyn Source> {
    read(&format!("n = {n}\nallocation = \"{allocation}\"\n{PEOPLE}"))
}

#[test]
fn columns_have_their_types_in_the_order_of_the_spec() {
    let source = people(3000, "random");
    let schema = source.schema(Path::new("")).unwrap();
    let found: Vec<(&str, &DataType)> = schema.fields().iter().map(|f| (f.name().as_str(), f.data_type())).collect();
    let (text, whole, number) = (&DataType::Utf8, &DataType::Int64, &DataType::Float64);
    let expected = [
        ("ID", whole),
        ("gender", text),
        ("age", text),
        ("party", text),
        ("income", text),
        ("height", whole),
        ("hours", number),
        ("child", whole),
        ("country", text),
        ("wave", whole),
        ("share", number),
        ("panel", &DataType::Boolean),
    ];
    assert_eq!(found, expected);
    assert_eq!(source.key(), Some("ID"));
    let cells = cells(source.as_ref());
    let ids: Vec<Cell> = (1..=3000).map(Cell::Integer).collect();
    assert_eq!(cells["ID"], ids);
    assert!(cells["country"].iter().all(|cell| text_is(cell, "US")));
    assert!(cells["height"].iter().all(|cell| matches!(cell, Cell::Integer(140..=210))));
    assert!(batches(source.as_ref()).iter().all(|batch| batch.num_rows() <= crate::source::batches::BATCH_ROWS));
}

fn text_is(cell: &Cell, wanted: &str) -> bool {
    text(cell) == wanted
}

#[test]
fn shares_pass_a_chi_square_test() {
    let cells = cells(people(100_000, "random").as_ref());
    let p = |columns: &[&str], shares: &[(&str, f64)]| {
        let p = chi_square(&counts(&cells, columns), shares);
        // The draws are fixed, so this can't flicker.
        assert!(p > 0.01, "{columns:?}: {p}");
    };
    p(&["gender"], &[("female", 0.5), ("male", 0.5)]);
    p(&["age"], &[("18-29", 0.2), ("30-49", 0.35), ("50+", 0.45)]);
    let within = |wanted: &[(&str, &str)], of: &str| -> BTreeMap<Vec<String>, u64> {
        let mut found = BTreeMap::new();
        for row in (0..100_000).filter(|row| wanted.iter().all(|(column, value)| text_is(&cells[*column][*row], value)))
        {
            *found.entry(vec![text(&cells[of][row]).to_owned()]).or_default() += 1;
        }
        found
    };
    let conditional = |wanted: &[(&str, &str)], of: &str, shares: &[(&str, f64)]| {
        let p = chi_square(&within(wanted, of), shares);
        assert!(p > 0.01, "{of} within {wanted:?}: {p}");
    };
    conditional(&[("age", "18-29")], "income", &[("low", 0.6), ("high", 0.4)]);
    conditional(&[("age", "50+")], "income", &[("low", 0.1), ("high", 0.9)]);
    // Independent columns are independent.
    conditional(&[("age", "18-29")], "gender", &[("female", 0.5), ("male", 0.5)]);
    let third = 1.0 / 3.0;
    conditional(&[("age", "18-29"), ("gender", "male")], "party", &[("a", third), ("b", third), ("c", third)]);
    conditional(&[("age", "30-49"), ("gender", "male")], "party", &[("a", 0.75), ("c", 0.25)]);
    conditional(&[("age", "50+"), ("gender", "male")], "party", &[("a", 0.1), ("b", 0.2), ("c", 0.7)]);
    let certain = within(&[("age", "30-49"), ("gender", "female")], "party");
    assert_eq!(certain.keys().flatten().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn quotas_are_exact_also_inside_conditionals() {
    let spec = "n = 200\nallocation = 'quota'\n[characteristics]\nage = { young = 0.5, middle = 0.45, old = 0.05 }\n\
                income = { depends_on = 'age', distributions = { young = { low = 0.25, high = 0.75 }, middle = ['low', \
                'high'], old = { low = 0.9, high = 0.1 } } }\n\
                vote = { depends_on = ['income'], distributions = { low = { yes = 0.5, no = 0.5 }, high = ['yes'] } }";
    let cells = cells(read(spec).as_ref());
    let age = counts(&cells, &["age"]);
    assert_eq!(age.values().copied().collect::<Vec<_>>(), [90, 10, 100], "{age:?}");
    let income: Vec<(Vec<String>, u64)> = counts(&cells, &["age", "income"]).into_iter().collect();
    let found: Vec<u64> = income.iter().map(|(_, n)| *n).collect();
    // middle: high, low; old: high, low; young: high, low
    assert_eq!(found, [45, 45, 1, 9, 75, 25], "{income:?}");
    let vote: Vec<u64> = counts(&cells, &["income", "vote"]).into_values().collect();
    // 79 have a low income: one of 40 and 39.
    assert_eq!((vote[0], vote[1] + vote[2], vote[1].abs_diff(vote[2])), (121, 79, 1), "{vote:?}");
    assert!(!cells["age"].is_sorted_by(|a, b| text(a) <= text(b)), "the order is shuffled");
}

#[test]
fn quotas_of_many_rows_are_exact_across_batches() {
    let cells = cells(people(10_000, "quota").as_ref());
    assert_eq!(counts(&cells, &["age"]).into_values().collect::<Vec<_>>(), [2000, 3500, 4500]);
    let groups = counts(&cells, &["age", "gender"]);
    let party = counts(&cells, &["age", "gender", "party"]);
    let part = |age: &str, gender: &str, party_name: &str| {
        let key: Vec<String> = [age, gender, party_name].map(str::to_owned).to_vec();
        (party.get(&key).copied().unwrap_or(0), groups[&key[..2]])
    };
    for (age, gender, option, share) in
        [("50+", "male", "a", 0.1), ("50+", "male", "b", 0.2), ("18-29", "female", "a", 0.7)]
    {
        let (found, of) = part(age, gender, option);
        assert!((found as f64 - of as f64 * share).abs() < 1.0, "{age} {gender} {option}: {found} of {of}");
    }
    assert_eq!(part("30-49", "female", "b").0, part("30-49", "female", "b").1);
}

#[test]
fn more_columns_and_more_rows_change_no_other_cell() {
    let before = cells(people(500, "random").as_ref());
    let more = PEOPLE.replace("[characteristics]", "[characteristics]\nfirst = ['x', 'y']\n");
    let after = cells(
        read(&format!(
            "n = 2000\n{more}\nlast = {{ depends_on = 'first', distributions = {{ x = ['z'], y = ['w'] }} }}"
        ))
        .as_ref(),
    );
    for (name, cells) in &before {
        assert_eq!(cells[..], after[name][..500], "{name}");
    }
    let mut other = read(&format!("n = 500\n{}", PEOPLE.replace("seed = 7", "")));
    other.seed(Some(7));
    assert_eq!(cells(other.as_ref()), before, "the spec's seed is the default");
    other.seed(Some(8));
    assert_ne!(cells(other.as_ref()), before);
    let mut own = people(500, "random");
    own.seed(Some(8));
    assert_eq!(cells(own.as_ref()), before, "its own seed comes first");
}

#[test]
fn characteristics_may_stand_in_any_order_and_what_can_not_be_needs_no_distribution() {
    let text = "n = 900\n[characteristics]\n\
                district = { depends_on = ['country', 'city'], distributions = { DE = { Berlin = ['Mitte'] }, FR = { Paris = \
                ['Marais', 'Bastille'] } } }\n\
                city = { depends_on = 'country', distributions = { DE = ['Berlin'], FR = ['Paris'] } }\n\
                country = { DE = 0.5, FR = 0.5, US = 0 }";
    let cells = cells(read(text).as_ref());
    let found: Vec<Vec<String>> = counts(&cells, &["country", "city", "district"]).into_keys().collect();
    let expected = [["DE", "Berlin", "Mitte"], ["FR", "Paris", "Bastille"], ["FR", "Paris", "Marais"]];
    assert_eq!(found, expected);
}

#[test]
fn numbers_can_depend_on_typed_options() {
    let text = "n = 4000\nallocation = 'quota'\n[characteristics]\nchild = [0, 1]\nowner = [true, false]\n\
                size = { depends_on = ['child', 'owner'], distributions = { 0 = { true = { distribution = 'normal', mean = 1, \
                sd = 0.1 }, false = { distribution = 'normal', mean = 2, sd = 0.1 } }, 1 = { true = { distribution = 'uniform', \
                minimum = 3, maximum = 4 }, false = { distribution = 'uniform', minimum = 5, maximum = 6 } } } }";
    let cells = cells(read(text).as_ref());
    let mut means: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (row, size) in cells["size"].iter().enumerate() {
        let Cell::Number(size) = size else { panic!("{size:?}") };
        let (sum, count) = means.entry(format!("{:?} {:?}", cells["child"][row], cells["owner"][row])).or_default();
        (*sum, *count) = (*sum + size, *count + 1.0);
    }
    let found: Vec<String> = means.into_iter().map(|(who, (sum, n))| format!("{who}: {:.1}", sum / n)).collect();
    let expected = [
        "Integer(0) Boolean(false): 2.0",
        "Integer(0) Boolean(true): 1.0",
        "Integer(1) Boolean(false): 5.5",
        "Integer(1) Boolean(true): 3.5",
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_meaning_knows_the_order_of_options() {
    let meaning = |options: &str| read(&format!("n = 1\ncharacteristics = {{ a = {options} }}")).meaning();
    assert_ne!(meaning("['x', 'y']"), meaning("['y', 'x']"));
    assert_eq!(meaning("['x', 'y']"), meaning("{ x = 0.5, y = 0.5 }"));
}

#[test]
fn all_problems_of_characteristics_are_found_at_once() {
    let found = told(
        "n = 0\nallocation = 'quotas'\nmargins = []\nfixed_values = { a = 1, ID = 2, b = [] }\n[characteristics]\nID = ['x']\n\
         a = { x = -1, y = 2 }\nb = { x = 0, y = 0 }\nc = ['x', 'y', 'x']\nd = ['x', 1, 2.5]\ne = { distribution = 'normal', \
         mean = 1, sd = -1 }\nf = { depends_on = 'nothing', distributions = {} }\ng = 3\nh = []\n",
    );
    let expected = [
        ("n", "`n` must be 1 or more"),
        ("allocation", "\"quotas\" is not one of `random`, `quota`"),
        ("fixed_values.b", "a fixed value is text, a finite number, or true or false, not a list"),
        ("key margins", "`margins` does not apply to the method `draw`"),
        ("characteristics.a.x", "the weight of `x` is negative"),
        ("characteristics.b", "all weights are 0"),
        ("characteristics.c[2]", "the option `x` is listed twice"),
        ("characteristics.d[1]", "the options are texts, but this is a whole number"),
        ("characteristics.d[2]", "an option must be text, a whole number, or true or false, not a number"),
        ("characteristics.e.sd", "`sd` must be above 0"),
        (
            "characteristics.g",
            "a distribution is a list of options, a table of weights, or a table with `distribution`, not a whole number",
        ),
        ("characteristics.h", "there are no options"),
        ("key characteristics.ID", "`ID` is a column of every population; rename the characteristic"),
        ("key fixed_values.a", "`a` is a characteristic and a fixed value"),
        ("key fixed_values.ID", "`ID` is a column of every population; rename the fixed value"),
        ("characteristics.f.depends_on", "there is no characteristic `nothing`"),
    ];
    assert_eq!(found, expected.map(|(at, message)| (at.to_owned(), message.to_owned())));
}

#[test]
fn plain_fields_are_checked_beside_the_shapes() {
    let found =
        told("method = 'raking'\nn = 2000000000\ntolerance = 0\nmargins = [{ of = ['a', 'b', 'c'], weights = 3 }]");
    let expected = [
        ("n", "`n` must be at most 1000000000"),
        ("tolerance", "`tolerance` must be above 0 and below 1"),
        ("margins[0].of", "a margin is about one or two characteristics"),
        ("margins[0].weights", "there must be a table here with a key for each value of `a`, not a whole number"),
    ];
    assert_eq!(found, expected.map(|(at, message)| (at.to_owned(), message.to_owned())));
    // With an unknown method, the expected shapes are unknown.
    let found = told("method = 'rakin'\nn = 1\nmargins = 3");
    assert_eq!(found, [("method".to_owned(), "\"rakin\" is not one of `draw`, `raking`".to_owned())]);
}

#[test]
fn problems_between_characteristics() {
    let found = told(
        "n = 1\n[characteristics]\na = { depends_on = 'c', distributions = { x = ['x'] } }\nb = { depends_on = 'a', distributions \
         = { x = ['x'] } }\nc = { depends_on = ['b'], distributions = { x = ['x'] } }\nd = { depends_on = 'a', distributions = {} }\n\
         age = ['young', 'old']\nheight = { distribution = 'uniform', minimum = 0, maximum = 1 }\n\
         e = { depends_on = 'height', distributions = { x = ['y'] } }\n\
         f = { depends_on = 'age', distributions = { young = ['y'], odl = ['n'] } }\n\
         g = { depends_on = 'age', distributions = { young = ['y'], old = [1] } }\n\
         h = { depends_on = ['age', 'age'], distributions = { young = ['y'] }, n = 3 }\n",
    );
    let expected = [
        ("key characteristics.h.n", "`n` is not a field of a table with `depends_on`"),
        ("characteristics.h.depends_on[1]", "`depends_on` names `age` twice"),
        ("characteristics.a.depends_on", "`a` depends on `c`, which depends on `b`, which depends on `a`"),
        (
            "characteristics.e.depends_on",
            "`height` contains numbers; only a characteristic with options can be a parent",
        ),
        ("key characteristics.f.distributions.odl", "`age` has no value `odl`"),
        ("characteristics.f.distributions", "`f` has no distribution for `age` = \"old\""),
        (
            "characteristics.g.distributions.old",
            "a characteristic has one type: these are whole numbers, those of `characteristics.g.distributions.young` texts",
        ),
    ];
    assert_eq!(found, expected.map(|(at, message)| (at.to_owned(), message.to_owned())));
}

#[test]
fn weights_that_do_not_sum_to_one_are_normalised_with_a_warning() {
    let (source, told) = try_read("n = 8\nallocation = 'quota'\ncharacteristics = { a = { x = 1, y = 3 } }");
    assert_eq!(
        told,
        [("characteristics.a".to_owned(), "the weights sum to 4, not to 1; they will be normalised".to_owned())]
    );
    let counts = counts(&cells(source.unwrap().as_ref()), &["a"]);
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [2, 6]);
    assert!(try_read("n = 8\ncharacteristics = { a = { x = 0.333333, y = 0.333333, z = 0.333333 } }").1.is_empty());
}

const RAKED: &str = "method = 'raking'\nn = 1000\nmargins = [{ of = 'row', weights = { r1 = 150, r2 = 300, r3 = 400, r4 = 150 } }, \
                     { of = 'column', weights = { c1 = 200, c2 = 300, c3 = 400, c4 = 100 } }]\n";
const SEED_TABLE: &str = "[seed_table]\nof = ['row', 'column']\n[seed_table.weights]\n\
                          r1 = { c1 = 40, c2 = 30, c3 = 20, c4 = 10 }\nr2 = { c1 = 35, c2 = 50, c3 = 100, c4 = 75 }\n\
                          r3 = { c1 = 30, c2 = 80, c3 = 70, c4 = 120 }\nr4 = { c1 = 20, c2 = 30, c3 = 40, c4 = 50 }\n";

#[test]
fn raking_gives_weights_or_people() {
    let weights = read(&format!("{RAKED}output = 'weights'\n{SEED_TABLE}"));
    let found = cells(weights.as_ref());
    let shown: Vec<String> = found["weight"]
        .iter()
        .map(|cell| match cell {
            Cell::Number(weight) => format!("{weight:.2}"),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shown[..6], ["64.56", "46.23", "35.38", "3.82", "49.97", "68.16"]);
    assert_eq!((shown.len(), text(&found["row"][4]), text(&found["column"][5])), (16, "r2", "c2"));

    let people = cells(read(&format!("{RAKED}{SEED_TABLE}")).as_ref());
    let found = counts(&people, &["row", "column"]);
    assert_eq!(found.values().sum::<u64>(), 1000);
    assert_eq!(found[&["r3".to_owned(), "c2".to_owned()][..]], 144);
    assert!(!people.contains_key("weight"));
}

#[test]
fn margins_in_a_file_are_the_same_as_in_the_spec() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rows.csv"), "year,row,count\n1,r1,150\n1,r2,300\n1,r3,400\n1,r4,150\n").unwrap();
    let inline = "{ of = 'row', weights = { r1 = 150, r2 = 300, r3 = 400, r4 = 150 } }";
    let filed = read(&RAKED.replace(inline, "{ of = 'row', file = 'rows.csv' }"));
    let all =
        |source: &dyn Source| -> Vec<RecordBatch> { source.read(folder.path()).unwrap().map(Result::unwrap).collect() };
    assert_eq!(all(filed.as_ref()), all(read(RAKED).as_ref()));
    assert_eq!(filed.paths(), [("margins", "rows.csv".to_owned())]);
    assert_eq!(filed.files(folder.path()).unwrap(), [folder.path().join("rows.csv")]);
    for (file, message) in [
        ("row,count\nr1,1\nr2,x\n", "rows.csv: row 2: `count` is \"x\", not a number of 0 or more"),
        ("row,number\nr1,1\n", "rows.csv: has 0 of the columns `count`, `weight` and `share`, not one"),
        ("rows,count\nr1,1\n", "rows.csv: has no column `row`"),
        ("row,count\nr1,150\nr1,850\n", "`margins[0]`: `row` = \"r1\" has two weights"),
        ("row,count\nr1,150\nr2,300\n", "`margins[1]`: its total is 1000, but that of `margins[0]` is 450"),
        ("row,count\nr1,0\n", "rows.csv: no weight is above 0"),
    ] {
        std::fs::write(folder.path().join("rows.csv"), file).unwrap();
        let error = filed.schema(folder.path()).unwrap_err();
        assert_eq!((error.message.as_str(), error.field), (message, vec!["margins".to_owned()]));
    }
}

#[test]
fn margins_that_can_not_be_are_refused_with_the_cell() {
    let age = "{ of = 'age', weights = { young = 0.4, old = 0.6 } }";
    let check = |margins: &str, more: &str, expected: &[(&str, &str)]| {
        let found = told(&format!("method = 'raking'\nn = 10\nmargins = [{margins}]\n{more}"));
        let expected: Told = expected.iter().map(|(at, message)| ((*at).to_owned(), (*message).to_owned())).collect();
        assert_eq!(found, expected, "{margins}");
    };
    check(
        "{ of = 'a', weights = { x = 200, y = 300 } }, { of = 'b', weights = { x = 200, y = 400 } }",
        "",
        &[("margins[1].weights", "its total is 600, but that of `margins[0]` is 500")],
    );
    check(
        &format!(
            "{age}, {{ of = ['age', 'sex'], weights = {{ young = {{ f = 0.3, m = 0.3 }}, old = {{ f = 0.2, m = 0.2 }} }} }}"
        ),
        "",
        &[
            ("margins[1].weights", "`age` = \"young\" has the share 0.6 here, but 0.4 in `margins[0]`"),
            ("margins[1].weights", "`age` = \"old\" has the share 0.4 here, but 0.6 in `margins[0]`"),
        ],
    );
    check(
        &format!("{age}, {{ of = 'sex', weights = {{ f = 0.5, m = 0.5 }} }}"),
        "seed_table = { of = ['age', 'sex'], weights = { young = { f = 0, m = 0 }, old = { f = 1, m = 1 } } }",
        &[("margins[0].weights", "`age` = \"young\" should have the share 0.4, but the seed table is 0 there")],
    );
    check(
        &format!(
            "{age}, {{ of = ['age', 'sex'], weights = {{ young = {{ f = 0.4 }}, old = {{ f = 0.3, m = 0.3 }} }} }}"
        ),
        "",
        &[("margins[1].weights", "`age` = \"young\" and `sex` = \"m\" has no weight")],
    );
    check(
        age,
        "seed_table = { of = 'sex', weights = { f = 1 } }",
        &[("seed_table.weights", "no margin is about `sex`")],
    );
    check(&format!("{age}, {age}"), "", &[("margins[1].weights", "`margins[0]` is about the same characteristics")]);
    check("{ of = 'age' }", "", &[("margins[0]", "`weights` is missing")]);
    check("{ of = 'age', weights = { x = -1 } }", "", &[("margins[0].weights.x", "the weight of `x` is negative")]);
    check(
        "{ of = 'weight', weights = { x = 1 } }",
        "output = 'weights'",
        &[("key margins[0].of", "`weight` is a column of every population; rename the characteristic")],
    );
}

#[test]
fn a_table_that_does_not_converge_is_refused_with_the_cell() {
    let source = read(
        "method = 'raking'\nn = 10\nmargins = [{ of = 'a', weights = { x = 0.4, y = 0.6 } }, { of = 'b', weights = { x = 0.5, y = 0.5 } \
         }]\nseed_table = { of = ['a', 'b'], weights = { x = { x = 1, y = 0 }, y = { x = 0, y = 1 } } }",
    );
    let error = source.schema(Path::new("")).unwrap_err();
    assert!(error.message.contains("after 1000 iterations the share of `a` = \"x\""), "{}", error.message);
    assert_eq!(error.field, ["margins"]);
}

#[test]
fn reports_compare_with_targets() {
    let report = people(2000, "quota").population().unwrap().report(Path::new(""), 3).unwrap();
    assert_eq!((report.rows, report.first.num_rows(), report.parts.len()), (2000, 3, 7));
    for part in &report.parts {
        match part {
            report::Part::Shares { options, .. } => {
                for share in options {
                    assert!((share.target - share.drawn).abs() < 0.002, "{part:?}");
                }
                assert!((options.iter().map(|o| o.target).sum::<f64>() - 1.0).abs() < 1e-9);
            }
            report::Part::Numbers { of, mean, sd, .. } if of[..] == ["height"] => {
                assert!((mean - 170.0).abs() < 1.0 && (sd - 10.0).abs() < 0.5, "{part:?}");
            }
            report::Part::Numbers { minimum, maximum, .. } => assert!(*minimum >= 0.0 && *maximum <= 60.0),
        }
    }
    let raked = read(&format!("{RAKED}{SEED_TABLE}")).population().unwrap().report(Path::new(""), 0).unwrap();
    let raking = raked.raking.unwrap();
    assert!(raking.design_effect > 1.0 && raking.iterations > 1, "{raking:?}");
    assert!((raking.effective_sample_size * raking.design_effect - 1000.0).abs() < 1e-6);
    assert_eq!(raked.parts.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// For any shares: all rows are there, only options with a share occur, and quotas are exact.
    #[test]
    fn quotas_hold_for_any_weights(n in 1_u64..3000, weights in proptest::collection::vec(0_u32..50, 1..8), seed in 0_u64..100) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let total: u32 = weights.iter().sum();
        let table: Vec<String> = weights.iter().enumerate().map(|(i, weight)| format!("o{i} = {weight}")).collect();
        let source = read(&format!("n = {n}\nseed = {seed}\nallocation = 'quota'\ncharacteristics = {{ a = {{ {} }} }}", table.join(", ")));
        let counts = counts(&cells(source.as_ref()), &["a"]);
        prop_assert_eq!(counts.values().sum::<u64>(), n);
        for (i, weight) in weights.iter().enumerate() {
            let found = counts.get(&vec![format!("o{i}")]).copied().unwrap_or(0) as f64;
            let wanted = n as f64 * f64::from(*weight) / f64::from(total);
            prop_assert!((found - wanted).abs() < 1.0, "{found} for {wanted}");
        }
    }
}

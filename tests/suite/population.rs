//! Generated populations: drawn into a project, used in prompts, and shown next to their targets.

use arrow_schema::DataType;
use serde_json::Value;

use crate::pipelines::json_of;
use crate::project::Project;

const SPEC: &str = r#"
seed = 7

[models.who]
provider = "mock"
model = "mock-a"

[sources.people]
type = "population"
n = 200
allocation = "quota"
fixed_values = { country = "US" }

[sources.people.characteristics]
party = { depends_on = ["age", "gender"], distributions = { young = { f = { a = 0.5, b = 0.5 }, m = ["b"] }, old = { f = ["a"], m = ["a"] }, oldest = { f = ["b"], m = ["a"] } } }
gender = ["f", "m"]
age = { young = 0.5, old = 0.45, oldest = 0.05 }
height = { distribution = "normal", mean = 170, sd = 10, decimals = 0 }

[stages.opinion]
type = "analysis"
input = "people"
models = ["who"]
prompt = "You are {{ age }}, {{ gender }}, {{ height }} cm. What do you think of {{ party }}?"
output = { opinion = { type = "string", enum = ["good", "bad"] } }

[outputs.opinion]
input = "opinion"
path = "out/opinion.parquet"
"#;

const RAKED: &str = r#"
[sources.rows]
type = "population"
method = "raking"
n = 1000
output = "weights"
margins = [
  { of = "row", file = "rows.csv" },
  { of = "column", weights = { c1 = 200, c2 = 300, c3 = 400, c4 = 100 } },
]

[sources.rows.seed_table]
of = ["row", "column"]

[sources.rows.seed_table.weights]
r1 = { c1 = 40, c2 = 30, c3 = 20, c4 = 10 }
r2 = { c1 = 35, c2 = 50, c3 = 100, c4 = 75 }
r3 = { c1 = 30, c2 = 80, c3 = 70, c4 = 120 }
r4 = { c1 = 20, c2 = 30, c3 = 40, c4 = 50 }

[sources.people]
type = "population"
n = 40
characteristics = { child = [true, false] }

[outputs.rows]
input = "rows"
path = "out/rows.parquet"
"#;

const ROWS: &str = "row,count\nr1,150\nr2,300\nr3,400\nr4,150\n";

#[test]
fn respondents_are_drawn_and_used_in_prompts() {
    let project = Project::new().spec(SPEC);
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0);
    assert!(plan.stdout.contains("source people: 200 rows, 6 columns (drawn by quota, seed 7)"), "{}", plan.stdout);
    project.run(&["run", "pipeline.toml"]).exits(0).says("200 rows = 200 answered");
    let table = project.table("out/opinion.parquet");
    let columns = ["ID", "party", "gender", "age", "height", "country", "opinion", "opinion_error"];
    assert_eq!(table.columns(), columns);
    assert_eq!((table.type_of("ID"), table.type_of("height")), (&DataType::Int64, &DataType::Int64));
    assert_eq!(table.ints("ID"), (1..=200).map(Some).collect::<Vec<_>>());
    let ages = table.texts("age");
    let of = |age: &str| ages.iter().filter(|other| *other == age).count();
    assert_eq!([of("young"), of("old"), of("oldest")], [100, 90, 10]);
    let (genders, parties) = (table.texts("gender"), table.texts("party"));
    for row in 0..200 {
        let allowed = match (ages[row].as_str(), genders[row].as_str()) {
            ("young", "f") => ["a", "b"],
            ("young", "m") | ("oldest", "f") => ["b", "b"],
            _ => ["a", "a"],
        };
        assert!(allowed.contains(&parties[row].as_str()), "row {row}");
    }
    // Another run draws the same people, so it sends nothing.
    project.run(&["run", "pipeline.toml"]).exits(0).says("0 calls sent");
}

#[test]
fn margins_can_come_from_a_file() {
    let project = Project::new().spec(RAKED).file("rows.csv", ROWS);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let table = project.table("out/rows.parquet");
    assert_eq!(table.columns(), ["ID", "row", "column", "weight"]);
    let weights: Vec<String> =
        table.floats("weight").into_iter().map(|w| format!("{:.2}", w.expect("a weight"))).collect();
    let expected = [
        "64.56", "46.23", "35.38", "3.82", "49.97", "68.16", "156.50", "25.37", "56.72", "144.43", "145.08", "53.77",
        "28.75", "41.18", "63.03", "17.03",
    ];
    assert_eq!(weights, expected);
    // Another file produces another table.
    project.write("rows.csv", "row,count\nr1,250\nr2,250\nr3,250\nr4,250\n");
    project.run(&["run", "pipeline.toml"]).exits(0);
    let weights = project.table("out/rows.parquet").floats("weight");
    let first: f64 = weights[..4].iter().map(|w| w.expect("a weight")).sum();
    assert!((first - 250.0).abs() < 1e-3, "{first}");
    project.write("rows.csv", "row,count\nr1,500\nr2,250\nr3,250\nr4,250\n");
    project.run(&["run", "pipeline.toml"]).exits(2).says("its total is 1000, but that of `margins[0]` is 1250");
}

#[test]
fn the_preview_for_people() {
    let project =
        Project::new().spec(&format!("{SPEC}{RAKED}").replace(
            "[sources.people]\ntype = \"population\"\nn = 40\ncharacteristics = { child = [true, false] }\n",
            "",
        ));
    project.write("rows.csv", ROWS);
    let shown = project.run(&["population", "pipeline.toml", "--rows", "3"]).exits(0);
    assert_eq!(shown.stderr, "");
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("population", shown.stdout);
    });
    assert!(!project.has(".fanfold"), "nothing is written");
}

#[test]
fn the_preview_for_programs() {
    let project = Project::new().spec(RAKED).file("rows.csv", ROWS);
    let one = |source: &str| -> Value {
        let shown = project.run(&["population", "pipeline.toml", source, "--format", "json", "--rows", "2"]).exits(0);
        let mut shown: Value = shown.json();
        assert_eq!(shown["populations"].as_array().map(Vec::len), Some(1));
        shown["populations"][0].take()
    };
    let rows = one("rows");
    assert_eq!((&rows["rows"], &rows["n"], &rows["first"][1]["column"]), (&16.into(), &1000.into(), &"c2".into()));
    let raking = &rows["raking"];
    assert!(raking["largest_deviation"].as_f64().is_some_and(|d| d <= 1e-9), "{raking}");
    assert!(raking["design_effect"].as_f64().is_some_and(|d| d > 1.0), "{raking}");
    assert_eq!(rows["parts"][0]["shares"]["options"][0]["target"], Value::from(0.15));
    let people = one("people");
    assert!(people["first"][0]["child"].is_boolean() && people["raking"].is_null(), "{people}");

    let unknown = project.run(&["population", "pipeline.toml", "poeple"]).exits(2);
    assert!(unknown.stderr.contains("did you mean `people`?"), "{}", unknown.stderr);
    let none = Project::new().spec("[sources.a]\ntype = \"file\"\npath = \"a.csv\"\n").file("a.csv", "x\n1\n");
    none.run(&["population", "pipeline.toml"]).exits(2).says("this spec has no source of type `population`");
}

/// The schema, which editors use, accepts the same populations as `validate`.
#[test]
fn the_schema_knows_the_shapes() {
    let schema = Project::new().run(&["schema"]).exits(0).stdout;
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let checker = jsonschema::draft7::new(&schema).expect("a schema");
    for (right, text) in [
        (true, SPEC),
        (true, RAKED),
        (false, &SPEC.replace("n = 200", "n = 0")),
        (false, &SPEC.replace("sd = 10", "sdd = 10")),
        (false, &SPEC.replace(r#"["f", "m"]"#, r#"["f", "f"]"#)),
        (false, &SPEC.replace(r#"["f", "m"]"#, "{ f = 0.5, m = -0.5 }")),
        (false, &SPEC.replace("distributions =", "distribution =")),
        (false, &SPEC.replace(r#"{ country = "US" }"#, r#"{ country = ["US"] }"#)),
        (false, &RAKED.replace("c1 = 200", "c1 = \"200\"")),
        (false, &RAKED.replace("of = \"row\", file", "file")),
    ] {
        let project = Project::new().spec(text).file("rows.csv", ROWS);
        project.run(&["validate", "pipeline.toml"]).exits(if right { 0 } else { 2 });
        assert_eq!(checker.is_valid(&json_of("pipeline.toml", text)), right, "{text}");
    }
}

#[test]
fn the_same_people_twice_are_reported() {
    let waves = |second: &str| {
        format!(
            r#"
seed = 3
[sources.wave1]
type = "population"
n = 40
fixed_values = {{ wave = 1 }}
characteristics = {{ child = [true, false] }}
[sources.wave2]
type = "population"
{second}
"#
        )
    };
    let validate = |second: &str| Project::new().spec(&waves(second)).run(&["validate", "pipeline.toml"]).exits(0);
    let children = "characteristics = { child = [true, false] }";
    let message = "`wave2` contains the same people as `wave1`: both have the same seed and the same characteristics";
    for same in ["n = 60\nseed = 3\nfixed_values = { wave = 2 }", "n = 40\nseed = 3"] {
        validate(&format!("{same}\n{children}")).says(message).says("give one of them its own `seed`");
    }
    for other in [
        &format!("n = 40\n{children}"),
        &format!("n = 40\nseed = 4\n{children}"),
        "n = 40\nseed = 3\ncharacteristics = { child = { true = 0.2, false = 0.8 } }",
    ] {
        let ran = validate(other);
        assert!(!ran.stderr.contains("same people"), "{other}: {}", ran.stderr);
    }
    // Without a `seed` in both, the first draws the same as alone, and the second draws different people.
    let outputs = |waves: &[&str]| {
        let output = |wave: &&str| format!("outputs.{wave} = {{ input = \"{wave}\", path = \"{wave}.parquet\" }}\n");
        waves.iter().map(output).collect::<String>()
    };
    let both = Project::new().spec(&(outputs(&["wave1", "wave2"]) + &waves(&format!("n = 40\n{children}"))));
    both.run(&["run", "pipeline.toml"]).exits(0);
    let text = waves("");
    let alone = Project::new().spec(&(outputs(&["wave1"]) + &text[..text.find("[sources.wave2]").expect("wave2")]));
    alone.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(both.table("wave1.parquet").bools("child"), alone.table("wave1.parquet").bools("child"));
    assert_ne!(both.table("wave1.parquet").bools("child"), both.table("wave2.parquet").bools("child"));
}

/// A population whose characteristics have every other shape.
const SHAPES: &str = r#"
[sources.people]
type = "population"
n = 2000
seed = 3
fixed_values = { country = "US" }

[sources.people.characteristics]
bmi = { expression = "weight / (height / 100) ** 2" }
height = { distribution = "triangular", minimum = 140, mode = 170, maximum = 200, decimals = 0 }
weight = { distribution = "beta", alpha = 2, beta = 5, minimum = 40, maximum = 140 }
children = { distribution = "poisson", mean = 1.5 }
region = { file = "regions.csv" }
size = { expression = "'large' if children > 2 else 'small'", type = "string" }
is_heavy = { expression = "bmi >= 25 and size == 'small' and country == 'US'", type = "boolean" }
rooms = { expression = "children + 2", type = "integer" }

[stages.all]
type = "filter"
input = "people"
when = "ID > 0"

[outputs.people]
input = "all"
path = "people.parquet"
"#;
const REGIONS: &str = "region,count\nnorth,30\nsouth,60\nwest,10\nnowhere,0\n";

#[test]
fn every_shape_of_a_characteristic_is_drawn() {
    let project = Project::new().spec(SHAPES).file("regions.csv", REGIONS);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let table = project.table("people.parquet");
    let names = ["ID", "height", "weight", "children", "region", "country", "bmi", "size", "is_heavy", "rooms"];
    assert_eq!(table.columns(), names);
    assert_eq!((table.type_of("children"), table.type_of("rooms")), (&DataType::Int64, &DataType::Int64));
    let (heights, weights) = (table.ints("height"), table.floats("weight"));
    let (children, sizes) = (table.ints("children"), table.texts("size"));
    let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
    let counts: Vec<f64> = children.iter().map(|count| count.expect("a count") as f64).collect();
    assert!((mean(&counts) - 1.5).abs() < 0.15, "{}", mean(&counts));
    let weights: Vec<f64> = weights.into_iter().map(|weight| weight.expect("a weight")).collect();
    assert!((mean(&weights) - (40.0 + 100.0 * 2.0 / 7.0)).abs() < 2.0, "{}", mean(&weights));
    for (row, bmi) in table.floats("bmi").into_iter().enumerate() {
        let meters = heights[row].expect("a height") as f64 / 100.0;
        assert!((bmi.expect("a number") - weights[row] / meters.powi(2)).abs() < 1e-9);
        assert_eq!(sizes[row] == "large", counts[row] > 2.0);
        assert_eq!(table.ints("rooms")[row], children[row].map(|count| count + 2));
        let heavy = bmi.is_some_and(|bmi| bmi >= 25.0) && sizes[row] == "small";
        assert_eq!(table.bools("is_heavy")[row], Some(heavy));
    }
    let regions = table.texts("region");
    let share = |name: &str| regions.iter().filter(|region| *region == name).count() as f64 / regions.len() as f64;
    assert!((share("south") - 0.6).abs() < 0.06 && share("nowhere") == 0.0, "{}", share("south"));
    // A change of the file is another population. Its shares are shown next to the drawn ones.
    project.run(&["verify", "pipeline.toml"]).exits(0);
    let shown = project.run(&["population", "pipeline.toml"]).exits(0).stdout;
    assert!(shown.contains("south") && shown.contains("bmi"), "{shown}");
    project.write("regions.csv", REGIONS.replace("60", "61"));
    project.run(&["verify", "pipeline.toml"]).exits(5);
    project.write("pipeline.toml", SHAPES.replace("n = 2000", "n = 2000\nallocation = \"quota\""));
    project.run(&["run", "pipeline.toml"]).exits(0);
    let regions = project.table("people.parquet").texts("region");
    assert_eq!(regions.iter().filter(|region| *region == "south").count(), 1208, "61 of 101");
}

#[test]
fn wrong_shapes_of_characteristics_are_named() {
    let check = |line: &str, message: &str| {
        let spec = SHAPES.replace("rooms = { expression = \"children + 2\", type = \"integer\" }", line);
        let project =
            Project::new().spec(&spec).file("regions.csv", REGIONS).file("twice.csv", "rooms,count\na,1\na,2\n");
        project.run(&["run", "pipeline.toml"]).exits(2).says(message);
    };
    check("rooms = { expression = \"childern + 2\" }", "`childern`");
    check("rooms = { expression = \"children +\" }", "the expression does not compile");
    check("rooms = { expression = \"size\" }", "does not fit a column that holds");
    check("rooms = { expression = \"1\", kind = \"integer\" }", "there is no field `kind`");
    check("rooms = { file = \"none.csv\" }", "none.csv");
    check("rooms = { file = \"twice.csv\" }", "`a` has two weights");
    check("rooms = { file = \"regions.csv\" }", "rooms");
    check("rooms = { file = \"regions.csv\", n = 3 }", "`n` is not a field of a characteristic with a `file`");
    check("rooms = { file = \"../regions.csv\" }", "leaves the folder of the spec");
    check(
        "rooms = { depends_on = \"region\", distributions = { north = [\"a\"] } }",
        "the options of `region` are in a file",
    );
}

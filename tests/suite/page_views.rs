//! The sections of the report page on stages: their numbers are those of the tables, for each group of stage types.

use serde_json::{Value, json};

use crate::project::{Project, Table};
use crate::server::{Say, Server};

/// The page about the run of `pipeline.toml`.
#[track_caller]
pub(crate) fn report(project: &Project) -> Value {
    project.run(&["run", "pipeline.toml"]).exits(0);
    // Every chart can be drawn.
    project.run(&["report", "pipeline.toml", "-o", "page.html"]).exits(0);
    project.run(&["report", "pipeline.toml", "--format", "json", "-o", "-"]).exits(0).json()
}

/// The blocks of a section, also those in groups and folds.
fn blocks<'p>(page: &'p Value, section: &str) -> Vec<&'p Value> {
    fn add<'p>(blocks: &'p Value, found: &mut Vec<&'p Value>) {
        for block in blocks.as_array().into_iter().flatten() {
            found.push(block);
            add(&block["blocks"], found);
        }
    }
    let mut found = Vec::new();
    let sections = page["sections"].as_array().expect("sections");
    let section = sections.iter().find(|one| one["id"] == section);
    add(&section.expect("the section is there")["blocks"], &mut found);
    found
}

/// The rows of the numbers of a figure or of a table, as objects.
#[track_caller]
pub(crate) fn numbers(page: &Value, section: &str, title: &str) -> Vec<Value> {
    let all = blocks(page, section);
    let titles: Vec<&Value> = all.iter().map(|block| &block["title"]).collect();
    let found = all.iter().find(|block| block["title"] == title && block["type"] != "fold");
    let found = found.unwrap_or_else(|| panic!("no `{title}` in {titles:?}"));
    let grid = if found["numbers"].is_object() { &found["numbers"] } else { &found["table"] };
    let columns: Vec<&str> = grid["columns"].as_array().expect("columns").iter().filter_map(Value::as_str).collect();
    let row = |row: &Value| {
        let cells = columns.iter().zip(row.as_array().expect("a row"));
        Value::Object(cells.map(|(name, cell)| ((*name).to_owned(), cell.clone())).collect())
    };
    grid["rows"].as_array().expect("rows").iter().map(row).collect()
}

/// The only one of these rows that has these cells.
#[track_caller]
fn only<'r>(rows: &'r [Value], cells: &[(&str, Value)]) -> &'r Value {
    let found: Vec<&Value> = rows.iter().filter(|row| cells.iter().all(|(name, cell)| row[name] == *cell)).collect();
    assert_eq!(found.len(), 1, "{cells:?} in {rows:?}");
    found[0]
}

pub(crate) fn texts<'p>(page: &'p Value, section: &str) -> Vec<&'p str> {
    blocks(page, section).iter().filter_map(|block| block["text"].as_str()).collect()
}

fn counted(labels: &[Option<String>], label: &str) -> u64 {
    labels.iter().filter(|one| one.as_deref() == Some(label)).count() as u64
}

const FANOUT: &str = r#"
name = "views"
seed = 3
[models.a]
provider = "mock"
model = "one"
[models.b]
provider = "mock"
model = "two"
[sources.speeches]
type = "file"
path = "speeches.csv"
key = "id"
[stages.tone]
type = "analysis"
input = "speeches"
models = ["a", "b"]
fanout = true
prompt = "What is it? {{ text }}"
chunk_size = 7
[stages.tone.output]
tone = { type = "string", enum = ["glad", "sad", "angry"], prob = true }
war = { type = "boolean" }
weight = { type = "number", minimum = 0, maximum = 1 }
topics = { type = "array", items = { type = "string", enum = ["tax", "peace"] } }
why = { type = "string", max_length = 40 }
[outputs.tone]
input = "tone"
path = "tone.parquet"
"#;

fn speeches() -> Vec<[String; 3]> {
    let mut rows = vec![["id", "party", "text"].map(str::to_owned)];
    rows.extend((0..40).map(|n| [format!("k{n:02}"), ["X", "Y"][n % 2].to_owned(), format!("Speech number {n}.")]));
    rows
}

fn fanout(layout: &str) -> Project {
    Project::new().spec(&FANOUT.replace("fanout = true", layout)).csv("speeches.csv", &speeches())
}

#[test]
fn labels_and_other_answers_have_the_numbers_of_the_table_in_every_layout() {
    let wide = fanout("fanout = true");
    let page = report(&wide);
    let table = wide.table("tone.parquet");
    let shares = numbers(&page, "stage-tone", "tone");
    for (model, label) in ["a", "b"].iter().flat_map(|model| ["glad", "sad", "angry"].map(|label| (model, label))) {
        let row = only(&shares, &[("model", json!(model)), ("label", json!(label))]);
        assert_eq!(row["answers"], counted(&table.strings(&format!("tone_{model}")), label), "{row}");
        assert_eq!(row["of"], 40);
    }
    let by_party = numbers(&page, "stage-tone", "tone by party");
    let parties = table.strings("party");
    let tones = table.strings("tone_a");
    let of_x: Vec<_> =
        tones.iter().zip(&parties).filter(|(_, p)| p.as_deref() == Some("X")).map(|(t, _)| t.clone()).collect();
    let row = only(&by_party, &[("party", json!("X")), ("model", json!("a")), ("label", json!("sad"))]);
    assert_eq!((row["answers"].as_u64(), row["of"].as_u64()), (Some(counted(&of_x, "sad")), Some(20)));
    let weights = numbers(&page, "stage-tone", "Summary: weight");
    let own: Vec<f64> = table.floats("weight_b").into_iter().flatten().collect();
    let mean = own.iter().sum::<f64>() / own.len() as f64;
    let row = only(&weights, &[("model", json!("b"))]);
    assert!((row["mean"].as_f64().unwrap() - mean).abs() < 1e-12, "{row}");
    let histogram = numbers(&page, "stage-tone", "weight, b");
    assert_eq!(histogram.iter().filter_map(|row| row["count"].as_u64()).sum::<u64>(), own.len() as u64);
    for title in
        ["war", "topics, a", "A random sample of the answers to why, a", "How probable the labels of tone are, a"]
    {
        numbers(&page, "stage-tone", title);
    }
    // The long layout has the same answers, one in each row.
    let long = report(&fanout("fanout = true\nlayout = \"long\""));
    assert_eq!(numbers(&long, "stage-tone", "tone"), shares);
    assert_eq!(numbers(&long, "stage-tone", "tone by party"), by_party);
    assert_eq!(numbers(&long, "stage-tone", "Summary: weight"), weights);
    let agreement = numbers(&page, "stage-tone", "Agreement of the models: tone");
    assert_eq!(numbers(&long, "stage-tone", "Agreement of the models: tone"), agreement);
    let pairs = table.strings("tone_a").into_iter().zip(table.strings("tone_b"));
    assert_eq!(agreement[0]["equal"], pairs.filter(|(a, b)| a == b).count());
    let differing = "Rows where the models differ, the least certain first: tone";
    let row = &numbers(&page, "stage-tone", differing)[0];
    assert!(
        row["row"].as_str().unwrap().starts_with('k') && row["text"].as_str().unwrap().starts_with("Speech"),
        "{row}"
    );
    // Models that share the rows have no agreement.
    let dealt = report(&fanout("fanout = false"));
    assert_eq!(only(&numbers(&dealt, "stage-tone", "tone"), &[("label", json!("sad"))])["of"], 40);
    assert!(
        blocks(&dealt, "stage-tone").iter().all(|block| !block["title"].as_str().unwrap_or("").contains("Agreement"))
    );
}

#[test]
fn repeated_answers_count_by_their_input_rows() {
    let server = Server::new().models(&["one"]).script(|asked, nth| {
        let is_odd = asked.question().contains("number 3.") || asked.question().contains("number 5.");
        Say::Json(json!({ "tone": if is_odd && nth % 2 == 1 { "sad" } else { "glad" } }))
    });
    let server = server.start();
    let spec = "[models.a]\nprovider = \"ollama\"\nmodel = \"one\"\n[sources.s]\ntype = \"file\"\npath = \"speeches.csv\"\n\
        [stages.tone]\ntype = \"analysis\"\ninput = \"s\"\nmodels = [\"a\"]\nprompt = \"{{ text }}\"\nreplicates = 2\n\
        [stages.tone.output]\ntone = { type = \"string\", enum = [\"glad\", \"sad\"] }\n\
        [outputs.tone]\ninput = \"tone\"\npath = \"tone.parquet\"\n";
    let project = Project::new().env("OLLAMA_HOST", &server.url()).spec(spec).csv("speeches.csv", &speeches());
    let page = report(&project);
    let table = project.table("tone.parquet");
    let tones = table.strings("tone");
    let alike = tones.chunks(2).filter(|two| two[0] == two[1]).count();
    let row = &numbers(&page, "stage-tone", "Repeated answers: tone")[0];
    assert_eq!((row["rows"].as_u64(), row["all 2 alike"].as_u64()), (Some(40), Some(alike as u64)));
    let shares = numbers(&page, "stage-tone", "tone");
    let sad = only(&shares, &[("label", json!("sad"))]);
    assert_eq!((sad["answers"].as_u64(), sad["of"].as_u64()), (Some(counted(&tones, "sad")), Some(80)));
}

/// A page about methods over the same rows.
const METHODS: &str = r#"
seed = 1
[sources.rows]
type = "file"
path = "rows.csv"
types = { p = "number" }
[stages.all]
type = "filter"
input = "rows"
when = "true"
[stages.check]
type = "validation"
input = "rows"
truth = "human"
predicted = ["a", "b"]
by = ["party"]
bootstrap = { replicates = 50 }
[stages.trust]
type = "calibration"
input = "all"
prob = "p"
predicted = "a"
truth = "human"
bins = 3
bootstrap = { replicates = 50 }
[stages.agree]
type = "agreement"
input = "rows"
coders = ["human", "a", "b"]
pairs = true
[stages.vote]
type = "ensemble"
input = "rows"
coders = ["a", "b", "human"]
method = "majority"
[stages.mean]
type = "estimate"
input = "rows"
outcome = "a == 'pos'"
gold = "human == 'pos'"
simple_random = true
methods = ["naive", "gold_only", "dsl"]
[stages.drawn]
type = "sample"
input = "rows"
n = 12
strata = ["party"]
split = { dev = 0.5, test = 0.5 }
[outputs.check]
input = "check"
path = "check.parquet"
[outputs.trust]
input = "trust"
path = "trust.parquet"
[outputs.agree]
input = "agree"
path = "agree.parquet"
[outputs.mean]
input = "mean"
path = "mean.parquet"
[outputs.vote]
input = "vote"
path = "vote.parquet"
[outputs.coders]
input = "vote.coders"
path = "coders.parquet"
[outputs.drawn]
input = "drawn"
path = "drawn.parquet"
"#;

/// Forty rows; the first coder is mostly wrong about `neg`, and eight rows have no code of a person.
fn coded() -> Vec<[String; 6]> {
    let mut rows = vec![["id", "human", "a", "b", "p", "party"].map(str::to_owned)];
    for n in 0..40usize {
        let human = ["pos", "neg", "neu", "neg"][n % 4];
        let a = if human == "neg" && n % 3 > 0 { "pos" } else { human };
        let b = if n % 5 == 0 { "neu" } else { human };
        let human = if n % 5 == 4 { "" } else { human };
        let p = format!("{}", 0.3 + 0.0175 * ((n * 7) % 40) as f64);
        rows.push([&n.to_string(), human, a, b, &p, ["X", "Y"][n % 2]].map(str::to_owned));
    }
    rows
}

/// The estimate in the only row of a tidy table with these cells.
#[track_caller]
fn estimate(table: &Table, cells: &[(&str, Option<&str>)]) -> Option<f64> {
    let columns: Vec<Vec<Option<String>>> = cells.iter().map(|(name, _)| table.strings(name)).collect();
    let fits = |row: &usize| cells.iter().zip(&columns).all(|((_, cell), column)| column[*row].as_deref() == *cell);
    let rows: Vec<usize> = (0..table.len()).filter(fits).collect();
    assert_eq!(rows.len(), 1, "{cells:?}");
    table.floats("estimate")[rows[0]]
}

#[test]
fn methods_show_the_statistics_of_their_tables() {
    let project = Project::new().spec(METHODS).csv("rows.csv", &coded());
    let page = report(&project);
    let check = project.table("check.parquet");
    let whole = numbers(&page, "stage-check", "Predictions against human");
    for (name, line) in [("accuracy", "accuracy"), ("f1_macro", "macro F1"), ("matthews", "Matthews' correlation")] {
        let of = [("statistic", Some(name)), ("column", Some("b")), ("party", None), ("label", None), ("versus", None)];
        let row = only(&whole, &[("line", json!(line)), ("column", json!("b"))]);
        assert_eq!(row["estimate"].as_f64(), estimate(&check, &of), "{name}");
    }
    // The groups are shown too.
    let group = numbers(&page, "stage-check", "Predictions against human, party: X");
    let of = [("statistic", Some("accuracy")), ("column", Some("a")), ("party", Some("X")), ("versus", None)];
    assert_eq!(
        only(&group, &[("line", json!("accuracy")), ("column", json!("a"))])["estimate"].as_f64(),
        estimate(&check, &of)
    );
    let confusion = numbers(&page, "stage-check", "Confusion: a");
    let of = [
        ("statistic", Some("confusion")),
        ("column", Some("a")),
        ("party", None),
        ("label", Some("neg")),
        ("predicted", Some("pos")),
    ];
    let cell = only(&confusion, &[("label", json!("neg")), ("predicted", json!("pos"))]);
    assert_eq!(cell["value"].as_f64(), estimate(&check, &of));
    let reliability = numbers(&page, "stage-trust", "Reliability of the probabilities");
    let trust = project.table("trust.parquet");
    let of = |statistic| [("statistic", Some(statistic)), ("probability", Some("stated")), ("bin", Some("2"))];
    let at = estimate(&trust, &of("bin_probability"));
    let row = only(&reliability, &[("Stated probability", json!(at))]);
    assert_eq!(row["Share that is right"].as_f64(), estimate(&trust, &of("bin_accuracy")));
    assert!(numbers(&page, "stage-trust", "Accuracy and coverage").len() > 5);
    let wrong = numbers(&page, "stage-trust", "Wrong answers, the surest first: a");
    let rows = coded();
    let is_wrong = |row: &&[String; 6]| !row[1].is_empty() && row[1] != row[2];
    let surest =
        rows[1..].iter().filter(is_wrong).max_by(|a, b| a[4].parse::<f64>().unwrap().total_cmp(&b[4].parse().unwrap()));
    assert_eq!(
        (&wrong[0]["human"], &wrong[0]["a"], wrong[0]["p"].to_string()),
        (&json!("neg"), &json!("pos"), surest.unwrap()[4].clone())
    );
    let count = rows[1..].iter().filter(is_wrong).count();
    assert!(
        texts(&page, "stage-check").iter().any(|text| text.starts_with(&format!("a is wrong in {count} of 32 rows")))
    );
    let pairs = numbers(&page, "stage-agree", "Agreement of each pair of coders");
    let agree = project.table("agree.parquet");
    let of = [("statistic", Some("percent")), ("coders", Some("a, b"))];
    let row = only(&pairs, &[("coder", json!("a")), ("other coder", json!("b")), ("statistic", json!("percent"))]);
    assert_eq!(row["estimate"].as_f64(), estimate(&agree, &of));
    let naive = numbers(&page, "stage-mean", "Naive and corrected estimates: mean");
    let mean = project.table("mean.parquet");
    for (method, words) in [("naive", "naive"), ("gold_only", "gold only"), ("dsl", "DSL")] {
        let row = only(&naive, &[("method", json!(words))]);
        assert_eq!(row["estimate"].as_f64(), estimate(&mean, &[("statistic", Some("mean")), ("method", Some(method))]));
    }
    assert!(
        texts(&page, "stage-mean").iter().any(|text| text.contains("excludes the corrected estimate")),
        "{:?}",
        texts(&page, "stage-mean")
    );
    let votes = numbers(&page, "stage-vote", "Labels");
    let labels = project.table("vote.parquet").strings("vote");
    assert_eq!(only(&votes, &[("label", json!("neg"))])["answers"], counted(&labels, "neg"));
    numbers(&page, "stage-vote.coders", "Labels of each coder: a");
    let parts = numbers(&page, "stage-drawn", "Parts of the sample");
    assert_eq!(parts.iter().filter_map(|row| row["answers"].as_u64()).sum::<u64>(), 12);
}

const SURVEY: &str = r#"
seed = 5
[models.a]
provider = "mock"
model = "one"
[sources.people]
type = "population"
n = 60
[sources.people.characteristics.job]
yes = 0.7
no = 0.3
[stages.ask]
type = "survey"
input = "people"
models = ["a"]
option_order = "random"
[[stages.ask.questions]]
id = "vote"
text = "Which side do you vote for?"
options = ["Left", "Right", "Neither"]
[[stages.ask.questions]]
id = "trust"
text = "How much do you trust them?"
type = "scale"
min = 1
max = 5
min_label = "not at all"
when = 'vote != "Neither"'
[[stages.ask.questions]]
id = "media"
text = "What do you read?"
type = "multiple"
options = ["Paper", "Web", "Radio"]
[[stages.ask.questions]]
id = "age"
text = "How old are you?"
type = "number"
min = 18
max = 99
[[stages.ask.questions]]
id = "why"
text = "Why?"
[outputs.ask]
input = "ask"
path = "ask.parquet"
"#;

#[test]
fn surveys_show_each_question_the_skips_and_the_places_of_options() {
    let project = Project::new().spec(SURVEY);
    let page = report(&project);
    let table = project.table("ask.parquet");
    let votes = table.strings("vote");
    let shown = numbers(&page, "stage-ask", "vote");
    assert_eq!(only(&shown, &[("label", json!("Left"))])["answers"], counted(&votes, "Left"));
    let flow = numbers(&page, "stage-ask", "Questions");
    let trust = only(&flow, &[("question", json!("trust"))]);
    assert_eq!(
        (trust["skipped"].as_u64(), trust["failed or not reached"].as_u64()),
        (Some(counted(&votes, "Neither")), Some(0))
    );
    assert!(counted(&votes, "Neither") > 0);
    let steps = numbers(&page, "stage-ask", "trust");
    assert_eq!(steps.iter().filter_map(|row| row["answers"].as_u64()).sum::<u64>(), 60 - counted(&votes, "Neither"));
    let places = numbers(&page, "stage-ask", "Effect of the order of options: vote");
    assert_eq!(places.iter().filter_map(|row| row["chosen"].as_u64()).sum::<u64>(), 60);
    assert!((places[0]["expected"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-12);
    numbers(&page, "stage-ask", "media");
    numbers(&page, "stage-ask", "Summary: age");
    numbers(&page, "stage-ask", "A random sample of the answers to why");
    let jobs = table.strings("job");
    let drawn = numbers(&page, "source-people", "job");
    let yes = only(&drawn, &[("option", json!("yes"))]);
    assert_eq!(yes["target"], 0.7);
    assert!((yes["drawn"].as_f64().unwrap() - counted(&jobs, "yes") as f64 / 60.0).abs() < 1e-12);
    let by_job = numbers(&page, "stage-ask", "vote by job");
    assert_eq!(only(&by_job, &[("job", json!("yes")), ("label", json!("Left"))])["of"], counted(&jobs, "yes"));
}

#[test]
fn quotes_and_filled_cells_show_where_they_come_from() {
    let server = Server::new().models(&["one"]).script(|asked, _| {
        let number = asked.question().chars().filter(char::is_ascii_digit).collect::<String>();
        let quote = if number.ends_with('7') { "not in there".to_owned() } else { format!("number {number}") };
        Say::Json(json!({ "place_quote": quote, "place": "Rome" }))
    });
    let server = server.start();
    let mut rows = vec![["place".to_owned(), "text".to_owned()]];
    rows.extend(
        (0..20).map(|n| [if n % 4 == 0 { "Paris" } else { "" }.to_owned(), format!("This is number {n} of all.")]),
    );
    let spec = "[models.a]\nprovider = \"ollama\"\nmodel = \"one\"\n[sources.s]\ntype = \"file\"\npath = \"rows.csv\"\n\
        [stages.fill]\ntype = \"fill-missing\"\ninput = \"s\"\nmodels = [\"a\"]\ntext_column = \"text\"\nquotes = true\n\
        [stages.fill.fields]\nplace = { type = \"string\", column = \"place\" }\n\
        [outputs.fill]\ninput = \"fill\"\npath = \"fill.parquet\"\n";
    let project = Project::new().env("OLLAMA_HOST", &server.url()).spec(spec).csv("rows.csv", &rows);
    let page = report(&project);
    let table = project.table("fill.parquet");
    let sources = table.strings("computed_place_source");
    let origins = numbers(&page, "stage-fill", "Where the values come from");
    assert_eq!((origins[0]["original"].as_u64(), origins[0]["a"].as_u64()), (Some(5), Some(counted(&sources, "a"))));
    let found = table.strings("computed_place_quote_found");
    let quotes = numbers(&page, "stage-fill", "Quotes");
    assert_eq!(
        (quotes[0]["exact"].as_u64(), quotes[0]["not found"].as_u64()),
        (Some(counted(&found, "exact")), Some(2))
    );
    let marked: Vec<&Value> =
        blocks(&page, "stage-fill").into_iter().filter(|block| block["type"] == "marked").collect();
    let unfound = &marked[0]["parts"];
    assert_eq!(unfound[1], json!(["not in there", true]));
    assert!(marked.iter().any(|block| block["parts"][2][0] == " of all."), "{marked:?}");
}

const SHAPES: &str = r#"
seed = 2
[models.a]
provider = "mock"
model = "one"
[sources.letters]
type = "file"
path = "letters.csv"
key = "id"
[sources.places]
type = "file"
path = "places.csv"
[stages.pieces]
type = "split"
input = "letters"
text_column = "text"
size = 4
unit = "words"
[stages.placed]
type = "join"
input = "pieces"
with = "places"
on = ["id"]
[stages.some]
type = "filter"
input = "placed"
when = 'place != "Rome"'
[stages.gist]
type = "reduce"
input = "pieces"
group_by = ["id"]
models = ["a"]
prompt = "{% for row in rows %}{{ row.pieces }}{% endfor %}"
[stages.tree]
type = "reduce"
input = "pieces"
group_by = ["id"]
models = ["a"]
strategy = "tree"
max_input_tokens = 60
prompt = "Sum up: {% for row in rows %}{% for time in range(10) %}{{ row.pieces }} {% endfor %}{% endfor %}"
combine = "All: {% for answer in answers %}{{ answer.k }} {% endfor %}"
output.k = { type = "string", enum = ["up", "down"] }
[outputs.tree]
input = "tree"
path = "tree.parquet"
[outputs.gist]
input = "gist"
path = "gist.parquet"
[outputs.some]
input = "some"
path = "some.parquet"
[outputs.placed]
input = "placed"
path = "placed.parquet"
"#;

#[test]
fn tables_made_from_others_show_pieces_matches_and_rows() {
    let words = |n: usize| (0..n).map(|i| format!("w{i}")).collect::<Vec<_>>().join(" ");
    let letters = [
        ["id".to_owned(), "text".to_owned()],
        ["x".to_owned(), words(10)],
        ["y".to_owned(), words(3)],
        ["z".to_owned(), words(8)],
    ];
    let places = [["id", "place"], ["x", "Rome"], ["y", "Bonn"]];
    let project = Project::new().spec(SHAPES).csv("letters.csv", &letters).csv("places.csv", &places);
    let page = report(&project);
    let pieces = numbers(&page, "stage-pieces", "Pieces per document");
    let counts: Vec<u64> = pieces.iter().filter_map(|row| row["count"].as_u64()).collect();
    assert_eq!(counts, [1, 1, 1], "the letters have 3, 1 and 2 pieces");
    let placed = project.table("placed.parquet");
    let matched = placed.strings("place").iter().flatten().count();
    let shown = numbers(&page, "stage-placed", "Rows with values of the other table");
    assert_eq!(only(&shown, &[("part", json!("with a match"))])["rows"], matched);
    let kept = numbers(&page, "stage-some", "Rows for which the condition holds");
    let some = project.table("some.parquet").len();
    assert_eq!(only(&kept, &[("part", json!("kept"))])["rows"], some);
    assert_eq!(only(&kept, &[("part", json!("left out"))])["rows"], placed.len() - some);
    let groups = numbers(&page, "stage-gist", "Summary: Rows per group");
    assert_eq!((groups[0]["n"].as_u64(), groups[0]["mean"].as_f64()), (Some(3), Some(2.0)));
    // A group whose rows do not fit into one prompt has prompts about parts and about their answers.
    let (rows, stages) = (project.calls().ints("row"), project.calls().texts("stage"));
    let of_row =
        |row| rows.iter().zip(&stages).filter(|(of, stage)| **of == Some(row) && *stage == "tree").count() as u64;
    let wanted: Vec<u64> = [1, 2, 3].map(of_row).to_vec();
    assert_eq!(wanted.iter().min(), Some(&1), "{wanted:?}");
    assert!(wanted.iter().max() > Some(&2), "{wanted:?}");
    let mut shown = Vec::new();
    for bin in numbers(&page, "stage-tree", "Prompts per group") {
        shown.extend(vec![bin["value"].as_u64().expect("prompts"); bin["count"].as_u64().expect("a count") as usize]);
    }
    let mut wanted = wanted;
    wanted.sort_unstable();
    assert_eq!(shown, wanted);
}

#[test]
fn packs_show_what_their_audit_found() {
    let spec = FANOUT
        .replace("fanout = true", "fanout = false\nrows_per_prompt = 4\naudit = { rows = 12 }")
        .replace("models = [\"a\", \"b\"]", "models = [\"a\"]")
        .replace(", prob = true", "")
        .replace("chunk_size = 7", "chunk_size = 8");
    let project = Project::new().spec(&spec).csv("speeches.csv", &speeches());
    let page = report(&project);
    let rows = numbers(&page, "stage-tone", "Packs of tone");
    let ran = project.run(&["run", "pipeline.toml", "--format", "json"]).exits(0).json();
    let audit = &ran["stages"]["tone"]["audit"]["columns"]["tone"]["labels"]["sad"];
    let row = only(&rows, &[("column", json!("tone")), ("label", json!("sad"))]);
    assert_eq!((&row["only alone"], &row["only in a pack"]), (&audit["single_only"], &audit["packed_only"]));
    assert_eq!(row["McNemar's p"], audit["p_value"]);
}

#[test]
fn a_repeatability_shows_how_often_answers_are_equal() {
    let spec = FANOUT.replace(
        "[outputs.tone]",
        "[stages.again]\ntype = \"repeatability\"\ninput = \"tone\"\nsample = 10\n[outputs.tone]",
    ) + "[outputs.again]\ninput = \"again\"\npath = \"again.parquet\"\n";
    let project = Project::new().spec(&spec).csv("speeches.csv", &speeches());
    let page = report(&project);
    let shown = numbers(&page, "stage-again", "The same answer again");
    let again = project.table("again.parquet");
    assert_eq!(shown.len(), again.len());
    let shares: Vec<Option<f64>> = shown.iter().map(|row| row["estimate"].as_f64()).collect();
    assert_eq!(shares, again.floats("share"));
}

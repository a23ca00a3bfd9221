//! Surveys: people of a small table answer questionnaires of the real program, from the mock and from a real small model.

use std::collections::BTreeMap;
use std::fs;

use crate::book::block;
use crate::pipelines::json_of;
use crate::project::{Cell, Project, Table};
use crate::server::{Say, Server};
use crate::weights;

const OUT: &str = "out/talk.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];

/// A survey of everyone by these models; `stage` are lines of its table, `questions` the items of its list.
fn spec(provider: &str, model: &str, stage: &str, questions: &str) -> String {
    format!(
        r#"name = "talks"
seed = 7
[providers.first]
type = "mock"
pick = "first"
[models.a]
provider = "{provider}"
model = "{model}"
max_tokens = 48
[models.b]
provider = "{provider}"
model = "{model}-b"
[sources.people]
type = "file"
path = "people.csv"
key = "id"
types = {{ age = "integer" }}
[stages.talk]
type = "survey"
input = "people"
{stage}
questions = [{questions}]
[outputs.talk]
input = "talk"
path = "{OUT}"
"#
    )
}

/// A population of `count` people.
fn people(count: usize) -> Vec<[String; 4]> {
    let head = ["id", "age", "gender", "weight"].map(str::to_owned);
    let person = |i: usize| {
        let gender = if i.is_multiple_of(2) { "female" } else { "male" };
        [format!("p{i}"), (18 + i % 60).to_string(), gender.to_owned(), "1.5".to_owned()]
    };
    [head].into_iter().chain((0..count).map(person)).collect()
}

fn project(text: &str, count: usize) -> Project {
    Project::new().spec(text).csv("people.csv", &people(count))
}

/// Removes the runs, so that only the ledger has the answers, and runs again: the same bytes, and no call is sent.
fn replays(project: &Project) {
    let first = project.bytes(OUT);
    fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs are there");
    project.run(&RUN).exits(0).says("0 calls sent");
    assert!(project.bytes(OUT) == first, "the bytes changed");
}

/// The items of a column of lists of text.
fn lists(table: &Table, column: &str) -> Vec<Option<Vec<String>>> {
    let text =
        |cell: &Cell| if let Cell::Text(text) = cell { text.clone() } else { panic!("{cell:?} in a list of text") };
    let list = |cell: Cell| if let Cell::List(items) = cell { Some(items.iter().map(text).collect()) } else { None };
    table.cells(column).into_iter().map(list).collect()
}

const TWO: &str = r#"
  { id = "trust", text = "Do you trust the news?", options = ["a lot", "a bit", "no", "don't know"], pinned_options = ["don't know"] },
  { id = "media", text = "Which do you use?", type = "multiple", options = ["radio", "papers", "web"] },
  { id = "mood", text = "How content are you?", type = "scale", min = 1, max = 7, when = "trust != 'no'" },
  { id = "why", text = "Why?" },
"#;

#[test]
fn every_form_of_several_models_has_every_answer() {
    let one = ["trust", "trust_shown", "media", "media_shown", "mood", "why"];
    let order = "memory = true\noption_order = \"random\"\nquestion_order = \"random\"";
    let columns = |suffix: &str| -> Vec<String> {
        one.iter().chain(&["talk_question_order"]).map(|c| format!("{c}{suffix}")).collect()
    };
    let names = |more: &[&str]| more.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
    let wide = [columns("_a"), names(&["talk_error_a"]), columns("_b"), names(&["talk_error_b"])].concat();
    let forms = [
        ("fanout = false", [columns(""), names(&["talk_model", "talk_error"])].concat(), 1),
        ("fanout = true", wide, 1),
        ("fanout = true\nlayout = \"long\"", [names(&["model"]), columns(""), names(&["talk_error"])].concat(), 2),
        (
            "fanout = false\nreplicates = 2",
            [names(&["replicate"]), columns(""), names(&["talk_model", "talk_error"])].concat(),
            2,
        ),
    ];
    for (form, columns, fold) in forms {
        let text = spec("mock", "m", &format!("models = [\"a\", \"b\"]\n{order}\n{form}"), TWO);
        let project = project(&text, 12);
        project.run(&["plan", "pipeline.toml"]).exits(0);
        project.run(&RUN).exits(0).says("12 rows = 12 answered + 0 failed + 0 skipped");
        let table = project.table(OUT);
        assert_eq!(
            (table.len(), &table.columns()[4..]),
            (12 * fold, &columns.iter().map(String::as_str).collect::<Vec<_>>()[..])
        );
        let suffix = if form == "fanout = true" { "_a" } else { "" };
        let name = |column: &str| format!("{column}{suffix}");
        // Orders are the respondent's: the same for every model and replicate.
        let shown = lists(&table, &name("media_shown"));
        assert!(shown.chunks(fold).all(|c| c.iter().all(|s| *s == c[0])), "{form}: {shown:?}");
        assert!(shown.iter().any(|s| *s != shown[0]), "{form}: all the same");
        let trust = lists(&table, &name("trust_shown")).into_iter().flatten();
        assert!(trust.clone().count() == 12 * fold && trust.into_iter().all(|shown| shown[3] == "don't know"));
        // The condition holds or doesn't; the order tells what was asked.
        let (trust, mood) = (table.texts(&name("trust")), table.ints(&name("mood")));
        for ((trust, mood), order) in trust.iter().zip(&mood).zip(lists(&table, &name("talk_question_order"))) {
            let order = order.expect("an order");
            assert_eq!((mood.is_some(), order.len()), (trust != "no", if trust == "no" { 3 } else { 4 }), "{form}");
            let place = |id: &str| order.iter().position(|o| o == id);
            assert!(place("mood").is_none_or(|mood| place("trust") < Some(mood)), "{order:?}");
        }
        assert!(mood.iter().any(Option::is_none) && mood.iter().any(Option::is_some), "{form}");
        replays(&project);
    }
}

/// How often each option is answered by a mock that always picks the first one it is shown.
fn picked(order: &str, labels: &str, per: &str, options: &str, people: usize) -> BTreeMap<String, usize> {
    let stage = format!("models = [\"a\"]\noption_order = \"{order}\"\noption_labels = \"{labels}\"\nper = \"{per}\"");
    let questions = format!("{{ id = \"q\", text = \"Which?\", {options} }}, {{ id = \"r\", text = \"Why?\" }}");
    let project = project(&spec("first", "m", &stage, &questions), people);
    project.run(&RUN).exits(0);
    let mut counts = BTreeMap::new();
    project.table(OUT).texts("q").into_iter().for_each(|answer| *counts.entry(answer).or_insert(0) += 1);
    counts
}

#[test]
fn balanced_orders_make_of_who_picks_the_first_option_a_uniform_distribution() {
    let four = r#"options = ["w", "x", "y", "z"]"#;
    for (order, labels, per) in [
        ("cyclic", "none", "question"),
        ("cyclic", "letters", "respondent"),
        ("latin", "numbers", "question"),
        ("latin", "none", "respondent"),
    ] {
        let expected = ["w", "x", "y", "z"].map(|option| (option.to_owned(), 6));
        assert_eq!(picked(order, labels, per, four, 24), BTreeMap::from(expected), "{order}, {labels}, {per}");
    }
    let pinned = r#"options = ["x", "y", "z", "other"], pinned_options = ["other"]"#;
    for order in ["cyclic", "latin"] {
        let expected = ["x", "y", "z"].map(|option| (option.to_owned(), 8));
        assert_eq!(picked(order, "none", "question", pinned, 24), BTreeMap::from(expected), "{order}, pinned");
    }
    for (order, first) in [("as_given", "w"), ("reversed", "z")] {
        assert_eq!(picked(order, "letters", "question", four, 8), BTreeMap::from([(first.to_owned(), 8)]));
    }
}

#[test]
fn the_random_order_of_a_respondent_with_a_key_outlives_new_rows() {
    let text = spec("mock", "m", "models = [\"a\"]\noption_order = \"random\"", TWO);
    let project = project(&text, 8);
    project.run(&RUN).exits(0);
    let of = |project: &Project| -> BTreeMap<String, Vec<String>> {
        let table = project.table(OUT);
        table.texts("id").into_iter().zip(lists(&table, "trust_shown").into_iter().flatten()).collect()
    };
    let before = of(&project);
    let mut more = people(8);
    more.insert(1, ["new", "40", "male", "1"].map(str::to_owned));
    let project = project.csv("people.csv", &more);
    fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs are there");
    project.run(&RUN).exits(0);
    let after = of(&project);
    assert_eq!(after.len(), 9);
    assert!(before.iter().all(|(id, shown)| after[id] == *shown), "{before:?} {after:?}");
    let calls = project.calls();
    // The calls of all others are the same.
    let asked = calls.bools("from_ledger").into_iter().zip(calls.texts("row_key"));
    let sent: Vec<String> = asked.filter(|(from, _)| *from == Some(false)).map(|(_, key)| key).collect();
    assert!(!sent.is_empty() && sent.iter().all(|key| key == "new"), "{sent:?}");
}

#[test]
fn an_answer_before_a_failed_question_is_kept_and_a_wrong_one_is_asked_again() {
    let server = Server::new().models(&["m", "m-b"]).script(|asked, times| match asked.question() {
        question if question.contains("Which") => Say::Text(r#"{"answer": ["tv"]}"#.to_owned()),
        question if question.contains("trust") && times == 2 => Say::Text(r#"{"answer": "A bit."}"#.to_owned()),
        _ => Say::Text(r#"{"answer": "a lot or a bit"}"#.to_owned()),
    });
    let server = server.start();
    let text = spec("ollama", "m", "models = [\"a\"]\nmax_attempts = 2", TWO);
    let project = project(&text, 1).env("OLLAMA_HOST", &server.url());
    project.run(&RUN).exits(1).says("1 row = 0 answered + 1 failed");
    let table = project.table(OUT);
    assert_eq!((table.texts("trust"), table.nulls("media"), table.nulls("why")), (vec!["a bit".to_owned()], 1, 1));
    let error = table.texts("talk_error").remove(0);
    assert!(error.contains("\"answer\" must be a list without repetitions"), "{error}");
}

#[test]
fn the_survey_of_the_book_runs() {
    let shown = block("docs/src/surveys.md", "## Surveys", "toml");
    let head = "[models.small]\nprovider = \"mock\"\nmodel = \"m\"\n[sources.people]\ntype = \"file\"\npath = \"people.csv\"\n";
    let project = project(&format!("{head}{shown}[outputs.o]\ninput = \"interview\"\npath = \"{OUT}\"\n"), 4);
    project.run(&RUN).exits(0);
    let columns = ["works", "works_shown", "hours", "trust", "news", "news_shown", "why", "interview_error"];
    assert_eq!(project.table(OUT).columns()[4..], columns);
}

#[test]
fn the_json_schema_knows_both_forms_of_a_questionnaire() {
    let schema = serde_json::from_str(include_str!("../../schemas/pipeline.schema.json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let valid = |questions: &str| {
        let text = spec("mock", "m", "models = [\"a\"]", "").replace("questions = []", questions);
        validator.is_valid(&json_of("pipeline.toml", &text))
    };
    assert!(valid(&format!("questions = [{TWO}]")));
    assert!(valid("questions = { \"Well?\" = [\"good\", \"bad\"], \"Why?\" = [], \"And?\" = \"text\" }"));
    for bad in [
        "",
        "questions = []",
        "questions = {}",
        "questions = \"Why?\"",
        "questions = { \"Well?\" = 3 }",
        "questions = { \"Well?\" = \"txt\" }",
        "questions = [{ id = \"a\" }]",
        "questions = [{ id = \"a\", text = \"A?\", type = \"singel\" }]",
        "questions = [{ id = \"a\", text = \"A?\", opions = [] }]",
    ] {
        assert!(!valid(bad), "{bad}");
    }
}

#[test]
fn killed_in_the_middle_of_interviews_it_goes_on_to_the_same_table() {
    let stage = "models = [\"a\", \"b\"]\nfanout = false\nmemory = true\noption_order = \"random\"\nquestion_order = \"cyclic\"";
    let text = spec("ollama", "m", stage, TWO).replace("[models.b]", "[models.b]\ntemperature = 0.0");
    let start = |latency| Server::new().models(&["m", "m-b"]).latency_ms(latency).start();
    let (quick, slow) = (start(0), start(20));
    let undisturbed = project(&text, 30).env("OLLAMA_HOST", &quick.url());
    undisturbed.run(&RUN).exits(0);
    let project = project(&text, 30).env("OLLAMA_HOST", &slow.url());
    for answers in [10, 50] {
        let running = project.spawn(&RUN);
        assert!(slow.wait_answered(answers), "it never came so far");
        running.kill();
        assert!(!project.has(OUT));
    }
    project.run(&RUN).exits(0);
    assert!(project.bytes(OUT) == undisturbed.bytes(OUT), "the table differs from that of an undisturbed run");
    let (sent, needed) = (slow.requests(), quick.requests());
    assert!(sent >= needed && sent <= needed + 2 * 16 + 16, "{sent} requests for {needed} calls");
    replays(&project);
}

#[test]
fn a_real_small_model_answers_with_memory_and_skip_logic() {
    let questions = r#"
  { id = "news", text = "Do you read a newspaper?", options = ["yes", "no"], option_order = "cyclic" },
  { id = "paper", text = "How many minutes a day do you read it?", type = "number", min = 0, max = 600, when = "news == 'yes'" },
  { id = "other", text = "What do you use in its place?", type = "multiple", options = ["radio", "television", "web"], when = "news == 'no'" },
  { id = "trust", text = "How much do you trust the press?", type = "scale", min = 1, max = 7, min_label = "not at all", max_label = "completely" },
"#;
    let stage = "models = [\"a\"]\nmemory = true\noption_labels = \"letters\"";
    let test = "a_real_small_model_answers_with_memory_and_skip_logic";
    let text = spec("embedded", "smollm2:135m", stage, questions);
    let Some(project) = weights::or_skip(test, project(&text, 4)) else { return };
    project.run(&RUN).exits(0).says("4 rows = 4 answered + 0 failed + 0 skipped");
    let table = project.table(OUT);
    for (row, news) in table.texts("news").iter().enumerate() {
        assert!(["yes", "no"].contains(&news.as_str()));
        assert_eq!(table.cells("paper")[row] != Cell::Null, news == "yes");
        assert_eq!(table.cells("other")[row] != Cell::Null, news == "no");
    }
    assert!(table.ints("trust").iter().all(|trust| trust.is_some_and(|t| (1..=7).contains(&t))));
    let orders = lists(&table, "news_shown").into_iter().flatten().filter(|shown| shown[0] == "yes").count();
    assert_eq!(orders, 2, "of four respondents two see each option first");
    // The last question follows two others and their answers.
    let calls = project.calls();
    let said = &calls.texts("prompt")[2];
    assert!(said.starts_with("[user]\nDo you read") && said.contains("\n\n[assistant]\n"), "{said}");
    assert_eq!(calls.len(), 12);
    let tokens: Vec<i64> = calls.ints("prompt_tokens").into_iter().flatten().collect();
    assert!(tokens.chunks(3).all(|asked| asked.is_sorted_by(|one, next| next - one > 20)), "{tokens:?}");
    replays(&project);
}

#[test]
fn respondents_who_are_described_alike_are_asked_anew_unless_the_model_draws_nothing() {
    let server = Server::new().models(&["m", "m-b"]).start();
    let asked = |stage: &str, temperature: &str| {
        server.forget();
        let text = spec("ollama", "m", stage, "{ id = \"a\", text = \"Well?\", options = [\"good\", \"bad\"] }");
        let text = text
            .replace("max_tokens = 48", temperature)
            .replace("type = \"survey\"", "type = \"survey\"\npersona = \"You are {{ gender }}.\"");
        let project = project(&text, 6).env("OLLAMA_HOST", &server.url());
        project.run(&RUN).exits(0);
        replays(&project);
        server.asked().iter().map(|asked| asked.body["options"]["seed"].clone()).collect::<Vec<_>>()
    };
    let mut drawn = asked("models = [\"a\"]", "temperature = 0.7");
    assert_eq!(drawn.len(), 6);
    drawn.sort_by_key(|seed| seed.as_u64());
    drawn.dedup();
    assert!(drawn.len() == 6 && drawn.iter().all(|seed| seed.as_u64().is_some_and(|s| s < 1 << 31)), "{drawn:?}");
    assert_eq!(asked("models = [\"a\"]\nreplicates = 2", "temperature = 0.7").len(), 12);
    // Two kinds of people: the same question to the same description has the same answer at temperature 0.
    assert_eq!(asked("models = [\"a\"]", "temperature = 0.0").len(), 2);
}

/// People of a population answer the real small model; killed half-way, and compared with a run that was left alone.
fn population(test: &str, stage: &str) -> Option<Table> {
    let text = format!(
        r#"name = "talks"
seed = 3
[models.small]
provider = "embedded"
model = "smollm2:135m"
temperature = 0.7
max_tokens = 40
[models.twin]
provider = "embedded"
model = "smollm2:135m"
temperature = 0.7
max_tokens = 41
[sources.people]
type = "population"
n = 8
allocation = "quota"
[sources.people.characteristics]
gender = {{ woman = 0.5, man = 0.5 }}
age = {{ depends_on = "gender", distributions = {{ woman = ["young", "old"], man = ["young", "old"] }} }}
[stages.talk]
type = "survey"
input = "people"
models = ["small", "twin"]
chunk_size = 3
option_order = "latin"
{stage}
[stages.talk.questions]
"How satisfied are you with your job?" = ["Very satisfied", "Neutral", "Very dissatisfied"]
"Which benefit matters most to you?" = ["Salary", "Time", "Health", "Other"]
[outputs.talk]
input = "talk"
path = "{OUT}"
"#
    );
    let (quiet, project) =
        (weights::or_skip(test, Project::new().spec(&text))?, weights::or_skip(test, Project::new().spec(&text))?);
    quiet.run(&RUN).exits(0);
    let running = project.spawn(&RUN);
    let (ledger, start) = (project.path(".fanfold/ledger.sqlite-wal"), std::time::Instant::now());
    while fs::metadata(&ledger).map_or(0, |m| m.len()) < 20_000 && start.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.kill();
    project.run(&RUN).exits(0);
    assert!(project.bytes(OUT) == quiet.bytes(OUT), "the table differs from that of an undisturbed run");
    replays(&project);
    Some(project.table(OUT))
}

#[test]
fn a_real_small_model_answers_for_a_population_fanned_out() {
    let test = "a_real_small_model_answers_for_a_population_fanned_out";
    let Some(table) = population(test, "fanout = true") else { return };
    assert_eq!((table.len(), table.nulls("talk_error_small"), table.nulls("talk_error_twin")), (8, 8, 8));
    // The latin square of four options needs four respondents: each option was in each place twice.
    let first = lists(&table, "q2_shown_small").into_iter().flatten().map(|shown| shown[0].clone());
    let mut counts = BTreeMap::new();
    first.for_each(|option| *counts.entry(option).or_insert(0) += 1);
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [2, 2, 2, 2]);
    assert_eq!(lists(&table, "q1_shown_small"), lists(&table, "q1_shown_twin"));
}

#[test]
fn a_real_small_model_answers_for_a_population_split() {
    let test = "a_real_small_model_answers_for_a_population_split";
    let Some(table) = population(test, "fanout = false\nmemory = true") else { return };
    assert_eq!((table.len(), table.nulls("talk_error")), (8, 8));
    assert_eq!(table.texts("talk_model")[..3], ["small", "twin", "small"]);
    assert!(
        table.texts("q1").iter().zip(lists(&table, "q1_shown")).all(|(a, shown)| shown.is_some_and(|s| s.contains(a)))
    );
}

#[test]
fn columns_are_named_by_the_questions_and_the_codebook_has_their_texts() {
    let questions = r#"
{ id = "work", text = "Do you work?", options = ["yes", "no"], option_order = "random" },
{ id = "hours", text = "How many hours do you work in a week, all jobs taken together, on average?", type = "number", when = "work == 'yes'" },
{ id = "again", text = "Do you work", options = ["yes", "no"] },
{ id = "sex", text = "Gender", options = ["f", "m"] }"#;
    let stage = "models = [\"a\"]\nmemory = true\nquestion_order = \"random\"\ncolumn_names = \"text\"";
    let mut text = spec("first", "one", stage, questions);
    text.push_str("codebook = \"book.csv\"\n");
    let project = project(&text, 4);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    let hours = "how_many_hours_do_you_work_in_a_week_all_jobs_taken_together";
    let names = ["do_you_work", "do_you_work_shown", hours, "do_you_work_2", "gender_2", "talk_question_order"];
    assert_eq!(table.columns()[4..10], names);
    assert!(table.nulls(hours) < table.len(), "a condition reads the id");
    let mut order = lists(&table, "talk_question_order")[0].clone().expect("the order of the questions");
    order.sort();
    assert!(order.contains(&"gender_2".to_owned()) && !order.contains(&"sex".to_owned()), "{order:?}");
    let book = project.text("book.csv");
    for text in ["Do you work?", "all jobs taken together, on average?", "Gender"] {
        assert!(book.contains(text), "{text}: {book}");
    }
    replays(&project);
    let ids = text.replace("column_names = \"text\"", "column_names = \"id\"");
    project.write("pipeline.toml", &ids);
    project.run(&RUN).exits(0).says("0 calls sent");
    assert_eq!(project.table(OUT).columns()[4..6], ["work", "work_shown"], "the names change no question");
    project.write("pipeline.toml", text.replace("id = \"again\"", "id = \"work\""));
    project.run(&["validate", "pipeline.toml"]).exits(2).says("two questions have the id `work`");
}

#[test]
fn a_plan_counts_only_the_questions_that_are_new() {
    let spec = |questions: &str| {
        format!(
            r#"
models.m = {{ provider = "mock", model = "m", price = {{ input = 1, output = 5 }} }}
sources.people = {{ type = "file", path = "d.csv" }}
outputs.o = {{ input = "s", path = "o.csv" }}
[stages.s]
type = "survey"
input = "people"
models = ["m"]
persona = "You are {{{{ age }}}} years old."
questions = [{questions}]
"#
        )
    };
    let question = |id: &str| format!("{{ id = \"{id}\", text = \"About {id}?\", options = [\"a\", \"b\"] }},");
    let [one, two, new] = ["q1", "q2", "new"].map(question);
    let project = Project::new().spec(&spec(&format!("{one}{two}"))).csv("d.csv", &[["age"], ["30"], ["40"], ["50"]]);
    project.run(&["run", "pipeline.toml"]).exits(0);
    project.write("pipeline.toml", spec(&format!("{one}{new}{two}")));
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("a run would send 3 calls") && plan.contains("in all: at most 3 calls to send"), "{plan}");
    // What no question can show is said.
    project.write("pipeline.toml", spec(&question("{{ age }}").replacen("{{ age }}", "q1", 1)));
    let told = project.run(&["validate", "pipeline.toml"]).exits(0).stderr;
    assert!(told.contains("warning[literal-placeholder]: `{{ age }}` is plain text"), "{told}");
}

//! Distributions of answers: by repeated answers, by the probabilities of tokens, and as the model states them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::project::{Project, Table};
use crate::server::{Asked, Say, Server};
use crate::weights;

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const OUT: &str = "talk.parquet";

/// A survey by this model, with `stage` lines and the items of its list of questions.
fn spec(model: &str, stage: &str, questions: &str) -> String {
    format!(
        "seed = 5\n[providers.lab]\ntype = \"openai\"\nbase_url_env = \"LAB_URL\"\n[providers.first]\ntype = \"mock\"\npick = \"first\"\n\
         [models.a]\n{model}\n[sources.people]\ntype = \"file\"\npath = \"people.csv\"\nkey = \"id\"\n\
         [stages.talk]\ntype = \"survey\"\ninput = \"people\"\nmodels = [\"a\"]\n{stage}\nquestions = [{questions}]\n\
         [outputs.talk]\ninput = \"talk\"\npath = \"{OUT}\"\n"
    )
}

const LLAMA: &str = "provider = \"lab\"\nmodel = \"llama3.2\"\ntemperature = 1.0";

fn project(server: &Server, spec: &str, people: usize) -> Project {
    let rows: String = (1..=people).map(|id| format!("{id}\n")).collect();
    Project::new().env("LAB_URL", &server.openai_url()).spec(spec).file("people.csv", format!("id\n{rows}"))
}

/// The distribution in each row: the probabilities by label.
fn distributions(table: &Table, column: &str) -> Vec<Option<BTreeMap<String, f64>>> {
    table.strings(column).into_iter().map(|text| Some(serde_json::from_str(&text?).expect("an object"))).collect()
}

#[track_caller]
fn near(found: &Option<BTreeMap<String, f64>>, expected: &[(&str, f64)]) {
    let found = found.as_ref().expect("a distribution");
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (label, p) in expected {
        assert!((found[*label] - p).abs() < 1e-12, "{label}: {found:?}, expected {p}");
    }
}

/// A token with its probability and with the other tokens that were likely.
type Step<'a> = (&'a str, f64, &'a [(&'a str, f64)]);

/// A reply of these tokens.
fn tokens(tokens: &[Step<'_>]) -> Say {
    let scored = |text: &str, p: f64| json!({ "token": text, "logprob": p.ln(), "bytes": text.as_bytes() });
    let token = |(text, p, others): &Step<'_>| {
        let mut token = scored(text, *p);
        let all = [(*text, *p)].into_iter().chain(others.iter().copied());
        token["top_logprobs"] = all.map(|(text, p)| scored(text, p)).collect();
        token
    };
    let text: String = tokens.iter().map(|(text, ..)| *text).collect();
    let content: Vec<Value> = tokens.iter().map(token).collect();
    let choice = json!({ "message": { "content": text }, "finish_reason": "stop", "logprobs": { "content": content } });
    Say::RawBody(json!({ "choices": [choice] }).to_string().into_bytes())
}

const SCALE: &str = r#"{ id = "use", text = "How often?", options = ["often", "no", "not sure"] }"#;

#[test]
fn probabilities_of_tokens_are_summed_over_spellings_and_scaled() {
    let script = |asked: &Asked, _: usize| {
        assert!(asked.body["logprobs"] == true && asked.body["top_logprobs"] == 20, "{:?}", asked.body);
        tokens(&[
            ("{\"answer\":", 1.0, &[]),
            (" \"", 0.7, &[("\"", 0.1), (" \"Often\"", 0.05), ("\"no", 0.04), ("42", 0.02)]),
            (
                "often",
                0.4,
                &[
                    ("Often", 0.1),
                    (" often", 0.05),
                    ("of", 0.05),
                    ("not", 0.1),
                    ("no", 0.08),
                    ("NO\"", 0.02),
                    ("never", 0.1),
                ],
            ),
            ("\"}", 1.0, &[]),
        ])
    };
    let server = Server::new().script(script).start();
    let stage = "distribution = [\"logprobs\"]";
    let project = project(&server, &spec(LLAMA, stage, SCALE), 2);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    let columns = ["id", "use", "use_distribution_logprobs", "use_option_mass", "talk_error"];
    assert_eq!(table.columns(), columns);
    // Two spellings of the quote lead to all options; `no` alone may be two of them, so it counts for neither.
    let path = 0.7 + 0.1;
    let often = 0.05 + path * (0.4 + 0.1 + 0.05 + 0.05);
    let (no, unsure) = (path * 0.02, path * 0.1);
    let mass = often + no + unsure;
    let expected = [("often", often / mass), ("no", no / mass), ("not sure", unsure / mass)];
    for found in distributions(&table, "use_distribution_logprobs") {
        near(&found, &expected);
    }
    assert!(table.floats("use_option_mass").iter().all(|found| (found.unwrap() - mass).abs() < 1e-12));
    // The same from the ledger, without a call.
    let first = project.bytes(OUT);
    std::fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs are there");
    project.run(&RUN).exits(0).says("0 calls sent");
    assert!(project.bytes(OUT) == first, "the bytes changed");
}

#[test]
fn a_beginning_of_two_options_is_divided_by_what_follows() {
    let script = |_: &Asked, _: usize| {
        tokens(&[
            ("{\"answer\":\"", 1.0, &[]),
            ("no", 0.5, &[("often", 0.3), ("not", 0.1), ("nowhere", 0.1)]),
            ("\"}", 0.6, &[("t", 0.3), (" idea", 0.1)]),
        ])
    };
    let server = Server::new().script(script).start();
    let project = project(&server, &spec(LLAMA, "distribution = [\"logprobs\"]", SCALE), 1);
    project.run(&RUN).exits(0);
    let mass = 0.5 * 0.9 + 0.3 + 0.1;
    let expected = [("often", 0.3 / mass), ("no", 0.5 * 0.6 / mass), ("not sure", (0.1 + 0.5 * 0.3) / mass)];
    near(&distributions(&project.table(OUT), "use_distribution_logprobs")[0], &expected);
}

#[test]
fn a_row_with_too_little_mass_on_its_options_fails() {
    let script = |asked: &Asked, _: usize| match asked.question().contains("Silent") {
        // Without probabilities.
        true => Say::Text("{\"answer\":\"no\"}".into()),
        false => tokens(&[
            ("{\"answer\":\"", 1.0, &[]),
            ("often", 0.2, &[("no\"", 0.1), ("I", 0.3), ("As", 0.2)]),
            ("\"}", 1.0, &[]),
        ]),
    };
    let server = Server::new().script(script).start();
    let questions =
        format!("{SCALE}, {{ id = \"why\", text = \"Silent?\", options = [\"no\", \"yes\"], min_option_mass = 0.0 }}");
    let stage = |mass: &str| format!("distribution = [\"logprobs\"]\nmin_option_mass = {mass}");
    let project = project(&server, &spec(LLAMA, &stage("0.5"), &questions), 3);
    project.run(&RUN).exits(1).says("3 calls failed as option_mass").says("0 answered + 3 failed");
    let table = project.table(OUT);
    let expected = "option_mass: the options of `use` have a mass of 0.300, below `min_option_mass` (0.5)";
    assert_eq!(table.texts("talk_error"), [expected; 3]);
    assert_eq!(table.strings("use_distribution_logprobs"), [None, None, None]);
    assert!(table.floats("use_option_mass").iter().all(|mass| (mass.unwrap() - 0.3).abs() < 1e-12));
    // The answers are good, and stay. Without probabilities nothing is known of the mass.
    assert_eq!((table.texts("use"), table.texts("why")), (vec!["often".to_owned(); 3], vec!["no".to_owned(); 3]));
    assert_eq!(
        (table.floats("why_option_mass"), table.strings("why_distribution_logprobs")),
        (vec![None; 3], vec![None; 3])
    );
    // A lower limit takes the same answers from the ledger.
    server.forget();
    project.write("pipeline.toml", spec(LLAMA, &stage("0.25"), &questions));
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 0);
    near(
        &distributions(&project.table(OUT), "use_distribution_logprobs")[0],
        &[("often", 2.0 / 3.0), ("no", 1.0 / 3.0), ("not sure", 0.0)],
    );
    // Without probabilities a question that needs them fails.
    let strict = spec(LLAMA, &stage("0.25"), &questions).replace(", min_option_mass = 0.0", "");
    project.write("pipeline.toml", strict);
    project.run(&RUN).exits(1);
    let error = "option_mass: the server reported no probabilities of `why`";
    assert_eq!(project.table(OUT).texts("talk_error"), [error; 3]);
}

#[test]
fn samples_are_shares_of_labels_whatever_their_order() {
    // Every answer is the first option as shown, so each option is chosen by the order alone.
    let model = "provider = \"first\"\nmodel = \"m\"";
    let question =
        r#"{ id = "use", text = "How often?", options = ["never", "rarely", "always"], option_order = "cyclic" }"#;
    for labels in ["none", "letters"] {
        let stage = format!("distribution = [\"sample\", \"verbalized\"]\nsamples = 5\noption_labels = \"{labels}\"");
        let server = Server::new().start();
        let project = project(&server, &spec(model, &stage, question), 6);
        project.run(&RUN).exits(0);
        let table = project.table(OUT);
        assert_eq!(
            table.columns()[1..5],
            ["use", "use_shown", "use_distribution_sample", "use_distribution_verbalized"]
        );
        for (found, answer) in distributions(&table, "use_distribution_sample").iter().zip(table.texts("use")) {
            let expected = ["never", "rarely", "always"].map(|label| (label, f64::from(u8::from(label == answer))));
            near(found, &expected);
        }
        for found in distributions(&table, "use_distribution_verbalized").into_iter().flatten() {
            assert!((found.values().sum::<f64>() - 1.0).abs() < 1e-12 && found.len() == 3, "{found:?}");
        }
        assert_eq!(table.texts("use").iter().filter(|answer| *answer == "rarely").count(), 2, "balanced orders");
        // A row has 5 answers and one statement.
        assert_eq!(project.calls().len(), 6 * 6);
    }
}

/// Answers of people who choose `often` in every third answer, and state something else.
fn told(asked: &Asked, number: usize) -> Say {
    let states = asked.messages.iter().any(|(_, text)| text.contains("State how probable"));
    match (states, number) {
        (true, 1) => Say::Json(json!({ "answer": { "often": 0.9, "no": 0.9, "not sure": 0.0 } })),
        (true, _) => Say::Json(json!({ "answer": { "often": 0.6, "no": 0.3, "not sure": 0.12 } })),
        (false, _) => {
            let chosen = if asked.number.is_multiple_of(3) { "often" } else { "no" };
            Say::Json(json!({ "answer": chosen }))
        }
    }
}

#[test]
fn repeated_answers_and_statements_are_asked_one_by_one_and_audited() {
    let server = Server::new().script(told).start();
    let stage = "distribution = [\"sample\", \"verbalized\"]\nsamples = 6\nworkers = 1\nbatch_size = 1";
    let project = project(&server, &spec(LLAMA, stage, SCALE), 1);
    let ran = project.run(&["run", "pipeline.toml", "--format", "json"]).exits(0);
    let table = project.table(OUT);
    near(
        &distributions(&table, "use_distribution_sample")[0],
        &[("often", 2.0 / 6.0), ("no", 4.0 / 6.0), ("not sure", 0.0)],
    );
    // Probabilities that do not sum to 1 are asked for again; rounded ones are scaled.
    let stated = [("often", 0.6 / 1.02), ("no", 0.3 / 1.02), ("not sure", 0.12 / 1.02)];
    near(&distributions(&table, "use_distribution_verbalized")[0], &stated);
    assert_eq!(server.requests(), 6 + 2);
    let seeds: std::collections::BTreeSet<String> =
        server.asked().iter().map(|asked| asked.body["seed"].to_string()).collect();
    assert!(seeds.len() >= 6, "each answer has another seed: {seeds:?}");
    let again = server
        .asked()
        .into_iter()
        .find(|asked| asked.messages.len() > 2 && asked.messages.iter().any(|m| m.1.contains("can't be used")));
    assert!(again.is_some_and(|asked| asked.messages.last().unwrap().1.contains("probabilities that sum to 1")));
    // The mismatch of the ways to measure.
    let found = &ran.json()["stages"]["talk"]["distributions"]["use"];
    let of = |place: usize| (found[place]["of"].clone(), found[place]["other_likeliest"].clone());
    assert_eq!(of(0), (json!(["answer", "sample"]), json!(1.0)), "the first answer is `often`");
    assert_eq!(of(1), (json!(["answer", "verbalized"]), json!(0.0)));
    assert_eq!(of(2), (json!(["sample", "verbalized"]), json!(1.0)));
    let expected = (0.6f64 / 1.02 - 2.0 / 6.0 + 0.12 / 1.02).abs();
    let variation = found[2]["total_variation"].as_f64().expect("a number");
    assert!((variation - expected).abs() < 1e-12, "{variation}, expected {expected}");
    let page = project.run(&["report", "pipeline.toml", "--format", "json", "--output", "-"]).exits(0).stdout;
    assert!(page.contains("Distributions of the answers") && page.contains("sample and verbalized"), "{page}");
}

#[test]
fn more_samples_ask_only_what_is_new() {
    let server = Server::new().script(told).start();
    let stage = |samples: u32| format!("distribution = [\"sample\"]\nsamples = {samples}");
    let project = project(&server, &spec(LLAMA, "", SCALE), 4);
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 4);
    project.write("pipeline.toml", spec(LLAMA, &stage(5), SCALE));
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 4 * 5, "the answer is the first sample");
    project.write("pipeline.toml", spec(LLAMA, &stage(7), SCALE));
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 4 * 7);
    // A greedy model has one answer.
    let greedy = LLAMA.replace("1.0", "0.0");
    let project = self::project(&server, &spec(&greedy, &stage(5), SCALE), 1);
    server.forget();
    project.run(&RUN).exits(0).says("all answers of `sample` are equal");
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_conversation_keeps_its_order() {
    let script = |asked: &Asked, _: usize| {
        let last = &asked.messages.last().expect("a question").1;
        match (last.contains("State how probable"), last.contains("Why")) {
            (true, _) => Say::Json(json!({ "answer": { "often": 0.5, "no": 0.25, "not sure": 0.25 } })),
            (_, true) => Say::Text("So.".into()),
            _ => Say::Json(json!({ "answer": "no" })),
        }
    };
    let server = Server::new().script(script).start();
    let questions = format!("{SCALE}, {{ id = \"why\", text = \"Why?\", when = \"use == 'no'\" }}");
    let stage = "memory = true\ndistribution = [\"sample\", \"verbalized\"]\nsamples = 3";
    let project = project(&server, &spec(LLAMA, stage, &questions), 2);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!((table.texts("use"), table.texts("why")), (vec!["no".to_owned(); 2], vec!["So.".to_owned(); 2]));
    near(&distributions(&table, "use_distribution_verbalized")[1], &[("often", 0.5), ("no", 0.25), ("not sure", 0.25)]);
    let whys: Vec<Asked> =
        server.asked().into_iter().filter(|asked| asked.messages.last().unwrap().1.contains("Why")).collect();
    assert!(whys.len() == 2 && whys.iter().all(|asked| asked.messages.len() == 4), "only the answer is remembered");
}

/// An analysis with these lines of its key.
fn analysis(model: &str, key: &str, more: &str) -> String {
    format!(
        "seed = 5\n[providers.lab]\ntype = \"openai\"\nbase_url_env = \"LAB_URL\"\n[models.a]\n{model}\n\
         [sources.people]\ntype = \"file\"\npath = \"people.csv\"\nkey = \"id\"\n\
         [stages.talk]\ntype = \"analysis\"\ninput = \"people\"\nmodels = [\"a\"]\nprompt = \"Row {{{{ id }}}}?\"\n{more}\n\
         output.tone = {{ type = \"string\", enum = [\"good\", \"bad\"], {key} }}\noutput.score = {{ type = \"integer\" }}\n\
         [outputs.talk]\ninput = \"talk\"\npath = \"{OUT}\"\n"
    )
}

#[test]
fn keys_of_an_analysis_have_distributions() {
    let script = |asked: &Asked, _: usize| match asked.messages[0].1.contains("State for each key") {
        true => {
            let properties = &asked.schema.as_ref().expect("a schema")["properties"];
            assert!(properties["tone"]["properties"]["good"]["type"] == "number" && properties.get("score").is_none());
            Say::Json(json!({ "tone": { "good": 0.25, "bad": 0.75 } }))
        }
        false if asked.body["logprobs"] == true => tokens(&[
            ("{\"tone\":\"", 1.0, &[]),
            ("good", 0.5, &[("bad", 0.25), ("Good", 0.125)]),
            ("\",\"score\":1}", 1.0, &[]),
        ]),
        false => Say::Json(json!({ "tone": "bad", "score": 2 })),
    };
    let server = Server::new().script(script).start();
    let key =
        "prob = true, distribution = [\"verbalized\", \"logprobs\", \"sample\"], samples = 4, min_option_mass = 0.8";
    let project = project(&server, &analysis(LLAMA, key, ""), 2);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    let of =
        ["tone_distribution_verbalized", "tone_distribution_logprobs", "tone_option_mass", "tone_distribution_sample"];
    let columns = [&["id", "tone", "tone_prob"], &of[..], &["score", "talk_error"]].concat();
    assert_eq!(table.columns(), columns);
    near(&distributions(&table, of[0])[0], &[("good", 0.25), ("bad", 0.75)]);
    near(&distributions(&table, of[1])[1], &[("good", 0.625 / 0.875), ("bad", 0.25 / 0.875)]);
    near(&distributions(&table, of[3])[0], &[("good", 0.25), ("bad", 0.75)]);
    assert_eq!((table.texts("tone"), table.ints("score")), (vec!["good".to_owned(); 2], vec![Some(1); 2]));
    assert!((table.floats("tone_prob")[0].unwrap() - 0.625 / 0.875).abs() < 1e-12);
    // A later stage reads a probability by its label.
    let later = "[stages.sure]\ntype = \"filter\"\ninput = \"talk\"\nwhen = \"tone_distribution_logprobs.good > 0.7\"\n\
                 [outputs.sure]\ninput = \"sure\"\npath = \"sure.parquet\"\n";
    project.write("pipeline.toml", analysis(LLAMA, key, "") + later);
    project.run(&RUN).exits(0);
    assert_eq!(project.table("sure.parquet").len(), 2);
    // A row with too little mass keeps its answers.
    project.write("pipeline.toml", analysis(LLAMA, &key.replace("0.8", "0.9"), ""));
    project.run(&RUN).exits(1);
    let table = project.table(OUT);
    assert_eq!((table.texts("tone"), table.strings(of[1])), (vec!["good".to_owned(); 2], vec![None, None]));
    assert!(table.texts("talk_error")[0].starts_with("option_mass: the options of `tone` have a mass of 0.875"));
}

#[test]
fn what_has_no_distribution_is_refused_with_the_way_out() {
    let server = Server::new().start();
    let refused = |spec: &str| project(&server, spec, 2).run(&["validate", "pipeline.toml"]).exits(2).stderr;
    let key = "distribution = [\"sample\"]";
    for (spec, message) in [
        (analysis(LLAMA, key, "rows_per_prompt = 2"), "`distribution` is not possible with `rows_per_prompt`"),
        (
            analysis(LLAMA, key, "examples = [{ row = { id = 1 }, answer = { tone = \"good\", score = 1 } }]"),
            "can't have examples",
        ),
        (
            analysis(LLAMA, "nullable = true, distribution = [\"sample\"]", ""),
            "a distribution is over labels, and null is not one",
        ),
        (
            analysis("provider = \"anthropic\"\nmodel = \"claude\"", "distribution = [\"logprobs\"]", ""),
            "`logprobs` needs the probabilities of labels",
        ),
        (analysis(LLAMA, "distribution = [\"sample\"], samples = 1", ""), "`samples` must be from 2 to 1000, not 1"),
        (
            spec(LLAMA, "per = \"respondent\"\ndistribution = [\"sample\"]", SCALE),
            "a distribution needs a call for each question",
        ),
        (spec(LLAMA, "distribution = [\"sample\", \"sample\"]", SCALE), "`sample` is listed twice"),
        (
            spec(LLAMA, "", "{ id = \"why\", text = \"Why?\", distribution = [\"sample\"] }"),
            "`distribution` is for `single`, not for `text`",
        ),
        (spec(LLAMA, "samples = 3", SCALE), "no question has `sample` in its `distribution`"),
    ] {
        let found = refused(&spec);
        assert!(found.contains(message), "{message} is not in:\n{found}");
    }
}

#[test]
fn the_embedded_model_knows_the_probabilities_of_all_tokens() {
    let spec = spec(
        "provider = \"embedded\"\nmodel = \"smollm2-135m\"\ntemperature = 1.0",
        "distribution = [\"sample\", \"logprobs\"]\nsamples = 3\nmin_option_mass = 0.001\noption_labels = \"letters\"",
        r#"{ id = "use", text = "Do you read a paper every day?", options = ["yes", "no"] }"#,
    );
    let server = Server::new().start();
    let Some(project) = weights::or_skip("distributions of the embedded model", project(&server, &spec, 2)) else {
        return;
    };
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    for mode in ["sample", "logprobs"] {
        for found in distributions(&table, &format!("use_distribution_{mode}")) {
            let found = found.unwrap_or_else(|| panic!("{mode}: {:?}", table.rows()));
            assert!((found.values().sum::<f64>() - 1.0).abs() < 1e-9 && found.len() == 2, "{mode}: {found:?}");
        }
    }
    let mass = table.floats("use_option_mass");
    assert!(mass.iter().all(|mass| mass.is_some_and(|mass| mass > 0.001 && mass <= 1.0)), "{mass:?}");
    // Both people get the same question, so only the drawn answers may differ.
    let found = distributions(&table, "use_distribution_logprobs");
    let yes = |row: usize| found[row].as_ref().expect("a distribution")["yes"];
    assert!((yes(0) - yes(1)).abs() < 1e-6, "{found:?}");
}

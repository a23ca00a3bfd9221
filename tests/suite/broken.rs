//! Broken specs: each file in `broken/` has one mistake (or a few), in TOML and in YAML. The snapshots are the output of
//! `validate`; it must point to the lines marked `# HERE`.
//!
//! To add a mistake, add two files and a name in the list below.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::project::Project;

/// A test per pair of files.
macro_rules! broken {
    ($($test:ident = $name:literal,)*) => {
        $(#[test]
        fn $test() {
            check($name);
        })*

        const NAMES: &[&str] = &[$($name),*];
    };
}

broken! {
    unknown_top_level_field = "01-unknown-top-level-field",
    unknown_model_field = "02-unknown-model-field",
    wrong_type = "03-wrong-type",
    negative_workers = "04-negative-workers",
    unknown_model = "05-unknown-model",
    unknown_input = "06-unknown-input",
    unknown_provider = "07-unknown-provider",
    unknown_stage_type = "08-unknown-stage-type",
    cycle = "09-cycle",
    no_input = "10-no-input",
    template_syntax = "11-template-syntax",
    template_variable = "12-template-variable",
    two_prompts = "13-two-prompts",
    no_prompt = "14-no-prompt",
    text_column = "15-text-column",
    same_column_twice = "16-same-column-twice",
    same_model_twice = "17-same-model-twice",
    output_over_input = "18-output-over-input",
    literal_key = "19-literal-key",
    path_outside = "20-path-outside",
    output_type = "21-output-type",
    enum_empty = "22-enum-empty",
    enum_duplicate = "23-enum-duplicate",
    bounds = "24-bounds",
    syntax = "25-syntax",
    duplicate_key = "26-duplicate-key",
    missing_file = "27-missing-file",
    key_column = "28-key-column",
    output_extension = "29-output-extension",
    missing_prompt_file = "30-missing-prompt-file",
    same_output_twice = "31-same-output-twice",
    bad_name = "32-bad-name",
    several_at_once = "33-several-at-once",
    max_length = "34-max-length",
    length_of_nothing = "35-length-of-nothing",
    prob_without_enum = "36-prob-without-enum",
    prob_column = "37-prob-column",
    prob_provider = "38-prob-provider",
    fill_missing = "40-fill-missing",
    when = "41-when",
    fallback = "42-fallback",
    options = "43-options",
    ollama_provider = "44-ollama-provider",
    population_weights = "50-population-weights",
    population_parents = "51-population-parents",
    population_margins = "52-population-margins",
    population_impossible = "53-population-impossible",
    population_structural_zeros = "54-population-structural-zeros",
    survey_options = "60-survey-options",
    survey_types = "61-survey-types",
    survey_ids = "62-survey-ids",
    survey_when = "63-survey-when",
    survey_in_one_call = "64-survey-in-one-call",
    survey_empty = "65-survey-empty",
    survey_shorthand = "66-survey-shorthand",
    survey_no_questions = "67-survey-no-questions",
    survey_words = "68-survey-words",
    test_columns = "70-test-columns",
    test_bounds = "71-test-bounds",
    test_tables = "72-test-tables",
    test_expressions = "73-test-expressions",
    split = "74-split",
    join = "75-join",
    reduce = "76-reduce",
    audit_without_packs = "80-audit-without-packs",
    prob_in_packs = "81-prob-in-packs",
    rows_per_prompt = "82-rows-per-prompt",
    audit_fields = "83-audit-fields",
    examples = "84-examples",
    examples_file = "85-examples-file",
    examples_of_a_survey = "86-examples-of-a-survey",
    burst_without_a_rate = "87-burst",
    everything_at_once = "90-everything-at-once",
    prompt_in_braces = "100-prompt-in-braces",
    prompt_without_a_column = "101-prompt-without-a-column",
    prompt_in_other_languages = "102-prompt-in-other-languages",
    several_models = "103-several-models",
    prompt_doubts = "110-prompt-doubts",
    no_outputs = "111-no-outputs",
    other_words = "112-other-words",
    numbers_of_a_model = "113-numbers-of-a-model",
    lists_as_text = "120-lists-as-text",
    numbers_as_text = "121-numbers-as-text",
    singular_section = "122-singular-section",
    keys_without_tables = "123-keys-without-tables",
    lines_of_the_other_format = "124-lines-of-the-other-format",
    lines_that_are_not_indented = "125-lines-that-are-not-indented",
    files_that_are_not_there = "126-files-that-are-not-there",
    doubled_keys = "127-doubled-keys",
    agreement = "140-agreement",
    validation = "141-validation",
    calibration = "142-calibration",
    ensemble = "143-ensemble",
    estimate = "144-estimate",
    sample = "145-sample",
}

/// Specs that are valid, with warnings.
const DOUBTFUL: [&str; 4] = ["110-prompt-doubts", "111-no-outputs", "112-other-words", "113-numbers-of-a-model"];

/// Syntax errors: the two formats have different parsers, so the messages may differ.
const OF_THE_FORMAT: [&str; 4] =
    ["25-syntax", "26-duplicate-key", "124-lines-of-the-other-format", "125-lines-that-are-not-indented"];

/// The placeholder for a key in `19-literal-key`.
const NO_KEY: &str = "not-a-real-key";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/broken")
}

/// A copy of the folder, so that nothing is written to the repository.
fn copy() -> Project {
    let project = Project::new();
    for entry in fs::read_dir(folder()).expect("the folder is there").flatten() {
        project.write(&entry.file_name().to_string_lossy(), fs::read(entry.path()).expect("a file"));
    }
    project
}

fn check(name: &str) {
    let project = copy();
    let [toml, yaml] = ["toml", "yaml"].map(|format| validated(&project, &format!("{name}.{format}")));
    let [first, second] = [&toml, &yaml].map(|told| &told.messages);
    assert!(!first.is_empty() && !second.is_empty(), "{name}: no message as JSON");
    if !OF_THE_FORMAT.contains(&name) {
        assert_eq!(first, second, "{name}: TOML and YAML give different messages");
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(format!("broken-{name}"), format!("{}\n{}", toml.shown, yaml.shown));
    });
}

/// The output of `validate` for a file.
struct Validated {
    /// The text for people.
    shown: String,
    /// Rule, message and help of each problem, from the JSON.
    messages: BTreeSet<(String, String, String)>,
}

fn validated(project: &Project, file: &str) -> Validated {
    let code = if DOUBTFUL.iter().any(|name| file.starts_with(name)) { 0 } else { 2 };
    let shown = project.run(&["validate", file]).exits(code);
    assert_eq!(shown.stdout, "", "{file}: diagnostics for people go to stderr");
    let shown = shown.stderr.replace(&*project.folder().to_string_lossy(), "[folder]");
    assert!(!shown.contains("[folder]"), "{file}: an absolute path:\n{shown}");
    assert!(!shown.contains(NO_KEY), "{file}: a key is shown:\n{shown}");
    let text = project.text(file);
    let marked: BTreeSet<usize> =
        text.lines().enumerate().filter(|(_, line)| line.contains("# HERE")).map(|(i, _)| i + 1).collect();
    let pointed = lines_of(&shown, file);
    assert!(!pointed.is_empty(), "{file}: no line is named:\n{shown}");
    assert!(pointed.is_subset(&marked), "{file}: points to {pointed:?}, the mistake is in {marked:?}:\n{shown}");

    let json = project.run(&["validate", file, "--format", "json"]).exits(code);
    let json: Value = serde_json::from_str(&json.stdout).unwrap_or_else(|e| panic!("{file}: {e}\n{}", json.stdout));
    assert!(!json.to_string().contains(NO_KEY), "{file}: a key is shown: {json}");
    let mut messages = BTreeSet::new();
    gather(&json, &mut messages);
    Validated { shown, messages }
}

/// The lines that a text names as `file:line`.
fn lines_of(shown: &str, file: &str) -> BTreeSet<usize> {
    let mark = format!("{file}:");
    let after = shown.split(&mark).skip(1);
    let digits = after.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.filter_map(|number| number.parse().ok()).collect()
}

/// Every object with a `message`, at any depth.
fn gather(value: &Value, found: &mut BTreeSet<(String, String, String)>) {
    if let Value::Object(fields) = value {
        if let Some(Value::String(message)) = fields.get("message") {
            let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            found.insert((text("rule"), message.clone(), text("help")));
        }
        fields.values().for_each(|inner| gather(inner, found));
    } else if let Value::Array(items) = value {
        items.iter().for_each(|inner| gather(inner, found));
    }
}

#[test]
fn every_file_has_its_test_and_its_twin() {
    let entries = fs::read_dir(folder()).expect("the folder is there").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let files: BTreeSet<String> = names.filter(|name| *name != "data.csv" && !name.ends_with(".md")).collect();
    let listed: BTreeSet<String> =
        NAMES.iter().flat_map(|name| [format!("{name}.toml"), format!("{name}.yaml")]).collect();
    assert_eq!(files, listed);
}

#[test]
fn the_spec_without_a_mistake_is_valid() {
    let project = copy();
    let fixed = project.text("02-unknown-model-field.toml").replace("temprature = 0.0 # HERE", "temperature = 0.0");
    project.write("fixed.toml", fixed);
    project.run(&["validate", "fixed.toml"]).exits(0);
    let fixed = project.text("02-unknown-model-field.yaml").replace("temprature: 0.0 # HERE", "temperature: 0.0");
    project.write("fixed.yaml", fixed);
    project.run(&["validate", "fixed.yaml"]).exits(0);
}

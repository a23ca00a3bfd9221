//! Several mistakes in one spec: every pair of them is reported together as each is alone, except where one mistake hides
//! the columns that another is about.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::project::Project;

const SPEC: &str = r#"
name = "together"

[providers.lab]
type = "openai"
base_url = "http://127.0.0.1:1/v1"

[models.llama]
provider = "mock"
model = "mock-a"

[models.mistral]
provider = "lab"
model = "mistral-large"

[sources.speeches]
type = "file"
path = "data.csv"
key = "id"

[sources.letters]
type = "file"
path = "letters.csv"

[stages.tone]
type = "analysis"
input = "speeches"
models = ["llama", "mistral"]
workers = 2
fanout = false
when = "party == 'Whig'"
prompt = "Tone? {{ speech }}"
output = { label = { type = "string", enum = ["good", "bad"] } }

[stages.more]
type = "analysis"
input = "tone"
models = ["llama"]
max_attempts = 2
prompt = "More? {{ label }}"
output = { reason = { type = "string" } }

[stages.parties]
type = "reduce"
input = "tone"
models = ["llama"]
group_by = ["party"]
prompt = "Sum up: {% for row in rows %}{{ row.label }}{% endfor %}"

[stages.pieces]
type = "split"
input = "letters"
text_column = "letter"
unit = "chars"
size = 10
overlap = 2

[stages.both]
type = "join"
input = "more"
with = "letters"
on = ["id"]

[stages.kept]
type = "filter"
input = "both"
when = "reason != ''"

[stages.asked]
type = "survey"
input = "letters"
models = ["llama"]
questions = [{ id = "age", text = "How old are you?", type = "number" }]

[stages.filled]
type = "fill-missing"
input = "letters"
models = ["llama"]
text_column = "letter"
fields = { year = { type = "integer" } }

[outputs.tone]
input = "tone"
path = "tone.csv"

[outputs.kept]
input = "kept"
path = "kept.jsonl"

[[tests]]
type = "not_null"
input = "tone"
column = "label"

[[tests]]
type = "unique"
input = "letters"
column = "id"
"#;

/// A mistake: some text of the spec and what is there instead.
struct Mistake {
    from: &'static str,
    to: &'static str,
    /// The words of its message.
    message: &'static str,
    /// What it is about: columns, or a field of a table.
    about: &'static [&'static str],
    /// What it hides.
    hides: &'static [&'static str],
}

const fn mistake(from: &'static str, to: &'static str, message: &'static str) -> Mistake {
    Mistake { from, to, message, about: &[], hides: &[] }
}

impl Mistake {
    const fn about(self, about: &'static [&'static str]) -> Mistake {
        Mistake { about, ..self }
    }

    const fn hides(self, hides: &'static [&'static str]) -> Mistake {
        Mistake { hides, ..self }
    }
}

const ALL: &[&str] = &["speeches", "tone <", "tone", "more <", "more", "both", "parties"];

/// The names of tables mean their columns; `tone <` means the columns of the input of `tone`.
const MISTAKES: &[Mistake] = &[
    mistake("name = \"together\"", "name = \"to gether\"", "`to gether` is not a name"),
    mistake("name = \"together\"", "name = \"together\"\ncolour = 3", "there is no field `colour`"),
    mistake("http://127.0.0.1:1/v1", "127.0.0.1:1", "this is not an address").about(&["type of lab"]),
    mistake("type = \"openai\"", "type = \"opnai\"", "there is no provider type `opnai`").hides(&["type of lab"]),
    mistake("provider = \"lab\"", "provider = \"lob\"", "there is no provider `lob`"),
    mistake("model = \"mock-a\"", "model = 3", "`model` must be text"),
    mistake("model = \"mistral-large\"", "model = \"m\"\ntop_p = 2.0", "`top_p` must be above 0"),
    mistake("path = \"data.csv\"", "path = \"date.csv\"", "there is no file `date.csv`").hides(ALL),
    mistake("key = \"id\"", "key = \"ident\"", "has no column `ident`").about(&["speeches"]),
    mistake("path = \"letters.csv\"", "path = \"../letters.csv\"", "leaves the folder").hides(&["letters", "both"]),
    mistake("models = [\"llama\", \"mistral\"]", "models = [\"llama\", \"lama\"]", "there is no model `lama`"),
    mistake("workers = 2", "workers = \"two\"", "`workers` must be a whole number"),
    mistake("workers = 2", "workers = 3000", "`workers` must be 1024 or less"),
    mistake("workers = 2", "tone = 2", "there is no field `tone`"),
    mistake("when = \"party == 'Whig'\"", "when = \"pary == 'Whig'\"", "the condition uses `pary`").about(&["tone <"]),
    mistake("when = \"party == 'Whig'\"", "when = \"party ==\"", "the condition does not compile"),
    mistake("Tone? {{ speech }}", "Tone? {{ speach }}", "the template uses `speach`").about(&["tone <"]),
    mistake("Tone? {{ speech }}", "Tone? {{ speech", "the template does not compile"),
    mistake("type = \"string\", enum = [\"good\", \"bad\"]", "type = \"sting\"", "\"sting\" is not one of")
        .hides(&["output", "tone", "more <", "more", "both", "parties"]),
    mistake("output = { label", "output = { party", "writes the column `party`")
        .about(&["tone <", "output"])
        .hides(&["tone", "more <", "more", "both", "parties"]),
    mistake(
        "input = \"tone\"\nmodels = [\"llama\"]\nmax",
        "input = \"tune\"\nmodels = [\"llama\"]\nmax",
        "stage `tune`",
    )
    .hides(&["input of more", "more <", "more", "both"]),
    mistake("max_attempts = 2", "max_attempts = 200", "`max_attempts` must be 100 or less"),
    mistake("More? {{ label }}", "More? {{ lable }}", "the template uses `lable`").about(&["more <"]),
    mistake("More? {{ label }}", "More? {% if %}", "the template does not compile"),
    mistake("output = { reason", "output = { label", "writes the column `label`")
        .about(&["more <"])
        .hides(&["more", "both"]),
    mistake("input = \"speeches\"", "input = \"more\"", "read each other in a circle")
        .about(&["input of more"])
        .hides(&["tone <", "tone", "more <", "more", "both", "parties"]),
    mistake("group_by = [\"party\"]", "group_by = [\"partie\"]", "has no column `partie`").about(&["tone"]),
    mistake("row.label", "row.lable", "the template uses `lable` of a row").about(&["tone"]),
    mistake("overlap = 2", "overlap = 20", "`overlap` must be less than `size`"),
    mistake("text_column = \"letter\"\nunit", "text_column = \"latter\"\nunit", "has no column `latter`")
        .about(&["letters"]),
    mistake("on = [\"id\"]", "on = []", "`on` must name at least one column").hides(&["both"]),
    mistake("with = \"letters\"", "with = \"latters\"", "there is no source or stage `latters`").hides(&["both"]),
    mistake("reason != ''", "raison != ''", "the condition uses `raison`").about(&["both"]),
    mistake("type = \"number\" }", "type = \"numbr\" }", "\"numbr\" is not one of").about(&["type of asked"]),
    mistake("type = \"survey\"", "type = \"surve\"", "there is no stage type `surve`").hides(&["type of asked"]),
    mistake("year = { type", "letter = { type", "has a column `letter` already").about(&["letters"]),
    mistake("path = \"tone.csv\"", "path = \"tone.xls\"", "does not say the format"),
    mistake("path = \"kept.jsonl\"", "path = \"data.csv\"", "would overwrite").about(&["speeches"]),
    mistake("input = \"kept\"\npath", "input = \"capt\"\npath", "there is no source or stage `capt`"),
    mistake("type = \"not_null\"", "type = \"not_nul\"", "there is no test type `not_nul`").hides(&["type of test"]),
    mistake("column = \"label\"", "column = \"lable\"", "has no column `lable`").about(&["tone", "type of test"]),
    mistake("input = \"letters\"\ncolumn", "input = \"lettres\"\ncolumn", "stage or source `lettres`"),
    mistake("type = \"unique\"", "type = \"unique\"\nseverity = \"bad\"", "\"bad\" is not one of"),
];

fn messages(project: &Project, spec: &str) -> BTreeSet<String> {
    project.write("spec.toml", spec);
    let shown = project.run(&["validate", "spec.toml", "--format", "json"]);
    let value: Value = shown.json();
    let problems = value["diagnostics"].as_array().expect("a list of diagnostics");
    let errors = problems.iter().filter(|problem| problem["severity"] == "error");
    errors.map(|problem| problem["message"].as_str().expect("a message").to_owned()).collect()
}

#[test]
fn two_mistakes_are_reported_as_each_is_alone() {
    let project = Project::new();
    project.write("data.csv", "id,speech,party\n1,Peace,Whig\n");
    project.write("letters.csv", "id,letter\n1,Dear\n");
    assert_eq!(messages(&project, SPEC), BTreeSet::new());
    let alone: Vec<String> = MISTAKES
        .iter()
        .map(|mistake| {
            assert_eq!(SPEC.matches(mistake.from).count(), 1, "{}", mistake.from);
            let found = messages(&project, &SPEC.replace(mistake.from, mistake.to));
            let [only] = found.iter().collect::<Vec<_>>()[..] else { panic!("{}: {found:?}", mistake.to) };
            assert!(only.contains(mistake.message), "{only}");
            only.clone()
        })
        .collect();
    let mut wrong = Vec::new();
    for (i, one) in MISTAKES.iter().enumerate() {
        for (j, other) in MISTAKES.iter().enumerate().skip(i + 1) {
            let first = SPEC.replace(one.from, one.to);
            if first.matches(other.from).count() != 1 {
                continue;
            }
            let hidden = |a: &Mistake, b: &Mistake| a.about.iter().any(|columns| b.hides.contains(columns));
            let expected = [(hidden(one, other), i), (hidden(other, one), j)];
            let expected: BTreeSet<String> =
                expected.into_iter().filter(|(hidden, _)| !hidden).map(|(_, at)| alone[at].clone()).collect();
            let found = messages(&project, &first.replace(other.from, other.to));
            if found != expected {
                wrong.push(format!("{} + {}: {found:#?}\nexpected {expected:#?}", one.to, other.to));
            }
        }
    }
    assert!(wrong.is_empty(), "{} pairs:\n{}", wrong.len(), wrong.join("\n"));
}

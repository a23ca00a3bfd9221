//! The usual spec and rows of these tests, so that a test shows only what it is about.
//!
//! The specs never hold a server's address: it comes by `OLLAMA_HOST` or `LAB_URL`, so that two runs of one spec
//! against two servers are runs of the same text.

use crate::project::Project;
use crate::server::{Server, answer};

/// The rows of [`csv`]: a header and `count` texts, each its own.
pub(crate) fn rows(count: usize) -> Vec<[String; 3]> {
    let mut rows = vec![["id", "year", "text"].map(str::to_owned)];
    let row = |i: usize| [format!("s{i:04}"), (1790 + i % 230).to_string(), format!("Speech {i}, on trade and peace.")];
    rows.extend((0..count).map(row));
    rows
}

/// Lines of `[stages.tone]` for a typed answer: an enum and a number.
pub(crate) const TYPED: &str = r#"
[stages.tone.output]
label = { type = "string", enum = ["positive", "neutral", "negative"] }
score = { type = "integer", minimum = 0, maximum = 10 }
"#;

/// A spec with one source, the models `llama` and `mistral` of an Ollama, the stage `tone` with these lines, an output.
pub(crate) fn spec(stage: &str) -> String {
    spec_with("max_concurrent_calls = 16", stage)
}

/// The same with these lines in `[providers.here]`.
pub(crate) fn spec_with(provider: &str, stage: &str) -> String {
    format!(
        r#"name = "tones"
seed = 42

[providers.here]
type = "ollama"
{provider}

[models.llama]
provider = "here"
model = "llama3.2"
temperature = 0.0
max_tokens = 64
num_ctx = 4096

[models.mistral]
provider = "here"
model = "mistral"
temperature = 0.0
max_tokens = 64
num_ctx = 4096

[sources.speeches]
type = "file"
path = "data.csv"
key = "id"

[outputs.tone]
input = "tone"
path = "out/tone.parquet"

[stages.tone]
type = "analysis"
input = "speeches"
prompt = "What is the tone?\n\n{{{{ text }}}}"
{stage}
"#
    )
}

/// The same as [`spec`] for an OpenAI-compatible server at `LAB_URL`, with these lines in `[providers.here]`.
pub(crate) fn openai_spec(provider: &str, stage: &str) -> String {
    let provider = format!("base_url_env = \"LAB_URL\"\n{provider}");
    spec_with(&provider, stage).replace("type = \"ollama\"", "type = \"openai\"").replace("num_ctx = 4096\n", "")
}

/// A project with this spec and this number of rows, whose models are on this server.
pub(crate) fn project(server: &Server, spec: &str, count: usize) -> Project {
    let project = Project::new().env("OLLAMA_HOST", &server.url()).env("LAB_URL", &server.openai_url());
    project.spec(spec).csv("data.csv", &rows(count))
}

/// What the row with this question was told: the answer that a server without a script gives.
pub(crate) fn told(server: &Server, model: &str, text: &str) -> String {
    let asked = server.asked();
    let one = asked.iter().find(|a| a.model == model && a.question().contains(text));
    answer(one.unwrap_or_else(|| panic!("{model} was never asked about `{text}`")))
}

//! The words that are separate systems: batches of documents, benchmarks, and queries over chunks.

use serde_json::{Value, json};

use super::{RUN, models, project, speeches};
use crate::pack::{items, json_of};
use crate::server::{Asked, Say, Server};

/// The label of a speech, which says itself how many characters it has.
fn label(text: &str) -> Value {
    json!({ "label": if text.len().is_multiple_of(2) { "positive" } else { "negative" } })
}

/// ```python
/// classify(df, text_column="speech", use_batch_processing=True, batch_size=5)  # a bad batch is asked one by one
/// ```
/// `use_batch_processing`, `batch_size` documents per prompt, the fallback to single documents.
#[test]
fn documents_in_batches_fall_back_to_single_documents() {
    let spec = format!(
        r#"{}
[sources.speeches]
type = "file"
path = "speeches.csv"
[stages.tone]
type = "analysis"
input = "speeches"
text_column = "speech"
models = ["llama"]
rows_per_prompt = 5
prompt = "Tone of the speech: {{{{ text }}}}"
[stages.tone.output]
label = {{ type = "string", enum = ["positive", "negative"] }}
[outputs.tone]
input = "tone"
path = "out/tone.parquet"
"#,
        models("temperature = 0.0")
    );
    // Some batches come back without their last answer, however often they are asked about together.
    let say = |asked: &Asked, _: usize| match items(asked) {
        None => Say::Json(label(asked.question().trim_start_matches("Tone of the speech: "))),
        Some(items) => {
            let bad = items.iter().any(|(_, text)| text.len().is_multiple_of(7));
            let answers = items.iter().map(|(id, text)| json!({ "id": id, "answer": label(text) }));
            let kept = if bad { items.len() - 1 } else { items.len() };
            Say::Json(json!({ "answers": answers.take(kept).collect::<Vec<_>>() }))
        }
    };
    let server = Server::new().models(&["llama3.2", "mistral", "phi3.5"]).script(say).start();
    let project = project(&server, &spec);
    project.write("speeches.csv", speeches(20));
    project.run(&RUN).exits(0).says("20 rows = 20 answered + 0 failed");
    let table = project.table("out/tone.parquet");
    let expected = table.texts("speech").iter().map(|text| label(text)["label"].clone()).collect::<Vec<_>>();
    assert_eq!(table.texts("label").into_iter().map(Value::from).collect::<Vec<_>>(), expected);
    let single = server.asked().iter().filter(|asked| items(asked).is_none()).count();
    assert!((1..20).contains(&single), "{single} of 20 were asked about singly");
    assert!(server.requests() < 20, "{} calls", server.requests());
}

/// ```python
/// batch_benchmark(models=["llama3.2", "mistral"], prompt="Say hello", num_runs=3)
/// ```
#[test]
fn models_are_benchmarked_on_one_prompt() {
    let spec = format!(
        "{}[sources.speeches]\ntype = \"file\"\npath = \"speeches.csv\"\n[stages.tone]\ntype = \"analysis\"\n\
         input = \"speeches\"\nmodels = [\"llama\"]\nprompt = \"{{{{ speech }}}}\"\n",
        models("max_tokens = 20")
    );
    let server = Server::new().models(&["llama3.2", "mistral", "phi3.5"]).latency_ms(2).start();
    let project = project(&server, &spec);
    project.write("speeches.csv", speeches(2));
    let arguments = ["bench", "pipeline.toml", "--model", "llama", "--model", "mistral", "--prompt", "Say hello"];
    let more = ["--runs", "3", "--warmup", "0", "--concurrency", "1", "--format", "json"];
    let found = json_of(&project.run(&[&arguments[..], &more].concat()).exits(0).stdout);
    assert_eq!(
        (server.requests_of("llama3.2"), server.requests_of("mistral"), server.requests_of("phi3.5")),
        (3, 3, 0)
    );
    for model in found["models"].as_array().expect("models") {
        assert_eq!(model["levels"][0]["answered"], 3, "{model}");
        assert!(model["levels"][0]["calls_per_sec"].is_object(), "{model}");
    }
    assert!(server.asked().iter().all(|asked| asked.question() == "Say hello"));
}

/// ```python
/// notes = parallel_query("Find claims about trade in {chunk}", chunks, llm=sub_llm, max_parallel_calls=4)
/// root_llm("Put these together: " + "\n".join(notes))
/// ```
/// `parallel_query`, map-reduce, `root_llm` / `sub_llm`, `max_parallel_calls`.
#[test]
fn chunks_are_queried_in_parallel_and_put_together_by_the_root_model() {
    let spec = format!(
        r#"{}
[sources.speeches]
type = "file"
path = "speeches.csv"
key = "speech_id"
[stages.chunk]
type = "split"
input = "speeches"
text_column = "speech"
size = 400
unit = "chars"
by = "sentence"
[stages.note]
type = "analysis"
input = "chunk"
models = ["llama"]
workers = 4
batch_size = 1
prompt = "Find claims about trade in {{{{ chunk }}}}"
[stages.whole]
type = "reduce"
input = "note"
models = ["mistral"]
prompt = "Put these together:{{% for row in rows %}} {{{{ row.note }}}}{{% endfor %}}"
[outputs.whole]
input = "whole"
path = "out/whole.parquet"
"#,
        models("temperature = 0.0")
    );
    let server = Server::new().models(&["llama3.2", "mistral", "phi3.5"]).latency_ms(20).start();
    let project = project(&server, &spec);
    project.write("speeches.csv", speeches(6));
    project.run(&RUN).exits(0);
    let whole = project.table("out/whole.parquet");
    let chunks = whole.ints("whole_rows")[0].expect("a number") as usize;
    assert!(chunks > 6, "{chunks}");
    assert_eq!((server.requests_of("llama3.2"), server.requests_of("mistral")), (chunks, 1));
    assert_eq!(server.max_in_flight(), 4);
    let asked = server.asked();
    let root = asked.iter().find(|asked| asked.model == "mistral").expect("the root model");
    assert_eq!(root.question().matches("an answer of llama3.2").count(), chunks, "it reads every note");
}

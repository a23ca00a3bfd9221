//! The same spec gives the same table: bytes don't depend on lanes, parts, or on being killed in between.

use std::time::Duration;

use proptest::prelude::*;

use crate::project::Project;

const OUTPUTS: [&str; 2] = ["out/first.parquet", "out/second.parquet"];

/// How a run is cut up; none of it may change a table.
#[derive(Clone, Debug)]
struct Cut {
    workers: u32,
    batch: u32,
    chunks: (u32, u32),
    order: &'static str,
}

/// Two stages over the mock: the first as `form` says, the second reads its answers.
fn spec(form: &str, cut: &Cut) -> String {
    let Cut { workers, batch, chunks: (first, second), order } = cut;
    // In the wide form the answer's column bears the model's name.
    let answer = if form.contains("wide") { "mood_a" } else { "mood" };
    format!(
        r#"seed = 7
[models.a]
provider = "mock"
model = "one"
[models.b]
provider = "mock"
model = "two"
[sources.rows]
type = "file"
path = "rows.jsonl"
[stages.first]
type = "analysis"
input = "rows"
models = ["a", "b"]
{form}
order = "{order}"
workers = {workers}
batch_size = {batch}
chunk_size = {first}
text_column = "text"
prompt = "Mood? {{{{ text }}}}"
[stages.first.output]
mood = {{ type = "string", enum = ["glad", "sad"] }}
marks = {{ type = "array", items = {{ type = "integer", minimum = 0, maximum = 9 }} }}
[stages.second]
type = "analysis"
input = "first"
models = ["b"]
workers = {workers}
batch_size = {batch}
chunk_size = {second}
prompt = "Why {{{{ {answer} }}}}? {{{{ n }}}}"
[outputs.first]
input = "first"
path = "{}"
[outputs.second]
input = "second"
path = "{}"
"#,
        OUTPUTS[0], OUTPUTS[1]
    )
}

fn project(form: &str, cut: &Cut, rows: &[Option<String>]) -> Project {
    let line = |(n, text): (usize, &Option<String>)| serde_json::json!({ "n": n, "text": text }).to_string() + "\n";
    let rows: String = rows.iter().enumerate().map(line).collect();
    Project::new().spec(&spec(form, cut)).file("rows.jsonl", rows)
}

fn tables(project: &Project) -> [Vec<u8>; 2] {
    project.run(&["run", "pipeline.toml"]).exits(0);
    OUTPUTS.map(|output| project.bytes(output))
}

fn cut() -> impl Strategy<Value = Cut> {
    let lanes = (prop_oneof![Just(1u32), Just(3), Just(16)], 1u32..5);
    let parts = (prop_oneof![Just(10u32), Just(7), Just(10_000)], prop_oneof![Just(1u32), Just(13), Just(10_000)]);
    let order = prop_oneof![Just("row-major"), Just("model-major")];
    (lanes, parts, order).prop_map(|((workers, batch), chunks, order)| Cut { workers, batch, chunks, order })
}

fn rows() -> impl Strategy<Value = Vec<Option<String>>> {
    // Few words, so that rows repeat; some are missing, some hold what looks like a template.
    let text = prop_oneof!["[ab]", "\\PC{0,12}", Just("{{ text }}".to_owned()), Just("grüße\r\n\"x\"".to_owned())];
    prop::collection::vec(prop::option::weighted(0.9, text), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_depend_on_the_spec_and_the_rows_alone(
        rows in rows(),
        form in prop_oneof![Just("fanout = false"), Just("fanout = true\nlayout = \"wide\""), Just("fanout = true\nlayout = \"long\"")],
        other in cut(),
        killed_after_ms in 1u64..120,
    ) {
        let plain = Cut { workers: 1, batch: 1, chunks: (10_000, 10_000), order: "row-major" };
        let expected = tables(&project(form, &plain, &rows));
        let cut_up = project(form, &other, &rows);
        let running = cut_up.spawn(&["run", "pipeline.toml"]);
        std::thread::sleep(Duration::from_millis(killed_after_ms));
        running.kill();
        prop_assert!(tables(&cut_up) == expected, "{other:?}: the bytes differ");
        prop_assert!(tables(&cut_up) == expected, "the second run changed the bytes");
    }
}

//! `type = "inline"`: rows that are written in the spec.

use crate::project::Project;

const INLINE: &str = r#"
models.small = { provider = "mock", model = "any" }

[sources.remarks]
type = "inline"
key = "id"
types = { code = "string" }
rows = [
  { id = 1, remark = "Peace {{ and }} plenty.", year = 1790, code = 7, tags = ["a", "b"] },
  { id = 2, remark = "We mourn.\nAll of us.", good = true, share = 0.5 },
  { id = 3, year = 1801, share = 1 },
]

[stages.tone]
type = "analysis"
input = "remarks"
models = ["small"]
text_column = "remark"

[outputs.tone]
input = "tone"
path = "tone.parquet"
"#;

#[test]
fn rows_can_be_written_in_the_spec() {
    let project = Project::new().spec(INLINE);
    project.run(&["validate", "pipeline.toml"]).exits(0).says("no problems");
    project.run(&["run", "pipeline.toml"]).exits(0).says("3 rows = 2 answered + 0 failed + 1 skipped");
    let table = project.table("tone.parquet");
    let names = ["id", "remark", "year", "code", "tags", "good", "share"];
    assert_eq!(table.columns()[..7], names);
    assert_eq!(table.ints("year"), [Some(1790), None, Some(1801)]);
    assert_eq!(table.bools("good"), [None, Some(true), None]);
    assert_eq!(table.floats("share"), [None, Some(0.5), Some(1.0)]);
    assert_eq!(table.strings("code")[0].as_deref(), Some("7"));
    assert_eq!(table.strings("remark")[1].as_deref(), Some("We mourn.\nAll of us."));
    project.run(&["verify", "pipeline.toml"]).exits(0);
    project.run(&["explain", "tone.parquet", "2", "tone"]).exits(0);
    // The order of the columns counts, the way of writing does not.
    let lines = INLINE.replace("{ id = 3, year = 1801, share = 1 }", "{ \"id\" = 3, year = 1_801, share = 1 }");
    project.write("pipeline.toml", &lines);
    project.run(&["verify", "pipeline.toml"]).exits(0);
    project.write("pipeline.toml", INLINE.replace("year = 1801", "year = 1802"));
    let verified = project.run(&["verify", "pipeline.toml"]).exits(5).stdout;
    assert!(verified.contains("sources.remarks.content"), "{verified}");
    for (from, to, message) in [
        ("key = \"id\"", "key = \"idd\"", "idd"),
        ("types = { code = \"string\" }", "types = { coed = \"string\" }", "coed"),
        ("types = { code = \"string\" }", "types = { remark = \"integer\" }", "`remark`"),
        ("{ id = 3, year = 1801, share = 1 }", "3", "rows"),
    ] {
        project.write("pipeline.toml", INLINE.replace(from, to));
        let ran = project.run(&["run", "pipeline.toml"]);
        assert!(ran.code == 2 || ran.code == 3, "{to}: {}", ran.code);
        assert!(ran.stderr.contains(message), "{to}: {}", ran.stderr);
    }
    let yaml = r#"
models: { small: { provider: mock, model: any } }
sources:
  remarks:
    type: inline
    rows:
      - { text: Good, n: 1 }
      - { text: Bad }
stages:
  tone: { type: analysis, input: remarks, models: small, columns: [text, n] }
outputs: { tone: { input: tone, path: tone.csv } }
"#;
    let project = Project::new().spec_yaml(yaml);
    project.run(&["run", "pipeline.yaml"]).exits(0);
    assert!(project.text("tone.csv").starts_with("text,n,tone,tone_error\nGood,1,"), "{}", project.text("tone.csv"));
}

#[test]
fn rows_of_the_spec_without_cells_are_an_error() {
    let spec = |rows: &str| format!("sources.r = {{ type = \"inline\", rows = {rows} }}\n");
    for rows in ["[]", "[{}]"] {
        let project = Project::new().spec(&spec(rows));
        project.run(&["validate", "pipeline.toml"]).exits(2).says("`rows` has no cells");
    }
}

//! Labels of columns and codes on their way from a source through stages to an output.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::project::Project;

const SPEC: &str = r#"
models.small = { provider = "mock", model = "any" }
sources.people = { type = "file", path = "people.parquet", key = "id" }
sources.regions = { type = "file", path = "regions.parquet" }

[stages.adults]
type = "filter"
input = "people"
when = "id > 0"

[stages.placed]
type = "join"
input = "adults"
with = "regions"
on = ["region"]

[stages.tone]
type = "analysis"
input = "placed"
models = ["small"]
fanout = true
layout = "long"
chunk_size = 1
prompt = "What is the tone? {{ remark }}"
output.tone = { type = "string", enum = ["good", "bad"] }

[outputs.people]
input = "people"
path = "people-copy.parquet"

[outputs.tone]
input = "tone"
path = "tone.parquet"
"#;

fn labelled(name: &str, kind: DataType, label: &str, values: &str) -> Field {
    let labels = [("fanfold.label", label), ("fanfold.value_labels", values)];
    let labels = labels.into_iter().filter(|(_, text)| !text.is_empty());
    let labels: HashMap<String, String> = labels.map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
    Field::new(name, kind, true).with_metadata(labels)
}

fn write(project: &Project, path: &str, fields: Vec<Field>, columns: Vec<ArrayRef>) {
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a table");
    let file = File::create(project.path(path)).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

fn found(project: &Project, path: &str) -> HashMap<String, HashMap<String, String>> {
    let file = File::open(project.path(path)).expect("the table");
    let schema = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").schema().clone();
    let own = |field: &Field| field.metadata().iter().map(|(key, text)| (key.clone(), text.clone())).collect();
    schema.fields().iter().map(|field| (field.name().clone(), own(field))).collect()
}

#[test]
fn labels_pass_through_filters_joins_stages_and_parts() {
    let project = Project::new().spec(SPEC);
    let id = labelled("id", DataType::Int64, "Number of the person", "");
    let region = labelled("region", DataType::Int64, "Where do you live?", r#"[[1,"North"],[2,"South"]]"#);
    let remark = labelled("remark", DataType::Utf8, "Say \"something\", please", r#"[["x","nothing said"]]"#);
    let size = labelled("size", DataType::Int64, "Inhabitants", r#"[[-9,"unknown"]]"#);
    let numbers = |values: [i64; 2]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
    let remarks: ArrayRef = Arc::new(StringArray::from(vec!["Peace.", "War."]));
    let people = vec![id.clone(), region.clone(), remark.clone()];
    write(&project, "people.parquet", people, vec![numbers([1, 2]), numbers([1, 2]), remarks]);
    write(&project, "regions.parquet", vec![region.clone(), size.clone()], vec![numbers([1, 2]), numbers([5, -9])]);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let (copy, tone) = (found(&project, "people-copy.parquet"), found(&project, "tone.parquet"));
    for field in [&id, &region, &remark, &size] {
        let expected: HashMap<String, String> = field.metadata().clone().into_iter().collect();
        assert_eq!(tone[field.name()], expected, "{}", field.name());
        assert!(copy.get(field.name()).is_none_or(|own| *own == expected), "{}", field.name());
    }
    assert!(copy.len() == 3 && tone["tone"].is_empty() && tone["tone_error"].is_empty());
    for command in ["test", "verify", "status"] {
        project.run(&[command, "pipeline.toml"]).exits(0);
    }
    let before = project.bytes("tone.parquet");
    project.run(&["run", "pipeline.toml", "--locked"]).exits(0);
    assert!(project.bytes("tone.parquet") == before);
}

//! Splits of small tables.

use super::*;
use crate::document::{self, Document, Path, SpecFormat};
use crate::stage::InputTable;
use arrow_array::StringArray;
use arrow_schema::Schema;

fn bound(spec: &str, schema: &SchemaRef, key: Option<usize>) -> Result<Transform, Vec<String>> {
    let text = format!("input = \"a\"\ntext_column = \"text\"\n{spec}");
    let document = Document::parse("spec.toml", text, SpecFormat::Toml).unwrap();
    let mut problems = Problems::default();
    let config = document::decode::<Split>(&document.root, &Path::root(), &mut problems).unwrap();
    let given = InputTable { name: "a", schema, key, guards: &[], origins: &[] };
    let path = Path::of(["stages", "piece"]);
    let site = TransformContext { name: "piece", path: &path, inputs: &[given], seed: 0, read: &|_| unreachable!() };
    config.bind(&site, &mut problems).ok_or_else(|| problems.into_iter().map(|p| p.message).collect())
}

#[test]
fn each_piece_is_a_row_that_says_where_it_comes_from() {
    let field = |name: &str| Field::new(name, DataType::Utf8, true);
    let schema: SchemaRef = Arc::new(Schema::new(vec![field("id"), field("text"), field("who")]));
    let column = |cells: [Option<&str>; 3]| Arc::new(StringArray::from(cells.to_vec())) as ArrayRef;
    let columns = vec![
        column([Some("x"), None, Some("z")]),
        column([Some("é one\r\ntwo"), None, Some("")]),
        column([Some("A"), Some("B"), None]),
    ];
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let split = bound("size = 2\nunit = \"words\"", &schema, Some(0)).unwrap();
    let names: Vec<&str> = split.info.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["id", "who", "piece_id", "piece_number", "piece_start", "piece_end", "piece"]);
    assert_eq!(split.info.key, Some(2));
    assert_eq!(split.info.origins[6], Some((0, 1)), "the signs that the text lacks an answer hold for its pieces too");
    let made = split.work.start().take(0, &batch).unwrap();
    let row =
        |i: usize| made[0].columns().iter().map(|c| cell_at(c.as_ref(), i).json().to_string()).collect::<Vec<_>>();
    let rows: Vec<String> = (0..made[0].num_rows()).map(|i| row(i).join(" ")).collect();
    assert_eq!(
        rows,
        [
            r#""x" "A" "x#1" 1 0 7 "é one\r\n""#,
            r#""x" "A" "x#2" 2 7 10 "two""#,
            r#"null "B" "2#1" 1 null null null"#,
            r#""z" null "z#1" 1 0 0 """#,
        ]
    );
}

#[test]
fn sizes_and_columns_that_make_no_sense_are_refused() {
    let field = |name: &str, kind: DataType| Field::new(name, kind, true);
    let text: SchemaRef = Arc::new(Schema::new(vec![field("text", DataType::Utf8), field("piece_id", DataType::Utf8)]));
    let errors = |spec: &str| bound(spec, &text, None).unwrap_err();
    assert_eq!(errors("size = 2\nunit = \"words\""), ["this stage writes the column `piece_id` twice"]);
    let number: SchemaRef = Arc::new(Schema::new(vec![field("text", DataType::Int64)]));
    let found =
        bound("size = 3\noverlap = 3\nunit = \"chars\"\ntokenizer = \"o200k_base\"", &number, None).unwrap_err();
    let expected = [
        "`overlap` must be less than `size`, which is 3",
        "`tokenizer` is for `unit = \"tokens\"`",
        "the column `text` holds no text",
    ];
    assert_eq!(found, expected);
    assert_eq!(bound("size = 0\nunit = \"chars\"", &number, None).unwrap_err()[0], "`size` must be 1 or more");
}

#[test]
fn pages_need_no_size_and_have_numbers() {
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)]));
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a\u{c}b"), None]));
    let batch = RecordBatch::try_new(schema.clone(), vec![text]).unwrap();
    let split = bound("by = \"page\"", &schema, None).unwrap();
    let names: Vec<&str> = split.info.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["piece_id", "piece_number", "piece_page", "piece_start", "piece_end", "piece"]);
    assert_eq!((split.info.key, split.info.origins.len()), (Some(0), 6));
    let made = split.work.start().take(0, &batch).unwrap();
    let page = made[0].column(2).as_primitive::<arrow_array::types::Int64Type>();
    assert_eq!(page.iter().collect::<Vec<_>>(), [Some(1), Some(2), None]);
    assert_eq!(bound("by = \"page\"\nsize = 3", &schema, None).unwrap_err(), ["`unit` is missing"]);
    assert_eq!(bound("by = \"page\"\noverlap = 3", &schema, None).unwrap_err(), ["`size` is missing"]);
    assert_eq!(bound("", &schema, None).unwrap_err(), ["`size` is missing", "`unit` is missing"]);
}

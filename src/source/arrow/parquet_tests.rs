//! Tests of `parquet`, `pages` and `arrays`: types, damaged and hostile files.

use arrow_array::builder::{Int64Builder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, Date32Array, DictionaryArray, Float32Array, Int8Array, Int32Array, IntervalYearMonthArray,
    LargeBinaryArray, LargeStringArray, ListViewArray, RunArray, StringArray, StringViewArray, StructArray,
    TimestampMillisecondArray, UInt64Array, UnionArray,
};
use arrow_schema::DataType;
use parquet::arrow::ArrowWriter;
use tempfile::NamedTempFile;

use super::*;
use crate::table::cell_at;

fn write(columns: Vec<(&str, ArrayRef)>) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(file.reopen().unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

fn read(path: &Path) -> Result<Vec<RecordBatch>, SourceError> {
    let file = DataFile { path: path.to_owned(), shown: "a.parquet".to_owned() };
    let options = &File::default();
    let wanted = ParquetReader.file_schema(&file, options)?;
    let batches = ParquetReader.read(&file, options, &wanted, &Changes::default())?.collect::<Result<Vec<_>, _>>()?;
    assert!(batches.iter().all(|b| b.schema() == wanted));
    Ok(batches)
}

#[test]
fn types_become_plain_and_times_stay() {
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("x"), None]);
    lists.append_null();
    let stamps = TimestampMillisecondArray::from(vec![Some(1), None]).with_timezone("Europe/Berlin");
    let stamp_type = stamps.data_type().clone();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", Arc::new(LargeStringArray::from(vec![Some("a"), None]))),
        ("view", Arc::new(StringViewArray::from(vec![Some("a text longer than twelve bytes"), None]))),
        ("coded", Arc::new(vec![Some("k"), None].into_iter().collect::<DictionaryArray<Int32Type>>())),
        ("small", Arc::new(Int8Array::from(vec![Some(-1), None]))),
        ("big", Arc::new(UInt64Array::from(vec![Some(5), None]))),
        ("real", Arc::new(Float32Array::from(vec![Some(0.5), None]))),
        ("list", Arc::new(lists.finish())),
        ("day", Arc::new(Date32Array::from(vec![Some(1), None]))),
        ("stamp", Arc::new(stamps)),
    ];
    let file = write(columns);
    let table = read(file.path()).unwrap().remove(0);
    let types: Vec<DataType> = table.schema().fields().iter().map(|f| f.data_type().clone()).collect();
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let wanted = [
        DataType::Utf8,
        DataType::Utf8,
        DataType::Utf8,
        DataType::Int64,
        DataType::UInt64,
        DataType::Float32,
        DataType::List(item),
        DataType::Date32,
        stamp_type,
    ];
    assert_eq!(types, wanted);
    for (i, cell) in ["a", "a text longer than twelve bytes", "k"].into_iter().enumerate() {
        assert_eq!(table.column(i).as_string::<i32>().iter().collect::<Vec<_>>(), [Some(cell), None]);
    }
    assert_eq!(table.column(3).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(-1), None]);
    let list = table.column(6).as_list::<i32>();
    assert_eq!(list.value(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("x"), None]);
    assert!(list.is_null(1));
}

#[test]
fn nested_columns_pass_through_untouched() {
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("Ann"), None]));
    let real: ArrayRef = Arc::new(Float32Array::from(vec![4.7, 0.1]));
    let inner = StructArray::from(vec![
        (Arc::new(Field::new("name", DataType::Utf8, true)), names.clone()),
        (Arc::new(Field::new("real", DataType::Float32, true)), real),
    ]);
    let user: ArrayRef = Arc::new(StructArray::from(vec![
        (Arc::new(Field::new("inner", inner.data_type().clone(), true)), Arc::new(inner) as ArrayRef),
        (Arc::new(Field::new("kind", DataType::Utf8, true)), names),
    ]));
    let mut lists = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    lists.values().append_value([Some("x")]);
    lists.append(true);
    lists.append(false);
    let mut meta = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    meta.keys().append_value("k");
    meta.values().append_null();
    meta.append(true).unwrap();
    meta.append(false).unwrap();
    let columns: Vec<(&str, ArrayRef)> =
        vec![("user", user), ("lists", Arc::new(lists.finish())), ("meta", Arc::new(meta.finish()))];
    let table = read(write(columns.clone()).path()).unwrap().remove(0);
    for ((name, written), read) in columns.iter().zip(table.columns()) {
        let cells = |array: &ArrayRef| (0..2).map(|i| cell_at(array.as_ref(), i)).collect::<Vec<_>>();
        assert_eq!(cells(read), cells(written), "{name}");
    }
    assert_eq!(cell_at(table.column(0), 0).text(), r#"{"inner":{"name":"Ann","real":4.7},"kind":"Ann"}"#);
    assert_eq!(cell_at(table.column(1), 0).text(), r#"[["x"]]"#);
    assert_eq!(cell_at(table.column(2), 0).text(), r#"{"k":null}"#);
    // What was written from the table has the same type and cells again.
    let names = ["user", "lists", "meta"].into_iter().zip(table.columns().iter().cloned());
    let again = read(write(names.collect()).path()).unwrap().remove(0);
    assert_eq!(again, table);
}

#[test]
fn rare_types_are_read_as_stated() {
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    let views = ListViewArray::new(item, vec![1, 0].into(), vec![2, 1].into(), texts.clone(), None);
    let runs =
        RunArray::<Int32Type>::try_new(&Int32Array::from(vec![1, 2]), &StringArray::from(vec!["r", "s"])).unwrap();
    let fields = [(0, Arc::new(Field::new("t", DataType::Utf8, true)))].into_iter().collect();
    let union = UnionArray::try_new(fields, vec![0, 0].into(), None, vec![texts.slice(0, 2)]).unwrap();
    let columns: Vec<(ArrayRef, [&str; 2])> = vec![
        (Arc::new(UInt64Array::from(vec![1, u64::MAX])), ["1", "18446744073709551615"]),
        (Arc::new(LargeBinaryArray::from(vec![&b"\x01"[..], b""])), ["01", ""]),
        (Arc::new(views), [r#"["b","c"]"#, r#"["a"]"#]),
        (Arc::new(runs), ["r", "s"]),
        (Arc::new(union), ["a", "b"]),
        (Arc::new(IntervalYearMonthArray::from(vec![14, 0])), ["P14M0DT0S", "P0M0DT0S"]),
    ];
    for (array, expected) in columns {
        let made = plain(&array).unwrap();
        assert_eq!(Some(made.data_type()), plain_type(array.data_type()).as_ref());
        let cells: Vec<String> = (0..2).map(|i| cell_at(made.as_ref(), i).text()).collect();
        assert_eq!(cells, expected, "{}", array.data_type());
    }
    let deep = (0..70).fold(DataType::Utf8, |item, _| DataType::new_list(item, true));
    assert_eq!(plain_type(&deep), None);
}

#[test]
fn batches_are_bounded() {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..3000).map(|i| format!("row {i}"))));
    let rows: Vec<usize> = read(write(vec![("t", texts)]).path()).unwrap().iter().map(RecordBatch::num_rows).collect();
    assert_eq!(rows, [1024, 1024, 952]);
    let long: ArrayRef = Arc::new(StringArray::from_iter_values((0..20).map(|i| i.to_string().repeat(1 << 20))));
    assert!(read(write(vec![("t", long)]).path()).unwrap().iter().all(|b| b.num_rows() <= 4));
}

#[test]
fn files_that_are_no_parquet() {
    let message = |bytes: &[u8]| {
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        read(file.path()).unwrap_err().message
    };
    assert_eq!(message(b""), "a.parquet: the Parquet file is damaged: it is too short for a Parquet file");
    assert_eq!(message(b"id,text\n1,hello\n"), "a.parquet: is not a Parquet file");
    let cut = "a.parquet: the Parquet file is damaged: its end is missing (an interrupted download or copy?)";
    assert_eq!(message(b"PAR1............"), cut);
    let lie = "a.parquet: the Parquet file is damaged: a footer of 4294967295 bytes in a file of 16";
    assert_eq!(message(b"PAR1....\xff\xff\xff\xffPAR1"), lie);
    assert!(message(b"PAR1....\x04\0\0\0PAR1").starts_with("a.parquet: the Parquet file is damaged: "));
}

#[test]
fn a_page_that_lies_about_its_size_is_refused_before_it_costs_memory() {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..2000).map(|i| format!("row {i}"))));
    let file = write(vec![("t", texts)]);
    let mut bytes = fs::read(file.path()).unwrap();
    // The first page header stands after the magic: 0x15 and its type, 0x15 and its size as a varint.
    assert_eq!((bytes[4], bytes[6]), (0x15, 0x15));
    let end = 7 + bytes[7..].iter().position(|b| b & 128 == 0).unwrap();
    let lie: Vec<u8> = vec![0xfe, 0xff, 0xff, 0xff, 0x0f];
    bytes.splice(7..=end, lie);
    fs::write(file.path(), &bytes).unwrap();
    let message = read(file.path()).unwrap_err().message;
    assert!(message.contains("claims 2147483647 bytes from"), "{message}");
}

#[test]
fn damaged_files_are_errors_and_never_panics() {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..50).map(|i| format!("row {i}"))));
    let coded: ArrayRef = Arc::new((0..50).map(|i| Some(["x", "y"][i % 2])).collect::<DictionaryArray<Int32Type>>());
    let file = write(vec![("t", texts), ("c", coded)]);
    let good = fs::read(file.path()).unwrap();
    for i in 0..good.len() {
        let mut bytes = good.clone();
        bytes[i] ^= if i % 2 == 0 { 0xff } else { 0x01 };
        fs::write(file.path(), &bytes).unwrap();
        match read(file.path()) {
            Ok(batches) => assert!(batches.iter().map(RecordBatch::num_rows).sum::<usize>() <= 50),
            Err(error) => assert!(error.message.starts_with("a.parquet: "), "{error}"),
        }
        if i % 7 == 0 {
            fs::write(file.path(), &good[..i]).unwrap();
            assert!(read(file.path()).is_err());
        }
    }
}

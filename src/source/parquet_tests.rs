//! Tests of `parquet`, `pages` and `arrays`: types, damaged and hostile files.

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, Date32Array, DictionaryArray, Float32Array, Int8Array, LargeStringArray, StringArray,
    StringViewArray, StructArray, TimestampMillisecondArray, UInt64Array,
};
use arrow_schema::DataType;
use parquet::arrow::ArrowWriter;
use tempfile::NamedTempFile;

use super::*;

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
    let batches = ParquetReader.read(&file, options, &wanted)?.collect::<Result<Vec<_>, _>>()?;
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
        DataType::Int64,
        DataType::Float64,
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
fn types_that_have_no_place_in_a_table() {
    let inner: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let nested = StructArray::from(vec![(Arc::new(Field::new("in", DataType::Utf8, true)), inner)]);
    let file = write(vec![("address", Arc::new(nested) as ArrayRef)]);
    let message = read(file.path()).unwrap_err().message;
    assert!(message.starts_with("a.parquet: column `address` has the type Struct("), "{message}");
    let file = write(vec![("n", Arc::new(UInt64Array::from(vec![1, u64::MAX])) as ArrayRef)]);
    assert_eq!(
        read(file.path()).unwrap_err().message,
        "a.parquet: rows 1 to 2: column `n`: 18446744073709551615 is above the largest integer of 64 bits"
    );
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

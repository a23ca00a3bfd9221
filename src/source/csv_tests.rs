//! Tests of `csv` and of `text` below it: every message as its reader sees it.

use std::io::Cursor;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_select::concat::concat_batches;
use proptest::prelude::*;

use super::*;

type Cells = Vec<Vec<Option<String>>>;

struct Asked<'a> {
    bytes: &'a [u8],
    types: &'a [(&'a str, Type)],
    nulls: &'a [&'a str],
    encoding: Option<&'a str>,
    piece: usize,
}

impl<'a> Asked<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Asked { bytes, types: &[], nulls: &[], encoding: None, piece: 4096 }
    }

    fn table(&self) -> Result<RecordBatch, SourceError> {
        let text = Text::new(Box::new(Cursor::new(self.bytes.to_vec())), "a.csv", self.encoding, self.piece)?;
        let types = self.types.iter().map(|(name, ty)| ((*name).to_owned(), *ty)).collect();
        let nulls: Vec<String> = self.nulls.iter().map(|&n| n.to_owned()).collect();
        let csv = Csv::new(text, "a.csv", b',', &types, &nulls)?;
        let schema = csv.schema();
        let batches = csv.into_batches().collect::<Result<Vec<_>, _>>()?;
        assert!(batches.iter().all(|b| b.num_rows() <= BATCH_ROWS));
        Ok(concat_batches(&schema, &batches).unwrap())
    }

    fn cells(&self) -> Cells {
        let table = self.table().unwrap();
        let column = |a: &ArrayRef| a.as_string::<i32>().iter().map(|c| c.map(str::to_owned)).collect::<Vec<_>>();
        table.columns().iter().map(column).collect()
    }

    fn message(&self) -> String {
        self.table().unwrap_err().message
    }
}

fn message(bytes: &[u8]) -> String {
    let messages: Vec<String> = [1, 3, 7, 4096].map(|piece| Asked { piece, ..Asked::new(bytes) }.message()).into();
    assert!(messages.windows(2).all(|two| two[0] == two[1]), "{messages:?}");
    messages.into_iter().next().unwrap()
}

fn column(bytes: &[u8], index: usize) -> Vec<Option<String>> {
    Asked::new(bytes).cells().swap_remove(index)
}

fn some(cells: &[&str]) -> Vec<Option<String>> {
    cells.iter().map(|c| Some((*c).to_owned())).collect()
}

#[test]
fn cells_stay_as_they_are_written() {
    let csv = b"id,x\r\n007,12345678901234567890\r\n1e5, NA \r\n2020-01-01,true\r\n";
    assert_eq!(column(csv, 0), some(&["007", "1e5", "2020-01-01"]));
    assert_eq!(column(csv, 1), some(&["12345678901234567890", " NA ", "true"]));
}

#[test]
fn quotes_newlines_and_blank_lines() {
    let csv = b"a,b\n\n\"x\"\"y\",\"1\r\n2\"\n\r\n\"\",z\n";
    assert_eq!(column(csv, 0), [Some("x\"y".to_owned()), None]);
    assert_eq!(column(csv, 1), some(&["1\r\n2", "z"]));
    assert_eq!(column(b"a,b\r1,2\r3,4", 1), some(&["2", "4"]));
    assert_eq!(column(b"a\n\"x\"", 0), some(&["x"]));
}

#[test]
fn a_header_alone_is_a_table_without_rows() {
    for csv in ["a,b", "a,b\n", "\u{feff}a,b\r\n\r\n"] {
        let table = Asked::new(csv.as_bytes()).table().unwrap();
        assert_eq!((table.num_rows(), table.num_columns()), (0, 2));
        assert_eq!(table.schema().field(0).name(), "a");
    }
}

#[test]
fn headers_that_name_no_columns() {
    assert_eq!(message(b""), "a.csv: has no header row: the file is empty");
    assert_eq!(message(b"\n\r\n"), "a.csv: has no header row: the file is empty");
    assert_eq!(message(b"a,,c\n"), "a.csv: header (line 1, byte 0): column 2 has no name");
    assert_eq!(message(b"\na,b,a\n"), "a.csv: header (line 2, byte 1): columns 1 and 3 are both called `a`");
    let wide = "x,".repeat(10_001);
    assert_eq!(Asked::new(wide.as_bytes()).message(), "a.csv: header (line 1, byte 0): has more than 10000 columns");
    let most: Vec<String> = (0..10_000).map(|i| i.to_string()).collect();
    assert_eq!(Asked::new(most.join(",").as_bytes()).table().unwrap().num_columns(), 10_000);
}

#[test]
fn ragged_rows() {
    assert_eq!(message(b"a,b\n1,2\n3\n"), "a.csv: row 2 (line 3, byte 8): has 1 field, the header has 2");
    assert_eq!(message(b"a,b\r\n1,2,3\r\n"), "a.csv: row 1 (line 2, byte 5): has 3 fields, the header has 2");
    assert_eq!(message(b"a,b\r1,2\r\r3\r"), "a.csv: row 2 (line 4, byte 9): has 1 field, the header has 2");
    assert_eq!(message(b"a,b\n\"x\ny\",2\n\n3"), "a.csv: row 2 (line 5, byte 13): has 1 field, the header has 2");
    assert_eq!(message(b"\xef\xbb\xbfa,b\n3"), "a.csv: row 1 (line 2, byte 7): has 1 field, the header has 2");
}

#[test]
fn an_open_quote_is_named_where_its_row_begins() {
    let wanted = "a.csv: row 2 (line 3, byte 8): a quote is opened here and never closed";
    assert_eq!(message(b"a,b\n1,2\n3,\"x\n4,5\n"), wanted);
    assert_eq!(message(b"a,b\n1,2\n3,\""), wanted);
    assert_eq!(message(b"a,b\n1,2\n3,\"\"\""), wanted);
}

#[test]
fn what_is_no_text() {
    assert_eq!(message(b"a\nx\ncaf\xe9\n"), "a.csv: row 2 (line 3, byte 7): these bytes are not valid UTF-8");
    assert_eq!(message(b"a\nx\n\xe9\n"), "a.csv: row 2 (line 3, byte 4): these bytes are not valid UTF-8");
    assert_eq!(message(b"a\nx\xe2\x82"), "a.csv: row 1 (line 2, byte 3): these bytes are not valid UTF-8");
    assert_eq!(message(b"\xef\xbb\xbfa\xff\n"), "a.csv: header (line 1, byte 4): these bytes are not valid UTF-8");
    assert_eq!(message(b"a\nx\0y\n"), "a.csv: row 1 (line 2, byte 3): a NUL byte in the text");
    assert_eq!(message(b"PK\x03\x04.."), "a.csv: is a ZIP archive or an Excel file, not text");
    assert_eq!(message(b"\x1f\x8b\x08."), "a.csv: is compressed (gzip)");
    let error = Asked::new(b"a\n\xe9").table().unwrap_err();
    assert!(error.help.unwrap().contains("windows-1252"));
}

#[test]
fn declared_encodings() {
    let asked = |bytes, encoding| Asked { encoding: Some(encoding), piece: 5, ..Asked::new(bytes) };
    assert_eq!(asked(b"a\ncaf\xe9 \x80\n", "windows-1252").cells(), [some(&["café €"])]);
    assert_eq!(asked(b"a\ncaf\xe9\n", "latin1").cells(), [some(&["café"])]);
    let utf16: Vec<u8> = "\u{feff}a\nś😀\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(asked(&utf16, "utf-16le").cells(), [some(&["ś😀"])]);
    assert_eq!(asked(&utf16[2..], "utf-16le").cells(), [some(&["ś😀"])]);
    let big: Vec<u8> = "\u{feff}a\nś😀\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(asked(&big, "UTF-16").cells(), [some(&["ś😀"])]);
    assert_eq!(
        asked(&big, "utf-16le").message(),
        "a.csv: declared as utf-16le, but begins with the byte order mark of utf-16be"
    );
    let error = Asked::new(&utf16).table().unwrap_err();
    assert_eq!(error.message, "a.csv: is utf-16le text, not UTF-8");
    assert_eq!(error.help.unwrap(), "set encoding = \"utf-16le\"");
    assert_eq!(
        asked(&utf16[..7], "utf-16le").message(),
        "a.csv: row 1 (line 2, byte 6): these bytes are not valid UTF-16LE"
    );
    assert_eq!(
        asked(b"a\nx\n\x82", "shift_jis").message(),
        "a.csv: row 2 (line 3, byte 4): these bytes are not valid Shift_JIS"
    );
    assert_eq!(asked(b"a,b\n\xe9\n", "latin1").message(), "a.csv: row 1 (line 2): has 1 field, the header has 2");
    let error = asked(b"a\n", "window-1252").table().unwrap_err();
    assert_eq!(error.message, "a.csv: there is no encoding `window-1252`");
    assert_eq!(error.help.unwrap(), "did you mean `windows-1252`?");
}

#[test]
fn declared_types_and_nulls() {
    let types = [("n", Type::Integer), ("x", Type::Number), ("b", Type::Boolean)];
    let asked =
        Asked { types: &types, nulls: &["NA", "-99"], ..Asked::new(b"n,x,b,t\n 7,1e3,TRUE,NA\n-99,,0,-99.0\n") };
    let table = asked.table().unwrap();
    assert_eq!(
        table.column(0).as_primitive::<arrow_array::types::Int64Type>().iter().collect::<Vec<_>>(),
        [Some(7), None]
    );
    let numbers = table.column(1).as_primitive::<arrow_array::types::Float64Type>();
    assert_eq!(numbers.iter().collect::<Vec<_>>(), [Some(1000.0), None]);
    assert_eq!(table.column(2).as_boolean().iter().collect::<Vec<_>>(), [Some(true), Some(false)]);
    assert_eq!(table.column(3).as_string::<i32>().iter().collect::<Vec<_>>(), [None, Some("-99.0")]);
    let asked = Asked { types: &types, ..Asked::new(b"n,x,b\n1,1,1\n\n1.5,,\n") };
    assert_eq!(asked.message(), "a.csv: row 2 (line 4, byte 13): column `n` is \"1.5\", not an integer");
    let asked = Asked { types: &types, ..Asked::new(b"n,x,b\n1,inf,1\n") };
    assert_eq!(asked.message(), "a.csv: row 1 (line 2, byte 6): column `x` is \"inf\", not a number");
    let asked = Asked { types: &types, ..Asked::new(b"n,x,b\n1,1,yes\n") };
    let wanted = "a.csv: row 1 (line 2, byte 6): column `b` is \"yes\", not a boolean (true, false, 1 or 0)";
    assert_eq!(asked.message(), wanted);
    let error = Asked { types: &[("agee", Type::Integer)], ..Asked::new(b"age,id\n") }.table().unwrap_err();
    assert_eq!(error.message, "a.csv: has no column `agee`");
    assert_eq!(error.help.unwrap(), "did you mean `age`?");
    assert_eq!(error.field, ["types", "agee"]);
}

/// An endless stream of `x`.
struct Endless(u64);

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0 += buffer.len() as u64;
        assert!(self.0 < 40 << 20, "read far past the limit");
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}

#[test]
fn a_field_without_end_stops_at_the_limit() {
    let source = std::io::Read::chain(Cursor::new(b"a,b\n1,\"".to_vec()), Endless(0));
    let text = Text::new(Box::new(source), "a.csv", None, 1 << 16).unwrap();
    let mut csv = Csv::new(text, "a.csv", b',', &BTreeMap::new(), &[]).unwrap().into_batches();
    let error = csv.next().unwrap().unwrap_err();
    assert_eq!(error.message, "a.csv: row 1 (line 2, byte 4): field 2 is above 16 MiB");
    assert!(csv.next().is_none());
}

#[test]
fn long_texts_end_a_batch_early_and_the_limit_is_exact() {
    let long = "x".repeat(CELL_BYTES);
    let file = format!("a\n{long}\n{long}\ny\n");
    let open = |file: &str| {
        let text = Text::new(Box::new(Cursor::new(file.as_bytes().to_vec())), "a.csv", None, 1 << 16).unwrap();
        Csv::new(text, "a.csv", b',', &BTreeMap::new(), &[]).unwrap().into_batches()
    };
    let rows: Vec<usize> = open(&file).map(|b| b.unwrap().num_rows()).collect();
    assert_eq!(rows, [1, 1, 1]);
    let error = open(&format!("a\n{long}x\n")).next().unwrap().unwrap_err();
    assert_eq!(error.message, "a.csv: row 1 (line 2, byte 2): field 1 is above 16 MiB");
}

#[test]
fn wide_tables_have_small_batches() {
    let names: Vec<String> = (0..5000).map(|i| i.to_string()).collect();
    let file = format!("{}\n{}", names.join(","), format!("{}\n", ",".repeat(4999)).repeat(300));
    let text = Text::new(Box::new(Cursor::new(file.into_bytes())), "a.csv", None, 1 << 16).unwrap();
    let csv = Csv::new(text, "a.csv", b',', &BTreeMap::new(), &[]).unwrap();
    assert_eq!(csv.into_batches().map(|b| b.unwrap().num_rows()).collect::<Vec<_>>(), [105, 105, 90]);
}

fn cell() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9 ]{0,8}", "[,\"\r\n\té😀x]{0,6}", Just("0".repeat(5000))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_the_csv_crate_writes_is_read_back(
        rows in prop::collection::vec(prop::collection::vec(cell(), 3), 0..12),
        piece in 1usize..80,
        crlf: bool,
    ) {
        let terminator = if crlf { ::csv::Terminator::CRLF } else { ::csv::Terminator::Any(b'\n') };
        let mut writer = ::csv::WriterBuilder::new().terminator(terminator).from_writer(Vec::new());
        writer.write_record(["a", "b", "c"]).unwrap();
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        let bytes = writer.into_inner().unwrap();
        let read = Asked { piece, ..Asked::new(&bytes) }.cells();
        for (i, column) in read.iter().enumerate() {
            let wanted: Vec<Option<String>> =
                rows.iter().map(|row| Some(row[i].clone()).filter(|c| !c.is_empty())).collect();
            prop_assert_eq!(column, &wanted);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b','), Just(b'\n')], 0..200), piece in 1usize..50) {
        let a = Asked { piece, ..Asked::new(&bytes) }.table();
        let b = Asked::new(&bytes).table();
        prop_assert_eq!(a, b);
    }
}

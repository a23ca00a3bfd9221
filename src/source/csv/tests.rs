//! Tests of `csv`, and of `records` and `text`: every message as its reader sees it.

use std::io::Cursor;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_select::concat::concat_batches;
use proptest::prelude::*;

use super::*;
use crate::source::batches::CELL_BYTES;

type Cells = Vec<Vec<Option<String>>>;

struct Asked<'a> {
    bytes: &'a [u8],
    types: &'a [(&'a str, Type)],
    nulls: &'a [&'a str],
    encoding: Option<&'a str>,
    piece: usize,
    /// More fields of the source, in JSON.
    fields: &'a str,
    tsv: bool,
}

impl<'a> Asked<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Asked { bytes, types: &[], nulls: &[], encoding: None, piece: 4096, fields: "{}", tsv: false }
    }

    fn csv(&self) -> Result<Csv, SourceError> {
        let text = Text::new(Box::new(Cursor::new(self.bytes.to_vec())), "a.csv", self.encoding, self.piece)?;
        let mut fields: serde_json::Value = serde_json::from_str(self.fields).unwrap();
        fields["path"] = "a.csv".into();
        let mut file: File = serde_json::from_value(fields).unwrap();
        file.types.extend(self.types.iter().map(|(name, ty)| ((*name).to_owned(), *ty)));
        file.null_values.extend(self.nulls.iter().map(|&n| n.to_owned()));
        Csv::new(text, "a.csv", if self.tsv { Dialect::TSV } else { Dialect::CSV }, &file)
    }

    fn detected(&self) -> Vec<String> {
        self.csv().unwrap().reading.detected
    }

    fn table(&self) -> Result<RecordBatch, SourceError> {
        let csv = self.csv()?;
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

/// The rows of a file with these fields, null as `-`, cells joined by `/`; every piece size reads the same.
fn lines(bytes: &[u8], fields: &str) -> Vec<String> {
    let read = [1, 2, 5, 4096].map(|piece| Asked { piece, fields, ..Asked::new(bytes) }.cells());
    assert!(read.windows(2).all(|two| two[0] == two[1]), "{read:?}");
    let line = |row: usize| read[0].iter().map(|column| column[row].as_deref().unwrap_or("-")).collect::<Vec<_>>();
    (0..read[0].first().map_or(0, Vec::len)).map(|row| line(row).join("/")).collect()
}

fn refusal(bytes: &[u8], fields: &str) -> (String, String) {
    let error = Asked { fields, ..Asked::new(bytes) }.table().unwrap_err();
    (error.message, error.help.unwrap_or_default())
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
fn text_after_a_closing_quote_is_refused_at_its_place() {
    let wanted = [
        (
            &b"id,t\na1,\"she said \\\"no\\\" to it\"\n"[..],
            "a.csv: row 1 (line 2, byte 20): column `t`: text follows the quote that closes after `she said \\`",
        ),
        (
            b"id,t\n1,x\n2,\"a\" b\n",
            "a.csv: row 2 (line 3, byte 14): column `t`: text follows the quote that closes after `a`",
        ),
        (
            b"id,t\n1,\"x\ny\"z\n",
            "a.csv: row 1 (line 3, byte 12): column `t`: text follows the quote that closes after `x\ny`",
        ),
        (b"\"id\"x,t\n", "a.csv: header (line 1, byte 4): field 1: text follows the quote that closes after `id`"),
    ];
    for (csv, text) in wanted {
        assert_eq!(message(csv), text);
    }
    let help = |csv: &[u8]| Asked::new(csv).table().unwrap_err().help.unwrap();
    assert_eq!(help(b"t\n\"a\\\"b\"\n"), r#"if a backslash escapes quotes in this file, set escape = "\\""#);
    assert!(help(b"t\n\"a\"b\n").contains(r#"quote = "none""#));
    // A quote inside a text that begins without one is a character.
    assert_eq!(lines(b"a,b\n5\" nail,x\"y\"\n", "{}"), ["5\" nail/x\"y\""]);
}

#[test]
fn escapes_make_marks_a_part_of_the_text() {
    let escape = r#"{"escape": "\\"}"#;
    assert_eq!(lines(b"a,b\n\"she said \\\"no\\\"\",x\n", escape), ["she said \"no\"/x"]);
    assert_eq!(lines(b"a,b\n\"x\\\\\",y\\,z\n", escape), ["x\\/y,z"]);
    assert_eq!(lines(b"a,b\nC:\\new,\"\\t\"\"\"\n", escape), ["C:\\new/\\t\""]);
    assert_eq!(lines(b"a,b\n1\\\n2,x\\", escape), ["1\n2/x\\"]);
    assert_eq!(
        lines(b"a;b\n'it\\'s';'don''t'\n", r#"{"escape": "\\", "quote": "'", "delimiter": ";"}"#),
        ["it's/don't"]
    );
    let (text, _) = refusal(b"a,b\n1,\"x\\\"\n", escape);
    assert_eq!(text, "a.csv: row 1 (line 2, byte 4): a quote is opened here and never closed");
}

#[test]
fn quotes_of_tab_separated_texts_are_characters() {
    let tsv = b"id\tt\n1\t\"We will not, he said.\n2\tand so it was\"\n3\t\"x\"\n";
    let asked = Asked { tsv: true, ..Asked::new(tsv) };
    assert_eq!(asked.cells()[1], some(&["\"We will not, he said.", "and so it was\"", "\"x\""]));
    let quoted = Asked { tsv: true, fields: r#"{"quote": "\""}"#, ..Asked::new(b"id\tt\n1\t\"x\ty\"\n") };
    assert_eq!(quoted.cells()[1], some(&["x\ty"]));
    let ragged = Asked { tsv: true, ..Asked::new(b"id\tt\n1\t\"x\ty\"\n") }.table().unwrap_err();
    assert!(ragged.help.unwrap().contains(r#"set quote = "\"""#));
    assert_eq!(lines(b"a,b\n\"x,y\"\n", r#"{"quote": "none"}"#), ["\"x/y\""]);
}

#[test]
fn a_file_with_one_column_keeps_its_empty_rows() {
    let rows = |csv: &[u8]| lines(csv, "{}");
    assert_eq!(rows(b"t\none\n\nthree\n\nfive\n"), ["one", "-", "three", "-", "five"]);
    assert_eq!(rows(b"t\r\none\r\n\r\nthree"), ["one", "-", "three"]);
    assert_eq!(rows(b"t\rone\r\rthree\r"), ["one", "-", "three"]);
    // The last line end ends a row; each more is an empty row.
    assert_eq!(rows(b"t\none\n\n\n"), ["one", "-", "-"]);
    assert_eq!(rows(b"\n\nt\n\"\"\n \n"), ["-", " "]);
    assert_eq!(rows(b"a,b\n\n1,2\n\n"), ["1/2"]);
    assert_eq!(lines(b"a,b\n\n1,2\n\n", r#"{"columns": ["b"]}"#), ["2"]);
}

#[test]
fn delimiters_are_detected_where_a_comma_can_not_be_meant() {
    let detected = |csv: &[u8]| Asked::new(csv).detected();
    let found = [
        (&b"id;t\n1;a\n2;b, c\n"[..], r#"delimiter = ";""#),
        (b"id\tt\n1\ta\n", r#"delimiter = "\t""#),
        (b"id|t|u\n1|a|\n", r#"delimiter = "|""#),
        (b"\"a,b\";c\n1;2\n", r#"delimiter = ";""#),
        (b"\"a|b\";c\n\"x\ny|\";2\n", r#"delimiter = ";""#),
        (b"a;b|c;d\n1;2|3;4\n", r#"delimiter = ";""#),
        (b"\xef\xbb\xbfid;t", r#"delimiter = ";""#),
    ];
    for (csv, wanted) in found {
        assert_eq!(detected(csv), [wanted], "{}", String::from_utf8_lossy(csv));
    }
    let kept = [
        &b"text\nWhat; now\nThen\n"[..],
        b"what; now\nWhat; now\nThen\n",
        b"\"a;b\"\nx\n",
        b"a;b,c;d\n1;2,3;4\n",
        b"a,b\n1;2,3\n",
        b"text\n",
        b";\n;\n",
        b"a;a\n1;2\n",
        b"",
    ];
    for csv in kept {
        let found = Asked::new(csv).csv().map(|csv| csv.reading.detected);
        assert!(found.is_err() || found == Ok(Vec::new()), "{}", String::from_utf8_lossy(csv));
    }
    // A written delimiter wins, and TSV has tabs.
    assert_eq!(lines(b"id;t\n1;a\n", r#"{"delimiter": ","}"#), ["1;a"]);
    assert_eq!(Asked { tsv: true, ..Asked::new(b"id;t\n1;a\n") }.detected(), [] as [&str; 0]);
    assert_eq!(lines(b"sep=;\r\na;b\r\n1;2,5\r\n", "{}"), ["1/2,5"]);
    assert_eq!(detected(b"sep=;\na;b\n"), [r#"delimiter = ";""#, "skip_rows = 1"]);
}

#[test]
fn a_semicolon_and_decimal_commas_are_refused_with_both_settings() {
    let csv = b"id;weight;text\n1;3,5;Bonjour, madame\n2;0,25;Merci\n";
    let (text, help) = refusal(csv, "{}");
    assert_eq!(text, "a.csv: its delimiter looks like `;`, and its numbers have decimal commas, such as 3,5");
    assert_eq!(help, r#"set delimiter = ";"; for columns that are numbers, set decimal = "," and `types` as well"#);
    assert_eq!(lines(csv, r#"{"delimiter": ";", "columns": ["weight"]}"#), ["3,5", "0,25"]);
    assert_eq!(Asked { fields: r#"{"decimal": ","}"#, ..Asked::new(csv) }.detected(), [r#"delimiter = ";""#]);
}

#[test]
fn numbers_in_other_notations() {
    let number = |csv: &[u8], fields: &str| {
        let table = Asked { fields, types: &[("w", Type::Number)], ..Asked::new(csv) }.table()?;
        let numbers = table.column(0).as_primitive::<arrow_array::types::Float64Type>();
        Ok(numbers.iter().map(|n| n.map_or("-".to_owned(), |n| n.to_string())).collect::<Vec<_>>().join(" "))
    };
    let read = |csv: &[u8], fields: &str| number(csv, fields).map_err(|e: SourceError| e.message);
    assert_eq!(read(b"w\n\"3,5\"\n\n12\n", "{}"), Ok("3.5 - 12".to_owned()));
    assert_eq!(
        read(b"w;x\n1.234,5;a\n-0,5;b\n", r#"{"delimiter": ";", "decimal": ",", "thousands": "."}"#),
        Ok("1234.5 -0.5".to_owned())
    );
    assert_eq!(read(b"w\n1 234.5\n", r#"{"thousands": " "}"#), Ok("1234.5".to_owned()));
    let wanted = "a.csv: row 2 (line 3, byte 8): column `w` is \"1.5\", not a number";
    assert_eq!(read(b"w\n\"3,5\"\n1.5\n", r#"{"decimal": ","}"#), Err(wanted.to_owned()));
    let error = number(b"w\n\"1,234\"\n", "{}").unwrap_err();
    assert_eq!(error.message, "a.csv: row 1 (line 2, byte 2): column `w` is \"1,234\", not a number");
    assert!(error.help.unwrap().starts_with("set `decimal` or `thousands`"));
    let types = [("n", Type::Integer)];
    let asked = Asked { types: &types, fields: r#"{"thousands": "."}"#, ..Asked::new(b"n\n1.234\n") };
    assert!(asked.table().unwrap_err().message.contains("both `.`"));
    let asked = Asked { types: &types, fields: r#"{"thousands": ".", "decimal": ","}"#, ..Asked::new(b"n\n1.234\n") };
    assert_eq!(asked.table().unwrap().column(0).as_primitive::<arrow_array::types::Int64Type>().value(0), 1234);
}

#[test]
fn headers_of_several_rows_of_none_and_below_other_lines() {
    let qualtrics = b"id,q1\n\"Response ID\",\"What do\nyou think?\"\n\"{\"\"ImportId\"\":\"\"_recordId\"\"}\",\"{\"\"ImportId\"\":\"\"QID1\"\"}\"\nR_1,Good\n";
    assert_eq!(lines(qualtrics, "{}"), ["R_1/Good"]);
    assert_eq!(Asked::new(qualtrics).detected(), ["header_rows = 3"]);
    assert_eq!(lines(qualtrics, r#"{"header_rows": 1}"#).len(), 3);
    let label = Labels::of(Asked::new(qualtrics).table().unwrap().schema().field(1)).variable;
    assert_eq!(label.as_deref(), Some("What do\nyou think?"));
    assert_eq!(lines(b"a,b\nA,B\n1,2\n", r#"{"header_rows": 2}"#), ["1/2"]);
    assert_eq!(lines(b"Exported on \"Monday\nby,x,y,z\na,b\n1,2\n", r#"{"skip_rows": 2}"#), ["1/2"]);
    assert_eq!(lines(b"x\r\ny\r\na,b\r\n1,2\r\n", r#"{"skip_rows": 2}"#), ["1/2"]);
    assert_eq!(lines(b"# by us\na,b\n#1,2\n3,#4\n#end", r##"{"comment": "#"}"##), ["3/#4"]);
    let table = Asked { fields: r#"{"header_rows": 0}"#, ..Asked::new(b"1,2\n3,4\n") }.table().unwrap();
    let names: Vec<_> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!((names, table.num_rows()), (vec!["column_1".to_owned(), "column_2".to_owned()], 2));
    assert_eq!(lines(b"1,2\n3,4\n", r#"{"header_rows": 0, "names": ["a", "b"], "columns": ["b"]}"#), ["2", "4"]);
    let (text, _) = refusal(b"1,2\n3\n", r#"{"header_rows": 0}"#);
    assert_eq!(text, "a.csv: row 2 (line 2, byte 4): has 1 field, the header has 2");
    assert_eq!(refusal(b"a,b\n1,2\n", r#"{"names": ["x"]}"#).0, "`names` has 1 names, a.csv has 2 columns");
    assert_eq!(
        refusal(b"a,b\nA\n1,2\n", r#"{"header_rows": 2}"#).0,
        "a.csv: header (line 2, byte 4): header row 2 has 1 fields, the first has 2"
    );
    assert_eq!(refusal(b"a,b\n", r#"{"header_rows": 2}"#).0, "a.csv: has no header row 2: the file ends");
    assert_eq!(refusal(b"", r#"{"header_rows": 0}"#).0, "a.csv: is empty");
}

#[test]
fn columns_are_chosen_and_renamed_past_bad_headers() {
    let csv = b"id,Q1 (text),,x,x\n1,a,b,c,d\n";
    let (text, help) = refusal(csv, "{}");
    assert_eq!(text, "a.csv: header (line 1, byte 0): column 3 has no name");
    assert!(help.contains("{ from = 3, name = \"column_3\" }") && help.contains("`names`"), "{help}");
    assert_eq!(
        lines(csv, r#"{"columns": [{"from": "Q1 (text)", "name": "q1"}, "id", {"from": 5, "name": "y"}]}"#),
        ["a/1/d"]
    );
    assert_eq!(lines(csv, r#"{"names": ["a", "b", "c", "d", "e"]}"#), ["1/a/b/c/d"]);
    let refused = |columns: &str| refusal(csv, &format!(r#"{{"columns": {columns}}}"#)).0;
    assert_eq!(refused(r#"["x"]"#), "a.csv: columns 4 and 5 are both called `x`");
    assert_eq!(refused("[3]"), "a.csv: column 3 has no name");
    assert_eq!(refused("[6]"), "a.csv: has no column 6, only 5");
    assert_eq!(refused(r#"["id", "idd"]"#), "a.csv: has no column `idd`");
    assert_eq!(refused(r#"["id", 1]"#), "`columns` has column 1 of a.csv twice");
    assert_eq!(refused(r#"[{"from": 4, "name": "id"}, "id"]"#), "`columns` has two columns called `id`");
    // Types use the new names. A column that is not read can contain anything.
    let typed = Asked {
        types: &[("n", Type::Integer)],
        fields: r#"{"columns": [{"from": "a", "name": "n"}]}"#,
        ..Asked::new(b"a,b\n1,x\n")
    };
    assert_eq!(typed.table().unwrap().schema().field(0).data_type(), &arrow_schema::DataType::Int64);
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
    let mut csv = Csv::new(text, "a.csv", Dialect::CSV, &File::default()).unwrap().into_batches();
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
        Csv::new(text, "a.csv", Dialect::CSV, &File::default()).unwrap().into_batches()
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
    let csv = Csv::new(text, "a.csv", Dialect::CSV, &File::default()).unwrap();
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
    fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b','), Just(b'\n'), Just(b'\\'), Just(b'\''), Just(b'|'), Just(b'#'), Just(b'\r')], 0..200), piece in 1usize..50) {
        let a = Asked { piece, ..Asked::new(&bytes) }.table();
        let b = Asked::new(&bytes).table();
        prop_assert_eq!(a, b);
        let fields = r##"{"escape": "\\", "quote": "'", "delimiter": "|", "comment": "#", "skip_rows": 1, "header_rows": 0}"##;
        let a = Asked { piece, fields, ..Asked::new(&bytes) }.table();
        let b = Asked { fields, ..Asked::new(&bytes) }.table();
        prop_assert_eq!(a, b);
    }
}

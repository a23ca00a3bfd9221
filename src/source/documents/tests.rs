//! Documents that are made here, damaged and hostile ones too.

use std::io::Write;

use arrow_array::Array;
use arrow_array::cast::AsArray;

use super::*;
use crate::source::content as content_hash;

fn zipped(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A PDF of objects, numbered from 1; the first is the catalog.
fn pdf(objects: &[&str]) -> Vec<u8> {
    let mut bytes = b"%PDF-1.4\n".to_vec();
    let mut places = Vec::new();
    for (i, object) in objects.iter().enumerate() {
        places.push(bytes.len());
        bytes.extend(format!("{} 0 obj\n{object}\nendobj\n", i + 1).as_bytes());
    }
    let table = bytes.len();
    bytes.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).as_bytes());
    bytes.extend(places.iter().flat_map(|place| format!("{place:010} 00000 n \n").into_bytes()));
    let size = objects.len() + 1;
    bytes.extend(format!("trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n").as_bytes());
    bytes
}

fn stream(dictionary: &str, data: &str) -> String {
    format!("<< /Length {} {dictionary} >>\nstream\n{data}\nendstream", data.len())
}

const FONT: &str = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>";

/// A PDF with a page for each content.
fn pages(contents: &[&str]) -> Vec<u8> {
    let kids: Vec<String> = (0..contents.len()).map(|i| format!("{} 0 R", 4 + 2 * i)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!("<< /Type /Pages /Count {} /Kids [{}] /MediaBox [0 0 300 300] >>", contents.len(), kids.join(" ")),
        FONT.to_owned(),
    ];
    for (i, content) in contents.iter().enumerate() {
        let number = 5 + 2 * i;
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /Resources << /Font << /F 3 0 R >> >> /Contents {number} 0 R >>"
        ));
        objects.push(stream("", content));
    }
    pdf(&objects.iter().map(String::as_str).collect::<Vec<_>>())
}

fn docx(body: &str) -> Vec<u8> {
    let document = format!("<w:document xmlns:w=\"w\"><w:body>{body}</w:body></w:document>");
    let core = "<cp:coreProperties xmlns:cp=\"c\" xmlns:dc=\"d\" xmlns:dcterms=\"t\"><dc:title> My  talk </dc:title>\
        <dcterms:modified>2024-05-06T07:08:09Z</dcterms:modified></cp:coreProperties>";
    zipped(&[("word/document.xml", &document), ("docProps/core.xml", core)])
}

fn documents(path: &str) -> Documents {
    Documents { path: path.to_owned(), encoding: None }
}

/// The rows, each as `doc_id: text` or `doc_id! error`.
fn rows(folder: &Path, path: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in documents(path).read(folder).unwrap() {
        let batch = batch.unwrap();
        let cell = |name: &str, row: usize| {
            let column = batch.column_by_name(name).unwrap().as_string::<i32>();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        rows.extend((0..batch.num_rows()).map(|row| match (cell("text", row), cell("error", row)) {
            (Some(text), None) => format!("{}: {text}", cell("doc_id", row).unwrap()),
            (None, Some(error)) => format!("{}! {error}", cell("doc_id", row).unwrap()),
            other => panic!("{other:?}"),
        }));
    }
    rows
}

#[test]
fn every_file_is_a_row_in_name_order_and_a_failure_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let files: [(&str, &[u8]); 12] = [
        ("b.txt", b"second"),
        ("a/one.md", b"# Head\n\nfirst"),
        ("a/empty.txt", b""),
        ("c.docx", b"PK\x03\x04broken"),
        ("d.mp3", b"x"),
        ("e.doc", b"{\\rtf1 rich}"),
        ("f.pdf", b"%PDF-1.4 broken"),
        ("~$c.docx", b"lock"),
        (".DS_Store", b"x"),
        ("Thumbs.db", b"x"),
        ("g.docx", b"\xd0\xcf\x11\xe0 old"),
        ("README", b"x"),
    ];
    for (name, bytes) in files {
        let path = folder.path().join("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let found = rows(folder.path(), "in/**/*");
    let starts = [
        "README! it has no extension; the formats are `txt`",
        "a/empty.txt! it is empty",
        "a/one.md: # Head\n\nfirst",
        "b.txt: second",
        "c.docx! it is damaged: ",
        "d.mp3! `.mp3` is not a format of documents; the formats are",
        "e.doc: rich",
        "f.pdf! it is not a PDF file, or it is damaged",
        "g.docx! it is encrypted, or in the format of an older Office",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (row, start) in found.iter().zip(starts) {
        assert!(row.starts_with(start), "{row}");
    }
    assert_eq!(rows(folder.path(), "in/b.txt"), ["b.txt: second"]);
    assert_eq!(documents("in/*.csv").read(folder.path()).err().unwrap().message, "no document matches `in/*.csv`");
    assert_eq!(rows(folder.path(), "*/[bc].*").len(), 2);
    assert_eq!(rows(folder.path(), "in/*/*").len(), 2);
    // A new name changes a row, so it changes the hash of the content too.
    let before = content_hash(&documents("in/*"), folder.path()).unwrap();
    std::fs::rename(folder.path().join("in/b.txt"), folder.path().join("in/b2.txt")).unwrap();
    assert_ne!(content_hash(&documents("in/*"), folder.path()).unwrap(), before);
}

#[cfg(unix)]
#[test]
fn links_are_read_and_broken_ones_are_rows() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    std::fs::write(folder.path().join("real.txt"), "text").unwrap();
    std::os::unix::fs::symlink("../real.txt", folder.path().join("in/a.txt")).unwrap();
    std::os::unix::fs::symlink("../gone.txt", folder.path().join("in/b.txt")).unwrap();
    // A loop of folders ends.
    std::os::unix::fs::symlink(".", folder.path().join("in/loop")).unwrap();
    let found = rows(folder.path(), "in/**/*");
    assert_eq!(found[0], "a.txt: text");
    assert!(found[1].starts_with("b.txt! it can't be read: No such file"), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
    content_hash(&documents("in/**/*"), folder.path()).unwrap();
}

#[test]
fn word_documents_keep_paragraphs_tables_notes_and_pages() {
    let body = "<w:p><w:r><w:t>One &amp; </w:t><w:t xml:space=\"preserve\">two</w:t></w:r></w:p>\
        <w:p><w:del><w:delText>gone</w:delText></w:del><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r></w:p>\
        <w:tbl><w:tr><w:tc><w:p><w:t>x</w:t></w:p></w:tc><w:tc><w:p><w:t>y</w:t></w:p></w:tc></w:tr></w:tbl>\
        <mc:AlternateContent xmlns:mc=\"m\"><mc:Choice><w:p><w:t>box</w:t></w:p></mc:Choice>\
        <mc:Fallback><w:p><w:t>box</w:t></w:p></mc:Fallback></mc:AlternateContent>\
        <w:p><w:br w:type=\"page\"/></w:p><w:p><w:lastRenderedPageBreak/><w:t>next</w:t></w:p>";
    let found = docx::read(&docx(body)).unwrap();
    assert_eq!(found.text, "One & two\n\na\tb\nc\n\nx\ty\n\nbox\n\u{c}next");
    assert_eq!((found.title.as_deref(), found.pages), (Some("My talk"), Some(2)));
    assert_eq!(found.modified.as_deref(), Some("2024-05-06T07:08:09Z"));
    let external = "<!DOCTYPE x [<!ENTITY secret SYSTEM \"file:///etc/passwd\">]><w:p><w:t>&secret;</w:t></w:p>";
    let found = docx::read(&zipped(&[("word/document.xml", external)])).unwrap();
    assert_eq!(found.text, "\u{fffd}", "no file is opened for an entity");
}

#[test]
fn open_documents_and_books_are_read() {
    let content = "<office:document-content xmlns:office=\"o\" xmlns:text=\"t\" xmlns:table=\"b\">\
        <text:tracked-changes><text:p>gone</text:p></text:tracked-changes>\
        <text:h>Head</text:h><text:p>a<text:s text:c=\"2\"/>b<text:note><text:note-citation>1</text:note-citation>\
        <text:note-body><text:p>why</text:p></text:note-body></text:note> c</text:p>\
        <text:p><text:soft-page-break/>next</text:p></office:document-content>";
    let meta = "<m xmlns:dc=\"d\"><dc:title>T</dc:title><dc:date>2024-01-02</dc:date></m>";
    let found = odt::read(&zipped(&[("content.xml", content), ("meta.xml", meta)])).unwrap();
    assert_eq!(found.text, "Head\n\na  b [why] c\n\u{c}next");
    assert_eq!(
        (found.title.as_deref(), found.modified.as_deref(), found.pages),
        (Some("T"), Some("2024-01-02"), Some(2))
    );
    let manifest = "<m:manifest xmlns:m=\"m\"><m:file-entry><m:encryption-data/></m:file-entry></m:manifest>";
    let sealed = odt::read(&zipped(&[("META-INF/manifest.xml", manifest)])).unwrap_err();
    assert!(sealed.contains("encrypted"));
    let package = "<package xmlns:dc=\"d\"><metadata><dc:title>Book</dc:title>\
        <meta property=\"dcterms:modified\">2024-01-02T00:00:00Z</meta></metadata><manifest>\
        <item id=\"b\" href=\"two%201.xhtml\" media-type=\"application/xhtml+xml\"/>\
        <item id=\"a\" href=\"one.xhtml\" media-type=\"application/xhtml+xml\"/></manifest>\
        <spine><itemref idref=\"a\"/><itemref idref=\"b\"/></spine></package>";
    let container = "<c><rootfiles><rootfile full-path=\"OPS/book.opf\"/></rootfiles></c>";
    let book = zipped(&[
        ("META-INF/container.xml", container),
        ("OPS/book.opf", package),
        ("OPS/one.xhtml", "<html><head><title/><script src=\"x\"/></head><body><p>First</p></body></html>"),
        ("OPS/two 1.xhtml", "<html><body><p>Second</p></body></html>"),
    ]);
    let found = epub::read(&book).unwrap();
    assert_eq!((found.text.as_str(), found.title.as_deref()), ("First\n\nSecond", Some("Book")));
    assert_eq!(found.modified.as_deref(), Some("2024-01-02T00:00:00Z"));
}

#[test]
fn pdf_pages_end_with_form_feeds_and_scans_say_so() {
    let one = "BT /F 12 Tf 20 250 Td (Hello) Tj 60 0 Td (world) Tj 0 -14 Td (next line) Tj 0 -60 Td (far) Tj ET";
    let found = pdf::read(pages(&[one, "", "BT /F 12 Tf 20 250 Td (End) Tj ET"])).unwrap();
    assert_eq!(found.text, "Hello world\nnext line\n\nfar\n\u{c}\u{c}End");
    assert_eq!(found.pages, Some(3));
    let scan = pdf::read(pages(&["0 0 10 10 re f", ""])).unwrap_err();
    assert_eq!(scan, "no text layer; 2 pages: a scan needs OCR first");
}

#[test]
fn loops_in_a_pdf_end() {
    let kids = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Count 9 /Kids [2 0 R 3 0 R] /Parent 3 0 R >>",
        "<< /Type /Pages /Count 9 /Kids [2 0 R 3 0 R] /Parent 2 0 R >>",
    ];
    assert!(read_bytes("pdf", pdf(&kids)).is_err());
    let form = |calls: usize, next: usize| {
        let about =
            format!("/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X {next} 0 R >> >>");
        stream(&about, &"/X Do ".repeat(calls))
    };
    let page = "<< /Type /Page /Parent 2 0 R /Resources << /XObject << /X 5 0 R >> >> /Contents 4 0 R >>";
    let start =
        ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Count 1 /Kids [3 0 R] /MediaBox [0 0 9 9] >>", page];
    let content = stream("", "/X Do");
    // A form that draws itself, and forms of which each draws the next ten times.
    let own = form(1, 5);
    let objects: Vec<&str> = start.into_iter().chain([content.as_str(), own.as_str()]).collect();
    assert!(read_bytes("pdf", pdf(&objects)).unwrap_err().starts_with("no text layer"));
    let forms: Vec<String> = (5..35).map(|number| form(10, number + 1)).collect();
    let objects: Vec<&str> =
        start.into_iter().chain([content.as_str()]).chain(forms.iter().map(String::as_str)).collect();
    let begun = std::time::Instant::now();
    let read = || pdf::within(pdf(&objects), std::time::Duration::from_millis(300));
    let error = formats::guarded(read).unwrap_err();
    assert!(error.contains("seconds"), "{error}");
    assert!(begun.elapsed().as_secs() < 30);
}

#[test]
fn bombs_are_errors() {
    let zeros = vec![b' '; 20 << 20];
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&zeros).unwrap();
    let packed = packed.finish().unwrap();
    let mut bomb = b"%PDF-1.4\n4 0 obj\n<< /Filter /FlateDecode >>\nstream\n".to_vec();
    bomb.extend(&packed);
    assert!(pdf::read(bomb.clone()).unwrap_err().contains("when unpacked"));
    let mut twice = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    twice.write_all(&packed).unwrap();
    let mut bomb = b"%PDF-1.4\n4 0 obj\n<< /Filter [/FlateDecode /FlateDecode] >>\nstream\n".to_vec();
    bomb.extend(twice.finish().unwrap());
    assert!(pdf::read(bomb).unwrap_err().contains("when unpacked"));
    let digits: String = packed.iter().map(|byte| format!("{byte:02x}")).collect();
    let bomb = format!("%PDF-1.4\n4 0 obj\n<< /Filter [/ASCIIHexDecode /FlateDecode] >>\nstream\n{digits}>\nendstream");
    assert!(pdf::read(bomb.into_bytes()).unwrap_err().contains("when unpacked"));
    let lzw = format!("%PDF-1.4\n4 0 obj\n<< /Filter /LZWDecode >>\nstream\n{}\nendstream", "\u{7}".repeat(100_000));
    assert!(pdf::read(lzw.into_bytes()).unwrap_err().contains("when unpacked"));
    let long = format!("<w:t>{}</w:t>", "x".repeat(17 << 20));
    assert!(docx::read(&docx(&long)).unwrap_err().contains("larger than 16 MiB"));
    let huge = "<w:p>".repeat(2000);
    assert!(docx::read(&docx(&huge)).unwrap_err().contains("nested more than 1000 deep"));
    let text = vec![b'x'; content::MOST_TEXT + 1];
    assert!(plain::text(&text, None).unwrap_err().contains("larger than 16 MiB"));
}

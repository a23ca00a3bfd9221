//! Folders of documents: from files to answers about their pages.

use std::io::Write;

use crate::project::Project;
use crate::server::Server;

const SPEC: &str = r#"
[models.llama]
provider = "ollama"
model = "llama3.2"
num_ctx = 4096
[sources.talks]
type = "documents"
path = "talks/**/*"
[outputs.talks]
input = "talks"
path = "out/talks.parquet"
"#;

const STAGES: &str = r#"
[stages.readable]
type = "filter"
input = "talks"
when = "error is none"
[stages.page]
type = "split"
input = "readable"
text_column = "text"
by = "page"
[stages.gist]
type = "analysis"
input = "page"
models = ["llama"]
prompt = "Sum up page {{ page_page }} of {{ doc_id }}: {{ page }}"
[outputs.gist]
input = "gist"
path = "out/gist.parquet"
"#;

fn docx(paragraphs: &str) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file("word/document.xml", zip::write::SimpleFileOptions::default()).expect("an entry");
    write!(writer, "<w:document xmlns:w=\"w\"><w:body>{paragraphs}</w:body></w:document>").expect("memory");
    writer.finish().expect("an archive").into_inner()
}

fn project() -> Project {
    let body = "<w:p><w:t>First page</w:t></w:p><w:p><w:br w:type=\"page\"/><w:t>Second page</w:t></w:p>";
    Project::new()
        .file("talks/b/talk.docx", docx(body))
        .file("talks/a.txt", "Grüße".as_bytes())
        .file("talks/c.pdf", b"%PDF-1.4 cut")
        .file("talks/~$talk.docx", b"lock")
}

#[test]
fn pages_of_documents_are_asked_about_and_damaged_files_are_rows() {
    let server = Server::new().start();
    let project = project().env("OLLAMA_HOST", &server.url()).spec(&format!("{SPEC}{STAGES}"));
    project.run(&["validate", "pipeline.toml"]).exits(0);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let talks = project.table("out/talks.parquet");
    assert_eq!(talks.strings("doc_id"), ["a.txt", "b/talk.docx", "c.pdf"].map(|id| Some(id.to_owned())));
    assert_eq!(talks.strings("path")[1].as_deref(), Some("talks/b/talk.docx"));
    assert_eq!(talks.strings("text")[0].as_deref(), Some("Grüße"));
    assert_eq!(talks.ints("pages"), [None, Some(2), None]);
    let errors = talks.strings("error");
    assert_eq!((&errors[0], &errors[1]), (&None, &None));
    assert_eq!(errors[2].as_deref(), Some("it is not a PDF file, or it is damaged"));
    let gist = project.table("out/gist.parquet");
    assert_eq!(gist.ints("page_page"), [Some(1), Some(1), Some(2)]);
    assert_eq!(gist.strings("page")[2].as_deref(), Some("Second page"));
    assert_eq!(server.requests(), 3);
}

#[test]
fn a_new_name_and_a_new_document_are_new_rows() {
    let server = Server::new().start();
    let project = project().env("OLLAMA_HOST", &server.url()).spec(&format!("{SPEC}{STAGES}"));
    project.run(&["run", "pipeline.toml"]).exits(0);
    let asked = server.requests();
    std::fs::rename(project.path("talks/a.txt"), project.path("talks/d.txt")).expect("a new name");
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(project.table("out/talks.parquet").strings("doc_id")[2].as_deref(), Some("d.txt"));
    // The prompt names the document.
    assert_eq!(server.requests(), asked + 1);
}

#[test]
fn a_source_of_tables_points_to_documents() {
    for file in ["talk.pdf", "talk.docx", "talk.txt"] {
        let project = Project::new().file(file, b"x");
        let spec = SPEC.replace("documents", "file").replace("talks/**/*", file);
        project.spec(&spec).run(&["validate", "pipeline.toml"]).exits(2).says("set type = \"documents\"");
    }
    let project = Project::new().spec(&SPEC.replace("talks/**/*", "none/*")).file("none/.hidden.txt", b"x");
    project.run(&["plan", "pipeline.toml"]).exits(2).says("no document matches `none/*`");
}

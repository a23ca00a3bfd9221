//! `type = "documents"`: a row for each document of a folder.
//!
//! Every format has a file that reads it and a row in `formats::FORMATS`. Crates were compared on real files:
//!
//! | format | crate | why |
//! |---|---|---|
//! | PDF | `hayro-interpret` | bounds loops and nesting and has no `unsafe`; `pdf-extract` follows a form that draws itself until the stack overflows; `pdf_oxide` pulls in 169 crates |
//! | DOCX, ODT, EPUB | `zip`, `quick-xml` | read as a stream, so that memory is bounded; `docx-rs` and `docx-rust` build a tree and bring another `zip` |
//! | HTML | the tokenizer of `html5ever` | text needs no tree; `html2text` wraps lines and draws tables |
//! | RTF | `rtf-grimoire` | reads every token; `rtf-parser` reads no code pages of fonts and pulls in `wasm-bindgen` |

mod archive;
mod content;
mod docx;
mod epub;
mod folder;
mod formats;
mod html;
mod odt;
mod pdf;
mod plain;
mod queue;
mod rtf;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::batches::{BATCH_BYTES, BATCH_ROWS, Batches, SourceError, batches};
use super::matching::{self, is_glob};
use super::reading::Changes;
use super::rows::Source;
use super::text::encoding;
use crate::document::{self, Node, Problems};
use crate::object::is_address;
use crate::registry::Kind;
use content::Content;
use folder::{below, split_glob};
use queue::{Outcome, Queue};

pub(crate) use formats::extensions;
#[cfg(any(test, fuzzing))]
pub(crate) use formats::read_bytes;

pub(crate) const KIND: Kind<Box<dyn Source>> =
    Kind::read_by::<Documents>("documents", "A row for each document of a folder.", decode);

/// Changes when a document is read differently, so that copies of old imports are not used.
const VERSION: u32 = 1;
const ID: &str = "doc_id";

/// A row for each document of a folder: text, Markdown, HTML, DOCX, ODT, RTF, EPUB and PDF files. The columns are
/// `doc_id` (the path below the folder before the first `*`, which is the key), `path`, `title`, `text`, `pages`,
/// `modified` and `error`. A file that can't be read is a row with an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Documents {
    /// A glob such as `interviews/**/*`, for all matching files in name order, or a file. Relative to the spec's folder.
    path: String,
    /// The encoding of text, Markdown and HTML files that do not declare theirs, such as `windows-1252` (a WHATWG
    /// label). Default: UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encoding: Option<String>,
}

fn decode(node: &Node, path: &document::Path, problems: &mut Problems) -> Option<Box<dyn Source>> {
    let documents: Documents = document::decode(node, path, problems)?;
    let before = problems.mark();
    if documents.path.trim().is_empty() {
        problems.error("bad-path", path.key("path"), "the path is empty");
    } else if is_address(&documents.path) {
        let message = format!("`{}` is an address, and documents are read from files", documents.path);
        problems.error("bad-path", path.key("path"), message).help("download the folder first, and write its path");
    }
    if let Some(Err(error)) = documents.encoding.as_deref().map(encoding) {
        problems.error("unknown-encoding", path.key("encoding"), error.message).help_if(error.help);
    }
    problems.clean_since(before).then(|| Box::new(documents) as Box<dyn Source>)
}

impl Documents {
    fn paths(&self, folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
        let (base, below_base) = split_glob(&self.path);
        if !is_glob(&self.path) || folder.join(&self.path).is_file() {
            return Ok(matching::files(folder, &self.path)?.into_iter().map(|file| file.path).collect());
        }
        let files = folder::files(&folder.join(base), &below_base).map_err(|error| {
            SourceError::new(format!("`{}` is not a valid glob: {}", self.path, error.msg)).at(["path"])
        })?;
        match files.is_empty() {
            true => Err(SourceError::new(format!("no document matches `{}`", self.path))
                .help(format!("looked in {}", folder.display()))
                .at(["path"])),
            false => Ok(files),
        }
    }

    /// The folder below which the paths are the identifiers of the documents.
    fn base(&self, folder: &Path) -> PathBuf {
        match is_glob(&self.path) && !folder.join(&self.path).is_file() {
            true => folder.join(split_glob(&self.path).0),
            false => folder.join(Path::new(&self.path).parent().unwrap_or(Path::new(""))),
        }
    }
}

fn schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text(ID, false),
        text("path", false),
        text("title", true),
        text("text", true),
        Field::new("pages", DataType::Int64, true),
        text("modified", true),
        text("error", true),
    ]))
}

fn batch(names: &[(String, String)], outcomes: &[Outcome]) -> Result<RecordBatch, SourceError> {
    let column = |of: fn(&Content) -> Option<&str>| -> ArrayRef {
        Arc::new(outcomes.iter().map(|outcome| of(outcome.as_ref().ok()?)).collect::<StringArray>())
    };
    let pages = outcomes.iter().map(|outcome| outcome.as_ref().ok()?.pages.map(|pages| pages as i64));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(names.iter().map(|(id, _)| id))),
        Arc::new(StringArray::from_iter_values(names.iter().map(|(_, path)| path))),
        column(|content| content.title.as_deref()),
        column(|content| Some(&content.text)),
        Arc::new(pages.collect::<Int64Array>()),
        column(|content| content.modified.as_deref()),
        Arc::new(outcomes.iter().map(|outcome| outcome.as_ref().err()).collect::<StringArray>()),
    ];
    RecordBatch::try_new(schema(), columns).map_err(|error| SourceError::new(error.to_string()))
}

impl Source for Documents {
    fn schema(&self, _: &Path) -> Result<SchemaRef, SourceError> {
        Ok(schema())
    }

    fn read_counting(&self, folder: &Path, _: &Changes) -> Result<Batches, SourceError> {
        let files = Documents::paths(self, folder)?;
        let (base, folder) = (self.base(folder), folder.to_owned());
        let mut names = files.clone().into_iter().map(move |file| (below(&base, &file), below(&folder, &file)));
        let mut queue = Queue::new(files, self.encoding.clone());
        Ok(batches(move || {
            let (mut rows, mut bytes) = ((Vec::new(), Vec::new()), 0);
            while rows.1.len() < BATCH_ROWS && bytes < BATCH_BYTES {
                let Some(outcome) = queue.next() else { break };
                bytes += outcome.as_ref().map_or(0, |content| content.text.len());
                rows.0.extend(names.next());
                rows.1.push(outcome);
            }
            match rows.1.is_empty() {
                true => Ok(None),
                false => batch(&rows.0, &rows.1).map(Some),
            }
        }))
    }

    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
        Documents::paths(self, folder)
    }

    fn identity(&self, folder: &Path, file: &Path) -> Option<String> {
        Some(below(folder, file))
    }

    fn key(&self) -> Option<&str> {
        Some(ID)
    }

    fn paths(&self) -> Vec<(&'static str, String)> {
        vec![("path", self.path.clone())]
    }

    fn meaning(&self) -> serde_json::Value {
        json!({ "documents": VERSION, "path": self.path, "encoding": self.encoding })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

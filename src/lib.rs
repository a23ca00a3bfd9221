//! fanfold runs language models over tables. A pipeline spec declares the sources of the rows, the stages that ask
//! models about each row, and the outputs.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("pipeline.toml");
//! std::fs::write(folder.path().join("remarks.csv"), "remark\nPeace and plenty.\nWe mourn our dead.\n")?;
//! let text = r#"
//!     models.first = { provider = "mock", model = "any" }
//!     sources.remarks = { type = "file", path = "remarks.csv" }
//!     outputs.tone = { input = "tone", path = "tone.csv" }
//!
//!     [stages.tone]
//!     type = "analysis"
//!     input = "remarks"
//!     models = ["first"]
//!     prompt = "What is the tone of this remark? {{ remark }}"
//!     output.tone = { type = "string", enum = ["positive", "negative"] }
//! "#;
//! std::fs::write(&path, text)?;
//!
//! let env = |name: &str| std::env::var(name).ok();
//! let spec = fanfold::load(&path)?;
//! let run = fanfold::run(spec, &path, fanfold::Options::default(), &env);
//! let report = tokio::runtime::Runtime::new()?.block_on(run)?;
//! assert!(!report.has_failed_rows());
//! println!("{report}");
//! # Ok(())
//! # }
//! ```
//!
//! # From a spec to a report
//!
//! ```text
//!  spec.toml / spec.yaml                                                              report
//!       |                                                                                ^
//!   Document --decode+check--> Spec --plan--> Plan ==connect==> Models --run--> RunDir --+
//!   (tree + text)              (typed,        (ordered,         (clients)       (tables, ledger,
//!                               names          schemas known,                    manifest)
//!                               resolve)       calls counted)
//!         `validate` and `plan` stop here: no network, no key, nothing written ----^
//! ```
//!
//! # The folders
//!
//! A folder is a phase or an extension point. It uses only folders on lines below its own. `tests/suite/layers.rs`
//! checks this, and that no files import each other in a circle.
//!
//! | folder | contents |
//! |---|---|
//! | `cli` | the terminal: the only folder that prints, parses arguments and chooses exit codes |
//! | `serve` | the server of the report page, for this machine only |
//! | `pipeline` | a whole run without a terminal: load, plan, run, report |
//! | `page` | the report page: its sections, charts and formats |
//! | `report` | all text and JSON for people, without printing it |
//! | `bench` | measures how fast models answer, with the engine's clients and limits |
//! | `preview` | counts the calls of a run and how many of them the ledger answers |
//! | `cluster` | runs on several machines: the jobs and scripts of Slurm and other engines |
//! | `run` | the engine: the only concurrent code |
//! | `inventory`, `lock` | the models of servers, and what does not fit a spec; the lock file: facts, drift, freshness, verification |
//! | `models` | the models of a spec with their clients and builds |
//! | `ask` | the logic of one row: call keys, rounds of questions, packs, answers, output columns |
//! | `output` | the files of outputs and codebooks: writers, and what they hold |
//! | `store` | runs on disk: project folder, ledger, parts, calls table, manifest |
//! | `plan` | the selected stages, their rows and parts, before anything runs |
//! | `spec` | the checked spec: names resolved, schemas known |
//! | `source`, `stage`, `provider`, `assertion` | the extension points: sources of rows, stage types, model servers, tests of tables |
//! | `prompt`, `starlark` | templates, messages, typed answers, packs, replies; a bounded evaluator of programs that models write |
//! | `object` | object stores such as S3: addresses, objects, their copies on this machine |
//! | `registry`, `table` | rows of the extension tables; rows, cells and columns, Parquet, comparison of tables |
//! | `document` | TOML and YAML as one tree with positions; diagnostics |
//! | `search` | the nearest vectors and texts, exactly and without a model |
//! | `stats` | statistics: estimates, intervals, tests, the bootstrap |
//! | `name`, `random` | checked identifiers; reproducible randomness |
//!
//! # Where do I ...
//!
//! | task | place |
//! |---|---|
//! | add a stage type that asks models, or one that makes tables without a model | the lists `STAGES` and `TRANSFORMS` in `src/stage/mod.rs`; `src/stage/filter.rs` is a small example |
//! | add a method, such as a coefficient of agreement | `src/stage/method/frame.rs` has the trait; `src/stage/agreement/mod.rs` is an example; formulas are in `src/stats/mod.rs` |
//! | measure how probable the labels of an answer are in another way | a variant of `Mode` in `src/prompt/distribution.rs`; the tokens of labels are in `src/prompt/label_scores.rs` |
//! | add an option of a model, such as `top_k` | a field in `src/provider/options.rs`, and `option_field` of the providers |
//! | work around a quirk of an OpenAI-compatible server | a row in `src/provider/openai/quirks.rs` |
//! | send batches to another kind of server | the trait `BatchWire` of `src/provider/batch.rs`; `src/provider/anthropic/batch.rs` is an example |
//! | change when a batch is sent, or how it is followed | `src/run/batch/gather.rs`; `src/run/batch/follow.rs` |
//! | change when a failed call is retried | `src/run/call/retry.rs`; after a refusal of the server `src/run/call/limiter/refusals.rs` |
//! | run parts with another engine, such as Slurm | a type with the trait `Engine` of `src/cluster/mod.rs`; `src/cluster/local.rs` is an example |
//! | change what stops a run early | `src/run/call/first_answer.rs` |
//! | add a column to the calls table | a row of `COLUMNS` in `src/store/calls.rs` |
//! | read and write another object store | a variant of `Scheme` in `src/object/address.rs`, and a builder in `src/object/bucket.rs` |
//! | read another file format | a row of `FORMATS` in `src/source/file/mod.rs`; `src/source/reader.rs` has the trait of readers, and `src/source/typed/mod.rs` a simpler one for cells with types |
//! | read another kind of document, such as pptx | a row of `FORMATS` in `src/source/documents/formats.rs` |
//! | write another file format | a variant of `TableFormat` in `src/spec/format.rs`, and a writer in `src/output/mod.rs` |
//! | change how an answer is matched with the options of an enum | `normalise_option` in `src/prompt/answer_type.rs` |
//! | change how `runs` and `diff` show a changed setting or prompt | `src/report/settings.rs` |
//! | change what a run leaves in the history | `RunRecord` in `src/store/history.rs` |
//! | change what `plan` expects a run to cost | `src/preview/forecast.rs`; the text is in `src/report/money.rs` |
//! | add the price of a well-known model | a row of `PRICES` in `src/spec/prices.rs`, with its source and date |
//! | change the line of progress, or an event of `--log json` | `src/report/progress.rs`, `src/cli/progress.rs` |
//! | add a section, a chart or a format to the report page | a file in `src/page/sections`, a kind of chart in `src/page/chart`, a format in `src/page/mod.rs` |
//! | change what the report page shows of a stage | `views` of its `Ask`, `Work` or `Method`; the kinds of views are in `src/stage/view.rs`, their numbers in `src/page/views` |
//! | show something else of a run that goes on in the browser | `src/serve/watch.rs`, and `src/serve/live.js` for the page |
//! | change how people code in the browser | `src/serve/coding.js` for the page, `src/serve/sheet.rs` for the file |
//! | change the axes or the universes of a grid | `src/spec/grid.rs` reads them, `src/spec/universes.rs` binds them |
//! | change how a model writes other wordings of a prompt | `src/run/paraphrase.rs`; `src/spec/stability.rs` makes the stage that asks them |
//! | summarise another type of answer column | `Values` in `src/report/columns.rs` |
//! | change what `status` prints | `src/report/status.rs`; the command is `src/cli/status.rs` |
//! | change what programs learn of a run, and so the Python module and the functions for R | `Serialize` of `RunSummary` in `src/report/summary.rs`, and `src/report/table_files.rs` |
//! | add a statistic, such as the agreement of two columns of labels | `src/stats/mod.rs` |
//! | add a function that programs of a recursive stage can call | `src/stage/recursive/calls.rs`; the words to the root model are in `src/stage/recursive/wording.rs` |
//! | add a function or a method of the language of these programs | `src/starlark/functions.rs`, `src/starlark/strings.rs`, `src/starlark/containers.rs` |
//! | change what counts as reading a column of a source | `src/spec/usage.rs` |
//! | change what counts as a look at the test part of a split | `look` in `src/lock/facts.rs` |
//! | ask another kind of server for embeddings | the trait `EmbedWire` of `src/provider/embedding.rs`; `src/provider/ollama/embedding.rs` is an example |
//! | change which texts share a request for vectors | `src/run/call/texts.rs` |
//! | change how rows are searched | `src/search/vectors.rs` for vectors, `src/search/bm25.rs` for words; the stage is `src/stage/retrieve/mod.rs` |
//! | make a second table in a stage without a model | `parts` and `bind_part` of `TransformConfig`; `src/stage/ensemble/mod.rs` is an example |
//! | change what `clean` deletes | `src/store/clean.rs` |
//! | change which tables are cut into pieces that are stored once | `src/store/earlier.rs` |
//! | add a family of models that run inside the process | a row in `src/provider/embedded/inference/family.rs` |
//! | recognise another wording of a server's error, or another mark of thoughts | `src/provider/fault/words.rs`; `src/prompt/thoughts.rs` |
//! | check something else in a spec | `src/spec/resolve.rs` |
//! | add a test of tables | the list `ASSERTIONS` in `src/assertion/mod.rs` |
//!
//! # Terms
//!
//! - **grid**: an asking stage with axes. Each combination of their levels is a **universe**, which is bound and asked like
//!   any stage.
//! - **recursive stage**: a stage whose **root** model writes programs about a long context, which ask a **sub** model. A
//!   **round** is one reply of the root model with what its program printed; a row's rounds are its **trajectory**.
//! - **row**: a line of a source, identified by its key or by its number from 1.
//! - **stage**: asks models about each row and adds columns.
//! - **transform**: a stage that calls no model and derives a table from other tables: `filter`, `split`, `join`, `sample`, and the
//!   step that gathers the rows of each group for a `reduce`.
//! - **method**: a transform that computes statistics of a table and makes a tidy table of them, such as `agreement`.
//! - **unit**: what coders code and what a bootstrap draws, such as a document.
//! - **pack**: several rows in one prompt.
//! - **part**: a contiguous range of a stage's rows; the unit of commit and of resume.
//! - **call**: a question to a model, until it is answered or fails. Its **key** is the hash of everything that can change
//!   the answer.
//! - **batch**: a job of many calls at a provider that answers them within a day.
//! - **ledger**: the store of all finished calls of a project. An answer in the ledger is never paid for again.
//! - **repeatability**: how often a model gives the same answer to the same request, measured on a sample of rows.
//! - **replay file**: the calls of one run in one file. A run that is answered from it sends nothing.
//! - **test**: an assertion about a table, which `fanfold test` checks.
//! - **run**: the execution of a plan. Its folder contains the parts, the calls table and the manifest.
//! - **piece**: some bytes of a table of an earlier run. Equal pieces are stored once.
//! - **history**: the list of the runs of a project, each with a name such as `2026-11-28-1`.
//! - **lock**: a file next to the spec that records the inputs, models and tables of a run. Each entry is a **facet**; a
//!   facet whose value has changed has **drifted**.

mod ask;
mod assertion;
mod bench;
mod cli;
mod cluster;
mod document;
mod inventory;
mod lock;
mod models;
mod name;
mod object;
mod output;
mod page;
mod pipeline;
mod plan;
mod preview;
mod prompt;
mod provider;
mod random;
mod registry;
mod report;
mod run;
mod search;
mod serve;
mod source;
mod spec;
mod stage;
mod starlark;
mod stats;
mod store;
mod table;

/// What the fuzzer and the plain test over its corpus run.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../tests/fuzz/targets.rs"]
pub mod fuzz_targets;

#[doc(hidden)]
pub use cli::main;
pub use lock::LockMode;
pub use pipeline::{Error, Options, Report, load, plan, run};
pub use plan::{RowChoice, Selection};
pub use report::plan::PlanReport as Plan;
pub use run::{Recall, ReplayMode};
pub use spec::Spec;

//! fanfold runs language models over tables: a pipeline spec says where the rows come from, what to ask about each row,
//! of which models, and where the answers go.
//!
//! # The straight line
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
//! # The house
//!
//! A folder is a phase or an extension point. It may use any line below its own, never its own line or one above
//! (`tests/suite/layers.rs` holds this):
//!
//! | folder | what lives there |
//! |---|---|
//! | [`cli`] | the terminal: the only folder that prints, reads arguments or picks exit codes |
//! | [`pipeline`] | a whole run without a terminal: load, run, report |
//! | [`report`] | all text and JSON for people, without printing it |
//! | [`bench`] | how fast models answer, measured with the engine's clients and limits |
//! | [`preview`] | what a run would ask, and how much of it the ledger answers |
//! | [`run`] | the engine: the only concurrent code |
//! | [`inventory`], [`lock`] | what the servers of a spec have and what does not fit; what a spec's tables were made from: the lock file, drift, freshness, verification |
//! | [`models`] | the models of a spec with their clients and builds |
//! | [`ask`] | the logic of one row: call keys, rounds of questions, answers, output columns |
//! | [`store`] | a run on disk: project folder, ledger, parts, manifest |
//! | [`plan`] | what will happen, decided before it does |
//! | [`spec`] | what the author wrote, checked |
//! | [`source`], [`stage`], [`provider`], [`assertion`] | where rows come from; the types of stages; the models' servers; what a table must be |
//! | [`prompt`] | asking and answering without a model |
//! | [`registry`], [`table`] | rows of the extension tables; rows and columns of data |
//! | [`document`] | TOML and YAML as one tree with places |
//! | [`name`], [`random`], [`stats`] | checked identifiers; reproducible randomness; estimates and tests |
//!
//! # The words
//!
//! - **row**: one line of a source; known by its key, or by its number from 1.
//! - **stage**: what is asked about each row; it adds columns.
//! - **transform**: a stage that calls no model and derives a table from other tables: `split`, `join`, `filter`, and the
//!   gathering of each group's rows for a `reduce`.
//! - **pack**: rows that are asked about in one prompt.
//! - **part**: a contiguous range of a stage's rows, the unit of commit and of resume.
//! - **call**: one question to one model until it is answered or given up; its **key** is the hash of everything that
//!   can change the answer.
//! - **ledger**: the store of all finished calls of a project; what is in it is never paid again.
//! - **replay file**: the calls of one run as one file; a run that is answered from it asks nobody.
//! - **test**: what a table of the pipeline must be, an assertion that `fanfold test` holds against it.
//! - **run**: one plan carried out; its folder holds the parts, the calls table and the manifest.
//! - **lock**: what a spec's tables were made from and what they contain, next to the spec; each entry is a **facet**, and a
//!   facet whose value has changed has **drifted**.

pub mod ask;
pub mod assertion;
pub mod bench;
pub mod cli;
pub mod document;
pub mod inventory;
pub mod lock;
pub mod models;
pub mod name;
pub mod pipeline;
pub mod plan;
pub mod preview;
pub mod prompt;
pub mod provider;
pub mod random;
pub mod registry;
pub mod report;
pub mod run;
pub mod source;
pub mod spec;
pub mod stage;
pub mod stats;
pub mod store;
pub mod table;

//! The store: what a project keeps on disk. Nothing here waits for models.
//!
//! All project state is in `.fanfold/` next to the spec, which git ignores:
//!
//! ```text
//! .fanfold/
//!   ledger.sqlite             every finished call of the project       ledger.rs
//!   sources/<hash>.parquet    the rows of a source as they were read   import.rs
//!   locks/<hash>.lock         which process writes which output        project.rs
//!   locks/ledger.lock         shared by runs, exclusive for gc         project.rs
//!   runs/<name>-<hash>/       one plan: its parts, calls, manifest     rundir.rs, calls.rs, manifest.rs
//! ```
//!
//! - `record`: one finished call, and the list of its fields that all files follow.
//! - `output`, `read_output`, `stored`: write the tables of a run, read them back, read those of earlier runs.
//! - `provenance`, `explain`: find the run that wrote a table, and the calls behind a row.
//! - `replay`, `export`, `recorded`, `merge`: replay files: their format, writing, look-up, and merging into a ledger.
//! - `spec_shape`: what a run keeps of the spec for its readers.
//! - `gc`: drops answers that no run uses from the ledger.
//! - `audit`: counts how packs of rows change answers.

mod audit;
mod calls;
mod counts;
mod error;
mod explain;
mod export;
mod gc;
mod import;
mod ledger;
mod manifest;
mod merge;
mod notes;
mod output;
mod project;
mod provenance;
mod read_output;
mod record;
mod recorded;
mod replay;
mod rundir;
mod spec_shape;
mod stored;
mod value;

pub use audit::{Audit, AuditColumn, Cost, Discord};
pub use calls::{CallRow, CallsTable, PackRow, calls_schema};
pub use counts::{RowCounts, Share, Shares};
pub use error::StoreError;
pub use explain::{CellRef, Explanation, Row, explain};
pub use export::{export, shown};
pub use gc::gc;
pub use import::import;
pub use ledger::{Contents, DropCounts, Ledger, LedgerError, LedgerSync, Retired, VerifyCounts};
pub use manifest::{ErrorKind, Manifest, ModelEntry, OutputFacts, ReshapeEntry, SourceEntry, StageTotals, State};
pub use merge::{MergeCounts, merge};
pub use notes::Notes;
pub use output::write as write_output;
pub use project::{Hold, Project};
pub use provenance::{Origin, OriginError, origin};
pub use read_output::read as read_output;
pub use record::{Key, Record};
pub use recorded::{CallRef, RecordedCalls};
pub use replay::{RecordedModel, ReplayFile};
pub use rundir::{CommittedPart, PartFacts, PartWriter, Replies, RunDir};
pub use spec_shape::{AddedColumn, StageShape};
pub use stored::StoredTable;

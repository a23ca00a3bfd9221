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

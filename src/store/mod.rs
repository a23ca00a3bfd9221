//! The store: everything that a project keeps on disk. Nothing in this module calls models.
//!
//! All project state is in `.fanfold/` next to the spec, which git ignores:
//!
//! ```text
//! .fanfold/
//!   ledger.sqlite             every finished call of the project       ledger.rs
//!   batches/<name>.jsonl      the results of a batch, until its calls are recorded
//!   sources/<hash>.parquet    the rows of a source as they were read   import.rs
//!   sources/<hash>.sum        its checksum                             checksum.rs
//!   pieces.sqlite             the tables of earlier runs, in pieces     pieces.rs, earlier.rs
//!   replays/<hash>            marks a replay file that was added         recall.rs
//!   history.jsonl             one line for each end of a run          history.rs
//!   locks/<hash>.lock         which process writes which output        project.rs
//!   locks/calls.lock          which process makes which call              lease.rs
//!   locks/ledger.lock         shared by runs, exclusive for gc         project.rs
//!   locks/tables.lock         shared by runs, exclusive for cutting    project.rs
//!   locks/history.lock        held to name a run or to add a line      project.rs
//!   runs/<name>-<hash>/       one plan: its parts, calls, manifest     rundir.rs, calls.rs, manifest.rs
//!   runs/<name>-<hash>/cluster/   what its workers on other machines share    shared.rs; on an object store mirror.rs
//! ```

mod absent;
pub(crate) mod audit;
mod call_totals;
mod calls;
mod changes;
mod checksum;
mod clean;
mod copied;
mod counts;
mod earlier;
mod error;
mod explain;
mod export;
mod gc;
mod history;
mod import;
mod job;
mod journal;
mod known;
mod lease;
mod ledger;
mod manifest;
mod merge;
mod mirror;
mod pieces;
mod project;
mod provenance;
mod recall;
mod record;
mod recorded;
mod replay;
mod rundir;
mod shared;
mod span;
mod stored;
mod stored_run;

pub(crate) use absent::put_if_absent;
pub(crate) use audit::Audit;
pub(crate) use call_totals::CallTotals;
pub(crate) use calls::{CallRow, PackRow, calls_schema};
pub(crate) use changes::{Changes, ChangesByModel};
pub(crate) use clean::{Garbage, GarbageKind, delete, garbage, size};
pub(crate) use counts::{RowCounts, Share, Shares};
pub(crate) use earlier::cut_earlier;
pub(crate) use error::StoreError;
pub(crate) use explain::{
    CellRef, Explanation, InputExplanation, QuotePlace, RetrievedRows, Row, explain, explain_rows,
};
pub(crate) use export::{export, shown};
pub(crate) use gc::gc;
pub(crate) use history::{NamedRun, RunRecord, begin, earlier, end, history, is_run_name, named_runs, reply_limits};
pub(crate) use import::{copy_name, import, imported};
pub(crate) use job::ActiveJob;
pub(crate) use journal::{Entry, Journal};
pub(crate) use known::{Known, write_known};
pub(crate) use lease::{Lease, Leases};
pub(crate) use ledger::{
    Added, Batch, Contents, DropCounts, Ledger, LedgerError, LedgerSync, NewBatch, Placed, Retired, STOPPED, Since,
    VerifyCounts,
};
pub(crate) use manifest::{
    ErrorKind, ErrorMessage, Manifest, ModelEntry, OutputFacts, PriceSource, RefusalTotals, ReplyLimit, SheetFacts,
    SourceEntry, StageShape, StageTotals, State, TransformEntry, WorkerTotals,
};
pub(crate) use merge::{HASHED_SERVER, MergeCounts, merge};
pub(crate) use pieces::{is_stored, open_table};
pub(crate) use project::{Hold, Project};
pub(crate) use provenance::{Origin, OriginError, origin, source_table};
pub(crate) use recall::{Recalled, add_replay, recalled};
pub(crate) use record::{Key, Notes, Record};
pub(crate) use recorded::{CallRef, RecordedCalls};
pub(crate) use replay::{ReplayFile, is_replay, replay_of};
pub(crate) use rundir::{CommittedPart, PartFacts, PartWriter, Replies, RunDir};
pub(crate) use shared::{Attempt, SharedDir, retired};
pub(crate) use span::CallSpan;
pub(crate) use stored::StoredTable;
pub(crate) use stored_run::{Needs, WorkerRun, collect, learn, learn_all, pull, push};

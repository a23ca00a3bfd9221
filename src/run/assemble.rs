//! The assembler: orders a stage's finished blocks, writes the parts, and commits each when its calls are durable.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::block::Block;
use super::builds::Occasion;
use super::error::RunError;
use super::finish::finish;
use super::job::Job;
use super::vector_lengths::{VectorLengths, found};
use crate::plan::Part;
use crate::stage::DataError;
use crate::store::{PartFacts, PartWriter, StoreError};

/// The most commits in progress; more would only use up file handles.
const COMMITS: usize = 8;

/// A message to the assembler; `Begin` comes first in each part.
pub(crate) enum Piece {
    /// The beginning of a part, with the ids of the parts that it is made from.
    Begin(Part, Vec<String>),
    Block(Arc<Block>),
    /// The end of a part: its index and its number of blocks.
    End(u64, u64),
}

struct Open {
    number: u64,
    facts: PartFacts,
    writer: Option<PartWriter>,
    /// Finished blocks that must wait for an earlier one.
    early: BTreeMap<u64, Arc<Block>>,
    written: u64,
    blocks: Option<u64>,
}

/// Assembles parts until the channel closes. Unfinished parts are dropped; the ledger has their calls.
pub(crate) async fn assemble(job: Arc<Job>, mut pieces: mpsc::Receiver<Piece>) -> Result<(), RunError> {
    let mut open: HashMap<u64, Open> = HashMap::new();
    let mut lengths = VectorLengths::default();
    let mut commits: JoinSet<Result<(), RunError>> = JoinSet::new();
    while let Some(piece) = pieces.recv().await {
        let number = match piece {
            Piece::Begin(part, inputs) => {
                let facts = PartFacts { id: mark(), inputs, ..PartFacts::default() };
                let writer = Some(begin(&job, part).await?);
                let part =
                    Open { number: part.number, facts, writer, early: BTreeMap::new(), written: 0, blocks: None };
                open.insert(part.number, part);
                continue;
            }
            Piece::Block(block) => {
                let number = block.place.part;
                if let Some(part) = open.get_mut(&number) {
                    part.early.insert(block.place.index, block);
                }
                number
            }
            Piece::End(number, blocks) => {
                if let Some(part) = open.get_mut(&number) {
                    part.blocks = Some(blocks);
                }
                number
            }
        };
        let Some(part) = open.get_mut(&number) else { continue };
        while let Some(block) = part.early.remove(&part.written) {
            let found = write(&job, part, block).await?;
            lengths.add(found).map_err(|error| failed(&job, error))?;
        }
        if part.blocks == Some(part.written)
            && let Some(part) = open.remove(&number)
        {
            commits.spawn(commit(job.clone(), part));
        }
        while let Some(done) = if commits.len() < COMMITS { commits.try_join_next() } else { commits.join_next().await }
        {
            done.map_err(|e| RunError::Died(e.to_string()))??;
        }
    }
    while let Some(done) = commits.join_next().await {
        done.map_err(|e| RunError::Died(e.to_string()))??;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, RunError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|e| RunError::Died(e.to_string()))??)
}

async fn begin(job: &Arc<Job>, part: Part) -> Result<PartWriter, RunError> {
    let job = job.clone();
    blocking(move || job.dir.write_part(job.stage().name.as_str(), part, job.stage().relation.schema.clone())).await
}

/// Writes a block. Returns the lengths of its vectors.
async fn write(job: &Arc<Job>, part: &mut Open, block: Arc<Block>) -> Result<Vec<(String, usize)>, RunError> {
    let Some(mut writer) = part.writer.take() else { return Ok(Vec::new()) };
    let job = job.clone();
    let (writer, facts, lengths) = blocking(move || {
        let (rows, facts) = finish(&job, &block, &mut writer)?;
        let lengths = found(job.stage(), &rows);
        writer.write(rows)?;
        Ok((writer, facts, lengths))
    })
    .await?;
    part.writer = Some(writer);
    part.facts.add(facts);
    part.written += 1;
    Ok(lengths)
}

/// Commits a part once all its calls are synced to disk.
async fn commit(job: Arc<Job>, part: Open) -> Result<(), RunError> {
    let Open { number, facts, writer: Some(writer), .. } = part else { return Ok(()) };
    if !job.calls.recorder().flushed().await {
        // The recorder's thread reports the error.
        return Ok(());
    }
    if !job.calls.builds().confirm(Occasion::Commit).await {
        return Ok(());
    }
    job.progress().shares(&facts.shares);
    job.progress().audit(facts.audit.as_ref());
    job.progress().changes(&facts.changes);
    let _writing = job.calls.recorder().writing().begin();
    let committed = blocking(move || writer.commit(facts)).await?;
    let models = job.stage().models.iter().flat_map(|model| job.calls.target(*model).with_fallback());
    job.calls.builds().committed(job.stage().name.as_str(), number, models);
    job.progress().part_committed();
    job.output.commit(number, committed);
    Ok(())
}

fn failed(job: &Job, error: DataError) -> RunError {
    RunError::Transform { spec: job.plan.spec.file.clone(), stage: job.stage().name.to_string(), error }
}

fn mark() -> String {
    format!("{:016x}", rand::random::<u64>())
}

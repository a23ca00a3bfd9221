//! Pinned builds: the builds of the models that the first worker of a cluster found, which all workers must have.

use indexmap::IndexMap;

use super::error::RunError;
use crate::models::{KnownBuild, Models, differences};
use crate::store::{ModelEntry, RunDir, SharedDir};

/// The folder with the builds of the models of each stage.
const FOLDER: &str = "models";

/// The builds of the models as the first workers found them. The machine that ends the run may not reach the servers.
pub(super) fn builds_of_workers(dir: &RunDir, stages: &[&str]) -> Vec<KnownBuild> {
    let shared = SharedDir::of(dir);
    let read = |stage: &&str| shared.read::<IndexMap<String, ModelEntry>>(&format!("{FOLDER}/{stage}.json"));
    stages.iter().filter_map(|stage| read(stage).ok()?).flat_map(|entries| KnownBuild::all_of(&entries)).collect()
}

/// Refuses a model whose build or server differs from that of the first worker: its answers would have other keys.
pub(super) fn pin(shared: &SharedDir, stage: &str, models: &Models) -> Result<(), RunError> {
    let own = models.entries();
    let first = shared.agree(&format!("{FOLDER}/{stage}.json"), &own)?;
    for (name, own) in &own {
        let Some(first) = first.get(name) else { continue };
        if let Some((facet, before, now)) = differences(&first.build, &own.build).first() {
            return Err(RunError::Frozen(format!(
                "model `{name}` has another build on this machine: its {facet} is {now}, and {before} on the first worker"
            )));
        }
        if first.server != own.server {
            return Err(RunError::Frozen(format!(
                "model `{name}` reports no build, and its server has another address than on the first worker"
            )));
        }
    }
    Ok(())
}

//! The open batches of a project as their providers see them, and their cancellation.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::shared::server;
use crate::provider::{BatchJob, BatchState, CallError, CallErrorKind, ConnectContext, EndpointError, Env, Provider};
use crate::spec::Spec;
use crate::store::{Batch, Ledger, LedgerError};

/// The state of a batch in the ledger that was cancelled here. If it turns out to have no results, its calls are sent again.
pub(super) const GIVEN_UP: &str = "given up";

/// An open batch.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) batch: Batch,
    /// What the provider says; `None` if it does not know the job.
    pub(crate) job: Result<Option<BatchJob>, String>,
    pub(crate) is_cancelled: bool,
}

/// Asks the providers of `spec` about the open batches in the ledger at `path`, and cancels those that `cancels` names.
/// Batches of other providers are left out.
pub(crate) async fn standing(
    spec: &Spec,
    path: &Path,
    env: Env<'_>,
    cancels: impl Fn(&Batch) -> bool,
) -> Result<Vec<Standing>, LedgerError> {
    let batches = Ledger::open_batches_at(path)?;
    let (providers, failed) = connected(spec, env);
    let mut all = Vec::new();
    for batch in batches {
        let found = match (providers.get(&batch.server), &failed) {
            (Some(provider), _) => look(provider.as_ref(), &batch, cancels(&batch)).await,
            (None, Some(error)) => Err(error.message.clone()),
            (None, None) => continue,
        };
        let (job, is_cancelled) = match found {
            Ok((job, is_cancelled)) => (Ok(job), is_cancelled),
            Err(message) => (Err(message), false),
        };
        if is_cancelled {
            Ledger::open(path)?.set_batch_state(batch.id, GIVEN_UP, batch.done)?;
        }
        all.push(Standing { batch, job, is_cancelled });
    }
    Ok(all)
}

/// Whether batches with calls to one of `models`, by their ids, are open at the providers of `spec`, and not given up.
pub(crate) fn has_batches(spec: &Spec, models: &[String], path: &Path, env: Env<'_>) -> Result<bool, LedgerError> {
    let mut batches = Ledger::open_batches_at(path)?;
    batches.retain(|batch| models.contains(&batch.model) && batch.state.as_deref() != Some(GIVEN_UP));
    if batches.is_empty() {
        return Ok(false);
    }
    let (providers, failed) = connected(spec, env);
    Ok(failed.is_some() || batches.iter().any(|batch| providers.contains_key(&batch.server)))
}

/// The providers of a spec by their servers, and why one of them can't be connected.
fn connected(spec: &Spec, env: Env<'_>) -> (HashMap<String, Arc<dyn Provider>>, Option<EndpointError>) {
    let (mut providers, mut failed) = (HashMap::new(), None);
    for endpoint in spec.endpoints.values() {
        match endpoint.endpoint.connect(&ConnectContext { env, folder: &spec.folder }) {
            Ok(provider) => drop(providers.insert(server(provider.as_ref()), provider)),
            Err(error) => failed = Some(error),
        }
    }
    (providers, failed)
}

async fn look(provider: &dyn Provider, batch: &Batch, cancels: bool) -> Result<(Option<BatchJob>, bool), String> {
    let none = || CallError::new(CallErrorKind::Rejected, "the provider has no batches");
    let client = provider.batches().ok_or_else(none).map_err(|error| error.message)?;
    let Some(id) = batch.job.as_deref() else { return Ok((None, cancels)) };
    let job = client.look(id).await.map_err(|error| error.message)?;
    // Providers refuse to cancel what has ended.
    if !cancels || job.as_ref().is_none_or(|job| job.state != BatchState::Running) {
        return Ok((job, cancels));
    }
    client.cancel(id).await.map_err(|error| error.message)?;
    Ok((client.look(id).await.map_err(|error| error.message)?, true))
}

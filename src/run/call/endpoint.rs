//! Endpoints: state that all calls to an endpoint or to a model share during a run.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use super::limiter::Limiter;
use super::structured_output::StructuredOutput;
use crate::models::{Models, Target};
use crate::spec::{OnOutage, Spec};

/// The number of equal rejections, before the first answer, after which all further calls are expected to fail.
const SAME: u32 = 20;

#[derive(Debug)]
pub(crate) struct Endpoints(HashMap<usize, ModelState>);

#[derive(Debug)]
pub(crate) struct ModelState {
    pub(crate) endpoint: Arc<EndpointState>,
    pub(crate) structured_output: StructuredOutput,
}

#[derive(Debug)]
pub(crate) struct EndpointState {
    pub(crate) limiter: Limiter,
    pub(crate) on_outage: OnOutage,
    down: AtomicBool,
    /// The reason and number of the rejections so far; `None` after the first answer.
    rejected: Mutex<Option<(String, u32)>>,
}

impl Endpoints {
    pub(crate) fn new(spec: &Spec, models: &Models) -> Self {
        let mut by_name: HashMap<&str, Arc<EndpointState>> = HashMap::new();
        let state = |target: &Target| {
            let name = spec.model(target.index).1.endpoint.as_str();
            let limits = &spec.endpoints[name].limits;
            let endpoint = by_name.entry(name).or_insert_with(|| {
                Arc::new(EndpointState {
                    limiter: Limiter::new(limits),
                    on_outage: limits.on_outage,
                    down: AtomicBool::new(false),
                    rejected: Mutex::new(Some((String::new(), 0))),
                })
            });
            endpoint.down.fetch_or(target.was_down, Relaxed);
            let structured_output = StructuredOutput::new(target);
            (target.index, ModelState { endpoint: endpoint.clone(), structured_output })
        };
        Endpoints(models.iter().map(state).collect())
    }

    pub(crate) fn of(&self, target: &Target) -> &ModelState {
        &self.0[&target.index]
    }
}

impl EndpointState {
    /// Whether the server was down when the run began and has not answered since.
    pub(crate) fn was_down(&self) -> bool {
        self.down.load(Relaxed)
    }

    pub(crate) fn is_up(&self) {
        self.down.store(false, Relaxed);
        *self.rejected.lock() = None;
    }

    /// Counts a rejection. Returns whether all calls so far were rejected for this reason (ignoring digits).
    pub(crate) fn rejects_all(&self, message: &str) -> bool {
        let mut rejected = self.rejected.lock();
        let Some((reason, times)) = rejected.as_mut() else { return false };
        let plain: String = message.chars().filter(|c| !c.is_ascii_digit()).collect();
        if *times > 0 && *reason != plain {
            *rejected = None;
            return false;
        }
        *reason = plain;
        *times += 1;
        *times >= SAME
    }
}

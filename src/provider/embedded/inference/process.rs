//! The provider of embedded models: passes calls to the engine of a model, which the first call starts.
//!
//! Connecting only locates the weights; the first call fetches and loads them. A run whose answers are all in the
//! ledger needs no weights.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::KIND;
use super::engine::{self, Asked};
use super::model::Model as Loaded;
use super::sequence::{self, Body};
use crate::provider::endpoint::Examined;
use crate::provider::weights::{
    BUILTIN, Builtin, Folders, Header, HubFile, Located, Origin, Version, is_pulled, locate, megabytes, pull, pull_hub,
    verify, version,
};
use crate::provider::{
    Boxed, Build, Call, CallError, CallErrorKind, Encoded, EndpointError, Inventory, Listed, Model, Provider, Reply,
    Sampling, Timings,
};

pub(crate) struct Process {
    folders: Folders,
    folder: PathBuf,
    engines: Mutex<HashMap<String, (PathBuf, Sender<Asked>)>>,
    preparing: Arc<Mutex<Option<String>>>,
    /// What the hub had at the start of the run: a branch may move before the first call.
    versions: Mutex<HashMap<String, Version>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("folders", &self.folders).field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Process {
    pub(crate) fn new(folders: Folders, folder: &Path) -> Self {
        let folder = folder.to_owned();
        Process { folders, folder, engines: Mutex::default(), preparing: Arc::default(), versions: Mutex::default() }
    }

    fn engine(&self, id: &str) -> Result<Sender<Asked>, CallError> {
        let mut engines = self.engines.lock();
        if let Some((_, engine)) = engines.get(id) {
            return Ok(engine.clone());
        }
        let located = locate(id, &self.folder, &self.folders).map_err(|e| unusable(&e))?;
        let same = engines.values().find(|(path, _)| *path == located.path).cloned();
        if let Some((path, engine)) = same {
            engines.insert(id.to_owned(), (path, engine.clone()));
            return Ok(engine);
        }
        let (queue, calls) = mpsc::channel();
        let path = located.path.clone();
        let (folders, preparing) = (self.folders.clone(), self.preparing.clone());
        let version = self.versions.lock().get(id).cloned();
        let started = thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let fetched = fetched(located, version, &folders, &preparing);
            let loaded = fetched.and_then(|located| load(&located, &preparing));
            *preparing.lock() = None;
            match loaded {
                Ok(model) => engine::serve(&model, calls),
                Err(error) => refuse(&calls, &unusable(&error)),
            }
        });
        if let Err(error) = started {
            let message = format!("a thread can't be started: {error}");
            return Err(CallError::new(CallErrorKind::Unavailable { retry_after: None }, message));
        }
        engines.insert(id.to_owned(), (path, queue.clone()));
        Ok(queue)
    }
}

/// Fetches the weights if they are not here.
fn fetched(
    located: Located,
    version: Option<Version>,
    folders: &Folders,
    preparing: &Mutex<Option<String>>,
) -> Result<Located, EndpointError> {
    let told = |what: &dyn fmt::Display, done, total| {
        *preparing.lock() = Some(format!("fetching {what}: {} of {}", megabytes(done), megabytes(total)));
    };
    match &located.origin {
        Some(Origin::Builtin(builtin)) => {
            pull(builtin, folders, &|done, total| told(&builtin.title, done, total))?;
        }
        Some(Origin::Hub(file)) if !located.path.is_file() => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| EndpointError::new(format!("a thread can't be started: {error}")))?;
            let told = |done, total| told(file, done, total);
            let path = runtime
                .block_on(pull_hub(&folders.hub, file, version, &told))
                .map_err(|error| EndpointError::new(error.message))?;
            // The pull has checked the hash.
            return Ok(Located { path, sha256: None, ..located });
        }
        _ => {}
    }
    Ok(located)
}

fn load(located: &Located, preparing: &Mutex<Option<String>>) -> Result<Loaded, EndpointError> {
    *preparing.lock() = Some("loading the model".to_owned());
    let (verified, loaded) = thread::scope(|scope| {
        let verified = scope.spawn(|| if located.sha256.is_some() { verify(located).map(drop) } else { Ok(()) });
        let loaded = Loaded::load(&located.path);
        (verified.join().unwrap_or(Ok(())), loaded)
    });
    verified?;
    loaded
}

fn refuse(calls: &Receiver<Asked>, error: &CallError) {
    for (_, tell) in calls {
        // Sending fails only if the run is being dropped.
        let _ = tell.send(Err(error.clone()));
    }
}

/// What the files of a model say, without loading its weights. Nothing is said of a model that is not on this machine.
pub(crate) fn examine(id: &str, folder: &Path, folders: &Folders) -> Examined {
    match locate(id, folder, folders) {
        Err(error) if is_pulled(id, folders) || HubFile::parse(id).is_some() => {
            Examined { error: Some(error), ..Examined::default() }
        }
        Err(error) => Examined { missing: Some(error), ..Examined::default() },
        Ok(located) if located.origin.is_some() && !located.path.is_file() => Examined::default(),
        Ok(located) => Examined { error: Loaded::check(&located.path).err(), unused: located.unused, missing: None },
    }
}

/// Unusable weights stop the run, because they do not depend on the row.
fn unusable(error: &EndpointError) -> CallError {
    let message = match &error.help {
        Some(help) => format!("{}; {help}", error.message),
        None => error.message.clone(),
    };
    CallError::new(CallErrorKind::UnknownModel, message)
}

fn build(located: &Located) -> Result<Build, EndpointError> {
    // The weights of a built-in model may not be here.
    if !matches!(located.origin, Some(Origin::Builtin(_))) {
        Loaded::check(&located.path)?;
    }
    let quantization = match located.origin.as_ref().and_then(Origin::quantization) {
        Some(named) => Some(named),
        None => Header::read(&located.path)?.quantization(),
    };
    let sha256 = match &located.sha256 {
        Some(known) => known.clone(),
        None => verify(located)?,
    };
    Ok(Build { digest: Some(format!("sha256:{sha256}")), quantization, ..Build::default() })
}

fn listed(id: &str, folder: &Path, folders: &Folders) -> Option<Listed> {
    let located = locate(id, folder, folders).ok()?;
    let header = Header::read(&located.path).ok()?;
    Some(Listed {
        id: id.to_owned(),
        bytes: std::fs::metadata(&located.path).ok().map(|file| file.len()),
        quantization: located.origin.and_then(|origin| origin.quantization()).or_else(|| header.quantization()),
        context: header.context(),
        ..Listed::default()
    })
}

impl Provider for Process {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn encode(&self, call: &Call<'_>) -> Encoded {
        sequence::encode(call)
    }

    fn send(&self, call: Encoded) -> Boxed<'_, Result<Reply, CallError>> {
        Box::pin(async move { Ok(self.send_timed(call).await?.0) })
    }

    fn send_timed(&self, call: Encoded) -> Boxed<'_, Result<(Reply, Timings), CallError>> {
        Box::pin(async move {
            let asked: Body = serde_json::from_slice(&call.body).map_err(|e| {
                CallError::new(CallErrorKind::Rejected, format!("this is not a call of an embedded model: {e}"))
            })?;
            let (tell, told) = oneshot::channel();
            let died = |kind| CallError::new(kind, "the engine of the model broke down over this call");
            let sent = self.engine(&asked.model)?.send((asked, tell));
            sent.map_err(|_| died(CallErrorKind::UnknownModel))?;
            told.await.unwrap_or_else(|_| Err(died(CallErrorKind::Rejected)))
        })
    }

    fn inventory<'a>(&'a self, ids: &'a [&'a str]) -> Boxed<'a, Result<Inventory, CallError>> {
        Box::pin(async move {
            let here = BUILTIN.iter().filter(|builtin| builtin.is_there(&self.folders)).map(|builtin| builtin.name());
            let others = ids.iter().copied().filter(|id| Builtin::find(id).is_none());
            let models = here.chain(others).filter_map(|id| listed(id, &self.folder, &self.folders));
            let inventory = Inventory { local: true, models: models.collect(), ..Inventory::default() };
            Ok(inventory
                .asked(ids, |id, listed| Builtin::find(id).map_or(id == listed, |builtin| builtin.name() == listed)))
        })
    }

    fn inspect<'a>(&'a self, model: &'a Model) -> Boxed<'a, Result<Build, CallError>> {
        Box::pin(async move {
            let located = locate(&model.id, &self.folder, &self.folders).map_err(|e| unusable(&e))?;
            if let Some(Origin::Hub(file)) = &located.origin
                && !located.path.is_file()
            {
                let version = version(&self.folders.hub, file).await?;
                let Some(sha256) = version.sha256() else {
                    let message = format!("the hub states no SHA-256 of {file}: download it, and name it by its path");
                    return Err(CallError::new(CallErrorKind::Rejected, message));
                };
                let digest = Some(format!("sha256:{sha256}"));
                let build = Build { digest, quantization: file.quantization(), ..Build::default() };
                self.versions.lock().insert(model.id.clone(), version);
                return Ok(build);
            }
            let found = tokio::task::spawn_blocking(move || build(&located)).await;
            match found {
                Ok(found) => found.map_err(|e| unusable(&e)),
                Err(error) => {
                    Err(CallError::new(CallErrorKind::Rejected, format!("the weights can't be read: {error}")))
                }
            }
        })
    }

    /// The weights are read once.
    fn build_may_change(&self) -> bool {
        false
    }

    fn is_greedy(&self, sampling: &Sampling) -> bool {
        sampling.temperature.unwrap_or(0.0) == 0.0
    }

    fn enforced_properties(&self) -> usize {
        usize::MAX
    }

    fn holds_one_model(&self) -> bool {
        true
    }

    fn preparing(&self) -> Option<String> {
        self.preparing.lock().clone()
    }
}

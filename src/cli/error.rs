//! Failures: why a command stopped, how the user can fix it, and the exit code.

use std::path::Path as FilePath;

use super::exit::Exit;
use super::signals::stopped;
use super::terminal::{Terminal, typed};
use crate::bench::BenchError;
use crate::document::{Diagnostic, Document, Path};
use crate::lock::{Drift, LockFailure};
use crate::models::ConnectError;
use crate::pipeline::PipelineError;
use crate::plan::PlanError;
use crate::provider::{CallErrorKind, EndpointError};
use crate::report::drift;
use crate::run::{RunError, TaskError};
use crate::source::{SourceError, neighbours};
use crate::spec::load::{self, LoadError};
use crate::spec::stage_of;
use crate::store::{LedgerError, StoreError};
use crate::table::files::folder_of;

/// The reason why a command stopped. [`Failure::show`] is the only place that prints one.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    /// The problem; `None` if it has already been shown.
    message: Option<String>,
    help: Option<String>,
    note: Option<String>,
    /// The stage that the problem is about.
    stage: Option<String>,
    /// The problem at its place in the spec.
    located: Option<Box<(Document, Diagnostic)>>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure { exit, message: Some(message.into()), help: None, note: None, stage: None, located: None }
    }

    pub(crate) fn shown(exit: Exit) -> Self {
        Failure { exit, message: None, help: None, note: None, stage: None, located: None }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        self.help_if(Some(help))
    }

    pub(crate) fn help_if(mut self, help: Option<impl Into<String>>) -> Self {
        self.help = help.map(Into::into);
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    pub(crate) fn about_stage(mut self, stage: Option<String>) -> Self {
        self.stage = stage;
        self
    }

    pub(crate) fn stage(&self) -> Option<&str> {
        self.stage.as_deref()
    }

    /// The message and the help.
    pub(crate) fn words(&self) -> String {
        let help = self.help.as_ref().map(|help| format!("help: {help}"));
        self.message.iter().cloned().chain(help).collect::<Vec<_>>().join("\n")
    }

    /// All lines that are shown, without the place in the spec.
    pub(crate) fn text(&self) -> String {
        let located = self.located.iter().map(|located| located.1.message.clone());
        let lines = located.chain([self.words()]).chain(self.note.clone()).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn show(self, terminal: &Terminal) -> Exit {
        if let Some((document, problem)) = self.located.as_deref() {
            terminal.located(problem, document);
        } else if let Some(message) = self.message {
            terminal.error(&message, self.help.as_deref());
        }
        if let Some(note) = self.note {
            terminal.note(&note);
        }
        self.exit
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let failure = Failure::new(Exit::Spec, error.to_string());
        match error {
            LoadError::Setting(error) | LoadError::Source(error) => failure.help_if(error.help),
            LoadError::Io(path, error) if error.kind() == std::io::ErrorKind::NotFound => {
                failure.help(neighbours(FilePath::new(""), &path))
            }
            LoadError::Io(..) | LoadError::Extension(_) | LoadError::NotUtf8(..) => failure,
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Failure::new(Exit::Spec, error.message).help_if(error.help)
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let failure = Failure::new(Exit::Spec, error.to_string());
        match error {
            PlanError::UnknownStage { near, .. } => failure.help_if(near.map(|near| format!("did you mean `{near}`?"))),
            PlanError::Source { error, .. } => failure.help_if(error.help),
            PlanError::Taken { .. } => failure.help("give that file another name"),
            PlanError::TooManyRows { .. } => {
                failure.help("write .parquet, .csv, .jsonl or .arrow").note("nothing was sent")
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let failure = Failure::new(Exit::Environment, error.to_string());
        match error {
            StoreError::Source { error: source, .. } => Failure { exit: Exit::Spec, ..failure.help_if(source.help) },
            StoreError::Locked { .. } => failure.help("wait for the other run, or stop it"),
            StoreError::Workers => {
                failure.help("run the command again in a moment: they end after their calls in flight")
            }
            StoreError::OnCluster { .. } => {
                failure.help("to follow it, run the command with `--on` again; Ctrl-C then asks whether to cancel it")
            }
            StoreError::Damaged { .. } => {
                failure.help("run the spec again: it makes the file again from what is undamaged")
            }
            StoreError::NoCalls { path } => {
                let run = path.ancestors().nth(2).unwrap_or(&path).display();
                failure.help(format!("run its spec again to make the file again, or delete {run} to give up the run"))
            }
            StoreError::InUse | StoreError::Cleaning => failure.help("try again when it has ended"),
            StoreError::Ledger(error) => error.into(),
            StoreError::Object(error) => failure.help_if(error.help),
            _ => failure,
        }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let help = if let LedgerError::Damaged { path, .. } = &error { Some(rescue(path)) } else { None };
        Failure::new(Exit::Environment, error.to_string()).help_if(help)
    }
}

fn rescue(path: &FilePath) -> String {
    let folder = folder_of(path);
    let aside = folder.join("damaged.sqlite");
    let beside = |path: &FilePath, end: &str| {
        let mut path = path.as_os_str().to_owned();
        path.push(end);
        typed(path.as_ref())
    };
    let (log, log_aside, shared) = (beside(path, "-wal"), beside(&aside, "-wal"), beside(path, "-shm"));
    let (file, aside, project) = (typed(path), typed(&aside), typed(folder_of(folder)));
    let aside_first = match cfg!(windows) {
        // For PowerShell.
        true => format!(
            "Move-Item {file} {aside}; Move-Item {log} {log_aside} -ErrorAction Ignore; \
             Remove-Item {shared} -ErrorAction Ignore"
        ),
        false => format!("mv {file} {aside}; mv {log} {log_aside} 2>/dev/null; rm -f {shared}"),
    };
    format!(
        "to save the readable part:\n  {aside_first}\n  \
         fanfold ledger import {aside} --into {project}\nthe next run repeats the calls that cannot be read"
    )
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Plan(error) => error.into(),
            RunError::Store(error) => error.into(),
            RunError::Transform { ref spec, ref stage, error: ref cause } => {
                let message = error.to_string();
                let at = Path::of(["stages", stage_of(stage)]);
                let at = cause.field.map_or(at.clone(), |field| at.key(field));
                let problem = Diagnostic { help: cause.help.clone(), ..Diagnostic::error("data", at, &message) };
                let located = load::document(spec).ok().map(|document| Box::new((document, problem)));
                Failure { located, ..Failure::new(Exit::Spec, message).help_if(cause.help.clone()) }
            }
            RunError::Paraphrase { .. } => {
                let help = "run again to try more, ask another model, or write the wordings in a `wordings_file`";
                Failure::new(Exit::Environment, error.to_string()).help(help)
            }
            RunError::Died(_) | RunError::MissingPart { .. } | RunError::Frozen(_) => {
                Failure::new(Exit::Environment, error.to_string())
            }
        }
    }
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::Run(error) => error.into(),
            TaskError::Connect(error) => error.into(),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let failure = Failure::new(Exit::Environment, error.to_string());
        let failure = match error {
            ConnectError::Environment { help, .. } => failure.help_if(help),
            ConnectError::Server { error, .. } => failure.help_if(advice(&error.kind)),
            ConnectError::Ledger(error) => return error.into(),
        };
        failure.note("nothing was sent")
    }
}

impl From<&LockFailure> for Failure {
    fn from(failure: &LockFailure) -> Self {
        let message = failure.to_string();
        let with = |drift: &[Drift]| format!("{message}:\n{}", drift::lines(drift, "  ").trim_end());
        match failure {
            LockFailure::Unwritten(_) => Failure::new(Exit::Lock, message)
                .help("a run without `--locked` and `--replay` lets the model write them"),
            LockFailure::Missing(_) => Failure::new(Exit::Lock, message).help("a run without `--locked` writes it"),
            LockFailure::Unreadable(_) => {
                Failure::new(Exit::Lock, message).help("fix it, or replace it with `--update-lock`")
            }
            LockFailure::Inputs { drift, needs_update, .. } => {
                let flag = if *needs_update { "with `--update-lock`" } else { "without `--locked`" };
                Failure::new(Exit::Lock, with(drift))
                    .help(format!("run {flag} to accept the change, or restore the old input"))
                    .note("nothing was sent")
            }
            LockFailure::Tables { drift, .. } => Failure::new(Exit::Lock, with(drift)),
            LockFailure::Store(_) => Failure::new(Exit::Environment, message),
        }
    }
}

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Load(error) => error.into(),
            PipelineError::Lock(failure) => (&failure).into(),
            PipelineError::Connect(error) => error.into(),
            PipelineError::Run(error) => error.into(),
            PipelineError::Stopped(ref reason) => Failure::shown(stopped(reason)).note(error.to_string()),
            PipelineError::Invalid(..) => Failure::new(Exit::Spec, error.to_string()),
        }
    }
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Request { message, help } => Failure::new(Exit::Spec, message).help_if(help),
            BenchError::Run(error) => error.into(),
            BenchError::Connect(error) => error.into(),
        }
    }
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Self {
        Failure::new(Exit::Environment, error.message).help_if(error.help)
    }
}

pub(crate) fn advice(kind: &CallErrorKind) -> Option<&'static str> {
    match kind {
        CallErrorKind::Unauthorized => Some("check the key in the variable that `api_key_env` names"),
        CallErrorKind::Tls => Some("`SSL_CERT_FILE` names a file with the certificates to trust, in PEM form"),
        CallErrorKind::QuotaExhausted => Some("the account has no quota left; run again to continue when it has some"),
        CallErrorKind::Rejected => {
            Some("every call so far failed with this error, so further calls would probably fail too")
        }
        CallErrorKind::Unavailable { .. } | CallErrorKind::Lost | CallErrorKind::Timeout => Some(
            "the server is down; run again to continue when it answers. A recorded run needs no server: save it with \
             `fanfold ledger export`, and answer it with `fanfold run --replay FILE`",
        ),
        CallErrorKind::UnknownModel => Some(
            "a recorded run needs no model: save it with `fanfold ledger export`, and answer it with `fanfold run \
             --replay FILE`",
        ),
        _ => None,
    }
}

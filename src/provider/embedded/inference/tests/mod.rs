//! Tests of the engine with a real model, SmolLM2-135M, and with tiny random ones.
//!
//! The weights are fetched once into `target/tmp` (or are where `FANFOLD_MODELS` says) and loaded once. Where they
//! can't be fetched, the tests that need them are skipped, loudly. `llama_cpp.py` makes the fixtures.

mod chat;
mod endings;
mod families;
mod hostile;
mod llama_cpp;
mod reference;
mod same;
mod tiny;
mod typed;
mod vocabulary;

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;

use serde_json::Value;
use tokio::sync::oneshot;

use super::engine::{Asked, serve};
use super::model::Model;
use super::sequence::Body;
use crate::prompt::Message;
use crate::provider::weights::{Builtin, Folders, pull};
use crate::provider::{CallError, Reply, Sampling, Timings};

/// The real model, or a loud line on stderr that the test was skipped.
fn model(test: &str) -> Option<&'static Model> {
    static MODEL: OnceLock<Result<Model, String>> = OnceLock::new();
    let loaded = MODEL.get_or_init(|| Ok(Model::load(&weights()?).expect("the built-in weights can be loaded")));
    match loaded {
        Ok(model) => Some(model),
        Err(why) => {
            skipped(test, &format!("no weights: {why}"));
            None
        }
    }
}

/// Writes past the test harness, which would keep the line of a test that passes to itself.
fn skipped(test: &str, why: &str) {
    let line = format!("SKIPPED (not shown): {test}: {why}\n");
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// The file of the built-in model, which is fetched when it isn't there.
fn weights() -> Result<PathBuf, String> {
    let set = env::var_os("FANFOLD_MODELS").filter(|folder| !folder.is_empty());
    let models = set.map_or_else(|| temporary().join("models"), PathBuf::from);
    let set = |name: &str| (name == "FANFOLD_MODELS").then(|| models.display().to_string());
    let folders = Folders::from_env(&set).map_err(|error| error.message)?;
    let builtin = Builtin::find("smollm2-135m").expect("a built-in model");
    pull(builtin, &folders, &|_, _| {}).map_err(|error| error.message)
}

/// The folder `target/tmp`, wherever `target` is.
fn temporary() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("tmp")
}

/// A question, asked greedily and for a limited number of tokens.
fn question(text: &str, max_tokens: u32) -> Body {
    let sampling = Sampling { max_tokens: Some(max_tokens), ..Sampling::default() };
    Body { messages: vec![Message::user(text)], sampling, schema: None, model: String::new() }
}

/// A question with a typed answer.
fn typed(text: &str, max_tokens: u32, schema: Value) -> Body {
    Body { schema: Some(schema), ..question(text, max_tokens) }
}

type Told = oneshot::Receiver<Result<(Reply, Timings), CallError>>;

/// Hands a call to an engine.
fn send(queue: &Sender<Asked>, body: Body) -> Told {
    let (tell, told) = oneshot::channel();
    assert!(queue.send((body, tell)).is_ok(), "the engine has ended");
    told
}

/// Does something with an engine.
fn with_engine<T>(model: &Model, work: impl FnOnce(&Sender<Asked>) -> T) -> T {
    let (queue, calls) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| serve(model, calls));
        let done = work(&queue);
        drop(queue);
        done
    })
}

/// The answers to these calls, all asked at once.
fn answers(model: &Model, bodies: Vec<Body>) -> Vec<Result<Reply, CallError>> {
    with_engine(model, |queue| {
        let told: Vec<Told> = bodies.into_iter().map(|body| send(queue, body)).collect();
        let replied = |told: Told| told.blocking_recv().expect("the engine answers").map(|(reply, _)| reply);
        told.into_iter().map(replied).collect()
    })
}

/// The reply to one call.
fn reply(model: &Model, body: Body) -> Reply {
    answers(model, vec![body]).remove(0).expect("a reply")
}

/// Does something in a pool of one thread, as the engine does: candle then does small operations on the spot.
fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static POOL: OnceLock<rayon::ThreadPool> = OnceLock::new();
    POOL.get_or_init(|| rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool")).install(work)
}

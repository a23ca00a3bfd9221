//! Inventories of Ollama: `GET /api/tags` (pulled), `/api/ps` (loaded), `/api/version`, and `POST /api/show` for the
//! models of the spec. Ollama has no page that reports how many calls it processes in parallel (`OLLAMA_NUM_PARALLEL`).
//!
//! Source: <https://docs.ollama.com/api>. Pure.

use serde::Deserialize;
use serde_json::json;

use super::pages::{ModelPage, Tags, Version, failed, tagged};
use crate::provider::answer::Answer;
use crate::provider::inventory::{Inventory, Listed, Page};
use crate::provider::{CallError, Timings};

#[derive(Deserialize)]
struct Running {
    models: Vec<Process>,
}

#[derive(Deserialize)]
struct Process {
    name: String,
    size: Option<f64>,
    size_vram: Option<f64>,
    /// Reported since Ollama 0.11.
    context_length: Option<u64>,
}

#[derive(Deserialize)]
struct Took {
    load_duration: Option<u64>,
    prompt_eval_duration: Option<u64>,
    eval_duration: Option<u64>,
}

pub(super) fn pages(ids: &[&str]) -> Vec<Page> {
    let known = ["api/tags", "api/ps", "api/version"].map(Page::get);
    let shown = ids.iter().map(|id| Page { body: Some(json!({ "model": id })), ..Page::get("api/show") });
    known.into_iter().chain(shown).collect()
}

pub(super) fn read(ids: &[&str], pages: &[Option<Answer<'_>>]) -> Result<Inventory, CallError> {
    let Some(tags) = pages.first().copied().flatten() else { return Ok(Inventory::default()) };
    if !tags.is_success() {
        return Err(failed(tags));
    }
    let tags: Tags = tags.json()?;
    let page = |at: usize| pages.get(at).copied().flatten().filter(Answer::is_success);
    let running: Option<Running> = page(1).and_then(|page| page.json().ok());
    let version: Option<Version> = page(2).and_then(|page| page.json().ok());
    let context = |name: &str| {
        let at = ids.iter().position(|id| tagged(id).eq_ignore_ascii_case(&tagged(name)))?;
        let shown: ModelPage = page(3 + at)?.json().ok()?;
        // The key is `llama.context_length` or `qwen2.context_length`: the first word is the architecture.
        shown.model_info.iter().find(|(key, _)| key.ends_with(".context_length")).and_then(|(_, value)| value.as_u64())
    };
    let models = tags.models.into_iter().map(|tag| {
        let details = tag.details.unwrap_or_default();
        let loaded = running.as_ref().map(|running| running.models.iter().find(|process| process.name == tag.name));
        let process = loaded.flatten();
        let on_gpu = process.and_then(|process| Some(process.size_vram? / process.size.filter(|size| *size > 0.0)?));
        Listed {
            bytes: tag.size,
            parameters: details.parameter_size,
            quantization: details.quantization_level,
            context: context(&tag.name),
            loaded: loaded.map(|process| process.is_some()),
            loaded_context: process.and_then(|process| process.context_length),
            on_gpu: on_gpu.map(|share| share.clamp(0.0, 1.0)),
            id: tag.name,
        }
    });
    let models = models.collect();
    let software = Some(version.map_or("Ollama".to_owned(), |version| version.software()));
    Ok(Inventory { software, models, ..Inventory::default() })
}

/// The durations in the answer are in nanoseconds.
pub(super) fn timings(answer: Answer<'_>) -> Timings {
    let Ok(took) = answer.json::<Took>() else { return Timings::default() };
    let nanos = |nanos: Option<u64>| nanos.map(std::time::Duration::from_nanos);
    Timings {
        load: nanos(took.load_duration),
        prompt: nanos(took.prompt_eval_duration),
        writing: nanos(took.eval_duration),
        cached_tokens: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn answer(body: &str) -> Option<Answer<'_>> {
        Some(Answer { status: 200, retry_after: None, body: body.as_bytes() })
    }

    #[test]
    fn what_is_pulled_and_what_is_loaded() {
        let tags = r#"{"models":[{"name":"llama3.2:latest","size":2019393189,"digest":"a","details":{"parameter_size":"3.2B","quantization_level":"Q4_K_M"}},{"name":"big:70b"}]}"#;
        let ps = r#"{"models":[{"name":"llama3.2:latest","size":4000,"size_vram":1000,"context_length":4096}]}"#;
        let show = r#"{"model_info":{"general.architecture":"llama","llama.context_length":131072}}"#;
        let pages = [answer(tags), answer(ps), answer(r#"{"version":"0.12.6"}"#), answer(show)];
        let found = read(&["llama3.2"], &pages).unwrap();
        assert_eq!(found.software.as_deref(), Some("Ollama 0.12.6"));
        let llama = Listed {
            id: "llama3.2:latest".to_owned(),
            bytes: Some(2_019_393_189),
            parameters: Some("3.2B".to_owned()),
            quantization: Some("Q4_K_M".to_owned()),
            context: Some(131_072),
            loaded: Some(true),
            loaded_context: Some(4096),
            on_gpu: Some(0.25),
        };
        let big = Listed { id: "big:70b".to_owned(), loaded: Some(false), ..Listed::default() };
        assert_eq!(found.models, [llama, big]);
        // A gateway may know the list only.
        let found = read(&["llama3.2"], &[answer(tags), None, None, None]).unwrap();
        assert_eq!((found.models[0].loaded, found.models[0].context), (None, None));
        assert!(read(&[], &[answer("<html>")]).is_err());
    }

    #[test]
    fn the_parts_of_a_call_are_nanoseconds() {
        let body = r#"{"load_duration":1500000000,"prompt_eval_duration":20000000,"eval_duration":3000000}"#;
        let timings = timings(answer(body).unwrap());
        assert_eq!(timings.load, Some(Duration::from_millis(1500)));
        assert_eq!(
            (timings.prompt, timings.writing),
            (Some(Duration::from_millis(20)), Some(Duration::from_millis(3)))
        );
    }
}

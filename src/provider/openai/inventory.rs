//! Inventories of OpenAI-like servers: `GET /models`, and `/props` and `/slots` of llama.cpp, which are next to `/v1`.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/models/list>, and for llama.cpp `tools/server/README.md` of
//! its repository. vLLM adds `max_model_len` to a model, llama.cpp `meta`. Pure.

use super::quirks::Quirk;
use super::reply::failed;
use crate::provider::answer::Answer;
use crate::provider::inventory::{Inventory, Listed, Page};
use crate::provider::{CallError, Timings};
use serde::Deserialize;

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    owned_by: Option<String>,
    max_model_len: Option<u64>,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    n_ctx_train: Option<u64>,
    n_params: Option<f64>,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Props {
    total_slots: Option<u64>,
    default_generation_settings: Option<Settings>,
    build_info: Option<String>,
}

#[derive(Deserialize)]
struct Settings {
    n_ctx: Option<u64>,
}

#[derive(Deserialize)]
struct Slot {
    n_ctx: Option<u64>,
}

#[derive(Deserialize)]
struct PropsBody {
    timings: Option<Took>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Took {
    prompt_ms: Option<f64>,
    predicted_ms: Option<f64>,
    cache_n: Option<u64>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

pub(super) fn pages(quirks: &[Quirk]) -> Vec<Page> {
    let beside = |path| Page { beside: true, ..Page::get(path) };
    let mut pages = vec![Page::get("models")];
    if !quirks.contains(&Quirk::OnlyProtocol) {
        pages.extend([beside("props"), beside("slots")]);
    }
    pages
}

pub(super) fn read(pages: &[Option<Answer<'_>>]) -> Result<Inventory, CallError> {
    let page = |at: usize| pages.get(at).copied().flatten();
    let Some(Models { data }) = Answer::list(page(0), failed)? else { return Ok(Inventory::default()) };
    let found = |at: usize| page(at).filter(Answer::is_success);
    let props: Option<Props> = found(1).and_then(|page| page.json().ok());
    let slots: Option<Vec<Slot>> = found(2).and_then(|page| page.json().ok());
    let props = props.filter(|props| props.total_slots.is_some());
    let is_llama = props.is_some() || data.iter().any(|model| model.owned_by.as_deref() == Some("llamacpp"));
    let settings = props.as_ref().and_then(|props| props.default_generation_settings.as_ref()?.n_ctx);
    let slot = slots.as_ref().and_then(|slots| slots.first()?.n_ctx);
    let loaded_context = settings.or(slot).filter(|_| is_llama);
    let software = match (is_llama, data.first().and_then(|model| model.owned_by.as_deref())) {
        (true, _) => Some(match props.as_ref().and_then(|props| props.build_info.as_deref()) {
            Some(build) => format!("llama.cpp {build}"),
            None => "llama.cpp".to_owned(),
        }),
        (false, Some("vllm")) => Some("vLLM".to_owned()),
        (false, _) => None,
    };
    let models = data.into_iter().map(|model| {
        let meta = model.meta.as_ref();
        Listed {
            bytes: meta.and_then(|meta| meta.size),
            parameters: meta.and_then(|meta| meta.n_params).map(parameters),
            context: model.max_model_len.or(meta.and_then(|meta| meta.n_ctx_train)),
            // llama.cpp and vLLM list only loaded models.
            loaded: (is_llama || model.max_model_len.is_some()).then_some(true),
            loaded_context: loaded_context.or(model.max_model_len),
            id: model.id,
            ..Listed::default()
        }
    });
    let models = models.collect();
    let slots = props.and_then(|props| props.total_slots).or(slots.map(|slots| slots.len() as u64));
    Ok(Inventory { software, slots: slots.filter(|_| is_llama), models, ..Inventory::default() })
}

fn parameters(count: f64) -> String {
    match count {
        n if n >= 9.995e8 => format!("{:.1}B", n / 1e9),
        n => format!("{:.0}M", n / 1e6),
    }
}

pub(super) fn timings(answer: Answer<'_>) -> Timings {
    let Ok(PropsBody { timings, usage }) = answer.json::<PropsBody>() else { return Timings::default() };
    let cached = usage.and_then(|usage| usage.prompt_tokens_details?.cached_tokens);
    let part = |part: fn(&Took) -> Option<f64>| Timings::millis(timings.as_ref().and_then(part));
    Timings {
        load: None,
        prompt: part(|took| took.prompt_ms),
        writing: part(|took| took.predicted_ms),
        cached_tokens: cached.or(timings.as_ref().and_then(|took| took.cache_n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn answer(status: u16, body: &str) -> Option<Answer<'_>> {
        Some(Answer { status, retry_after: None, body: body.as_bytes() })
    }

    #[test]
    fn a_llama_cpp_tells_its_slots_and_what_they_hold() {
        let models = r#"{"object":"list","data":[{"id":"small","owned_by":"llamacpp","meta":{"n_ctx_train":8192,"n_params":134515008,"size":98000000}}]}"#;
        let props =
            r#"{"total_slots":4,"default_generation_settings":{"n_ctx":2048,"params":{}},"build_info":"b8681-x"}"#;
        let found = read(&[answer(200, models), answer(200, props), answer(501, "{}")]).unwrap();
        assert_eq!((found.software.as_deref(), found.slots), (Some("llama.cpp b8681-x"), Some(4)));
        let small = &found.models[0];
        assert_eq!((small.parameters.as_deref(), small.bytes), (Some("135M"), Some(98_000_000)));
        assert_eq!((small.context, small.loaded_context, small.loaded), (Some(8192), Some(2048), Some(true)));
        let slots = r#"[{"id":0,"n_ctx":1024},{"id":1,"n_ctx":1024}]"#;
        let found = read(&[answer(200, models), None, answer(200, slots)]).unwrap();
        assert_eq!((found.slots, found.models[0].loaded_context), (Some(2), Some(1024)));
    }

    #[test]
    fn other_servers_tell_what_they_tell() {
        let vllm = r#"{"data":[{"id":"m","owned_by":"vllm","max_model_len":32768}]}"#;
        let found = read(&[answer(200, vllm), answer(404, ""), answer(404, "")]).unwrap();
        assert_eq!((found.software.as_deref(), found.slots), (Some("vLLM"), None));
        assert_eq!(found.models[0].context, Some(32768));
        let plain = r#"{"data":[{"id":"a"},{"id":"b","owned_by":"me"}]}"#;
        // A page that isn't llama.cpp's says nothing of slots.
        let found = read(&[answer(200, plain), answer(200, "{}"), answer(200, "[{},{}]")]).unwrap();
        assert_eq!((found.slots, found.models.len(), found.models[0].loaded), (None, 2, None));
        assert_eq!(read(&[answer(404, "no")]).unwrap(), Inventory::default());
        assert!(read(&[answer(401, r#"{"error":{"message":"no"}}"#)]).is_err());
    }

    #[test]
    fn the_parts_of_a_call_are_told_by_llama_cpp_only() {
        let told = |body| timings(answer(200, body).unwrap());
        let llama = told(r#"{"timings":{"cache_n":10,"prompt_n":5,"prompt_ms":50.5,"predicted_ms":100.0}}"#);
        assert_eq!(llama.prompt, Some(Duration::from_micros(50_500)));
        assert_eq!((llama.writing, llama.cached_tokens), (Some(Duration::from_millis(100)), Some(10)));
        let open = told(r#"{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":0}}}"#);
        assert_eq!(open, Timings { cached_tokens: Some(0), ..Timings::default() });
        assert_eq!(told(r#"{"timings":{"prompt_ms":-1}}"#), Timings::default());
    }
}

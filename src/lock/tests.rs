//! Tests of the lock: its text, its facets, drift.

use super::drift::Drift;
use super::file::{Lock, LockedBuild, LockedModel, LockedOutput, LockedSource, LockedStage};
use crate::store::Manifest;

fn lock() -> Lock {
    let mut lock = Lock::new("m");
    let columns = vec!["id: text".to_owned(), "year: integer".to_owned()];
    lock.sources.insert("speeches".into(), LockedSource { rows: 3, content: "s".into(), columns: columns.clone() });
    let sent = [
        ("options.temperature", toml::Value::Float(0.0)),
        ("stop", toml::Value::Array(vec!["a.b".into(), "c".into()])),
    ];
    lock.models.insert(
        "llama".into(),
        LockedModel {
            provider: "ollama".into(),
            model: "llama3.2".into(),
            context_tokens: None,
            fallback: Vec::new(),
            sent: Some(sent.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            build: LockedBuild { digest: Some("d".into()), replies: Some(vec!["fp".into()]), ..LockedBuild::default() },
        },
    );
    lock.stages.insert(
        "tone".into(),
        LockedStage {
            kind: "analysis".into(),
            input: "speeches".into(),
            models: vec!["llama".into()],
            layout: "dealt".into(),
            replicates: 1,
            rows_per_prompt: None,
            audit: None,
            corrections: None,
            when: None,
            vectors: None,
            settings: "x".into(),
            prompts: Some("p".into()),
            answers: Some("a".into()),
            rows: Some(3),
            answered: Some(1),
            failed: Some(1),
            skipped: Some(1),
        },
    );
    lock.outputs.insert(
        "tone".into(),
        LockedOutput {
            input: "tone".into(),
            path: "out/tone.parquet".into(),
            rows: Some(3),
            answered: Some(1),
            failed: Some(1),
            skipped: Some(1),
            content: Some("o".into()),
            columns,
        },
    );
    lock
}

fn facets(drift: &[Drift]) -> Vec<&str> {
    drift.iter().map(|d| d.facet.as_str()).collect()
}

#[test]
fn a_lock_file_is_read_back_and_is_always_the_same() {
    let lock = lock();
    let text = lock.to_toml();
    assert_eq!(Lock::parse(&text).unwrap(), lock);
    assert_eq!(Lock::parse(&text).unwrap().to_toml(), text);
    let expected = "\
[models.llama.sent]
\"options.temperature\" = 0.0
stop = [
    \"a.b\",
    \"c\",
]

[models.llama.build]
digest = \"d\"
replies = [\"fp\"]
";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_file_that_is_not_a_lock_is_refused() {
    let text = lock().to_toml();
    let error = |text: &str| Lock::parse(text).unwrap_err();
    assert!(error(&format!("<<<<<<< ours\n{text}")).starts_with("it is not a lock file: "), "{}", error("<<<<<<<"));
    assert_eq!(
        error(&text.replace("version = 1\n", "version = 2\n")),
        "a newer fanfold wrote it (version 2; this one reads 1)"
    );
    assert!(error(&text.replace("layout =", "lay_out =")).contains("lay_out"));
    assert_eq!(error(&text.replace("answered = 1", "answered = 2")), "the rows of stage `tone` don't add up");
    let folder = tempfile::tempdir().unwrap();
    assert!(Lock::read(&folder.path().join("a.lock")).unwrap().is_none());
}

#[test]
fn drift_names_changed_facets_causes_first() {
    let (old, mut new) = (lock(), lock());
    assert_eq!(old.drift(&new), []);
    new.tool.fanfold = "99".into();
    assert_eq!(old.drift(&new), [], "a new version alone is not drift");
    new.outputs.get_mut("tone").unwrap().rows = Some(4);
    new.sources.get_mut("speeches").unwrap().columns.pop();
    new.spec.meaning = "n".into();
    new.stages.remove("tone");
    let drift = old.drift(&new);
    assert_eq!(facets(&drift)[..3], ["spec.meaning", "sources.speeches.columns", "stages.tone.answered"]);
    assert_eq!(facets(&drift).last(), Some(&"outputs.tone.rows"));
    assert_eq!(drift[1].old.as_deref(), Some("id: text, year: integer"));
    assert_eq!(drift[1].new.as_deref(), Some("id: text"));
    assert_eq!((drift[2].old.as_deref(), drift[2].new.as_deref()), (Some("1"), None));
}

#[test]
fn unknown_facets_are_assumed_and_named() {
    let known = lock();
    let mut new = lock();
    let model = new.models.get_mut("llama").unwrap();
    (model.sent, model.build) = (None, LockedBuild::default());
    new.stages.get_mut("tone").unwrap().prompts = None;
    new.outputs.get_mut("tone").unwrap().content = None;
    let mut now = new.facets();
    let assumed = now.assume(&known.facets());
    let expected = [
        "models.llama.sent.options.temperature",
        "models.llama.sent.stop",
        "models.llama.build.digest",
        "models.llama.build.replies",
        "stages.tone.prompts",
        "outputs.tone.content",
    ];
    assert_eq!(assumed, expected);
    assert_eq!(known.facets().compare(&now).drift, []);
    // An empty list of builds is known.
    new.models.get_mut("llama").unwrap().build.replies = Some(Vec::new());
    let mut now = new.facets();
    now.assume(&known.facets());
    assert_eq!(facets(&known.facets().compare(&now).drift), ["models.llama.build.replies"]);
}

#[test]
fn a_manifest_contains_the_known_facets() {
    let mut lock = lock();
    lock.models.get_mut("llama").unwrap().build.replies = Some(Vec::new());
    lock.outputs.get_mut("tone").unwrap().content = None;
    let json = lock.to_json();
    assert_eq!(json["models"]["llama"]["build"], serde_json::json!({ "digest": "d" }));
    assert!(!json.to_string().contains("null"), "{json}");
    let mut manifest = Manifest::start("p", "m", "r");
    manifest.lock = Some(json);
    lock.models.get_mut("llama").unwrap().build.replies = None;
    assert_eq!(Lock::of_manifest(&manifest), Some(lock));
}

#[test]
fn a_build_moves_only_if_the_spec_names_the_same_model() {
    let (old, mut new) = (lock(), lock());
    new.spec.meaning = "other".into();
    new.models.get_mut("llama").unwrap().build.replies = None;
    new.models.get_mut("llama").unwrap().build.template = Some("t".into());
    assert_eq!(old.moved(&new), []);
    new.models.get_mut("llama").unwrap().build.digest = Some("e".into());
    assert_eq!(facets(&old.moved(&new)), ["models.llama.build.digest"]);
    new.models.get_mut("llama").unwrap().model = "llama4".into();
    assert_eq!(old.moved(&new), []);
    new.tool.calls = "calls-2".into();
    assert_eq!(facets(&old.moved(&new)), ["tool.calls"]);
}

#[test]
fn results_do_not_change_the_hash_of_the_causes() {
    let (old, mut new) = (lock(), lock());
    new.outputs.clear();
    let stage = new.stages.get_mut("tone").unwrap();
    (stage.answered, stage.failed, stage.skipped) = (None, None, None);
    new.models.get_mut("llama").unwrap().build.replies = None;
    assert_eq!(old.causes(), new.causes());
    new.stages.get_mut("tone").unwrap().prompts = None;
    assert_ne!(old.causes(), new.causes());
}

#[test]
fn what_is_only_reported_is_not_a_facet() {
    let service = |software: &str, parameter: &str| {
        let mut lock = lock();
        let build = &mut lock.models.get_mut("llama").unwrap().build;
        build.service.software = Some(software.to_owned());
        build.service.parameters = vec![parameter.to_owned()];
        lock
    };
    let (old, new) = (service("Ollama 0.17.4", "top_k 20"), service("Ollama 0.18.0", "top_k 30"));
    assert_eq!(Lock::parse(&old.to_toml()).unwrap(), old);
    assert_eq!(facets(&old.drift(&new)), [""; 0]);
    assert_eq!((old.causes(), facets(&old.moved(&new))), (new.causes(), Vec::new()));
    let names = ["models.llama.build.service.parameters", "models.llama.build.service.software"];
    let mut reported = old.reported(&new);
    reported.sort_by(|a, b| a.facet.cmp(&b.facet));
    assert_eq!(facets(&reported), names);
    assert_eq!(old.reported(&old), []);
    // A lock of an older version has none of it.
    assert_eq!((lock().reported(&new), new.reported(&lock())), (Vec::new(), Vec::new()));
    assert_eq!(lock().causes(), new.causes());
}

#[test]
fn weights_in_the_process_may_have_an_older_name() {
    let with = |provider: &str, digest: &str, quantization: &str| {
        let mut lock = lock();
        let model = lock.models.get_mut("llama").unwrap();
        model.provider = provider.to_owned();
        (model.build.digest, model.build.quantization) = (Some(digest.into()), Some(quantization.into()));
        lock
    };
    let drift = |old: Lock, new: Lock| old.drift(&new).len();
    assert_eq!(drift(with("embedded", "d", "Q5_0"), with("embedded", "d", "Q4_K_M")), 0);
    assert_eq!(drift(with("embedded", "d", "Q5_0"), with("embedded", "e", "Q4_K_M")), 2);
    assert_eq!(drift(with("ollama", "d", "Q5_0"), with("ollama", "d", "Q4_K_M")), 1);
}

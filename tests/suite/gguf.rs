//! Model files that the process can't run: `models`, `validate` and `run` say so from the header, by true names.

use crate::project::{Project, Ran};
use crate::recipe::rows;

const PATH: &str = "store/manifests/registry.ollama.ai/library/gemma3/270m";

/// A spec that asks the embedded model of this name.
fn spec(model: &str) -> String {
    format!(
        "[models.small]\nprovider = \"embedded\"\nmodel = \"{model}\"\nmax_tokens = 16\n[sources.rows]\ntype = \"file\"\npath = \"data.csv\"\n\
         [stages.tone]\ntype = \"analysis\"\ninput = \"rows\"\nmodels = [\"small\"]\nprompt = \"{{{{ text }}}}\"\n\
         output.about = {{ type = \"string\", enum = [\"war\", \"trade\"] }}\n[outputs.tone]\ninput = \"tone\"\npath = \"out/tone.csv\"\n"
    )
}

fn project(model: &str) -> Project {
    Project::new().spec(&spec(model)).csv("data.csv", &rows(3)).env("OLLAMA_MODELS", "store")
}

/// The header of a file with this architecture and file type, and one tensor of a layer of this type.
fn header(architecture: &str, file_type: u32, tensor: u32) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let number = |key: &str, value: u32| [text(key), 4u32.to_le_bytes().into(), value.to_le_bytes().into()].concat();
    [
        b"GGUF".to_vec(),
        3u32.to_le_bytes().into(),
        1u64.to_le_bytes().into(),
        3u64.to_le_bytes().into(),
        [text("general.architecture"), 8u32.to_le_bytes().into(), text(architecture)].concat(),
        number("general.file_type", file_type),
        number(&format!("{architecture}.context_length"), 32_768),
        [text("blk.0.attn_q.weight"), 2u32.to_le_bytes().into(), 64u64.to_le_bytes().into()].concat(),
        [&64u64.to_le_bytes()[..], &tensor.to_le_bytes(), &0u64.to_le_bytes()].concat(),
    ]
    .concat()
}

/// A layer of a manifest; its blob is in the store.
fn layer(project: &Project, kind: &str, blob: &[u8]) -> serde_json::Value {
    let digest =
        format!("{:064x}", blob.iter().fold(kind.len() as u64, |sum, byte| sum * 31 % 9_999_991 + u64::from(*byte)));
    project.write(&format!("store/blobs/sha256-{digest}"), blob);
    let kind = format!("application/vnd.ollama.image.{kind}");
    serde_json::json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": blob.len() })
}

fn pull(project: &Project, layers: &[serde_json::Value]) {
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": {}, "layers": layers });
    project.write(PATH, manifest.to_string());
}

#[track_caller]
fn says(ran: &Ran, parts: &[&str]) {
    for part in parts {
        assert!(
            ran.stdout.contains(part) || ran.stderr.contains(part),
            "`{part}` is not in:\n{}{}",
            ran.stdout,
            ran.stderr
        );
    }
}

/// All three commands say this, and `run` says it at once.
#[track_caller]
fn refused(project: &Project, message: &str) {
    says(&project.run(&["models", "pipeline.toml"]).exits(3), &["unusable: small", message, "unusable: 1 model"]);
    says(&project.run(&["validate", "pipeline.toml"]).exits(2), &["error[unusable-model]", message, "model = \""]);
    let ran = project.run(&["run", "pipeline.toml"]).exits(3);
    says(&ran, &[message, "nothing was sent"]);
    for advice in ["retr", "run again", "To continue"] {
        assert!(!ran.stderr.contains(advice), "{}", ran.stderr);
    }
}

#[test]
fn an_architecture_that_cannot_run_has_its_true_name() {
    let project = project("gemma3:270m");
    let weights = layer(&project, "model", &header("gemma2", 15, 6));
    pull(&project, &[weights]);
    refused(&project, "models of the architecture `gemma2` can't be run inside the process");
    let known = "`llama`, `qwen2`, `qwen3`, `gemma3` and `phi3` can";
    says(&project.run(&["validate", "pipeline.toml"]).exits(2), &[known]);
    // Most weights are Q5_0, and the file is what Ollama calls it.
    says(&project.run(&["models", "pipeline.toml"]).exits(3), &["Q4_K_M", "32,768"]);
}

#[test]
fn a_quantisation_that_cannot_run_has_its_true_name() {
    for (file_type, tensor, name) in [(38, 39, "MXFP4"), (25, 20, "IQ4_NL"), (36, 34, "TQ1_0")] {
        let project = project("gemma3:270m");
        let weights = layer(&project, "model", &header("llama", file_type, tensor));
        pull(&project, &[weights]);
        refused(&project, &format!("weights of the type `{name}` (`blk.0.attn_q.weight`) can't be used"));
        says(&project.run(&["models", "pipeline.toml"]).exits(3), &[&format!(" {name} ")]);
    }
}

#[test]
fn a_file_of_the_project_is_read_too() {
    let project = project("small.gguf");
    project.write("small.gguf", header("mamba", 2, 2));
    refused(&project, "models of the architecture `mamba` can't be run inside the process");
    project.write("small.gguf", &header("llama", 2, 2)[..100]);
    says(&project.run(&["validate", "pipeline.toml"]).exits(2), &["small.gguf is not a whole GGUF file"]);
    project.write("small.gguf", "PK a zip");
    says(&project.run(&["validate", "pipeline.toml"]).exits(2), &["small.gguf is not a GGUF file"]);
}

#[test]
fn a_manifest_that_cannot_be_used_is_a_problem_and_a_missing_model_is_not() {
    let project = project("gemma3:270m");
    says(&project.run(&["validate", "pipeline.toml"]).exits(0), &["warning[missing-model]", "0 errors, 1 warning"]);
    let weights = layer(&project, "model", &header("llama", 15, 12));
    let adapter = layer(&project, "adapter", b"x");
    pull(&project, &[weights, adapter]);
    says(&project.run(&["validate", "pipeline.toml"]).exits(2), &["adds an adapter to its weights"]);
}

#[test]
#[cfg(unix)]
fn what_a_modelfile_adds_in_vain_is_noted() {
    let project = project("gemma3:270m");
    let Some(project) = crate::weights::or_skip("what_a_modelfile_adds_in_vain_is_noted", project) else { return };
    // The weights that the program can run, under Ollama's name for them.
    let digest = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
    let params = layer(&project, "params", br#"{"temperature":0.7,"stop":["<|im_end|>"]}"#);
    let system = layer(&project, "system", b"Be brief.");
    let file = std::fs::read_dir(crate::weights::FOLDER).expect("the weights").flatten().map(|entry| entry.path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|end| end == "gguf")).expect("the weights");
    std::os::unix::fs::symlink(file, project.path(&format!("store/blobs/sha256-{digest}"))).expect("a link");
    let weights =
        serde_json::json!({ "mediaType": "application/vnd.ollama.image.model", "digest": format!("sha256:{digest}") });
    pull(&project, &[weights, params, system]);
    let note = "only the weights of Ollama's `gemma3:270m` are used, without its PARAMETER (temperature = 0.7, stop = [\"<|im_end|>\"]), SYSTEM";
    says(&project.run(&["models", "pipeline.toml"]).exits(0), &["all models are available", "Q4_1", note]);
    says(&project.run(&["validate", "pipeline.toml"]).exits(0), &["warning[unused-modelfile]", note]);
    let ran = project.run(&["run", "pipeline.toml", "--limit", "1"]).exits(0);
    says(&ran, &[&format!("note: {note}")]);
    assert_eq!(ran.stderr.matches(note).count(), 1, "{}", ran.stderr);
}

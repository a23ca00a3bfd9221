//! Each hint in its case, and none when everything fits.

use super::{Lack, Need, Surveyed, hints};
use crate::document::{Document, SpecFormat};
use crate::provider::{Inventory, Listed};
use crate::spec::Spec;

/// A spec with an Ollama and another server; the arguments are lines for the limits of the Ollama, its model and the
/// stage.
fn spec(limits: &str, model: &str, stage: &str) -> Spec {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("data.csv"), "id,text\n1,a\n").expect("a file");
    let text = format!(
        "[providers.here]\ntype = \"ollama\"\n{limits}\n[providers.lab]\ntype = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n\
         [models.llama]\nprovider = \"here\"\nmodel = \"llama3.2\"\n{model}\n\
         [models.mistral]\nprovider = \"here\"\nmodel = \"mistral\"\n\
         [models.big]\nprovider = \"lab\"\nmodel = \"big\"\ncontext_tokens = 8192\n\
         [sources.rows]\ntype = \"file\"\npath = \"data.csv\"\n\
         [stages.tone]\ntype = \"analysis\"\ninput = \"rows\"\nprompt = \"{{{{ text }}}}\"\n{stage}\n"
    );
    let mut document = Document::parse("p.toml".to_owned(), text, SpecFormat::Toml).expect("a document");
    let (spec, problems) = Spec::check(&mut document, folder.path());
    spec.unwrap_or_else(|| panic!("{problems:?}"))
}

fn listed(id: &str) -> Listed {
    Listed { id: id.to_owned(), ..Listed::default() }
}

/// The server `name` with this inventory and these entries for the needed models.
fn surveyed(spec: &Spec, name: &str, inventory: Inventory, needs: &[(&str, Listed)]) -> Surveyed {
    let need = |(model, listed): &(&str, Listed)| Need {
        model: (*model).to_owned(),
        index: spec.models.get_index_of(*model).expect("a model"),
        id: listed.id.clone(),
        listed: Some(listed.clone()),
        lack: None,
        unused: Vec::new(),
    };
    let kind = spec.endpoints[name].endpoint.kind();
    let needs = needs.iter().map(need).collect();
    Surveyed { name: name.to_owned(), kind, endpoint: None, inventory: Ok(inventory), needs }
}

/// The hints as `kind about`.
fn kinds(spec: &Spec, server: &Surveyed, env: &[(&str, &str)], memory: Option<u64>) -> Vec<String> {
    let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let found = hints(spec, std::slice::from_ref(server), &env, memory);
    found.iter().map(|hint| format!("{} {}", hint.kind, hint.about)).collect()
}

fn local() -> Inventory {
    Inventory { local: true, ..Inventory::default() }
}

const LLAMA: &str = "models = [\"llama\"]";
const BOTH: &str = "models = [\"llama\", \"mistral\"]\nfanout = true\norder = \"row-major\"";

#[test]
fn lanes_that_an_ollama_does_not_work_on() {
    let plain = spec("", "", LLAMA);
    let server = surveyed(&plain, "here", local(), &[("llama", listed("llama3.2"))]);
    let env = |value| [("OLLAMA_NUM_PARALLEL", value)];
    assert_eq!(kinds(&plain, &server, &env("1"), None), ["fewer_slots_than_lanes here"]);
    assert_eq!(kinds(&plain, &server, &env("16"), None), [""; 0], "4 x 4 lanes");
    assert_eq!(kinds(&plain, &server, &[], None), ["unknown_slots here"]);
    // The variables of this machine do not describe another machine.
    let far = surveyed(&plain, "here", Inventory::default(), &[("llama", listed("llama3.2"))]);
    assert_eq!(kinds(&plain, &far, &env("1"), None), ["unknown_slots here"]);
    for limits in ["max_concurrent_calls = 1", "max_concurrent_calls = \"auto\""] {
        let held = spec(limits, "", LLAMA);
        assert_eq!(kinds(&held, &server, &env("1"), None), [""; 0], "{limits}");
    }
    let held = spec("max_concurrent_calls = 4", "", LLAMA);
    assert_eq!(kinds(&held, &server, &env("4"), None), ["more_lanes_than_calls tone"]);
}

#[test]
fn slots_of_a_llama_cpp() {
    let spec = spec("", "", "models = [\"big\"]");
    let of = |slots, held| {
        let listed = Listed { loaded_context: Some(held), ..listed("big") };
        let server = surveyed(&spec, "lab", Inventory { slots: Some(slots), ..local() }, &[("big", listed)]);
        kinds(&spec, &server, &[], None)
    };
    assert_eq!(of(4, 8192), ["fewer_slots_than_lanes lab"]);
    assert_eq!(of(16, 2048), ["context_too_large big"]);
    assert_eq!(of(16, 8192), [""; 0]);
}

#[test]
fn models_that_take_turns() {
    let one = [("OLLAMA_MAX_LOADED_MODELS", "1"), ("OLLAMA_NUM_PARALLEL", "16")];
    let both = spec("", "", BOTH);
    let server = surveyed(&both, "here", local(), &[]);
    assert_eq!(kinds(&both, &server, &one, None), ["models_take_turns tone"]);
    assert_eq!(kinds(&both, &server, &one[1..], None), [""; 0]);
    // By default models of one Ollama are asked one after the other.
    let usual = spec("", "", &BOTH.replace("order = \"row-major\"", ""));
    assert_eq!(kinds(&usual, &server, &one, None), [""; 0]);
}

#[test]
fn what_a_modelfile_adds_in_vain() {
    let spec = spec("", "", LLAMA);
    let mut server = surveyed(&spec, "here", local(), &[("llama", listed("llama3.2"))]);
    server.needs[0].unused = vec!["SYSTEM".to_owned(), "PARAMETER (top_k = 20)".to_owned()];
    assert_eq!(kinds(&spec, &server, &[("OLLAMA_NUM_PARALLEL", "16")], None), ["unused_modelfile llama"]);
}

#[test]
fn contexts_and_sizes() {
    let env = [("OLLAMA_NUM_PARALLEL", "16")];
    let spec = spec("", "num_ctx = 16384", LLAMA);
    let of = |listed: Listed, memory| {
        let server = surveyed(&spec, "here", local(), &[("llama", listed)]);
        kinds(&spec, &server, &env, memory)
    };
    assert_eq!(of(Listed { context: Some(8192), ..listed("llama3.2") }, None), ["context_too_large llama"]);
    assert_eq!(of(Listed { context: Some(16384), loaded_context: Some(16384), ..listed("x") }, None), [""; 0]);
    assert_eq!(of(Listed { loaded_context: Some(4096), ..listed("x") }, None), ["loaded_otherwise llama"]);
    let big = Listed { bytes: Some(40_000_000_000), ..listed("x") };
    assert_eq!(of(big.clone(), Some(16_000_000_000)), ["too_big llama"]);
    assert_eq!(of(big.clone(), Some(64_000_000_000)), [""; 0]);
    assert_eq!(of(big.clone(), None), [""; 0]);
    assert_eq!(of(Listed { on_gpu: Some(1.0), ..big.clone() }, Some(16_000_000_000)), [""; 0]);
    assert_eq!(of(Listed { on_gpu: Some(0.4), ..big }, Some(16_000_000_000)), ["partly_on_gpu llama"]);
    let mut gone = surveyed(&spec, "here", local(), &[("llama", listed("x"))]);
    gone.inventory = Err(Lack { message: "no Ollama".to_owned(), help: None });
    assert_eq!(kinds(&spec, &gone, &env, None), [""; 0], "an unreachable server has no hints");
}

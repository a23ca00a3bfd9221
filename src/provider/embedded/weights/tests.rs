//! Tests of the folders, the built-in table and what an id means.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;

use super::*;
use crate::provider::EndpointError;

fn folders(env: &[(&str, &str)]) -> Result<Folders, EndpointError> {
    let env: HashMap<&str, &str> = env.iter().copied().collect();
    Folders::from_env(&|name| env.get(name).map(|value| (*value).to_owned()))
}

/// Folders below one, with one store of Ollama's.
pub(super) fn below(folder: &Path) -> Folders {
    let hub = folders(&[("FANFOLD_MODELS", "unused"), ("HF_HOME", &folder.to_string_lossy())]).unwrap().hub;
    Folders { models: folder.join("models"), ollama: vec![folder.join("ollama")], hub }
}

#[test]
#[cfg(unix)]
fn models_are_in_the_users_data_folder() {
    let models = |env: &[(&str, &str)]| folders(env).unwrap().models;
    assert_eq!(models(&[("HOME", "/home/a")]), Path::new("/home/a/.local/share/fanfold/models"));
    assert_eq!(models(&[("HOME", "/home/a"), ("XDG_DATA_HOME", "/data")]), Path::new("/data/fanfold/models"));
    for ignored in ["", "data", "./data"] {
        let env = [("HOME", "/home/a"), ("XDG_DATA_HOME", ignored), ("FANFOLD_MODELS", "")];
        assert_eq!(models(&env), Path::new("/home/a/.local/share/fanfold/models"), "{ignored}");
    }
    let env = [("HOME", "/home/a"), ("XDG_DATA_HOME", "/data"), ("FANFOLD_MODELS", "/lab/models")];
    assert_eq!(models(&env), Path::new("/lab/models"));
    assert_eq!(models(&[("FANFOLD_MODELS", "/lab/models")]), Path::new("/lab/models"));
    let error = folders(&[]).unwrap_err();
    assert!(error.help.unwrap().contains("FANFOLD_MODELS"));
}

#[test]
#[cfg(unix)]
fn ollama_has_its_own_places() {
    let found = folders(&[("HOME", "/home/a")]).unwrap().ollama;
    assert_eq!(found[0], Path::new("/home/a/.ollama/models"));
    assert_eq!(found.len(), 1 + builtin::SYSTEM.len());
    let found = folders(&[("HOME", "/home/a"), ("OLLAMA_MODELS", "/big/ollama")]).unwrap().ollama;
    assert_eq!(found, [Path::new("/big/ollama")]);
}

#[test]
fn the_table_is_sound() {
    let mut names: Vec<String> = BUILTIN.iter().flat_map(|row| row.names).map(|name| name.to_lowercase()).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all, "a name twice");
    for row in BUILTIN {
        assert!(!row.names.is_empty() && row.file.ends_with(".gguf") && !row.file.contains(['/', '\\']));
        for hash in [row.sha256, row.wheel.sha256] {
            assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        }
    }
}

#[test]
fn builtin_names_mean_a_file_that_may_not_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let folders = below(folder.path());
    for name in ["smollm2-135m", "smollm2:135m", "SmolLM2:135M"] {
        let found = locate(name, folder.path(), &folders).unwrap();
        let Some(Origin::Builtin(builtin)) = found.origin else { panic!("{found:?}") };
        assert_eq!(found.path, folders.models.join("SmolLM2-135M-Instruct.Q4_1.gguf"));
        assert_eq!(found.sha256.as_deref(), Some(builtin.sha256));
        assert!(!builtin.is_there(&folders));
    }
    let builtin = Builtin::find("smollm2-135m").unwrap();
    fs::create_dir(&folders.models).unwrap();
    let file = File::create(builtin.path(&folders)).unwrap();
    file.set_len(builtin.bytes - 1).unwrap();
    assert!(!builtin.is_there(&folders));
    file.set_len(builtin.bytes).unwrap();
    assert!(builtin.is_there(&folders));
}

#[test]
fn what_is_not_built_in_has_a_suggestion() {
    assert_eq!(not_builtin("smollm-135m").help.unwrap(), "did you mean `smollm2-135m`?");
    assert!(not_builtin("qwen").help.unwrap().contains("`smollm2-135m`"));
}

#[test]
fn files_are_found_from_the_specs_folder() {
    let folder = tempfile::tempdir().unwrap();
    let folders = below(folder.path());
    fs::create_dir(folder.path().join("weights")).unwrap();
    let path = folder.path().join("weights").join("a.gguf");
    fs::write(&path, "abc").unwrap();
    let found = locate("weights/a.gguf", folder.path(), &folders).unwrap();
    assert_eq!((&found.path, &found.sha256), (&path, &None));
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(verify(&found).unwrap(), hash);
    assert_eq!(locate(path.to_str().unwrap(), Path::new("elsewhere"), &folders).unwrap().path, path);
    let error = locate("~/b.gguf", folder.path(), &folders).unwrap_err();
    assert!(error.message.contains("b.gguf") && error.help.unwrap().contains('~'), "{}", error.message);
    fs::create_dir(folder.path().join("c.gguf")).unwrap();
    assert!(locate("c.gguf", folder.path(), &folders).is_err());
}

#[test]
fn a_file_with_the_wrong_content_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    fs::write(&path, "abc").unwrap();
    let origin = Builtin::find("smollm2-135m").map(Origin::Builtin);
    let located = Located { path, sha256: Some("0".repeat(64)), origin, unused: Vec::new() };
    let error = verify(&located).unwrap_err();
    assert!(error.message.contains("ba7816bf8f01") && error.message.contains("000000000000"), "{error}");
    assert!(error.help.unwrap().contains("fanfold models pull smollm2-135m"));
}

//! Tests of Ollama's stores: names, good manifests and hostile ones.

use super::*;

const DIGEST: &str = "74701a8c35f6c8d9a4b91f3f3497643001d63e0c7a84e085bed452548fa88d45";

/// A store with this manifest at this path, and the blob that good ones name.
fn store(manifest: &str, text: &str) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(manifest);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::create_dir_all(folder.path().join("blobs")).unwrap();
    fs::write(folder.path().join("blobs").join(format!("sha256-{DIGEST}")), "GGUF").unwrap();
    let stores = vec![folder.path().join("nowhere"), folder.path().to_owned()];
    (folder, stores)
}

/// What Ollama writes.
fn good() -> String {
    layers(&[("image.model", &format!("sha256:{DIGEST}")), ("image.template", "sha256:x")])
}

fn layers(layers: &[(&str, &str)]) -> String {
    let layer = |(kind, digest): &(&str, &str)| serde_json::json!({ "mediaType": format!("application/vnd.ollama.{kind}"), "digest": digest, "size": 4 });
    let layers: Vec<_> = layers.iter().map(layer).collect();
    serde_json::json!({ "schemaVersion": 2, "config": {}, "layers": layers }).to_string()
}

#[test]
fn names_are_filled_in() {
    let parse = |id| Name::parse(id).map(|n| [n.registry, n.namespace, n.model, n.tag].join(" "));
    for (id, whole) in [
        ("llama3.2", "registry.ollama.ai library llama3.2 latest"),
        ("llama3.2:1b", "registry.ollama.ai library llama3.2 1b"),
        ("user/model:tag", "registry.ollama.ai user model tag"),
        ("hf.co/user/repo:Q4_K_M", "hf.co user repo Q4_K_M"),
    ] {
        assert_eq!(parse(id).as_deref(), Some(whole));
    }
    let of_port = (!cfg!(windows)).then_some("localhost:5000 ns model latest");
    assert_eq!(parse("localhost:5000/ns/model").as_deref(), of_port);
    let long = "x".repeat(81);
    for bad in [
        "",
        ":",
        "a:",
        ":b",
        "a/",
        "/a",
        "/etc/passwd",
        "..",
        "../a",
        "a/..",
        "a:..",
        "a/../b",
        "a\\b",
        "a:b\\c",
        "a b",
        "a/b/c/d",
        "a.b/c",
        "~/a",
        "http://h/n/m",
        "a\0b",
        "ä",
        "-a",
        &long,
    ] {
        assert_eq!(parse(bad), None, "{bad:?}");
    }
}

#[test]
fn weights_are_found_by_name() {
    for (manifest, ids) in [
        ("manifests/registry.ollama.ai/library/llama3.2/1b", &["llama3.2:1b", "library/LLAMA3.2:1B"][..]),
        ("manifests/registry.ollama.ai/library/llama3.2/latest", &["llama3.2", "llama3.2:latest"]),
        ("manifests/hf.co/User/Repo-GGUF/Q4_K_M", &["hf.co/User/Repo-GGUF:Q4_K_M", "hf.co/user/repo-gguf:q4_k_m"]),
        ("manifests-v2/ollama.com/library/llama3.2/1b", &["llama3.2:1b", "registry.ollama.ai/library/llama3.2:1b"]),
    ] {
        let (folder, stores) = store(manifest, &good());
        for id in ids {
            let found = find(id, &stores).unwrap_or_else(|e| panic!("{id}: {e:?}"));
            assert_eq!(found.path, folder.path().join("blobs").join(format!("sha256-{DIGEST}")));
            assert_eq!(found.sha256.as_deref(), Some(DIGEST));
            assert_eq!(found.origin, None);
        }
    }
}

#[test]
fn what_else_a_manifest_holds_is_named() {
    let params = "a".repeat(64);
    let (system, template) = (format!("sha256:{}", "b".repeat(64)), format!("sha256:{}", "c".repeat(64)));
    let text = layers(&[
        ("image.model", &format!("sha256:{DIGEST}")),
        ("image.template", &template),
        ("image.license", "sha256:x"),
        ("image.system", &system),
        ("image.params", &format!("sha256:{params}")),
        ("image.messages", "../../../etc/passwd"),
    ]);
    let (folder, stores) = store("manifests/registry.ollama.ai/library/a/latest", &text);
    let unused = || find("a", &stores).unwrap().unused;
    assert_eq!(unused(), ["TEMPLATE", "SYSTEM", "PARAMETER", "MESSAGE"]);
    let blob = folder.path().join("blobs").join(format!("sha256-{params}"));
    fs::write(&blob, r#"{"stop":["<|im_end|>"],"temperature":0.7}"#).unwrap();
    assert_eq!(unused()[2], r#"PARAMETER (stop = ["<|im_end|>"], temperature = 0.7)"#);
    fs::write(&blob, "[").unwrap();
    assert_eq!(unused()[2], "PARAMETER");
    assert!(is_pulled("a", &stores) && !is_pulled("b", &stores) && !is_pulled("../a", &stores));
}

#[test]
fn the_same_case_goes_before_another() {
    let (folder, stores) = store("manifests/registry.ollama.ai/library/a/latest", "{}");
    let other = folder.path().join("manifests/registry.ollama.ai/library/A");
    if fs::create_dir(&other).is_ok() {
        fs::write(other.join("latest"), good()).unwrap();
        assert!(find("A", &stores).is_ok());
        assert!(find("a", &stores).is_err());
    }
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let (folder, stores) = store("manifests/registry.ollama.ai/library/a/latest", &good());
    let error = find("smollm2", &stores).unwrap_err();
    let help = error.help.unwrap();
    assert_eq!(error.message, "the weights of `smollm2` are not on this machine");
    assert!(help.starts_with("did you mean `smollm2"), "{help}");
    assert!(help.contains("`ollama pull smollm2`") && help.contains(&*folder.path().to_string_lossy()), "{help}");
    let help = find("mistral", &stores).unwrap_err().help.unwrap();
    assert!(help.contains("`smollm2-135m`") && help.contains(".gguf"), "{help}");
    let error = find("../a", &stores).unwrap_err();
    assert!(error.message.starts_with("`../a` is not a model"), "{error}");
}

#[test]
fn manifests_are_not_believed() {
    let model = |digest: &str| layers(&[("image.model", digest)]);
    let whole = format!("sha256:{DIGEST}");
    for (text, says) in [
        ("", "is not what Ollama writes"),
        ("7", "is not what Ollama writes"),
        ("{\"layers\": {}}", "is not what Ollama writes"),
        ("{}", "names no weights"),
        (&layers(&[("image.tensor", &whole)]), "names no weights"),
        (&layers(&[("image.model", &whole), ("image.model", &whole)]), "in several files"),
        (&layers(&[("image.model", &whole), ("image.adapter", &whole)]), "adapter"),
        (&model("sha256:../../../../etc/passwd"), "digest"),
        (&model(&format!("sha256:{}/", &DIGEST[1..])), "digest"),
        (&model(&format!("sha256:{DIGEST}0")), "digest"),
        (&model(DIGEST), "digest"),
        (&model(&format!("sha256:{}", "0".repeat(64))), "can't be read"),
        (&" ".repeat(LONGEST_MANIFEST as usize + 1), "too long"),
    ] {
        let (_folder, stores) = store("manifests/registry.ollama.ai/library/a/latest", text);
        let error = find("a", &stores).unwrap_err();
        assert!(error.message.contains(says) && error.help.is_some(), "{says}: {error:?}");
    }
    let (_folder, stores) = store("manifests/registry.ollama.ai/library/a/latest/b", "{}");
    assert!(find("a", &stores).unwrap_err().message.contains("it is not a file"));
}

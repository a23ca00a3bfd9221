//! Headers of files: true names, and files that are cut off or hostile.

use super::*;

/// A file with this header, its keys and tensors, and no weights.
pub(crate) fn gguf(keys: &[(&str, Key<'_>)], tensors: &[(&str, u32)]) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend((keys.len() as u64).to_le_bytes());
    for (key, value) in keys {
        file.extend(text(key));
        match value {
            Key::Text(value) => file.extend([&8u32.to_le_bytes()[..], &text(value)].concat()),
            Key::Number(value) => file.extend([4u32.to_le_bytes(), value.to_le_bytes()].concat()),
            Key::Texts(values) => {
                file.extend([9u32.to_le_bytes(), 8u32.to_le_bytes()].concat());
                file.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| file.extend(text(value)));
            }
        }
    }
    for (name, kind) in tensors {
        file.extend(text(name));
        file.extend(2u32.to_le_bytes());
        file.extend([64u64.to_le_bytes(), 32u64.to_le_bytes()].concat());
        file.extend(kind.to_le_bytes());
        file.extend(0u64.to_le_bytes());
    }
    file
}

pub(crate) enum Key<'a> {
    Text(&'a str),
    Number(u32),
    Texts(&'a [&'a str]),
}

fn read(bytes: &[u8]) -> Result<Header, EndpointError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Header::read(file.path())
}

fn gemma() -> Vec<u8> {
    let long = "x".repeat(5000);
    let keys = [
        ("general.architecture", Key::Text("gemma3")),
        ("tokenizer.ggml.tokens", Key::Texts(&["a", "b", ""])),
        ("tokenizer.chat_template", Key::Text(&long)),
        ("gemma3.context_length", Key::Number(32_768)),
        ("general.file_type", Key::Number(15)),
    ];
    gguf(&keys, &[("token_embd.weight", 8), ("blk.0.attn_q.weight", 6), ("blk.0.attn_k.weight", 6)])
}

#[test]
fn a_file_says_its_names() {
    let header = read(&gemma()).unwrap();
    assert_eq!((header.architecture(), header.context()), ("gemma3", Some(32_768)));
    assert_eq!(header.quantization().as_deref(), Some("Q4_K_M"), "most tensors are Q5_0, but the file is Q4_K_M");
    assert_eq!(header.types().collect::<Vec<_>>(), [(6, "blk.0.attn_q.weight"), (8, "token_embd.weight")]);
}

#[test]
fn without_a_file_type_the_weights_decide() {
    for (kind, name) in [(39, "MXFP4"), (20, "IQ4_NL"), (12, "Q4_K"), (77, "type 77")] {
        let header = read(&gguf(&[], &[("token_embd.weight", 0), ("blk.0.ffn_up.weight", kind)])).unwrap();
        assert_eq!((header.architecture(), header.quantization().as_deref()), ("none", Some(name)));
    }
    assert_eq!(read(&gguf(&[], &[])).unwrap().quantization(), None);
}

#[test]
fn a_file_that_is_cut_off_is_refused() {
    let whole = gemma();
    for length in 8..whole.len() {
        let error = read(&whole[..length]).unwrap_err();
        assert!(error.message.ends_with("is not a whole GGUF file") && error.help.is_some(), "{length}: {error}");
    }
}

#[test]
fn other_files_are_refused() {
    for bytes in [&b""[..], b"GGU", b"GGUFxxx", b"PK\x03\x04 a zip of weights", b"{\"format\":\"pt\"}"] {
        assert!(read(bytes).unwrap_err().message.ends_with("is not a GGUF file"));
    }
    assert!(Header::read(Path::new("/nowhere/x.gguf")).unwrap_err().message.contains("can't be opened"));
}

#[test]
fn absurd_counts_end() {
    let head = |rest: &[u64]| {
        let numbers: Vec<u8> = rest.iter().flat_map(|number| number.to_le_bytes()).collect();
        [&b"GGUF"[..], &3u32.to_le_bytes(), &numbers, &[0; 64]].concat()
    };
    for counts in [[u64::MAX, 0], [0, u64::MAX], [1 << 16, 0], [0, 1 << 16]] {
        assert!(read(&head(&counts)).is_err(), "{counts:?}");
    }
    let mut nested = gguf(&[("a", Key::Texts(&[]))], &[]);
    nested.truncate(nested.len() - 12);
    for _ in 0..1000 {
        nested.extend(9u32.to_le_bytes());
        nested.extend(1u64.to_le_bytes());
    }
    assert!(read(&nested).is_err());
    let list = |kind: u32, count: u64| {
        let mut file = gguf(&[("a", Key::Texts(&[]))], &[]);
        file.truncate(file.len() - 12);
        file.extend(kind.to_le_bytes());
        file.extend(count.to_le_bytes());
        file
    };
    for (kind, count) in [(0, 1 << 40), (10, u64::MAX), (8, u64::MAX), (99, 1)] {
        assert!(read(&list(kind, count)).is_err(), "{kind} {count}");
    }
}

//! Files that are not what they should be: always a sentence, never the end of the process.
//!
//! Candle may panic over such a file, which is caught; the line that the panic hook prints about it is not a failure.

use std::fs;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value as Field;

use super::tiny::{INNER, Tiny, WIDTH};
use super::*;
use crate::provider::EndpointError;

/// Loads a file with these bytes.
pub(crate) fn load(bytes: &[u8]) -> Result<Model, EndpointError> {
    let file = tempfile::Builder::new().suffix(".gguf").tempfile().expect("a file");
    fs::write(file.path(), bytes).expect("a file");
    Model::load(file.path())
}

/// What is said about a file after this was done to it.
#[track_caller]
fn refused(change: impl FnOnce(&mut Tiny)) -> String {
    let mut tiny = Tiny::new("llama", 2);
    change(&mut tiny);
    match load(&tiny.bytes()) {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error.message,
    }
}

#[test]
fn a_file_that_is_cut_off() {
    let bytes = Tiny::new("llama", 2).bytes();
    assert!(load(&bytes).is_ok());
    let header = bytes.len().min(8 << 10);
    for length in (0..24).chain((24..header).step_by(61)).chain((header..bytes.len() - 64).step_by(2503)) {
        let error = load(&bytes[..length]).err().unwrap_or_else(|| panic!("{length} bytes were loaded"));
        assert!(!error.message.is_empty() && !error.message.contains('\n'), "{}", error.message);
    }
}

#[test]
fn bytes_that_are_flipped() {
    let bytes = Tiny::new("llama", 2).bytes();
    let tensors = bytes.windows(13).rposition(|window| window == b"blk.1.ffn_nor").expect("the header's end");
    let mut loaded = 0;
    for i in 0..400 {
        let mut bytes = bytes.clone();
        // The beginning densely, then the rest of the header; one byte, or several at once.
        let at = if i < 60 { i } else { 60 + (i * 7919) % (tensors - 60) };
        for (far, byte) in bytes[at..at + 1 + i % 3].iter_mut().enumerate() {
            *byte ^= [0x01, 0x80, 0xFF, 0x10][(i + far) % 4];
        }
        // One that can still be loaded can be asked, with whatever result.
        match load(&bytes) {
            Ok(model) => {
                loaded += 1;
                assert_eq!(answers(&model, vec![question("the ant", 3)]).len(), 1);
            }
            Err(error) => assert!(!error.message.is_empty(), "{i}"),
        }
    }
    assert!(loaded < 390, "{loaded} of 400 were loaded: the changes are too harmless");
}

#[test]
fn fields_that_are_missing_or_absurd() {
    let one = |key: &str, value: Field| refused(|tiny| tiny.set(key, value));
    for key in ["context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count"] {
        let key = format!("llama.{key}");
        let none = refused(|tiny| tiny.remove(&key));
        assert_eq!(none, format!("the GGUF file has no usable `{key}`"));
        for absurd in [Field::U32(0), Field::U64(u64::MAX), Field::I32(-4), Field::String("8".to_owned())] {
            assert_eq!(one(&key, absurd), none);
        }
    }
    for key in ["embedding_length", "feed_forward_length", "block_count", "attention.head_count"] {
        for absurd in [3, 1 << 17, u32::MAX] {
            one(&format!("llama.{key}"), Field::U32(absurd));
        }
    }
    for absurd in [0, 3, 8, 1 << 17] {
        one("llama.attention.head_count_kv", Field::U32(absurd));
    }
    assert!(one("llama.attention.key_length", Field::U32(7)).contains("do not fit together"));
    assert!(one("llama.expert_count", Field::U32(8)).contains("several experts"));
    assert!(one("llama.rope.scaling.type", Field::String("yarn".to_owned())).contains("counts positions"));
    assert!(one("llama.rope.dimension_count", Field::U32(8)).contains("counts positions"));
    let named = |key: &str| one(key, Field::String("other".to_owned()));
    assert!(named("general.architecture").contains("the architecture `other`"));
    assert!(named("tokenizer.ggml.model").contains("tokenizer `other`"));
    assert!(named("tokenizer.ggml.pre").contains("tokenizer `other`"));
    assert!(refused(|tiny| tiny.remove("tokenizer.ggml.pre")).contains("tokenizer `none`"));
    assert!(refused(|tiny| tiny.remove("general.architecture")).contains("`none`"));
    assert!(refused(|tiny| tiny.remove("tokenizer.chat_template")).contains("no chat template"));
    one("tokenizer.chat_template", Field::String("{% for %}".to_owned()));
    one("general.alignment", Field::U32(0));
}

#[test]
fn vocabularies_that_are_none() {
    let list = |key: &str, values: Vec<Field>| refused(|tiny| tiny.set(key, Field::Array(values)));
    let text = |text: &str| Field::String(text.to_owned());
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.merges"] {
        assert!(refused(|tiny| tiny.remove(key)).contains(key));
        assert!(list(key, vec![Field::U32(1)]).contains(key));
    }
    list("tokenizer.ggml.tokens", vec![]);
    list("tokenizer.ggml.tokens", vec![text("a"); 265]);
    list("tokenizer.ggml.tokens", vec![text(""); 265]);
    list("tokenizer.ggml.tokens", vec![text("<|im_end|>"), text("b")]);
    assert!(list("tokenizer.ggml.tokens", vec![text(&"a".repeat(1 << 12)); 265]).contains("bytes"));
    assert!(list("tokenizer.ggml.merges", vec![text("ab")]).contains("is not a pair"));
    list("tokenizer.ggml.merges", vec![text("no such")]);
    let error = refused(|tiny| {
        tiny.remove("tokenizer.ggml.eos_token_id");
        tiny.remove("tokenizer.ggml.token_type");
    });
    assert!(error.contains("no token that ends a reply"), "{error}");
}

#[test]
fn tensors_that_do_not_fit() {
    let (norm, gate, query) = ("blk.1.ffn_norm.weight", "blk.0.ffn_gate.weight", "blk.1.attn_q.weight");
    for name in ["token_embd.weight", "output_norm.weight", norm, gate, query] {
        assert_eq!(refused(|tiny| tiny.remove(name)), format!("the GGUF file has no tensor `{name}`"));
        let shaped = refused(|tiny| tiny.matrix(name, 32, 32));
        assert!(shaped.starts_with(&format!("the tensor `{name}` is [32, 32]")), "{shaped}");
    }
    assert!(refused(|tiny| tiny.matrix(gate, WIDTH, INNER)).contains("[96, 64]"));
    refused(|tiny| tiny.vector("blk.0.attn_q.bias", WIDTH, 0.0));
    refused(|tiny| tiny.vector("blk.0.attn_q_norm.weight", 16, 1.0));
    refused(|tiny| tiny.vector("rope_freqs.weight", 16, 1.0));
}

#[test]
fn weights_of_every_type() {
    use GgmlDType::{BF16, F16, F32, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
    // Types in blocks of 256 need wider matrices than this model has.
    for kind in [F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0] {
        let mut tiny = Tiny::new("llama", 2);
        for name in ["token_embd.weight", "blk.0.ffn_gate.weight", "blk.1.attn_q.weight", "blk.1.ffn_down.weight"] {
            let shape = match name {
                "token_embd.weight" => [265, WIDTH],
                "blk.1.ffn_down.weight" => [WIDTH, INNER],
                "blk.0.ffn_gate.weight" => [INNER, WIDTH],
                _ => [WIDTH, WIDTH],
            };
            tiny.tensor(name, &shape, 0.0, kind);
        }
        let model = load(&tiny.bytes()).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        let told = answers(&model, vec![question("the ant", 3)]);
        assert!(told[0].is_ok(), "{kind:?}: {told:?}");
    }
}

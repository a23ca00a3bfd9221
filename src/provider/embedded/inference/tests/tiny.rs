//! Tiny models with random weights, written as GGUF files: what a file needs, and nothing beside it.

use std::io::Cursor;

use candle_core::quantized::gguf_file::{self, Value as Field};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::*;

/// Numbers of a token, between a layer's last two matrices, and of a head.
pub(crate) const WIDTH: usize = 64;
pub(crate) const INNER: usize = 96;
const HEAD: usize = 16;
const LAYERS: usize = 2;
/// Shorter than the longest text that the models are asked.
const WINDOW: u32 = 7;
/// Calls of more tokens have other rotations in `phi3`.
const LONG: u32 = 100;
const HEADS: u32 = 4;

const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
const MERGES: [&str; 6] = ["t h", "th e", "Ġ a", "i n", "Ġ the", "a n"];

/// A file in the making.
pub(crate) struct Tiny {
    fields: Vec<(String, Field)>,
    tensors: Vec<(String, QTensor)>,
    /// The state of the random weights.
    state: u64,
}

impl Tiny {
    /// A model of this architecture, whose heads share keys and values.
    pub(crate) fn new(kind: &str, answering: u32) -> Self {
        let mut tiny = Tiny { fields: Vec::new(), tensors: Vec::new(), state: 1 };
        tiny.hyperparameters(kind, answering);
        let words = tiny.vocabulary(if kind == "llama" { "smollm" } else { "qwen2" });
        let head = if kind == "qwen3" { 2 * HEAD } else { HEAD };
        let (asking, answering) = (HEADS as usize * head, answering as usize * head);
        tiny.matrix("token_embd.weight", words, WIDTH);
        tiny.vector("output_norm.weight", WIDTH, 1.0);
        for i in 0..LAYERS {
            let name = |part: &str| format!("blk.{i}.{part}");
            let parts = match kind {
                "phi3" => vec![("attn_qkv", asking + 2 * answering, WIDTH), ("ffn_up", 2 * INNER, WIDTH)],
                _ => vec![
                    ("attn_q", asking, WIDTH),
                    ("attn_k", answering, WIDTH),
                    ("attn_v", answering, WIDTH),
                    ("ffn_gate", INNER, WIDTH),
                    ("ffn_up", INNER, WIDTH),
                ],
            };
            for (part, rows, columns) in
                parts.into_iter().chain([("attn_output", WIDTH, asking), ("ffn_down", WIDTH, INNER)])
            {
                tiny.matrix(&name(&format!("{part}.weight")), rows, columns);
                if kind == "qwen2" && matches!(part, "attn_q" | "attn_k" | "attn_v") {
                    tiny.vector(&name(&format!("{part}.bias")), rows, 0.0);
                }
            }
            tiny.vector(&name("attn_norm.weight"), WIDTH, 1.0);
            tiny.vector(&name("ffn_norm.weight"), WIDTH, 1.0);
            if matches!(kind, "qwen3" | "gemma3") {
                tiny.vector(&name("attn_q_norm.weight"), head, 1.0);
                tiny.vector(&name("attn_k_norm.weight"), head, 1.0);
            }
            if kind == "gemma3" {
                tiny.vector(&name("post_attention_norm.weight"), WIDTH, 1.0);
                tiny.vector(&name("post_ffw_norm.weight"), WIDTH, 1.0);
            }
        }
        if kind == "phi3" {
            tiny.vector("rope_factors_short.weight", HEAD / 4, 1.0);
            tiny.vector("rope_factors_long.weight", HEAD / 4, 4.0);
        }
        tiny
    }

    fn hyperparameters(&mut self, kind: &str, answering: u32) {
        self.set("general.architecture", Field::String(kind.to_owned()));
        for (key, value) in [
            ("context_length", 4096),
            ("embedding_length", WIDTH as u32),
            ("block_count", LAYERS as u32),
            ("feed_forward_length", INNER as u32),
            ("attention.head_count", HEADS),
            ("attention.head_count_kv", answering),
        ] {
            self.set(&format!("{kind}.{key}"), Field::U32(value));
        }
        if kind == "qwen3" {
            self.set("qwen3.attention.key_length", Field::U32(2 * HEAD as u32));
            self.set("qwen3.attention.value_length", Field::U32(2 * HEAD as u32));
        }
        if matches!(kind, "gemma3" | "phi3") {
            self.set(&format!("{kind}.attention.sliding_window"), Field::U32(WINDOW));
        }
        if kind == "gemma3" {
            self.set("gemma3.attention.sliding_window_pattern", Field::U32(2));
            self.set("gemma3.rope.freq_base_swa", Field::F32(300.0));
            self.set("gemma3.rope.scaling.type", Field::String("linear".to_owned()));
            self.set("gemma3.rope.scaling.factor", Field::F32(8.0));
        }
        if kind == "phi3" {
            self.set("phi3.rope.dimension_count", Field::U32(HEAD as u32 / 2));
            self.set("phi3.rope.scaling.original_context_length", Field::U32(LONG));
            self.set("phi3.rope.scaling.attn_factor", Field::F32(1.1));
        }
        self.set(&format!("{kind}.attention.layer_norm_rms_epsilon"), Field::F32(1e-6));
        self.set(&format!("{kind}.rope.freq_base"), Field::F32(5000.0));
    }

    /// A letter for each byte, some merges and the special tokens; gives how many these are.
    fn vocabulary(&mut self, pre: &str) -> usize {
        let mut letters: Vec<(char, u8)> = super::super::vocabulary::letters().into_iter().collect();
        letters.sort_by_key(|(_, byte)| *byte);
        let mut words: Vec<String> = letters.iter().map(|(letter, _)| letter.to_string()).collect();
        words.extend(MERGES.map(|merge| merge.replace(' ', "")));
        let plain = words.len();
        words.extend(["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned));
        let count = words.len();
        let types = (0..count).map(|i| Field::I32(if i < plain { 1 } else { 3 })).collect();
        self.set("tokenizer.ggml.model", Field::String("gpt2".to_owned()));
        self.set("tokenizer.ggml.pre", Field::String(pre.to_owned()));
        self.set("tokenizer.ggml.tokens", Field::Array(words.into_iter().map(Field::String).collect()));
        self.set("tokenizer.ggml.token_type", Field::Array(types));
        let merges = MERGES.map(|merge| Field::String(merge.to_owned())).to_vec();
        self.set("tokenizer.ggml.merges", Field::Array(merges));
        self.set("tokenizer.ggml.bos_token_id", Field::U32(plain as u32));
        self.set("tokenizer.ggml.eos_token_id", Field::U32(plain as u32 + 2));
        self.set("tokenizer.ggml.add_bos_token", Field::Bool(false));
        self.set("tokenizer.chat_template", Field::String(TEMPLATE.to_owned()));
        count
    }

    /// Sets a field.
    pub(crate) fn set(&mut self, key: &str, value: Field) {
        self.remove(key);
        self.fields.push((key.to_owned(), value));
    }

    /// Removes a field or a tensor.
    pub(crate) fn remove(&mut self, name: &str) {
        self.fields.retain(|(key, _)| key != name);
        self.tensors.retain(|(key, _)| key != name);
    }

    /// Sets a tensor to random weights in 8 bits.
    pub(crate) fn matrix(&mut self, name: &str, rows: usize, columns: usize) {
        self.tensor(name, &[rows, columns], 0.0, GgmlDType::Q8_0);
    }

    /// Sets a tensor to random numbers about `middle`.
    pub(crate) fn vector(&mut self, name: &str, length: usize, middle: f32) {
        self.tensor(name, &[length], middle, GgmlDType::F32);
    }

    /// Sets a tensor.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], middle: f32, kind: GgmlDType) {
        let mut numbers = Vec::new();
        numbers.resize_with(shape.iter().product(), || middle + self.random() * 0.35);
        let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu).expect("a tensor");
        self.remove(name);
        self.tensors.push((name.to_owned(), QTensor::quantize(&tensor, kind).expect("a tensor")));
    }

    /// A number from -1 to 1 (xorshift64*).
    fn random(&mut self) -> f32 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let fields: Vec<(&str, &Field)> = self.fields.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<(&str, &QTensor)> = self.tensors.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let mut file = Cursor::new(Vec::new());
        gguf_file::write(&mut file, &fields, &tensors).expect("a file in memory");
        file.into_inner()
    }
}

/// The kinds of models that there are.
pub(crate) const KINDS: [(&str, u32); 6] =
    [("llama", 2), ("llama", 4), ("qwen2", 2), ("qwen3", 2), ("gemma3", 1), ("phi3", 4)];

/// A long call computes what the shorter one did anew: its positions turn differently.
#[test]
fn a_short_call_begins_no_long_one() {
    let model = hostile::load(&Tiny::new("phi3", 2).bytes()).expect("a model");
    let asked = |most: u32| question("the ant in a hat and the hen in the inn", most);
    let alone = [4, 200, 4].map(|most| reply(&model, asked(most)).text);
    assert_eq!(alone[0], alone[2]);
    assert!(!alone[1].starts_with(&alone[0]), "the rotations are the same: {alone:?}");
    let together = with_engine(&model, |queue| {
        let reply = |most| send(queue, asked(most)).blocking_recv().expect("a reply").expect("a reply").0.text;
        [4, 200, 4].map(reply)
    });
    assert_eq!(together, alone);
}

#[test]
fn every_kind_of_model_runs() {
    for (kind, answering) in KINDS {
        let model = hostile::load(&Tiny::new(kind, answering).bytes()).unwrap_or_else(|e| panic!("{kind}: {e}"));
        let calls = || vec![question("the ant in a hat", 12), question("the ant in a hat", 12), question("the ant", 9)];
        let told = answers(&model, calls());
        assert!(told.iter().all(Result::is_ok), "{kind}: {told:?}");
        assert_eq!(told[0], told[1]);
        assert_eq!(answers(&model, calls()), told);
    }
}

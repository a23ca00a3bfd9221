//! The forward pass once more, as plainly as it can be written and with nothing rounded to 8 bits but the file's own
//! weights: what the fast one must come near to.

use std::f32::consts::PI;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Module, Tensor};

use super::super::gguf::Gguf;
use super::super::transformer::Span;
use super::tiny::{KINDS, Tiny};
use super::*;

/// A file that is read as it is needed.
struct Reference {
    file: Gguf,
    kind: String,
    /// Whether the call is longer than those that the model was first trained with.
    long: bool,
}

impl Reference {
    fn number(&self, key: &str) -> usize {
        self.file.number(&format!("{}.{key}", self.kind)).expect("a number") as usize
    }

    fn weights(&mut self, name: &str, shape: &[usize]) -> Tensor {
        self.file.tensor(name, shape).expect("a tensor").dequantize(&Device::Cpu).expect("numbers")
    }

    fn vector(&mut self, name: &str, length: usize) -> Vec<f32> {
        self.weights(name, &[length]).to_vec1().expect("a vector")
    }

    /// The product with a matrix, and its bias where it has one.
    fn product(&mut self, name: &str, x: &[Vec<f32>], rows: usize) -> Vec<Vec<f32>> {
        let columns = x[0].len();
        let matrix = self.weights(&format!("{name}.weight"), &[rows, columns]);
        // Candle multiplies 32-bit weights of this form as they are.
        let matrix = QMatMul::QTensor(Arc::new(QTensor::quantize(&matrix, GgmlDType::F32).expect("numbers")));
        let x = Tensor::from_vec(x.concat(), (x.len(), columns), &Device::Cpu).expect("a matrix");
        let mut product: Vec<Vec<f32>> = matrix.forward(&x).expect("a product").to_vec2().expect("a matrix");
        let bias = format!("{name}.bias");
        if self.file.has(&bias) {
            let bias = self.vector(&bias, rows);
            product.iter_mut().for_each(|row| row.iter_mut().zip(&bias).for_each(|(x, b)| *x += b));
        }
        product
    }

    /// The products with matrices that a `phi3` stacks into one.
    fn products<const N: usize>(
        &mut self,
        (stacked, parts): (&str, [&str; N]),
        layer: usize,
        x: &[Vec<f32>],
        sizes: [usize; N],
    ) -> [Vec<Vec<f32>>; N] {
        let name = |part: &str| format!("blk.{layer}.{part}");
        if self.kind != "phi3" {
            let mut sizes = sizes.into_iter();
            return parts.map(|part| self.product(&name(part), x, sizes.next().expect("a size")));
        }
        let whole = self.product(&name(stacked), x, sizes.iter().sum());
        let mut from = 0;
        sizes.map(|size| {
            from += size;
            whole.iter().map(|row| row[from - size..from].to_vec()).collect()
        })
    }

    /// Each vector by the root of its mean square, times the weights.
    fn norm(&mut self, name: &str, x: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let weights = self.vector(name, x[0].len());
        let epsilon = self.file.fraction(&format!("{}.attention.layer_norm_rms_epsilon", self.kind)).expect("one");
        let row = |x: &Vec<f32>| {
            let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / x.len() as f64;
            x.iter().zip(&weights).map(|(x, w)| (f64::from(*x) / (mean + epsilon).sqrt()) as f32 * w).collect()
        };
        x.iter().map(row).collect()
    }

    fn fraction(&self, key: &str, usual: f64) -> f64 {
        self.file.fraction(&format!("{}.{key}", self.kind)).unwrap_or(usual)
    }

    fn number_or(&self, key: &str, usual: usize) -> usize {
        self.file.number(&format!("{}.{key}", self.kind)).map_or(usual, |n| n as usize)
    }

    /// Whether a layer sees only a window: in `gemma3` all but every n-th one, in `phi3` each.
    fn is_local(&self, layer: usize) -> bool {
        let every = self.number_or("attention.sliding_window_pattern", 6);
        (self.kind == "gemma3" && layer % every < every - 1) || self.kind == "phi3"
    }

    /// The rotation of each pair from one position to the next.
    fn speeds(&mut self, layer: usize, head: usize) -> Vec<f64> {
        let local = self.kind == "gemma3" && self.is_local(layer);
        let base = self.fraction(if local { "rope.freq_base_swa" } else { "rope.freq_base" }, 10_000.0);
        let slower = if local { 1.0 } else { self.fraction("rope.scaling.factor", 1.0) };
        let turned = self.number_or("rope.dimension_count", head);
        let name = if self.long { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
        let factors = match self.file.has(name) {
            true => self.vector(name, turned / 2),
            false => vec![1.0; turned / 2],
        };
        let speed = |(pair, by): (usize, &f32)| base.powf(-2.0 * pair as f64 / turned as f64) / f64::from(*by) / slower;
        factors.iter().enumerate().map(speed).collect()
    }

    /// The heads of a product, normed where the model does that, and turned by their positions.
    fn heads(&mut self, product: &[Vec<f32>], norm: &str, head: usize, speeds: &[f64]) -> Vec<Vec<Vec<f32>>> {
        let strength = self.fraction("rope.scaling.attn_factor", 1.0);
        let neighbours = self.kind == "llama";
        let half = speeds.len();
        let mut heads = Vec::new();
        for (position, row) in product.iter().enumerate() {
            let mut row: Vec<Vec<f32>> = row.chunks(head).map(<[f32]>::to_vec).collect();
            if self.file.has(norm) {
                row = self.norm(norm, &row);
            }
            for x in &mut row {
                for (pair, speed) in speeds.iter().enumerate() {
                    let (sin, cos) = (position as f64 * speed).sin_cos();
                    let (sin, cos) = (sin * strength, cos * strength);
                    let (a, b) = if neighbours { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
                    let (p, q) = (f64::from(x[a]), f64::from(x[b]));
                    (x[a], x[b]) = ((p * cos - q * sin) as f32, (p * sin + q * cos) as f32);
                }
            }
            heads.push(row);
        }
        heads
    }

    fn attention(&mut self, layer: usize, x: &[Vec<f32>], width: usize) -> Vec<Vec<f32>> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let (asking, answering) = (self.number("attention.head_count"), self.number("attention.head_count_kv"));
        let head = self.file.number(&format!("{}.attention.key_length", self.kind));
        let head = head.map_or(width / asking, |n| n as usize);
        let sizes = [asking * head, answering * head, answering * head];
        let [queries, keys, values] = self.products(("attn_qkv", ["attn_q", "attn_k", "attn_v"]), layer, x, sizes);
        let speeds = self.speeds(layer, head);
        let queries = self.heads(&queries, &name("attn_q_norm.weight"), head, &speeds);
        let keys = self.heads(&keys, &name("attn_k_norm.weight"), head, &speeds);
        let window =
            if self.is_local(layer) { self.number_or("attention.sliding_window", usize::MAX) } else { usize::MAX };
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let mut seen = vec![vec![0.0; asking * head]; x.len()];
        for (i, h) in (0..x.len()).flat_map(|i| (0..asking).map(move |h| (i, h))) {
            let from = h / (asking / answering);
            let since = (i + 1).saturating_sub(window);
            let scores = (since..=i).map(|j| dot(&queries[i][h], &keys[j][from]) / (head as f64).sqrt());
            let scores: Vec<f64> = scores.map(f64::exp).collect();
            let sum: f64 = scores.iter().sum();
            for (j, score) in (since..).zip(&scores) {
                let value = &values[j][from * head..(from + 1) * head];
                let seen = &mut seen[i][h * head..(h + 1) * head];
                seen.iter_mut().zip(value).for_each(|(seen, value)| *seen += (score / sum) as f32 * value);
            }
        }
        self.product(&name("attn_output"), &seen, width)
    }
}

/// The scores of what comes after these tokens, in a short call.
pub(crate) fn scores(path: &Path, tokens: &[u32], vocabulary: usize) -> Vec<f32> {
    scores_in(path, tokens, vocabulary, 0)
}

/// The scores of what comes after these tokens, in a call of at most this many tokens.
pub(crate) fn scores_in(path: &Path, tokens: &[u32], vocabulary: usize, most: usize) -> Vec<f32> {
    let file = Gguf::open(path).expect("a file");
    let kind = file.text("general.architecture").expect("a kind").to_owned();
    let mut model = Reference { file, kind, long: false };
    model.long = most > model.number_or("rope.scaling.original_context_length", usize::MAX);
    let (width, inner) = (model.number("embedding_length"), model.number("feed_forward_length"));
    let embedding = model.weights("token_embd.weight", &[vocabulary, width]);
    let rows = Tensor::new(tokens, &Device::Cpu).expect("tokens");
    let mut x: Vec<Vec<f32>> = embedding.index_select(&rows, 0).and_then(|x| x.to_vec2()).expect("vectors");
    if model.kind == "gemma3" {
        x.iter_mut().flatten().for_each(|x| *x *= (width as f32).sqrt());
    }
    let add = |x: &mut Vec<Vec<f32>>, y: Vec<Vec<f32>>| {
        x.iter_mut().zip(y).for_each(|(x, y)| x.iter_mut().zip(y).for_each(|(x, y)| *x += y));
    };
    for layer in 0..model.number("block_count") {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let after = |model: &mut Reference, norm: &str, y: Vec<Vec<f32>>| match model.file.has(&name(norm)) {
            true => model.norm(&name(norm), &y),
            false => y,
        };
        let normed = model.norm(&name("attn_norm.weight"), &x);
        let seen = model.attention(layer, &normed, width);
        let seen = after(&mut model, "post_attention_norm.weight", seen);
        add(&mut x, seen);
        let normed = model.norm(&name("ffn_norm.weight"), &x);
        let [mut gate, up] = model.products(("ffn_up", ["ffn_gate", "ffn_up"]), layer, &normed, [inner, inner]);
        for (gate, up) in gate.iter_mut().flatten().zip(up.iter().flatten()) {
            let activated = match model.kind.as_str() {
                "gemma3" => 0.5 * (1.0 + ((2.0 / PI).sqrt() * (*gate + 0.044715 * gate.powi(3))).tanh()),
                _ => 1.0 / (1.0 + (-*gate).exp()),
            };
            *gate *= activated * up;
        }
        let inner = model.product(&name("ffn_down"), &gate, width);
        let inner = after(&mut model, "post_ffw_norm.weight", inner);
        add(&mut x, inner);
    }
    let last = model.norm("output_norm.weight", &x[x.len() - 1..]);
    let head = if model.file.has("output.weight") { "output" } else { "token_embd" };
    model.product(head, &last, vocabulary).remove(0)
}

/// How far two vectors are apart, by the length of the first.
pub(crate) fn apart(a: &[f32], b: &[f32]) -> f64 {
    let length = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    length(&mut a.iter().zip(b).map(|(a, b)| a - b)) / length(&mut a.iter().copied())
}

#[test]
fn the_forward_pass_is_the_plain_one_but_for_rounding() {
    for (kind, answering) in KINDS {
        let file = tempfile::Builder::new().suffix(".gguf").tempfile().expect("a file");
        std::fs::write(file.path(), Tiny::new(kind, answering).bytes()).expect("a file");
        let model = Model::load(file.path()).expect("a model");
        for text in ["t", "the ant in a hat", "the ant in a hat and the hen in the inn, again and again and again"] {
            let tokens = model.vocabulary.tokens(text);
            let mut cache = model.transformer.cache(0);
            let spans = &mut [Span { cache: &mut cache, tokens: &tokens }];
            let found = model.transformer.forward(spans, &[true]).expect("it runs").expect("scores");
            let found: Vec<f32> = found.to_vec2().expect("a matrix").remove(0);
            let far = apart(&scores(file.path(), &tokens, model.vocabulary.len()), &found);
            println!("{kind} {answering} {text}: {far}");
            assert!(far < 0.05, "{kind}, {answering}: {far}");
        }
    }
}

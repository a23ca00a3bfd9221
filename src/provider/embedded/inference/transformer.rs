//! The forward pass of Llama-like models, built from candle's operations: `llama`, `qwen2` and `qwen3` files.
//!
//! The tokens of all sequences in a step form one matrix, so that each weight is read once. A token's numbers do not
//! depend on other sequences: every operation has the same kernel and the same order of additions. A reply therefore
//! has the same bytes alone, in a batch and on any number of threads.

use std::{iter, thread};

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};
use candle_nn::attention::cpu_flash::causal::causal_decode_f32_interleaved;
use candle_nn::ops::{rms_norm, silu};
use candle_nn::rotary_emb::{rope, rope_i};
use parking_lot::Mutex;

use super::cache::Cache;
use super::gguf::{Gguf, broken, first_line};
use super::linear::Linear;
use crate::provider::EndpointError;

/// The limit for layers, heads and the numbers in a vector.
const LARGEST: u64 = 1 << 17;
const LONGEST: u64 = 1 << 24;

type Read<T> = Result<T, EndpointError>;

#[derive(Clone, Copy, Debug)]
struct Shape {
    layers: usize,
    width: usize,
    /// The number of query heads, and of key and value heads, which query heads share.
    heads: (usize, usize),
    head: usize,
    /// The width between a layer's last two matrices.
    inner: usize,
    context: usize,
    epsilon: f32,
    /// Whether positions rotate neighbouring numbers (Llama) or numbers half a head apart (NeoX).
    neighbours: bool,
}

#[derive(Debug)]
pub(crate) struct Transformer {
    shape: Shape,
    embedding: QTensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Linear,
    /// The rotation of each pair of numbers from one position to the next, in radians.
    speeds: Vec<f64>,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Tensor,
    queries: Linear,
    head_norms: Option<(Tensor, Tensor)>,
    output: Linear,
    inner_norm: Tensor,
    gate: Linear,
    down: Linear,
}

pub(crate) struct Span<'a> {
    pub(crate) cache: &'a mut Cache,
    pub(crate) tokens: &'a [u32],
}

impl Transformer {
    pub(crate) fn load(mut gguf: Gguf, vocabulary: usize) -> Read<Self> {
        let shape = Shape::of(&gguf)?;
        let speeds = speeds(&mut gguf, &shape)?;
        let embedding = gguf.tensor("token_embd.weight", &[vocabulary, shape.width])?;
        let norm = vector(&mut gguf, "output_norm.weight", shape.width)?;
        let head = if gguf.has("output.weight") { "output" } else { "token_embd" };
        let head = matrix(&Mutex::new(&mut gguf), &[(head.to_owned(), vocabulary)], shape.width)?;
        let gguf = Mutex::new(&mut gguf);
        let next = Mutex::new(0..shape.layers);
        let work = || -> Read<Vec<(usize, Layer)>> {
            let take = || next.lock().next();
            iter::from_fn(take).map(|i| Ok((i, Layer::load(&gguf, &shape, i)?))).collect()
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let parts: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(broken("the weights can't be used")))).collect()
        });
        let mut layers = Vec::with_capacity(shape.layers);
        for part in parts {
            layers.extend(part?);
        }
        layers.sort_by_key(|(i, _)| *i);
        let layers = layers.into_iter().map(|(_, layer)| layer).collect();
        Ok(Transformer { shape, embedding, layers, norm, head, speeds })
    }

    pub(crate) fn check_architecture(kind: &str) -> Read<()> {
        if matches!(kind, "llama" | "qwen2" | "qwen3") {
            return Ok(());
        }
        let message = format!("models of the architecture `{kind}` can't be run inside the process");
        let help = "`llama`, `qwen2` and `qwen3` can; for others use a server such as Ollama or llama.cpp";
        Err(EndpointError::new(message).help(help))
    }

    /// Whether the header of the file fits this engine.
    pub(crate) fn check(gguf: &mut Gguf) -> Read<()> {
        let shape = Shape::of(gguf)?;
        speeds(gguf, &shape).map(drop)
    }

    pub(crate) fn context(&self) -> usize {
        self.shape.context
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::new(self.shape.layers, self.shape.remembered())
    }

    pub(crate) fn token_bytes(&self) -> usize {
        self.shape.layers * self.shape.remembered() * size_of::<f32>()
    }

    /// Returns scores after the last token of each `wanted` span, `[wanted, vocabulary]`; `None` if all spans are skipped.
    pub(crate) fn forward(&self, spans: &mut [Span<'_>], wanted: &[bool]) -> candle_core::Result<Option<Tensor>> {
        let tokens: Vec<u32> = spans.iter().flat_map(|s| s.tokens).copied().collect();
        let count = tokens.len();
        let positions = spans.iter().flat_map(|s| s.cache.len()..s.cache.len() + s.tokens.len());
        let angles = positions.flat_map(|position| self.speeds.iter().map(move |speed| position as f64 * speed));
        let (cosines, sines): (Vec<f32>, Vec<f32>) = angles.map(|a| (a.cos() as f32, a.sin() as f32)).unzip();
        let turns = |numbers: Vec<f32>| Tensor::from_vec(numbers, (count, 1, self.speeds.len()), &Device::Cpu);
        let turns = (turns(cosines)?, turns(sines)?);
        let mut x = self.embedding.embedding(&Tensor::from_vec(tokens, count, &Device::Cpu)?)?;
        for (i, layer) in self.layers.iter().enumerate() {
            let normed = rms_norm(&x, &layer.attention_norm, self.shape.epsilon)?;
            let seen = self.attend(i, &layer.queries.forward(&normed)?, spans, &turns)?;
            x = (x + layer.output.forward(&seen)?)?;
            let normed = rms_norm(&x, &layer.inner_norm, self.shape.epsilon)?;
            let inner = layer.gate.forward(&normed)?;
            let gate = inner.narrow(1, 0, self.shape.inner)?.contiguous()?;
            let up = inner.narrow(1, self.shape.inner, self.shape.inner)?.contiguous()?;
            x = (x + layer.down.forward(&(silu(&gate)? * up)?)?)?;
        }
        let mut last = Vec::new();
        let mut end = 0;
        for (span, wanted) in spans.iter().zip(wanted) {
            end += span.tokens.len();
            last.extend(wanted.then_some(end as u32 - 1));
        }
        if last.is_empty() {
            return Ok(None);
        }
        let count = last.len();
        let x = x.index_select(&Tensor::from_vec(last, count, &Device::Cpu)?, 0)?;
        self.head.forward(&rms_norm(&x, &self.norm, self.shape.epsilon)?).map(Some)
    }

    /// Maps `[tokens, queries + keys + values]` to `[tokens, queries]`.
    fn attend(
        &self,
        layer: usize,
        x: &Tensor,
        spans: &mut [Span<'_>],
        turns: &(Tensor, Tensor),
    ) -> candle_core::Result<Tensor> {
        let Shape { heads: (asking, answering), head, epsilon, neighbours, .. } = self.shape;
        let count = x.dim(0)?;
        let part = |from: usize, heads: usize| {
            x.narrow(1, from * head, heads * head)?.contiguous()?.reshape((count, heads, 1, head))
        };
        let mut queries = part(0, asking)?;
        let mut keys = part(asking, answering)?;
        let values = part(asking + answering, answering)?;
        if let Some((query, key)) = &self.layers[layer].head_norms {
            queries = rms_norm(&queries, query, epsilon)?;
            keys = rms_norm(&keys, key, epsilon)?;
        }
        let turn = if neighbours { rope_i } else { rope };
        let queries = numbers(&turn(&queries, &turns.0, &turns.1)?)?;
        let remembered = numbers(&Tensor::cat(&[turn(&keys, &turns.0, &turns.1)?, values], 2)?)?;
        let (row, stride) = (asking * head, self.shape.remembered());
        let scale = 1.0 / (head as f32).sqrt();
        let mut seen = Vec::with_capacity(count * row);
        let mut rows = queries.chunks_exact(row);
        let mut from = 0;
        for span in spans {
            let before = span.cache.len_in(layer);
            let to = from + span.tokens.len() * stride;
            let past = span.cache.push(layer, &remembered[from..to]);
            from = to;
            for (i, query) in rows.by_ref().take(span.tokens.len()).enumerate() {
                let upto = before + i + 1;
                let one = causal_decode_f32_interleaved(query, past, asking, answering, head, upto, scale)?;
                seen.extend_from_slice(&numbers(&one)?);
            }
        }
        Tensor::from_vec(seen, (count, row), &Device::Cpu)
    }
}

impl Layer {
    fn load(gguf: &Mutex<&mut Gguf>, shape: &Shape, i: usize) -> Read<Self> {
        let name = |part: &str| format!("blk.{i}.{part}");
        let (asking, answering) = (shape.heads.0 * shape.head, shape.heads.1 * shape.head);
        let queries = [("attn_q", asking), ("attn_k", answering), ("attn_v", answering)].map(|(p, n)| (name(p), n));
        let inner = [("ffn_gate", shape.inner), ("ffn_up", shape.inner)].map(|(p, n)| (name(p), n));
        let norm = |part: &str, length: usize| vector(&mut gguf.lock(), &name(part), length);
        let has_head_norms = gguf.lock().has(&name("attn_q_norm.weight"));
        Ok(Layer {
            attention_norm: norm("attn_norm.weight", shape.width)?,
            queries: matrix(gguf, &queries, shape.width)?,
            head_norms: match has_head_norms {
                true => Some((norm("attn_q_norm.weight", shape.head)?, norm("attn_k_norm.weight", shape.head)?)),
                false => None,
            },
            output: matrix(gguf, &[(name("attn_output"), shape.width)], asking)?,
            inner_norm: norm("ffn_norm.weight", shape.width)?,
            gate: matrix(gguf, &inner, shape.width)?,
            down: matrix(gguf, &[(name("ffn_down"), shape.width)], shape.inner)?,
        })
    }
}

impl Shape {
    fn of(gguf: &Gguf) -> Read<Self> {
        let kind = gguf.text("general.architecture").unwrap_or("none");
        Transformer::check_architecture(kind)?;
        let upto = |key: &str, most: u64| gguf.number(&format!("{kind}.{key}")).filter(|n| *n <= most);
        let number = |key: &str| upto(key, LARGEST).map(|n| n as usize);
        let missing = |key: &str| broken(&format!("the GGUF file has no usable `{kind}.{key}`"));
        let needed = |key: &str| number(key).filter(|n| *n > 0).ok_or_else(|| missing(key));
        if number("expert_count").is_some_and(|n| n > 0) {
            return Err(EndpointError::new("models made of several experts can't be run inside the process")
                .help("use a server such as Ollama or llama.cpp"));
        }
        let (width, asking) = (needed("embedding_length")?, needed("attention.head_count")?);
        let answering = number("attention.head_count_kv").unwrap_or(asking);
        let head = number("attention.key_length").unwrap_or(width / asking);
        if answering == 0 || asking % answering != 0 || head == 0 || head % 2 != 0 {
            return Err(broken(&format!("{asking} heads over {answering} of {head} numbers do not fit together")));
        }
        let context = upto("context_length", LONGEST).filter(|n| *n > 0);
        let context = context.ok_or_else(|| missing("context_length"))? as usize;
        let epsilon = gguf.fraction(&format!("{kind}.attention.layer_norm_rms_epsilon")).unwrap_or(1e-5) as f32;
        Ok(Shape {
            layers: needed("block_count")?,
            width,
            heads: (asking, answering),
            head,
            inner: needed("feed_forward_length")?,
            context,
            epsilon,
            neighbours: kind == "llama",
        })
    }

    fn remembered(&self) -> usize {
        self.heads.1 * self.head * 2
    }
}

fn matrix(gguf: &Mutex<&mut Gguf>, parts: &[(String, usize)], columns: usize) -> Read<Linear> {
    let (mut weights, mut biases) = (Vec::new(), Vec::new());
    let mut file = gguf.lock();
    for (name, rows) in parts {
        weights.push(file.tensor(&format!("{name}.weight"), &[*rows, columns])?);
        if file.has(&format!("{name}.bias")) {
            biases.push(vector(&mut file, &format!("{name}.bias"), *rows)?);
        }
    }
    drop(file);
    let failed = |e: candle_core::Error| broken(&format!("the weights can't be used: {}", first_line(&e)));
    let bias = match biases.len() {
        0 => None,
        n if n == parts.len() => Some(Tensor::cat(&biases, 0).map_err(failed)?),
        _ => return Err(broken("some of a layer's biases are missing")),
    };
    Linear::new(&weights, bias).map_err(failed)
}

fn vector(gguf: &mut Gguf, name: &str, length: usize) -> Read<Tensor> {
    let vector = gguf.tensor(name, &[length])?.dequantize(&Device::Cpu);
    vector.map_err(|e| broken(&format!("`{name}` can't be used: {}", first_line(&e))))
}

/// RoPE (<https://arxiv.org/abs/2104.09864>). Llama 3 slows some rotations by factors in the file.
fn speeds(gguf: &mut Gguf, shape: &Shape) -> Read<Vec<f64>> {
    let kind = gguf.text("general.architecture").unwrap_or_default().to_owned();
    let scaling = gguf.text(&format!("{kind}.rope.scaling.type")).unwrap_or("none");
    let turned = gguf.number(&format!("{kind}.rope.dimension_count")).unwrap_or(shape.head as u64);
    if scaling != "none" || turned != shape.head as u64 {
        return Err(EndpointError::new("the way in which this model counts positions is not supported")
            .help("use a server such as Ollama or llama.cpp for it"));
    }
    let base = gguf.fraction(&format!("{kind}.rope.freq_base")).unwrap_or(10_000.0);
    let pairs = shape.head / 2;
    let factors = match gguf.has("rope_freqs.weight") {
        true => numbers(&vector(gguf, "rope_freqs.weight", pairs)?).unwrap_or_default(),
        false => vec![1.0; pairs],
    };
    let speed = |(pair, factor): (usize, &f32)| base.powf(-2.0 * pair as f64 / shape.head as f64) / f64::from(*factor);
    Ok(factors.iter().enumerate().map(speed).collect())
}

fn numbers(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

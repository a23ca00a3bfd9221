//! The forward pass of all families, built from candle's operations.
//!
//! The tokens of all sequences in a step form one matrix, so that each weight is read once. A token's numbers do not
//! depend on other sequences: every operation has the same kernel and the same order of additions. A reply therefore
//! has the same bytes alone, in a batch and on any number of threads.

use std::{iter, thread};

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};
use candle_nn::attention::cpu_flash::causal::causal_decode_f32_interleaved;
use candle_nn::ops::{rms_norm, silu};
use parking_lot::Mutex;

use super::cache::Cache;
use super::family::{Activation, Shape};
use super::gguf::{Gguf, broken, first_line, numbers, vector};
use super::linear::Linear;
use super::rotation::{Rotations, Turns};
use crate::provider::EndpointError;

type Read<T> = Result<T, EndpointError>;

#[derive(Debug)]
pub(crate) struct Transformer {
    shape: Shape,
    embedding: QTensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Linear,
    rotations: Rotations,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Tensor,
    queries: Linear,
    head_norms: Option<(Tensor, Tensor)>,
    output: Linear,
    /// The norms after the attention and after the inner matrices.
    after: Option<(Tensor, Tensor)>,
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
        let rotations = Rotations::of(&mut gguf, &shape)?;
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
        Ok(Transformer { shape, embedding, layers, norm, head, rotations })
    }

    /// Whether the header of the file fits this engine.
    pub(crate) fn check(gguf: &mut Gguf) -> Read<()> {
        let shape = Shape::of(gguf)?;
        Rotations::of(gguf, &shape).map(drop)
    }

    pub(crate) fn context(&self) -> usize {
        self.shape.context
    }

    /// The cache of a call of at most this many tokens.
    pub(crate) fn cache(&self, most: usize) -> Cache {
        Cache::new(self.shape.layers, self.shape.remembered(), self.rotations.is_long(most))
    }

    pub(crate) fn token_bytes(&self) -> usize {
        self.shape.layers * self.shape.remembered() * size_of::<f32>()
    }

    /// Returns scores after the last token of each `wanted` span, `[wanted, vocabulary]`; `None` if all spans are skipped.
    pub(crate) fn forward(&self, spans: &mut [Span<'_>], wanted: &[bool]) -> candle_core::Result<Option<Tensor>> {
        let tokens: Vec<u32> = spans.iter().flat_map(|s| s.tokens).copied().collect();
        let count = tokens.len();
        let place = |span: &Span<'_>| {
            let (from, long) = (span.cache.len(), span.cache.is_long());
            (from..from + span.tokens.len()).map(move |position| (position, long))
        };
        let positions: Vec<(usize, bool)> = spans.iter().flat_map(place).collect();
        let turns = self.rotations.turns(&positions)?;
        let local = self.rotations.local_turns(&positions)?;
        let mut x = self.embedding.embedding(&Tensor::from_vec(tokens, count, &Device::Cpu)?)?;
        if self.shape.family.scales_embedding {
            x = (x * (self.shape.width as f64).sqrt())?;
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let turns = local.as_ref().filter(|_| self.shape.is_local(i)).unwrap_or(&turns);
            let normed = rms_norm(&x, &layer.attention_norm, self.shape.epsilon)?;
            let seen = layer.output.forward(&self.attend(i, &layer.queries.forward(&normed)?, spans, turns)?)?;
            x = (x + self.normed(seen, layer.after.as_ref().map(|(norm, _)| norm))?)?;
            let normed = rms_norm(&x, &layer.inner_norm, self.shape.epsilon)?;
            let inner = layer.down.forward(&self.activate(&layer.gate.forward(&normed)?)?)?;
            x = (x + self.normed(inner, layer.after.as_ref().map(|(_, norm)| norm))?)?;
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

    fn normed(&self, x: Tensor, norm: Option<&Tensor>) -> candle_core::Result<Tensor> {
        norm.map_or(Ok(x.clone()), |norm| rms_norm(&x, norm, self.shape.epsilon))
    }

    /// Maps `[tokens, 2 * inner]` to `[tokens, inner]`.
    fn activate(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let gate = x.narrow(1, 0, self.shape.inner)?.contiguous()?;
        let up = x.narrow(1, self.shape.inner, self.shape.inner)?.contiguous()?;
        match self.shape.family.activation {
            Activation::Silu => silu(&gate)? * up,
            Activation::Gelu => gate.gelu()? * up,
        }
    }

    /// Maps `[tokens, queries + keys + values]` to `[tokens, queries]`.
    fn attend(&self, layer: usize, x: &Tensor, spans: &mut [Span<'_>], turns: &Turns) -> candle_core::Result<Tensor> {
        let Shape { heads: (asking, answering), head, epsilon, scale, .. } = self.shape;
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
        let queries = numbers(&self.rotations.turn(&queries, turns)?)?;
        let remembered = numbers(&Tensor::cat(&[self.rotations.turn(&keys, turns)?, values], 2)?)?;
        let (row, stride) = (asking * head, self.shape.remembered());
        let sees = self.shape.sees(layer);
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
                let since = upto.saturating_sub(sees);
                let past = &past[since * stride..];
                let one = causal_decode_f32_interleaved(query, past, asking, answering, head, upto - since, scale)?;
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
        let (queries, inner) = match shape.family.fused {
            true => (vec![("attn_qkv", asking + 2 * answering)], vec![("ffn_up", 2 * shape.inner)]),
            false => (
                vec![("attn_q", asking), ("attn_k", answering), ("attn_v", answering)],
                vec![("ffn_gate", shape.inner), ("ffn_up", shape.inner)],
            ),
        };
        let stacked = |parts: Vec<(&str, usize)>| -> Read<Linear> {
            let parts: Vec<_> = parts.into_iter().map(|(part, rows)| (name(part), rows)).collect();
            matrix(gguf, &parts, shape.width)
        };
        let norm = |part: &str, length: usize| vector(&mut gguf.lock(), &name(part), length);
        let has_head_norms = gguf.lock().has(&name("attn_q_norm.weight"));
        Ok(Layer {
            attention_norm: norm("attn_norm.weight", shape.width)?,
            queries: stacked(queries)?,
            head_norms: match has_head_norms {
                true => Some((norm("attn_q_norm.weight", shape.head)?, norm("attn_k_norm.weight", shape.head)?)),
                false => None,
            },
            output: matrix(gguf, &[(name("attn_output"), shape.width)], asking)?,
            after: match shape.family.norms_after {
                true => {
                    let after = |part| norm(part, shape.width);
                    Some((after("post_attention_norm.weight")?, after("post_ffw_norm.weight")?))
                }
                false => None,
            },
            inner_norm: norm("ffn_norm.weight", shape.width)?,
            gate: stacked(inner)?,
            down: matrix(gguf, &[(name("ffn_down"), shape.width)], shape.inner)?,
        })
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

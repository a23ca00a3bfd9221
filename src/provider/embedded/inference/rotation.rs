//! The rotations by which a model counts positions: RoPE (<https://arxiv.org/abs/2104.09864>) and its extensions.

use candle_core::{Device, Result, Tensor};
use candle_nn::rotary_emb::{rope, rope_i};

use super::family::Shape;
use super::gguf::{Gguf, numbers, vector};
use crate::provider::EndpointError;

/// The base of layers with windows, if the file states none.
const LOCAL_BASE: f64 = 10_000.0;

#[derive(Debug)]
pub(super) struct Rotations {
    /// The numbers of a head that are rotated; the rest of it has no position.
    turned: usize,
    neighbours: bool,
    /// The factor of what is rotated.
    strength: f64,
    /// The rotation of each pair of numbers from one position to the next, in radians.
    usual: Vec<f64>,
    /// The rotations of calls with more tokens than this.
    long: Option<(usize, Vec<f64>)>,
    local: Option<Vec<f64>>,
}

/// The cosines and sines of some tokens, `[tokens, 1, pairs]`.
pub(super) type Turns = (Tensor, Tensor);

impl Rotations {
    pub(super) fn of(gguf: &mut Gguf, shape: &Shape) -> std::result::Result<Self, EndpointError> {
        let kind = gguf.text("general.architecture").unwrap_or_default().to_owned();
        let key = |name: &str| format!("{kind}.rope.{name}");
        let slower = match gguf.text(&key("scaling.type")).unwrap_or("none") {
            "none" | "longrope" => Some(1.0),
            "linear" => Some(gguf.fraction(&key("scaling.factor")).unwrap_or(1.0)).filter(|factor| *factor >= 1.0),
            _ => None,
        };
        let turned = gguf.number(&key("dimension_count")).unwrap_or(shape.head as u64) as usize;
        let neighbours = shape.family.neighbours;
        let fits =
            turned == shape.head || (!neighbours && turned < shape.head && turned > 0 && turned.is_multiple_of(2));
        let Some(slower) = slower.filter(|_| fits) else {
            return Err(EndpointError::new("the way in which this model counts positions is not supported")
                .help("use a server such as Ollama or llama.cpp for it"));
        };
        let pairs = turned / 2;
        let speeds = |base: f64, factors: Vec<f32>| -> Vec<f64> {
            let speed =
                |(pair, factor): (usize, &f32)| base.powf(-2.0 * pair as f64 / turned as f64) / f64::from(*factor);
            factors.iter().enumerate().map(speed).collect()
        };
        let mut factors = |name: &str| match gguf.has(name) {
            true => vector(gguf, name, pairs).map(|factors| numbers(&factors).ok()),
            false => Ok(None),
        };
        let (long, short) = (factors("rope_factors_long.weight")?, factors("rope_factors_short.weight")?);
        // Llama 3 slows some rotations.
        let usual = factors("rope_freqs.weight")?.or(short).unwrap_or_else(|| vec![1.0; pairs]);
        let base = gguf.fraction(&key("freq_base")).unwrap_or(10_000.0);
        let trained = gguf.number(&key("scaling.original_context_length")).map_or(shape.context, |n| n as usize);
        let local = gguf.fraction(&key("freq_base_swa")).unwrap_or(LOCAL_BASE);
        Ok(Rotations {
            turned,
            neighbours,
            strength: gguf.fraction(&key("scaling.attn_factor")).unwrap_or(1.0),
            usual: speeds(base, usual).into_iter().map(|speed| speed / slower).collect(),
            long: long.map(|factors| (trained, speeds(base, factors))),
            local: (0..shape.layers).any(|layer| shape.is_local(layer)).then(|| speeds(local, vec![1.0; pairs])),
        })
    }

    /// Whether a call of at most this many tokens needs the rotations of long calls.
    pub(super) fn is_long(&self, most: usize) -> bool {
        self.long.as_ref().is_some_and(|(trained, _)| most > *trained)
    }

    /// The turns in layers that see all tokens, of positions in calls that are long or not.
    pub(super) fn turns(&self, positions: &[(usize, bool)]) -> Result<Turns> {
        let long = self.long.as_ref().map_or(&self.usual, |(_, speeds)| speeds);
        self.turns_by(positions, |is_long| if is_long { long } else { &self.usual })
    }

    /// The turns in layers with windows, if these differ.
    pub(super) fn local_turns(&self, positions: &[(usize, bool)]) -> Result<Option<Turns>> {
        self.local.as_ref().map(|speeds| self.turns_by(positions, |_| speeds)).transpose()
    }

    fn turns_by<'a>(&self, positions: &[(usize, bool)], speeds: impl Fn(bool) -> &'a Vec<f64>) -> Result<Turns> {
        let angles = positions.iter().flat_map(|(at, long)| speeds(*long).iter().map(|speed| *at as f64 * speed));
        let turn = |angle: f64| ((angle.cos() * self.strength) as f32, (angle.sin() * self.strength) as f32);
        let (cosines, sines): (Vec<f32>, Vec<f32>) = angles.map(turn).unzip();
        let shaped = |turns| Tensor::from_vec(turns, (positions.len(), 1, self.turned / 2), &Device::Cpu);
        Ok((shaped(cosines)?, shaped(sines)?))
    }

    /// Rotates heads, `[tokens, heads, 1, width of a head]`.
    pub(super) fn turn(&self, heads: &Tensor, turns: &Turns) -> Result<Tensor> {
        let rotate = if self.neighbours { rope_i } else { rope };
        let rest = heads.dim(3)? - self.turned;
        if rest == 0 {
            return rotate(heads, &turns.0, &turns.1);
        }
        let turned = rotate(&heads.narrow(3, 0, self.turned)?.contiguous()?, &turns.0, &turns.1)?;
        Tensor::cat(&[turned, heads.narrow(3, self.turned, rest)?], 3)
    }
}

//! Sampling: picks a token by its score, greedily at temperature 0, else at random from the seed.
//!
//! The n-th draw of a reply is a hash of the seed, the prompt's tokens and n. Rows draw independently of each other,
//! and the same call draws the same numbers on every machine and in every order.

use crate::provider::Sampling;

const LEAST: f64 = 1e-7;

#[derive(Debug)]
pub(crate) struct Sampler {
    temperature: f64,
    top_p: f64,
    draws: blake3::OutputReader,
}

impl Sampler {
    /// The defaults are temperature 0, seed 0 and `top_p` 1.
    pub(crate) fn new(sampling: &Sampling, prompt: &[u32]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&sampling.seed.unwrap_or(0).to_le_bytes());
        for token in prompt {
            hasher.update(&token.to_le_bytes());
        }
        Sampler {
            temperature: sampling.temperature.unwrap_or(0.0),
            top_p: sampling.top_p.unwrap_or(1.0),
            draws: hasher.finalize_xof(),
        }
    }

    /// Picks the first of equal tokens. An allowed token has a score above negative infinity.
    pub(crate) fn pick(&mut self, scores: &[f32]) -> u32 {
        let mut best = 0;
        for (token, score) in scores.iter().enumerate() {
            if *score > scores[best] {
                best = token;
            }
        }
        if self.temperature <= 0.0 {
            return best as u32;
        }
        let top = f64::from(scores[best]);
        let weight = |score: &f32| ((f64::from(*score) - top) / self.temperature).exp();
        let mut likely: Vec<(u32, f64)> =
            scores.iter().enumerate().map(|(t, s)| (t as u32, weight(s))).filter(|(_, w)| *w >= LEAST).collect();
        likely.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let sum: f64 = likely.iter().map(|(_, w)| w).sum();
        let mut kept = 0.0;
        let enough = likely.iter().position(|(_, w)| {
            kept += w;
            kept >= self.top_p * sum
        });
        likely.truncate(enough.map_or(likely.len(), |last| last + 1));
        let mut draw = self.draw() * likely.iter().map(|(_, w)| w).sum::<f64>();
        let drawn = likely.iter().find(|(_, w)| {
            draw -= w;
            draw < 0.0
        });
        drawn.or(likely.last()).map_or(best as u32, |(token, _)| *token)
    }

    /// Returns a number that is at least 0 and below 1.
    fn draw(&mut self) -> f64 {
        let mut bytes = [0; 8];
        self.draws.fill(&mut bytes);
        (u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f64, top_p: f64, seed: u64, prompt: &[u32]) -> Sampler {
        let sampling =
            Sampling { temperature: Some(temperature), top_p: Some(top_p), seed: Some(seed), ..Sampling::default() };
        Sampler::new(&sampling, prompt)
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        let scores = [f32::NEG_INFINITY, 1.0, 3.0, 3.0, f32::NEG_INFINITY];
        assert_eq!(sampler(0.0, 1.0, 1, &[1]).pick(&scores), 2);
    }

    #[test]
    fn draws_follow_the_weights_and_never_what_is_forbidden() {
        let scores = [2f32.ln(), f32::NEG_INFINITY, 1f32.ln(), 1f32.ln()];
        let mut counts = [0; 4];
        let mut draws = sampler(1.0, 1.0, 7, &[1, 2]);
        for _ in 0..4000 {
            counts[draws.pick(&scores) as usize] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((1850..2150).contains(&counts[0]) && (900..1100).contains(&counts[2]), "{counts:?}");
        // Half of the weight is in the first token alone.
        let mut draws = sampler(1.0, 0.5, 7, &[1, 2]);
        assert!((0..100).all(|_| draws.pick(&scores) == 0));
    }

    #[test]
    fn the_same_call_draws_the_same_and_another_row_something_else() {
        let scores = [0.0; 64];
        let drawn = |seed, prompt: &[u32]| {
            let mut draws = sampler(1.0, 1.0, seed, prompt);
            (0..16).map(|_| draws.pick(&scores)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1, &[5, 6]), drawn(1, &[5, 6]));
        assert_ne!(drawn(1, &[5, 6]), drawn(2, &[5, 6]));
        assert_ne!(drawn(1, &[5, 6]), drawn(1, &[5, 7]));
        // For ever: a ledger holds what was once drawn.
        assert_eq!(drawn(42, &[1, 2, 3])[..8], [11, 26, 25, 18, 32, 1, 27, 50]);
    }
}

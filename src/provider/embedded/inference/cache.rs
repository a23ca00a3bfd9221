//! What a model remembers of a sequence: keys and values of every layer and token.

/// Tokens for which room is made ahead at most: a call may allow far more than it will have.
const AHEAD: usize = 1024;

/// The keys and values of a sequence's first tokens.
#[derive(Debug)]
pub struct Cache {
    /// Per layer `[tokens, heads, 2, width of a head]`: a head's key, then its value.
    layers: Vec<Vec<f32>>,
    /// Numbers per layer and token.
    stride: usize,
}

impl Cache {
    /// An empty cache for `layers` layers of `stride` numbers per token.
    pub fn new(layers: usize, stride: usize) -> Self {
        Cache { layers: vec![Vec::new(); layers], stride }
    }

    /// The tokens that every layer has seen.
    pub fn len(&self) -> usize {
        self.layers.len().checked_sub(1).map_or(0, |last| self.len_in(last))
    }

    /// The tokens that a layer has seen.
    pub fn len_in(&self, layer: usize) -> usize {
        self.layers[layer].len() / self.stride
    }

    /// A copy of the first `tokens` tokens, which is expected to come to have `room` in all.
    pub fn prefix(&self, tokens: usize, room: usize) -> Self {
        let copy = |layer: &Vec<f32>| {
            let mut copy = Vec::with_capacity(room.clamp(tokens, tokens + AHEAD) * self.stride);
            copy.extend_from_slice(&layer[..tokens * self.stride]);
            copy
        };
        Cache { layers: self.layers.iter().map(copy).collect(), stride: self.stride }
    }

    /// Appends the keys and values of a layer's next tokens; gives all that it has now.
    pub fn push(&mut self, layer: usize, next: &[f32]) -> &[f32] {
        let kept = &mut self.layers[layer];
        kept.extend_from_slice(next);
        kept
    }
}

//! The cache of a sequence: keys and values of every layer and token.

/// The number of tokens allocated ahead; a call may allow far more tokens than it uses.
const AHEAD: usize = 1024;

#[derive(Debug)]
pub(crate) struct Cache {
    /// One vector per layer, `[tokens, heads, 2, width of a head]`: the key of each head, then its value.
    layers: Vec<Vec<f32>>,
    stride: usize,
    /// Whether the keys are rotated as those of a long call.
    long: bool,
}

impl Cache {
    pub(crate) fn new(layers: usize, stride: usize, long: bool) -> Self {
        Cache { layers: vec![Vec::new(); layers], stride, long }
    }

    pub(crate) fn is_long(&self) -> bool {
        self.long
    }

    pub(crate) fn len(&self) -> usize {
        self.layers.len().checked_sub(1).map_or(0, |last| self.len_in(last))
    }

    pub(crate) fn len_in(&self, layer: usize) -> usize {
        self.layers[layer].len() / self.stride
    }

    pub(crate) fn prefix(&self, tokens: usize, room: usize) -> Self {
        let copy = |layer: &Vec<f32>| {
            let mut copy = Vec::with_capacity(room.clamp(tokens, tokens + AHEAD) * self.stride);
            copy.extend_from_slice(&layer[..tokens * self.stride]);
            copy
        };
        Cache { layers: self.layers.iter().map(copy).collect(), stride: self.stride, long: self.long }
    }

    pub(crate) fn push(&mut self, layer: usize, next: &[f32]) -> &[f32] {
        let kept = &mut self.layers[layer];
        kept.extend_from_slice(next);
        kept
    }
}

//! The model families that the engine runs, by the architecture that a GGUF file names, and the shape of a model.

use super::gguf::{Gguf, broken};
use crate::provider::EndpointError;

/// The limit for layers, heads and the numbers in a vector.
const LARGEST: u64 = 1 << 17;
const LONGEST: u64 = 1 << 24;

/// What sets a family apart. What a file shows by its tensors, such as biases and norms of heads, is not listed.
#[derive(Debug)]
pub(super) struct Family {
    architecture: &'static str,
    /// Whether positions rotate neighbouring numbers (Llama) or numbers half a head apart (NeoX).
    pub(super) neighbours: bool,
    /// Whether queries, keys and values are in one matrix, and the two inner matrices in another.
    pub(super) fused: bool,
    pub(super) activation: Activation,
    /// Whether the embedding is multiplied by the root of its width.
    pub(super) scales_embedding: bool,
    /// Whether norms follow the attention and the inner matrices too.
    pub(super) norms_after: bool,
    /// The layers that see only the last tokens, if the file states how many.
    windows: Windows,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Activation {
    Silu,
    Gelu,
}

#[derive(Clone, Copy, Debug)]
enum Windows {
    Nowhere,
    Everywhere,
    /// In all layers but every n-th.
    AllBut(usize),
}

const PLAIN: Family = Family {
    architecture: "",
    neighbours: false,
    fused: false,
    activation: Activation::Silu,
    scales_embedding: false,
    norms_after: false,
    windows: Windows::Nowhere,
};

static FAMILIES: [Family; 5] = [
    Family { architecture: "llama", neighbours: true, ..PLAIN },
    Family { architecture: "qwen2", ..PLAIN },
    Family { architecture: "qwen3", ..PLAIN },
    Family {
        architecture: "gemma3",
        activation: Activation::Gelu,
        scales_embedding: true,
        norms_after: true,
        windows: Windows::AllBut(6),
        ..PLAIN
    },
    // llama.cpp ignores the window; the models were trained with it.
    Family { architecture: "phi3", fused: true, windows: Windows::Everywhere, ..PLAIN },
];

/// The layers of the one Gemma 3 (27B) that scales its attention by the width of the model.
const GEMMA_27B: usize = 62;

impl Family {
    pub(super) fn of(architecture: &str) -> Result<&'static Self, EndpointError> {
        FAMILIES.iter().find(|family| family.architecture == architecture).ok_or_else(|| {
            let known: Vec<String> = FAMILIES.iter().map(|family| format!("`{}`", family.architecture)).collect();
            let (last, others) = known.split_last().expect("there are families");
            let message = format!("models of the architecture `{architecture}` can't be run inside the process");
            let help =
                format!("{} and {last} can; for others use a server such as Ollama or llama.cpp", others.join(", "));
            EndpointError::new(message).help(help)
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) family: &'static Family,
    pub(super) layers: usize,
    pub(super) width: usize,
    /// The number of query heads, and of key and value heads, which query heads share.
    pub(super) heads: (usize, usize),
    pub(super) head: usize,
    /// The width between a layer's last two matrices.
    pub(super) inner: usize,
    pub(super) context: usize,
    pub(super) epsilon: f32,
    /// The factor of the attention's scores.
    pub(super) scale: f32,
    window: usize,
    windows: Windows,
}

impl Shape {
    pub(super) fn of(gguf: &Gguf) -> Result<Self, EndpointError> {
        let kind = gguf.text("general.architecture").unwrap_or("none");
        let family = Family::of(kind)?;
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
        let even = number("attention.value_length").is_none_or(|n| n == head) && head.is_multiple_of(2);
        if answering == 0 || asking % answering != 0 || head == 0 || !even {
            return Err(broken(&format!("{asking} heads over {answering} of {head} numbers do not fit together")));
        }
        let context = upto("context_length", LONGEST).filter(|n| *n > 0);
        let context = context.ok_or_else(|| missing("context_length"))? as usize;
        let epsilon = gguf.fraction(&format!("{kind}.attention.layer_norm_rms_epsilon")).unwrap_or(1e-5) as f32;
        let layers = needed("block_count")?;
        let scaled_by = if kind == "gemma3" && layers == GEMMA_27B { width / asking } else { head };
        let window = upto("attention.sliding_window", LONGEST).filter(|n| *n > 0).map(|n| n as usize);
        let every = number("attention.sliding_window_pattern").filter(|n| *n > 0);
        Ok(Shape {
            family,
            layers,
            width,
            heads: (asking, answering),
            head,
            inner: needed("feed_forward_length")?,
            context,
            epsilon,
            scale: 1.0 / (scaled_by as f32).sqrt(),
            window: window.unwrap_or(usize::MAX),
            windows: match (family.windows, window) {
                (_, None) => Windows::Nowhere,
                (Windows::AllBut(usual), _) => Windows::AllBut(every.unwrap_or(usual)),
                (windows, _) => windows,
            },
        })
    }

    /// The numbers that a layer's cache keeps of a token.
    pub(super) fn remembered(&self) -> usize {
        self.heads.1 * self.head * 2
    }

    /// The most tokens that a layer sees.
    pub(super) fn sees(&self, layer: usize) -> usize {
        match self.windows {
            Windows::Nowhere => usize::MAX,
            Windows::Everywhere => self.window,
            Windows::AllBut(every) if layer % every == every - 1 => usize::MAX,
            Windows::AllBut(_) => self.window,
        }
    }

    /// Whether a layer is one of the layers with windows between layers without; these count positions in their own way.
    pub(super) fn is_local(&self, layer: usize) -> bool {
        matches!(self.windows, Windows::AllBut(_)) && self.sees(layer) < usize::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_architecture_is_refused_with_the_known_ones() {
        for architecture in ["gemma2", "mamba", "none"] {
            let error = Family::of(architecture).unwrap_err();
            assert!(error.message.contains(&format!("the architecture `{architecture}`")), "{error}");
            let help = error.help.unwrap();
            assert!(help.starts_with("`llama`, `qwen2`, `qwen3`, `gemma3` and `phi3` can;"), "{help}");
        }
    }
}

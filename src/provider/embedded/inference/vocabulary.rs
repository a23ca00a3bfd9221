//! The vocabulary: turns texts into tokens and back.
//!
//! Texts never produce special tokens; the template gets them from [`Vocabulary::special`]. A vocabulary is byte-level
//! BPE (`gpt2`), by the crate `tokenizers`, or SentencePiece (`llama`).

use std::collections::HashMap;

use indexmap::IndexSet;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer};

use super::gguf::{Gguf, broken, whole};
use super::sentencepiece::{Piece, SentencePiece};
use crate::provider::EndpointError;

const LARGEST: (usize, usize) = (1 << 20, 1 << 10);

const ENDS: [&str; 8] =
    ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "</s>"];

/// The types of special tokens in `tokenizer.ggml.token_type`: unknown, control, defined by the user, unused.
const SPECIAL_TYPES: std::ops::RangeInclusive<u64> = 2..=5;
const USER_DEFINED: u64 = 4;
const BYTE: u64 = 6;

/// The word boundaries of Qwen 2. Llama 3 differs only in its groups of digits.
macro_rules! words {
    ($digits:literal) => {
        concat!(
            r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}

/// The word boundaries of GPT-4o, by capitals. Mistral's later models have them without the endings of contractions.
macro_rules! cased_words {
    ($contractions:literal, $digits:literal) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            $contractions,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            $contractions,
            "|",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}

enum Encoder {
    Words(Box<Tokenizer>),
    Pieces(SentencePiece),
}

pub(crate) struct Vocabulary {
    encoder: Encoder,
    /// The bytes of each token; for a special token, its name.
    bytes: Vec<Vec<u8>>,
    special: HashMap<String, u32>,
    /// The first one is the end token of the file.
    ends: Vec<u32>,
    begin: Option<u32>,
}

impl Vocabulary {
    pub(crate) fn new(gguf: &Gguf) -> Result<Self, EndpointError> {
        let kind = gguf.text("tokenizer.ggml.model").unwrap_or("none");
        if !matches!(kind, "gpt2" | "llama") {
            return Err(EndpointError::new(format!(
                "the model's tokenizer `{kind}` is not supported, only byte-level BPE (`gpt2`) and SentencePiece (`llama`) are"
            ))
            .help("use a model with such a tokenizer (Gemma 3, Llama 3, Phi, Qwen), or a server such as Ollama"));
        }
        let texts = texts(gguf, "tokenizer.ggml.tokens")?;
        if texts.is_empty() || texts.len() > LARGEST.0 {
            return Err(broken(&format!("the vocabulary has {} tokens", texts.len())));
        }
        let types: Vec<u64> = match gguf.list("tokenizer.ggml.token_type") {
            Some(types) => types.iter().map(|t| whole(t).unwrap_or(0)).collect(),
            None => Vec::new(),
        };
        let pieces = (kind == "llama").then(|| kinds(gguf, &texts, &types));
        let letters = letters();
        let mut bytes = Vec::with_capacity(texts.len());
        let mut special = HashMap::new();
        for (id, text) in texts.iter().enumerate() {
            bytes.push(match pieces.as_ref().map(|pieces| &pieces[id]) {
                Some(Piece::Byte(byte)) => vec![*byte],
                Some(Piece::Merged | Piece::Whole) => SentencePiece::text(text).into_bytes(),
                None if !types.get(id).is_some_and(|t| SPECIAL_TYPES.contains(t)) => {
                    text.chars().filter_map(|c| letters.get(&c).copied()).collect()
                }
                Some(Piece::Special) | None => {
                    special.insert(text.clone(), id as u32);
                    text.as_bytes().to_vec()
                }
            });
            if bytes[id].len() > LARGEST.1 {
                return Err(broken(&format!("the token {id} has {} bytes", bytes[id].len())));
            }
        }
        // SentencePiece's own numbers, for files that do not state them.
        let from_pieces = pieces.is_some();
        let usual = |id: u32| from_pieces.then_some(id);
        let known = |name: &str, usual: Option<u32>| {
            let stated = gguf.number(&format!("tokenizer.ggml.{name}_token_id")).map(|id| id as u32).or(usual);
            stated.filter(|id| (*id as usize) < texts.len())
        };
        let named = [known("eos", usual(2)), known("eot", None)];
        let ends = named.into_iter().flatten().chain(ENDS.iter().filter_map(|name| special.get(*name).copied()));
        let ends: Vec<u32> = ends.collect::<IndexSet<u32>>().into_iter().collect();
        if ends.is_empty() {
            return Err(broken("the vocabulary has no token that ends a reply"));
        }
        let wanted = gguf.truth("tokenizer.ggml.add_bos_token").unwrap_or(from_pieces);
        let begin = known("bos", usual(1)).filter(|_| wanted);
        let encoder = match pieces {
            Some(pieces) => {
                let unknown = known("unknown", usual(0)).unwrap_or_default();
                Encoder::Pieces(sentencepiece(gguf, &texts, pieces, unknown)?)
            }
            None => Encoder::Words(Box::new(tokenizer(gguf, &texts)?)),
        };
        Ok(Vocabulary { encoder, bytes, special, ends, begin })
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The tokens of a text at the start or after a special token.
    pub(crate) fn tokens(&self, text: &str) -> Vec<u32> {
        match &self.encoder {
            Encoder::Pieces(pieces) => pieces.tokens(text),
            Encoder::Words(words) => match words.encode_fast(text, false) {
                Ok(encoding) => encoding.get_ids().to_vec(),
                // Byte-level BPE has a token for every byte, so it accepts every text.
                Err(_) => Vec::new(),
            },
        }
    }

    /// The tokens of a text that goes on after other text.
    pub(crate) fn further_tokens(&self, text: &str) -> Vec<u32> {
        match &self.encoder {
            Encoder::Pieces(pieces) => pieces.further_tokens(text),
            Encoder::Words(_) => self.tokens(text),
        }
    }

    pub(crate) fn is_sentencepiece(&self) -> bool {
        matches!(self.encoder, Encoder::Pieces(_))
    }

    pub(crate) fn special(&self, name: &str) -> Option<u32> {
        self.special.get(name).copied()
    }

    pub(crate) fn specials(&self) -> impl Iterator<Item = &str> {
        self.special.keys().map(String::as_str)
    }

    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn is_special(&self, token: u32) -> bool {
        std::str::from_utf8(self.bytes(token)).is_ok_and(|name| self.special(name) == Some(token))
    }

    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }

    pub(crate) fn begin(&self) -> Option<u32> {
        self.begin
    }
}

#[cfg(test)]
impl Vocabulary {
    /// A vocabulary of these tokens, none of them special; it can't cut texts into them.
    pub(crate) fn of(words: &[&str]) -> Self {
        let bytes = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let encoder = Encoder::Words(Box::new(Tokenizer::new(BPE::default())));
        Vocabulary { encoder, bytes, special: HashMap::new(), ends: Vec::new(), begin: None }
    }
}

fn texts(gguf: &Gguf, key: &str) -> Result<Vec<String>, EndpointError> {
    let texts = gguf.list(key).and_then(|list| list.iter().map(|v| v.to_string().ok().cloned()).collect());
    texts.ok_or_else(|| broken(&format!("the GGUF file has no list of texts `{key}`")))
}

/// What the tokens of a SentencePiece vocabulary mean. A token that is defined by the user is text, such as a run of line
/// breaks, but not if it ends a reply or the chat template writes it: then a text must not produce it.
fn kinds(gguf: &Gguf, texts: &[String], types: &[u64]) -> Vec<Piece> {
    let template = gguf.text("tokenizer.chat_template").unwrap_or_default();
    let marks = |text: &str| !text.trim().is_empty() && (ENDS.contains(&text) || template.contains(text));
    let kind = |(id, text): (usize, &String)| match (types.get(id), SentencePiece::byte(text)) {
        (Some(&BYTE) | None, Some(byte)) => Piece::Byte(byte),
        (Some(&USER_DEFINED), _) if !marks(text) => Piece::Whole,
        (Some(kind), _) if SPECIAL_TYPES.contains(kind) => Piece::Special,
        _ => Piece::Merged,
    };
    texts.iter().enumerate().map(kind).collect()
}

fn sentencepiece(
    gguf: &Gguf,
    texts: &[String],
    pieces: Vec<Piece>,
    unknown: u32,
) -> Result<SentencePiece, EndpointError> {
    let key = "tokenizer.ggml.scores";
    let scores: Option<Vec<f32>> = gguf.list(key).and_then(|list| list.iter().map(|v| v.to_f32().ok()).collect());
    let scores = scores.filter(|scores| scores.len() == texts.len());
    let scores = scores.ok_or_else(|| broken(&format!("the GGUF file has no score for each token in `{key}`")))?;
    let space_prefix = gguf.truth("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let tokens = texts.iter().zip(scores).zip(pieces).map(|((text, score), piece)| (text.as_str(), score, piece));
    SentencePiece::new(tokens, unknown, space_prefix)
}

/// The tokenizer of a file: its merges, and how texts are cut into words before merging, which the file only names.
fn tokenizer(gguf: &Gguf, texts: &[String]) -> Result<Tokenizer, EndpointError> {
    let pairs = self::texts(gguf, "tokenizer.ggml.merges")?;
    let merges: Option<Vec<(String, String)>> =
        pairs.iter().map(|pair| pair.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()))).collect();
    let merges = merges.ok_or_else(|| broken("a merge of the tokenizer is not a pair"))?;
    let ids: tokenizers::models::bpe::Vocab =
        texts.iter().enumerate().map(|(id, text)| (text.clone(), id as u32)).collect();
    let wrong = |e: tokenizers::Error| broken(&format!("the tokenizer can't be set up: {e}"));
    let name = gguf.text("tokenizer.ggml.pre").unwrap_or("none");
    let llama3 = matches!(name, "llama-bpe" | "llama3" | "llama-v3" | "smaug-bpe");
    let bpe = BPE::builder().vocab_and_merges(ids, merges).ignore_merges(llama3 || name == "tekken");
    let mut tokenizer = Tokenizer::new(bpe.build().map_err(wrong)?);
    let cut = |pattern: &str| -> Result<Vec<PreTokenizerWrapper>, EndpointError> {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(wrong)?;
        Ok(vec![split.into(), ByteLevel::new(false, true, false).into()])
    };
    let words: Vec<PreTokenizerWrapper> = match name {
        "smollm" => vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()],
        "gpt-2" => vec![ByteLevel::new(false, true, true).into()],
        "qwen2" => cut(words!(r"\p{N}"))?,
        _ if llama3 || name == "dbrx" => cut(words!(r"\p{N}{1,3}"))?,
        "gpt-4o" => cut(cased_words!("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"\p{N}{1,3}"))?,
        "tekken" => cut(cased_words!("", r"\p{N}"))?,
        other => {
            return Err(EndpointError::new(format!("the model's tokenizer `{other}` is not known to this version"))
                .help("use another model, or a server such as Ollama or llama.cpp for this one"));
        }
    };
    if name == "qwen2" {
        tokenizer.with_normalizer(Some(NFC)).map_err(wrong)?;
    }
    tokenizer.with_pre_tokenizer(Some(Sequence::new(words)));
    Ok(tokenizer)
}

/// The letters by which byte-level vocabularies write bytes: printable ones as themselves, the others from U+0100 on.
/// Source: `bytes_to_unicode` of GPT-2's encoder, <https://github.com/openai/gpt-2>.
pub(super) fn letters() -> HashMap<char, u8> {
    let mut others = 0x100..;
    let letter = |byte: u8| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => Some(char::from(byte)),
        _ => others.next().and_then(char::from_u32),
    };
    let letters: Vec<Option<char>> = (0..=u8::MAX).map(letter).collect();
    letters.into_iter().zip(0..=u8::MAX).filter_map(|(letter, byte)| Some((letter?, byte))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_letter() {
        let letters = letters();
        assert_eq!(letters.len(), 256);
        assert_eq!((letters[&'A'], letters[&'Ġ'], letters[&'Ċ'], letters[&'ÿ']), (b'A', b' ', b'\n', 0xFF));
    }
}

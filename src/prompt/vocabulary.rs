//! The tokenizers of OpenAI's models. Their vocabularies are compressed, to a fourth of what `tiktoken-rs` embeds.

use std::sync::LazyLock;

use tiktoken_rs::{CoreBPE, O200K_BASE_PAT_STR};

const CL100K_PATTERN: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s";
const CL100K_TOKENS: u32 = 100_256;
const O200K_TOKENS: u32 = 199_998;

/// Of GPT-4.
pub(crate) fn cl100k() -> &'static CoreBPE {
    static TOKENIZER: LazyLock<CoreBPE> =
        LazyLock::new(|| unpacked(include_bytes!("cl100k_base.zst"), CL100K_TOKENS, CL100K_PATTERN));
    &TOKENIZER
}

/// Of GPT-4o and later.
pub(crate) fn o200k() -> &'static CoreBPE {
    static TOKENIZER: LazyLock<CoreBPE> =
        LazyLock::new(|| unpacked(include_bytes!("o200k_base.zst"), O200K_TOKENS, O200K_BASE_PAT_STR));
    &TOKENIZER
}

/// A packed vocabulary is, compressed by zstd, the length of each token as a byte, then all tokens, in the order of
/// their ranks.
fn unpacked(packed: &[u8], tokens: u32, pattern: &str) -> CoreBPE {
    let unpacked = zstd::decode_all(packed).expect("a part of the program");
    let (lengths, mut rest) = unpacked.split_at(tokens as usize);
    let token = |(length, rank): (&u8, u32)| {
        let (token, after) = rest.split_at(usize::from(*length));
        rest = after;
        (token.to_vec(), rank)
    };
    let encoder = lengths.iter().zip(0..).map(token).collect();
    // Texts are counted as ordinary ones: a word such as <|endoftext|> is several tokens.
    CoreBPE::new(encoder, [].into_iter().collect(), pattern).expect("a part of the program")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packed_tokenizers_are_those_of_tiktoken() {
        let texts = [
            "Fellow-citizens of the Senate,\r\n\r\nI'll speak   of 1234567 dollars.\n",
            "Übermäßige Zölle — ¿qué dicen? <|endoftext|>",
            "参议院和众议院的同胞们 สวัสดี 🇩🇪👩‍👩‍👧‍👦 \u{a0}\t x_y+=1;",
        ];
        for (ours, theirs, tokens) in [
            (cl100k(), tiktoken_rs::cl100k_base_singleton(), CL100K_TOKENS),
            (o200k(), tiktoken_rs::o200k_base_singleton(), O200K_TOKENS),
        ] {
            for rank in 0..tokens {
                let token = ours.decode_bytes(&[rank]).expect("a token");
                assert_eq!(token, theirs.decode_bytes(&[rank]).expect("a token"), "{rank}");
            }
            assert!(theirs.decode_bytes(&[tokens]).is_err(), "it has more than {tokens} tokens");
            for text in texts {
                assert_eq!(ours.encode_ordinary(text), theirs.encode_ordinary(text), "{text}");
            }
        }
    }
}

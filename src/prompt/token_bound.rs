//! A lower bound of the tokens of a prompt, whatever the tokenizer. Pure.
//!
//! It follows from two facts about the vocabularies of GPT-2 to GPT-4o, Claude, Gemini and Gemma, Llama 2 and 3, Mistral
//! (SentencePiece and Tekken), Qwen 3, DeepSeek V3 and RWKV, found by reading every entry:
//!
//! - No token contains parts of two words of [`LETTERS`] letters with white space between them.
//! - A token without white space and control characters has at most [`BYTES`] bytes (256 hyphens), and at most 60 bytes
//!   of a script without spaces between words, which weigh [`SPACELESS`] times as much.
//!
//! A chat template and byte fallback only add tokens. White space may be trimmed or merged, so it does not count. Words
//! of fewer letters do not count either: a tokenizer that joins frequent words (SuperBPE) joins mostly short ones.

use super::{Message, Role};

const LETTERS: usize = 4;
const BYTES: u64 = 256;
const SPACELESS: u64 = 4;

/// The smallest number of tokens that `messages` can have. Replies do not count: templates drop their thoughts.
pub(crate) fn least_tokens(messages: &[Message]) -> u64 {
    messages.iter().filter(|message| message.role != Role::Assistant).map(|message| least(&message.content)).sum()
}

fn least(text: &str) -> u64 {
    let (mut in_words, mut all) = (0, 0);
    for chunk in text.split_whitespace() {
        let weight: u64 = chunk.chars().map(weight).sum();
        all += weight;
        if chunk.chars().filter(|c| c.is_alphabetic()).nth(LETTERS - 1).is_some() {
            in_words += weight.div_ceil(BYTES);
        }
    }
    in_words.max(all.div_ceil(BYTES))
}

fn weight(c: char) -> u64 {
    let bytes = c.len_utf8() as u64;
    match c {
        c if c.is_control() => 0,
        // Thai and Lao, Burmese, Khmer, Kana, Chinese characters.
        '\u{E00}'..='\u{EFF}'
        | '\u{1000}'..='\u{109F}'
        | '\u{1780}'..='\u{17FF}'
        | '\u{3040}'..='\u{30FF}'
        | '\u{3400}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{3FFFF}' => SPACELESS * bytes,
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use tiktoken_rs::CoreBPE;

    use super::*;

    fn tokenizers() -> [&'static CoreBPE; 3] {
        use tiktoken_rs::{cl100k_base_singleton, o200k_base_singleton, r50k_base_singleton};
        [r50k_base_singleton(), cl100k_base_singleton(), o200k_base_singleton()]
    }

    #[track_caller]
    fn holds(text: &str) {
        let bound = least(text);
        for (i, tokenizer) in tokenizers().iter().enumerate() {
            let tokens = tokenizer.encode_ordinary(text).len() as u64;
            let start: String = text.chars().take(40).collect();
            assert!(bound <= tokens, "tokenizer {i} has {tokens} tokens, the bound is {bound}: {start}");
        }
    }

    /// Texts whose tokens are as long as tokens can be.
    #[test]
    fn long_tokens_do_not_pass_the_bound() {
        let repeated = [
            "a",
            "A",
            "na ",
            "ha",
            "internationally ",
            " telecommunications",
            "-",
            "=",
            "//",
            "*",
            ".",
            "ÃÂ",
            "0",
            "7",
            "1234567890",
            "3.14159 ",
            " ",
            "\t",
            "\n",
            " \n",
            "\u{a0}",
            "\u{3000}",
            "🙂",
            "👩‍👩‍👧‍👦",
            "🇩🇪",
            "\u{200b}",
            "\u{0}",
            "习近平新时代中国特色社会主义思想",
            "微信公众号天天中彩票",
            "哈",
            "ー",
            "สำนักเลขานุการองค์กร",
            "นักลงทุนสัมพันธ์",
            "한국어 ",
            "অ",
            "𝔸",
            "\u{10FFFF}",
            "é",
            "e\u{301}",
            ".translatesAutoresizingMaskIntoConstraints",
            "abcdefghijklmnopqrstuvwxyz",
            "ThisIsAWordInCamelCase",
            "https://www.example.com/a?b=c&d=e ",
            "\u{feff}",
            "\u{202e}",
            "yes. No! ",
            "DNA-",
        ];
        for text in repeated {
            for times in [1, 2, 7, 300, 3000] {
                holds(&text.repeat(times));
            }
        }
    }

    #[test]
    fn every_token_alone_and_with_its_neighbour_is_within_the_bound() {
        for tokenizer in tokenizers() {
            let words: Vec<String> = (0..200_000).filter_map(|token| tokenizer.decode(&[token]).ok()).collect();
            assert!(words.len() > 49_000, "{} tokens are text", words.len());
            for pair in words.windows(2) {
                assert!(least(&pair[0]) <= 1, "{:?}", pair[0]);
                assert!(least(&pair.concat()) <= 2, "{pair:?}");
            }
        }
    }

    #[test]
    fn prose_is_bounded_closely_and_chinese_loosely() {
        let speech = "Fellow citizens of the Senate and of the House of Representatives, peace and plenty. ";
        let (bound, tokens) = (least(&speech.repeat(200)), 200 * 17);
        assert!((tokens / 3..=tokens).contains(&bound), "{bound}");
        let chinese = least(&"我们今天在这里讨论国家的和平与发展。".repeat(1000));
        assert!((700..10_000).contains(&chinese), "{chinese}");
    }

    #[test]
    fn replies_in_the_conversation_do_not_count() {
        let messages = [Message::system("Judge them."), Message::assistant("Lengthy thoughts"), Message::user("Peace")];
        assert_eq!(least_tokens(&messages), 3);
    }

    proptest::proptest! {
        #[test]
        fn mixed_texts_are_within_the_bound(text in "(\\PC|[a-z ]{1,9}|[\\n\\t 0-9]|[一-鿿]{1,8}|(ab){1,40}){0,60}") {
            holds(&text);
        }
    }
}

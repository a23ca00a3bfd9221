//! Texts become the same tokens as in llama.cpp, and tokens the same texts again.

use super::*;

#[test]
fn texts_are_llama_cpps_tokens() {
    let Some(model) = model("texts_are_llama_cpps_tokens") else { return };
    let mut wrong = Vec::new();
    for line in include_str!("tokens.jsonl").lines() {
        let (text, tokens): (String, Vec<u32>) = serde_json::from_str(line).expect("a text and its tokens");
        let found = model.vocabulary.tokens(&text);
        let back: Vec<u8> = found.iter().flat_map(|token| model.vocabulary.bytes(*token)).copied().collect();
        assert_eq!(back, text.as_bytes(), "{text:?}");
        assert!(!found.iter().any(|token| model.vocabulary.is_special(*token)), "{text:?}");
        if found != tokens {
            wrong.push(format!("{text:?}\n  {found:?}, not\n  {tokens:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

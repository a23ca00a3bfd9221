//! Tests of the labels' probabilities over made-up vocabularies and scores, with answers computed by hand.

use serde_json::json;

use super::*;

/// A reply that is being written over a small vocabulary.
struct Written {
    words: Vec<&'static str>,
    vocabulary: Vocabulary,
    labels: EnumScores,
    reply: String,
}

impl Written {
    /// A reply of this schema's properties, with its beginning.
    fn new(properties: Value, reply: &str, words: &[&'static str]) -> Self {
        let labels = EnumScores::of(Some(&json!({ "properties": properties })));
        Written { words: words.to_vec(), vocabulary: Vocabulary::of(words), labels, reply: reply.to_owned() }
    }

    fn tone(labels: &[&str], reply: &str, words: &[&'static str]) -> Self {
        Written::new(json!({ "tone": { "enum": labels } }), reply, words)
    }

    /// Takes a token where these are allowed, with these weights.
    fn take(mut self, taken: &str, weights: &[(&str, f32)]) -> Self {
        let id = |word: &str| self.words.iter().position(|w| *w == word).expect("a token") as u32;
        let mut scores = vec![f32::NAN; self.words.len()];
        for (word, weight) in weights {
            scores[id(word) as usize] = weight.ln() + 3.0;
        }
        let mut allowed: Vec<u32> = weights.iter().map(|(word, _)| id(word)).collect();
        allowed.sort_unstable();
        assert!(self.labels.is_open(self.reply.as_bytes()), "{}", self.reply);
        let step = Step { allowed: &allowed, scores: &scores, taken: id(taken) };
        self.labels.see(self.reply.as_bytes(), &step, &self.vocabulary);
        self.reply.push_str(taken);
        self
    }

    /// Writes on without a choice.
    fn write(mut self, text: &str) -> Self {
        self.reply.push_str(text);
        self
    }

    /// The probabilities of a key's labels.
    #[track_caller]
    fn gives(self, key: &str, expected: &[(&str, f64)]) {
        let found = self.labels.probabilities().expect("probabilities").swap_remove(key).expect("the key");
        assert!(found.keys().eq(expected.iter().map(|(label, _)| label)), "{found:?}");
        for (label, share) in expected {
            assert!((found[*label] - share).abs() < 1e-6, "{label}: {found:?}");
        }
    }
}

#[test]
fn a_token_per_label() {
    Written::tone(&["yes", "no"], r#"{"tone": ""#, &["no", "yes", "maybe"])
        .take("yes", &[("yes", 3.0), ("no", 1.0)])
        .write("\"}")
        .gives("tone", &[("yes", 0.75), ("no", 0.25)]);
}

#[test]
fn the_label_that_was_written_need_not_be_the_likeliest() {
    Written::tone(&["yes", "no"], r#"{"tone": ""#, &["no", "yes"])
        .take("no", &[("yes", 9.0), ("no", 1.0)])
        .write("\"}")
        .gives("tone", &[("yes", 0.9), ("no", 0.1)]);
}

#[test]
fn tokens_of_one_label_add_up_and_others_do_not_count() {
    // `y`, `ye` and `yes"}` all become `yes`; `x` fits no label.
    Written::tone(&["yes", "no"], r#"{"tone": ""#, &["y", "ye", "yes\"}", "n", "x"])
        .take("y", &[("y", 1.0), ("ye", 1.0), ("yes\"}", 1.0), ("n", 1.0), ("x", 96.0)])
        .write("es\"}")
        .gives("tone", &[("yes", 0.75), ("no", 0.25)]);
}

#[test]
fn a_shared_token_is_decided_by_those_after_it() {
    let words = &["no", "yes", "\"", "t sure", " at all", "\"}"];
    Written::tone(&["no", "not sure", "not sure at all", "yes"], r#"{"tone": ""#, words)
        .take("no", &[("no", 3.0), ("yes", 1.0)])
        // 3/4 are open among three labels.
        .take("t sure", &[("\"", 1.0), ("\"}", 1.0), ("t sure", 6.0)])
        // Of these, 1/4 is `no`; what is left is divided 1 to 3.
        .take("\"", &[("\"", 0.5), ("\"}", 0.5), (" at all", 3.0)])
        .gives("tone", &[("no", 0.1875), ("not sure", 0.140_625), ("not sure at all", 0.421_875), ("yes", 0.25)]);
}

#[test]
fn another_way_into_several_labels_is_divided_as_the_clear_ones_divide_it() {
    // `no` was taken; `not` would have led to two labels, to which no other token clearly belongs: half each.
    Written::tone(&["no", "not sure", "not ever", "yes"], r#"{"tone": ""#, &["no", "not", "yes", "\"", "t"])
        .take("no", &[("no", 2.0), ("not", 1.0), ("yes", 1.0)])
        .take("\"", &[("\"", 3.0), ("t", 1.0)])
        .gives("tone", &[("no", 0.375), ("not sure", 0.1875), ("not ever", 0.1875), ("yes", 0.25)]);
    // `p` was taken for `plus` alone; of `n`, 3/4 go where the clear tokens go.
    Written::tone(&["no", "never", "plus"], r#"{"tone": ""#, &["n", "no", "ne", "p"])
        .take("p", &[("n", 4.0), ("no", 3.0), ("ne", 1.0), ("p", 2.0)])
        .gives("tone", &[("no", 0.6), ("never", 0.2), ("plus", 0.2)]);
}

#[test]
fn tokens_reach_over_the_ends_of_a_value() {
    // The opening quote with a space before it, and the closing one with what follows.
    Written::tone(&["a", "ab"], r#"{"tone":"#, &[" \"a\", \"", " \"", "a\"", "ab", " \"ab\"", " "])
        .take(" \"", &[(" \"a\", \"", 1.0), (" \"", 2.0), (" \"ab\"", 1.0)])
        .take("ab", &[("a\"", 1.0), ("ab", 3.0)])
        .write("\"}")
        .gives("tone", &[("a", 0.375), ("ab", 0.625)]);
    // A space alone decides nothing.
    Written::tone(&["a", "b"], r#"{"tone":"#, &[" ", " \"a", "\"a", "\"b"])
        .take(" ", &[(" ", 1.0), (" \"a", 1.0)])
        .take("\"b", &[("\"a", 1.0), ("\"b", 1.0)])
        .gives("tone", &[("a", 0.75), ("b", 0.25)]);
}

#[test]
fn labels_with_quotes_accents_and_null() {
    let labels = json!({ "tone": { "enum": ["say \"hi\"", "süß", "süd", null] } });
    // The two bytes of an umlaut may be two tokens; here they are one.
    Written::new(labels, r#"{"tone": "#, &["\"say \\\"", "\"sü", "null", "ß", "d"])
        .take("\"sü", &[("\"say \\\"", 1.0), ("\"sü", 2.0), ("null", 1.0)])
        .take("ß", &[("ß", 3.0), ("d", 1.0)])
        .gives("tone", &[("say \"hi\"", 0.25), ("süß", 0.375), ("süd", 0.125), ("null", 0.25)]);
}

#[test]
fn one_label_is_certain_and_no_choice_is_no_probability() {
    Written::tone(&["only"], r#"{"tone": "only"}"#, &[]).gives("tone", &[("only", 1.0)]);
    let none = Written::tone(&["a", "b"], r#"{"tone": "a"}"#, &[]);
    assert_eq!(none.labels.probabilities(), None);
    assert_eq!(EnumScores::of(Some(&json!({ "properties": { "text": { "type": "string" } } }))).probabilities(), None);
    assert_eq!(EnumScores::of(None).probabilities(), None);
}

#[test]
fn two_enums_in_turn() {
    let two = json!({ "first": { "enum": ["a", "b"] }, "second": { "enum": ["a", "c"] } });
    Written::new(two, r#"{"first": ""#, &["a", "b", "c"])
        .take("a", &[("a", 1.0), ("b", 1.0)])
        .write(r#"", "second": ""#)
        .take("c", &[("a", 1.0), ("c", 3.0)])
        .gives("second", &[("a", 0.25), ("c", 0.75)]);
}

#[test]
fn the_value_being_written() {
    let open = |reply: &str| {
        open_value(reply.as_bytes()).map(|(key, value)| (key, String::from_utf8_lossy(value).into_owned()))
    };
    let stands = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));
    for closed in ["", "{", "{\"a", "{\"a\"", r#"{"a": "b""#, r#"{"a": "b","#, r#"{"a": "b", "c"#, r#"{"a": "b"}"#] {
        assert_eq!(open(closed), None, "{closed}");
    }
    assert_eq!(open(r#"{"a":"#), stands("a", ""));
    assert_eq!(open(r#"{"a": "#), stands("a", ""));
    assert_eq!(open(r#"{"a": ""#), stands("a", "\""));
    assert_eq!(open(r#"{"a": "b\""#), stands("a", r#""b\""#));
    assert_eq!(open(r#"{"a": "b\\""#), None);
    assert_eq!(open(r#"{"a": nul"#), stands("a", "nul"));
    assert_eq!(open(r#"{"a": "x", "tone": "n"#), stands("tone", "\"n"));
    // Keys, commas, colons and braces within texts and lists are none.
    assert_eq!(open(r#"{"text": "he said \"tone\": \"no\", {", "tone": "#), stands("tone", ""));
    assert_eq!(open(r#"{"text": "\"tone\": \""#), stands("text", r#""\"tone\": \""#));
    assert_eq!(open(r#"{"list": ["tone", "x"], "tone": "y"#), stands("tone", "\"y"));
    assert_eq!(open(r#"{"list": ["tone": "#).map(|(key, _)| key), Some("list".to_owned()));
    assert_eq!(open(r#"{"in": {"tone": "n"#).map(|(key, _)| key), Some("in".to_owned()));
    assert_eq!(open(r#"{"k\"ey": "v"#), stands("k\"ey", "\"v"));
    assert_eq!(open(r#"{"a": 1, "tone": "#), stands("tone", ""));
}

//! Probabilities of the labels in a typed answer, from the probabilities of the reply's tokens. Pure.
//!
//! The probability of a token that begins one label counts for that label, in any spelling that would be an answer:
//! with other spaces, in another case, cut into tokens at another place. If it begins several labels, the reply decides
//! when it goes on with that token. What the reply does not follow is shared: `prob` divides it equally, and the masses
//! of a distribution leave it out. Other tokens are not of any label.

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::Probabilities;
use super::answer_type::{AnswerType, normalise_option};
use super::distribution::mass_key;
use super::expect::Field;
use super::reply::last_object;
use super::thoughts::without_thinking;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    /// The bytes of the token; a character may be spread over several tokens.
    pub(crate) bytes: Vec<u8>,
    pub(crate) probability: f64,
    /// The list may contain the token itself.
    pub(crate) likeliest: Vec<(Vec<u8>, f64)>,
}

/// A label with the texts that name it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Label {
    pub(crate) name: String,
    /// In the form in which options are compared.
    spellings: Vec<String>,
    /// The label without quotes, if it is also a value of JSON without them: null, or a number.
    bare: Option<String>,
}

impl Label {
    /// The label of a text in an `enum` of JSON, or null.
    pub(crate) fn of_json(value: &serde_json::Value) -> Label {
        match value.as_str() {
            Some(text) => Label { name: text.to_owned(), spellings: vec![normalise_option(text)], bare: None },
            None => Label { name: value.to_string(), spellings: Vec::new(), bare: Some(value.to_string()) },
        }
    }

    fn labelled(label: &str, choice: &str) -> Label {
        let (short, whole) = (normalise_option(label), normalise_option(choice));
        let both = [".", ")", ":"]
            .into_iter()
            .flat_map(|mark| [format!("{short}{mark} {whole}"), format!("{short}{mark}{whole}")]);
        let spellings = [short.clone(), whole.clone()].into_iter().chain(both).collect();
        let bare = short.parse::<u64>().is_ok().then(|| short.clone());
        Label { name: label.to_owned(), spellings, bare }
    }

    /// The labels of a field; empty if it has none.
    fn of_field(field: &Field) -> Vec<Label> {
        let mut labels: Vec<Label> = match &field.kind {
            AnswerType::Enum(options) => options.iter().map(|text| Label::of_json(&text.as_str().into())).collect(),
            AnswerType::Labelled(choices) => choices.iter().map(|(label, text)| Label::labelled(label, text)).collect(),
            _ => return Vec::new(),
        };
        labels.extend(field.nullable.then(|| Label::of_json(&serde_json::Value::Null)));
        labels
    }

    /// Whether a value of JSON that begins with `text`, in quotes if `quoted`, may be this label. `ends` is whether the
    /// value ends there.
    fn begins(&self, text: &Fragment, quoted: bool, ends: bool) -> bool {
        if !quoted {
            return self.bare.as_ref().is_some_and(|bare| match bare.strip_prefix(text.plain.as_str()) {
                Some("") => true,
                Some(_) => !ends,
                None => false,
            });
        }
        let fits = |spelling: &String| match spelling.strip_prefix(text.plain.as_str()) {
            Some("") => text.partial.is_empty(),
            Some(_) if ends => false,
            Some(rest) => (!text.spaced || rest.starts_with(' ')) && text.goes_on(rest.trim_start()),
            None => false,
        };
        self.spellings.iter().any(fits)
    }
}

/// The beginning of a text.
struct Fragment {
    /// In the form in which options are compared.
    plain: String,
    /// Whether white space follows.
    spaced: bool,
    /// The first bytes of a character that is not complete.
    partial: Vec<u8>,
}

impl Fragment {
    fn new(bytes: &[u8]) -> Fragment {
        let (whole, partial) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, &[][..]),
            Err(error) => {
                let (whole, rest) = bytes.split_at(error.valid_up_to());
                (std::str::from_utf8(whole).unwrap_or_default(), rest)
            }
        };
        let text = unescaped(whole);
        let plain = normalise_option(&text);
        let spaced = !plain.is_empty() && text.ends_with(char::is_whitespace);
        Fragment { plain, spaced, partial: partial.to_vec() }
    }

    /// Whether the incomplete character may begin `rest`, in any case.
    fn goes_on(&self, rest: &str) -> bool {
        let Some(next) = rest.chars().next() else { return self.partial.is_empty() };
        let mut forms = std::iter::once(next).chain(next.to_uppercase());
        self.partial.is_empty() || forms.any(|c| c.encode_utf8(&mut [0; 4]).as_bytes().starts_with(&self.partial))
    }
}

/// The text of a string of JSON, without quotes, whose last escape may be incomplete.
fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    // `\u` and four digits are the longest escape.
    let ends = (0..=6).filter_map(|less| text.get(..text.len().checked_sub(less)?));
    let read = |text: &str| serde_json::from_str::<String>(&format!("\"{text}\"")).ok();
    ends.into_iter().find_map(read).unwrap_or_else(|| text.to_owned())
}

/// The probabilities of the labels of one value, token by token.
#[derive(Debug)]
pub(crate) struct Walk {
    labels: Vec<Label>,
    masses: Vec<f64>,
    /// The probability of each token that begins several labels and that the reply did not take.
    shared: Vec<(f64, Vec<usize>)>,
    possible: Vec<usize>,
    path: f64,
    started: bool,
}

impl Walk {
    pub(crate) fn new(labels: Vec<Label>) -> Walk {
        let (masses, possible) = (vec![0.0; labels.len()], (0..labels.len()).collect());
        Walk { labels, masses, shared: Vec::new(), possible, path: 1.0, started: false }
    }

    /// Whether the reply has named one label.
    pub(crate) fn is_over(&self) -> bool {
        self.started && self.possible.len() < 2
    }

    /// Whether the reply names no label.
    fn is_lost(&self) -> bool {
        self.possible.is_empty()
    }

    /// The labels that a value of JSON may be whose text so far is `value`.
    fn begun(&self, value: &[u8]) -> Vec<usize> {
        let value = value.trim_ascii_start();
        let (quoted, text, ends) = match value.first() {
            None => return self.possible.clone(),
            Some(b'"') => {
                let end = closing(&value[1..]);
                (true, &value[1..1 + end.unwrap_or(value.len() - 1)], end.is_some())
            }
            Some(_) => {
                let end = value.iter().position(|byte| b" \t\r\n,}]".contains(byte));
                (false, &value[..end.unwrap_or(value.len())], end.is_some())
            }
        };
        let text = Fragment::new(text);
        self.possible.iter().copied().filter(|label| self.labels[*label].begins(&text, quoted, ends)).collect()
    }

    /// Takes the next token after `value`, which is the text since the colon. `others` are the tokens that could have
    /// followed instead.
    pub(crate) fn step<'t>(
        &mut self,
        value: &[u8],
        (taken, probability): (&[u8], f64),
        others: impl Iterator<Item = (&'t [u8], f64)>,
    ) {
        let own = self.begun(&[value, taken].concat());
        let mut onward = probability;
        for (other, probability) in others {
            match self.begun(&[value, other].concat()).as_slice() {
                [] => {}
                [label] => self.masses[*label] += self.path * probability,
                // The same beginning, cut into tokens at another place.
                labels if labels == own => onward += probability,
                labels => self.shared.push((self.path * probability, labels.to_vec())),
            }
        }
        self.path *= onward;
        if let [label] = own.as_slice() {
            self.masses[*label] += self.path;
        }
        self.possible = own;
        self.started = true;
    }

    /// The mass of each label: the probability of the tokens that begin this label only.
    pub(crate) fn masses(&self) -> IndexMap<String, f64> {
        self.labels.iter().zip(&self.masses).map(|(label, mass)| (label.name.clone(), *mass)).collect()
    }

    /// The shares of the labels, with equal parts of what several labels share. `None` if all are 0.
    fn shares(&self) -> Option<IndexMap<String, f64>> {
        let mut all = self.masses.clone();
        for (probability, labels) in &self.shared {
            labels.iter().for_each(|label| all[*label] += probability / labels.len() as f64);
        }
        let sum: f64 = all.iter().sum();
        let share = |(label, mass): (&Label, f64)| (label.name.clone(), mass / sum);
        (sum > 0.0).then(|| self.labels.iter().zip(all).map(share).collect())
    }
}

/// The place of the quote that closes a string of JSON.
fn closing(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })
}

/// Leaves out each key whose value cannot be followed; its masses are then empty. Returns `None` without tokens.
pub(crate) fn label_probabilities(reply: &str, tokens: &[Token], fields: &[Field]) -> Option<Probabilities> {
    if tokens.is_empty() {
        return None;
    }
    let object: IndexMap<String, &RawValue> = last_object(without_thinking(reply).ok()?)?;
    let said: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
    // Some servers also report tokens outside the text of the reply.
    let shift = find(&said, reply.as_bytes())?;
    let mut found = Probabilities::new();
    for field in fields {
        let labels = Label::of_field(field);
        let Some(value) = object.get(&field.name).filter(|_| !labels.is_empty()) else { continue };
        let place = value.get().as_ptr() as usize - reply.as_ptr() as usize + shift;
        let walk = follow(&said, tokens, place, labels);
        if let Some(shares) = walk.as_ref().and_then(Walk::shares) {
            found.insert(field.name.clone(), shares);
        }
        // Also without `masses`: another stage may ask the same for them.
        if field.masses || walk.is_some() {
            found.insert(mass_key(&field.name), walk.map(|walk| walk.masses()).unwrap_or_default());
        }
    }
    (!found.is_empty()).then_some(found)
}

fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    whole.windows(part.len().max(1)).position(|window| window == part)
}

/// `None` if the value is not a label, or if the tokens end before it is one.
fn follow(said: &[u8], tokens: &[Token], place: usize, labels: Vec<Label>) -> Option<Walk> {
    // White space before the value belongs to it: other tokens may have it or not.
    let place = said[..place].trim_ascii_end().len();
    let mut start = 0;
    let at = tokens.iter().position(|token| {
        start += token.bytes.len();
        start > place
    })?;
    // The first token may begin before the value.
    let mut before = place + tokens[at].bytes.len() - start;
    let mut walk = Walk::new(labels);
    let mut value = Vec::new();
    for token in &tokens[at..] {
        let (outside, taken) = token.bytes.split_at(before);
        let others = token.likeliest.iter().filter(|(other, _)| *other != token.bytes);
        let others = others.filter_map(|(other, p)| Some((other.strip_prefix(outside)?, *p)));
        walk.step(&value, (taken, token.probability), others.filter(|(other, _)| !other.is_empty()));
        value.extend_from_slice(taken);
        before = 0;
        if walk.is_over() {
            return (!walk.is_lost()).then_some(walk);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::FieldSpec;
    use super::*;

    fn token(text: &str, probability: f64, others: &[(&str, f64)]) -> Token {
        let likeliest = others.iter().map(|(text, p)| (text.as_bytes().to_vec(), *p));
        let itself = (text.as_bytes().to_vec(), probability);
        Token { bytes: itself.0.clone(), probability, likeliest: [itself].into_iter().chain(likeliest).collect() }
    }

    fn field(name: &str, spec: serde_json::Value) -> Field {
        let spec: FieldSpec = serde_json::from_value(spec).unwrap();
        Field { masses: true, ..spec.field(name).unwrap() }
    }

    fn tone() -> Vec<Field> {
        let options = json!(["positive", "possible", "negative"]);
        let tone = field("tone", json!({ "type": "string", "enum": options, "nullable": true }));
        vec![field("why", json!({ "type": "string" })), Field { masses: false, ..tone }]
    }

    /// A key `answer` with these options.
    fn answer(options: &[&str]) -> Vec<Field> {
        vec![field("answer", json!({ "type": "string", "enum": options }))]
    }

    fn near(found: &Probabilities, key: &str, want: &[(&str, f64)]) {
        for (label, share) in want {
            assert!((found[key][*label] - share).abs() < 1e-12, "{label}: {found:?}");
        }
    }

    /// The masses after `{"answer":` and these tokens.
    fn masses(fields: &[Field], tokens: &[Token]) -> Probabilities {
        let tokens: Vec<Token> = [token("{\"answer\":", 1.0, &[])].into_iter().chain(tokens.iter().cloned()).collect();
        let reply: String = tokens.iter().map(|t| String::from_utf8(t.bytes.clone()).unwrap()).collect();
        label_probabilities(&reply, &tokens, fields).unwrap()
    }

    #[test]
    fn labels_share_what_their_tokens_had() {
        let tokens = [
            token("{\"why\": \"é\", ", 1.0, &[]),
            token("\"tone\":", 1.0, &[]),
            token(" \"", 0.9, &[(" null", 0.1)]),
            token("pos", 0.5, &[("neg", 0.25), ("x", 0.25)]),
            token("itive", 0.8, &[("sible", 0.2)]),
            token("\"}", 1.0, &[]),
        ];
        let reply: String = tokens.iter().map(|t| String::from_utf8(t.bytes.clone()).unwrap()).collect();
        let found = label_probabilities(&reply, &tokens, &tone()).unwrap();
        let sum = 0.1 + 0.9 * 0.75;
        let want = [
            ("positive", 0.9 * 0.5 * 0.8 / sum),
            ("possible", 0.9 * 0.5 * 0.2 / sum),
            ("negative", 0.9 * 0.25 / sum),
            ("null", 0.1 / sum),
        ];
        near(&found, "tone", &want);
        near(&found, &mass_key("tone"), &[("positive", 0.9 * 0.4), ("null", 0.1)]);
        assert_eq!(found.len(), 2, "a text has no labels");
    }

    #[test]
    fn a_token_may_hold_the_label_and_more_and_tokens_around_the_text_count_nothing() {
        let tokens = [
            token("<start>", 1.0, &[]),
            token("{\"tone\":\"", 1.0, &[]),
            token("negative\"}", 0.75, &[("positive\"}", 0.25), ("po", 0.0)]),
            token("<end>", 1.0, &[]),
        ];
        let found = label_probabilities("{\"tone\":\"negative\"}", &tokens, &tone()).unwrap();
        near(&found, "tone", &[("negative", 0.75), ("positive", 0.25), ("possible", 0.0), ("null", 0.0)]);
    }

    #[test]
    fn what_can_not_be_followed_has_no_probabilities() {
        let tokens = [token("{\"tone\":\"", 1.0, &[]), token("glad\"}", 1.0, &[])];
        assert_eq!(label_probabilities("{\"tone\":\"glad\"}", &tokens, &tone()), None, "no label");
        assert_eq!(label_probabilities("{\"tone\":\"negative\"}", &tokens, &tone()), None, "other tokens");
        assert_eq!(label_probabilities("{\"tone\":\"glad\"}", &[], &tone()), None);
        assert_eq!(label_probabilities("no object", &[token("no object", 1.0, &[])], &tone()), None);
        let found = masses(&answer(&["yes", "no"]), &[token("\"maybe\"}", 1.0, &[])]);
        assert_eq!(found[&mass_key("answer")].len(), 0, "there are probabilities, but none of a label");
    }

    #[test]
    fn all_tokenisations_of_a_label_count_for_it() {
        let tokens = [
            // The opening quote with and without a space, alone or with a label.
            token(" \"", 0.6, &[("\"", 0.2), (" \"Yes", 0.05), ("\"no\"", 0.05), (" Yes", 0.03)]),
            token(
                "yes",
                0.4,
                &[("Yes", 0.1), (" yes", 0.05), ("YES", 0.05), ("y", 0.02), ("No", 0.2), ("n", 0.1), ("not", 0.03)],
            ),
            token("\"}", 1.0, &[]),
        ];
        let found = masses(&answer(&["yes", "no"]), &tokens);
        // Both quotes begin both labels, so they lead to the same distribution of what follows.
        let path = 0.6 + 0.2;
        let yes = 0.05 + path * (0.4 + 0.1 + 0.05 + 0.05 + 0.02);
        let no = 0.05 + path * (0.2 + 0.1);
        near(&found, &mass_key("answer"), &[("yes", yes), ("no", no)]);
        near(&found, "answer", &[("yes", yes / (yes + no)), ("no", no / (yes + no))]);
    }

    #[test]
    fn a_beginning_of_two_labels_is_divided_where_the_reply_follows_it() {
        let fields = answer(&["no", "not sure", "yes"]);
        let follows = [
            token("\"", 1.0, &[]),
            token("no", 0.6, &[("yes", 0.3), ("not", 0.05)]),
            token("\"", 0.7, &[("t", 0.2), (".\"", 0.05), (" sure", 0.01)]),
            token("}", 1.0, &[]),
        ];
        let found = masses(&fields, &follows);
        // "no." is "no", and "no sure" is not a label.
        near(&found, &mass_key("answer"), &[("no", 0.6 * 0.75), ("not sure", 0.05 + 0.6 * 0.2), ("yes", 0.3)]);
        // The reply goes another way: "no" may be both, so it counts for neither.
        let leaves = [
            token("\"", 1.0, &[]),
            token("yes", 0.5, &[("no", 0.3), ("not", 0.1), ("no\"", 0.05)]),
            token("\"}", 1.0, &[]),
        ];
        let found = masses(&fields, &leaves);
        near(&found, &mass_key("answer"), &[("no", 0.05), ("not sure", 0.1), ("yes", 0.5)]);
        near(&found, "answer", &[("no", 0.2 / 0.95), ("not sure", 0.25 / 0.95), ("yes", 0.5 / 0.95)]);
    }

    #[test]
    fn letters_and_numbers_name_their_options() {
        let choices = |labels: [&str; 2]| {
            let options = labels.into_iter().zip(["Agree", "B vitamins"]);
            let options = options.map(|(label, text)| (label.to_owned(), text.to_owned())).collect();
            vec![Field { kind: AnswerType::Labelled(options), ..answer(&["x"]).remove(0) }]
        };
        let tokens = [
            token("\"", 1.0, &[]),
            token("A", 0.5, &[("B", 0.2), ("Ag", 0.1), ("b", 0.05), ("C", 0.1)]),
            token("\"}", 0.9, &[("gree", 0.05), (". Agree", 0.04)]),
        ];
        // "A" may still be the letter or the text of the same option; "B" is the second in both.
        near(&masses(&choices(["A", "B"]), &tokens), &mass_key("answer"), &[("A", 0.6), ("B", 0.25)]);
        let tokens = [token("2", 0.6, &[("\"1", 0.2), (" 1", 0.1), ("3", 0.1)]), token("}", 1.0, &[])];
        near(&masses(&choices(["1", "2"]), &tokens), &mass_key("answer"), &[("1", 0.3), ("2", 0.6)]);
    }

    #[test]
    fn characters_may_be_spread_over_tokens_or_escaped() {
        let fields = answer(&["über", "öfter", "nie"]);
        let part = |bytes: &[u8], probability: f64| (bytes.to_vec(), probability);
        let first = Token {
            bytes: vec![0xc3],
            probability: 0.6,
            likeliest: vec![part(&[0xc3], 0.6), part(b"nie", 0.1), part(&[0xc3, 0x9c], 0.1), part(b"\\u00f6", 0.05)],
        };
        let second =
            Token { bytes: "ö".as_bytes()[1..].to_vec(), probability: 0.75, likeliest: vec![part(&[0xbc], 0.25)] };
        let tokens = [token("{\"answer\":\"", 1.0, &[]), first, second, token("fter\"}", 1.0, &[])];
        let found = label_probabilities("{\"answer\":\"öfter\"}", &tokens, &fields).unwrap();
        near(&found, &mass_key("answer"), &[("über", 0.1 + 0.6 * 0.25), ("öfter", 0.05 + 0.6 * 0.75), ("nie", 0.1)]);
    }
}

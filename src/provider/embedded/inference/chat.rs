//! The chat template: turns a conversation into the tokens that the model was trained to answer.
//!
//! The template is Jinja from the model's file, and texts are only values in it. A text that spells a special token
//! (`<|im_end|>`) stays text, so it cannot end its message.

use std::borrow::Cow;
use std::iter;

use aho_corasick::{AhoCorasick, MatchKind};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, context};

use super::gguf::{Gguf, broken};
use super::vocabulary::Vocabulary;
use crate::prompt::{Message, Role};
use crate::provider::EndpointError;

const FUEL: u64 = 1_000_000;
/// A Unicode noncharacter, which breaks special tokens in texts.
const MARK: char = '\u{FDD0}';
/// A system message that shows whether a template writes it.
const PROBE: &str = "a system message";
/// The special tokens of Phi 3 that keep the white space after them.
const KEEPING: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

pub(crate) struct Chat {
    environment: Environment<'static>,
    finder: AhoCorasick,
    names: Vec<String>,
    begin: String,
    end: String,
    takes_system: bool,
    /// The special tokens that swallow the white space after them.
    stripping: Vec<bool>,
}

impl Chat {
    pub(crate) fn new(gguf: &Gguf, vocabulary: &Vocabulary) -> Result<Self, EndpointError> {
        let Some(source) = gguf.text("tokenizer.chat_template") else {
            return Err(EndpointError::new("the model has no chat template, so it can't be asked questions")
                .help("use its `Instruct` or `Chat` version"));
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| broken(&e.to_string()))?);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", |text: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, text))
        });
        // A date would change the prompt every day.
        environment.add_function("strftime_now", |_: String| String::new());
        environment
            .add_template_owned("chat", source.to_owned())
            .map_err(|e| broken(&format!("the model's chat template does not compile: {e}")))?;
        let names: Vec<String> =
            vocabulary.specials().filter(|n| n.chars().nth(1).is_some()).map(str::to_owned).collect();
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&names);
        let finder = finder.map_err(|e| broken(&format!("the special tokens can't be searched for: {e}")))?;
        let name = |token: Option<u32>| {
            token.map(|t| String::from_utf8_lossy(vocabulary.bytes(t)).into_owned()).unwrap_or_default()
        };
        let begin = name(gguf.number("tokenizer.ggml.bos_token_id").map(|id| id as u32));
        let end = name(vocabulary.ends().first().copied());
        let strips = gguf.text("general.architecture") == Some("phi3") && vocabulary.is_sentencepiece();
        let stripping = names.iter().map(|name| strips && !KEEPING.contains(&name.as_str())).collect();
        let mut chat = Chat { environment, finder, names, begin, end, takes_system: true, stripping };
        let said = |role: &str, text: &str| context! { role => role, content => text };
        let asked = chat.render(vec![said("system", PROBE), said("user", "b")]);
        let plain = chat.render(vec![said("user", "b")]);
        chat.takes_system = plain.is_err() || asked.is_ok_and(|text| text.contains(PROBE));
        Ok(chat)
    }

    fn render(&self, messages: Vec<Value>) -> Result<String, String> {
        let template = self.environment.get_template("chat").map_err(|e| e.to_string())?;
        let values = context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => self.begin.as_str(),
            eos_token => self.end.as_str(),
        };
        template.render(values).map_err(|e| format!("the model's chat template fails: {e:#}"))
    }

    pub(crate) fn tokens(&self, messages: &[Message], vocabulary: &Vocabulary) -> Result<Vec<u32>, String> {
        let text = self.render(self.supported(messages).iter().map(|m| self.said(m)).collect())?;
        let mut tokens = Vec::new();
        let mut from = 0;
        for found in self.finder.find_iter(&text) {
            self.plain(&text[from..found.start()], vocabulary, &mut tokens);
            tokens.extend(vocabulary.special(&self.names[found.pattern()]));
            from = found.end();
            if self.stripping[found.pattern()] {
                from += text[from..].len() - text[from..].trim_start_matches(is_space).len();
            }
        }
        self.plain(&text[from..], vocabulary, &mut tokens);
        if let Some(begin) = vocabulary.begin().filter(|begin| tokens.first() != Some(begin)) {
            tokens.insert(0, begin);
        }
        Ok(tokens)
    }

    /// The messages as the template takes them: where it has no system messages, their text begins the next message.
    fn supported<'a>(&self, messages: &'a [Message]) -> Cow<'a, [Message]> {
        match messages {
            [system, next, rest @ ..] if !self.takes_system && system.role == Role::System => {
                let content = format!("{}\n{}", system.content, next.content);
                let first = Message { content, ..next.clone() };
                iter::once(first).chain(rest.iter().cloned()).collect()
            }
            _ => Cow::Borrowed(messages),
        }
    }

    fn said(&self, message: &Message) -> Value {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let text = message.content.replace(MARK, "");
        let mut content = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(found) = self.finder.find(rest) {
            let first = rest[found.start()..].chars().next().map_or(0, char::len_utf8);
            let (before, after) = rest.split_at(found.start() + first);
            content.push_str(before);
            content.push(MARK);
            rest = after;
        }
        content.push_str(rest);
        context! { role => role, content => content }
    }

    fn plain(&self, text: &str, vocabulary: &Vocabulary, tokens: &mut Vec<u32>) {
        if !text.is_empty() {
            tokens.extend(vocabulary.tokens(&text.replace(MARK, "")));
        }
    }
}

/// The white space of C.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

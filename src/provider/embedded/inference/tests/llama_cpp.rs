//! Side by side with llama.cpp over the same file, printed as tables. They need a running server:
//!
//! ```text
//! LLAMA_URL=http://127.0.0.1:8080 LLAMA_GGUF=/path/of/its.gguf \
//!     cargo test --lib llama_cpp -- --ignored --nocapture --test-threads 1
//! ```
//!
//! Without `LLAMA_GGUF` the server is taken to have the built-in model; `LLAMA_PROMPTS=6` saves minutes.
//!
//! Differences are expected: llama.cpp rounds what it multiplies the weights with to 8 bits in blocks of 32 numbers, we
//! do so, by the processor, in blocks of 256, in which one large number makes all others coarse. So where two tokens
//! are almost equally likely, the greedy texts part. SmolLM2's likeliest first tokens were 0.17 in the mean (of the
//! natural logarithm of the probability) from the unrounded ones here, 0.08 in llama.cpp, and the tiny models' 0.03 in
//! both.

use std::fs;
use std::io::Read;
use std::net::TcpStream;

use serde_json::json;

use super::super::transformer::Span;
use super::tiny::{KINDS, Tiny};
use super::*;

const PARAGRAPHS: &str = include_str!("../../../../../pipelines/data/paragraphs.csv");

/// Tokens of a reply.
const TOKENS: usize = 48;

/// The file that the server is said to have.
fn file() -> PathBuf {
    env::var_os("LLAMA_GGUF").map_or_else(|| weights().expect("weights"), PathBuf::from)
}

fn shared() -> Model {
    Model::load(&file()).expect("a model")
}

/// What the server answers to a POST.
fn ask(path: &str, body: &Value) -> Value {
    let url = env::var("LLAMA_URL").expect("LLAMA_URL");
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).expect("a server");
    let body = body.to_string();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    write!(stream, "{head}Content-Type: application/json\r\n\r\n{body}").expect("a request");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    serde_json::from_str(reply.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
}

/// The logarithms of the probabilities of what comes after the tokens that are new.
fn next(model: &Model, cache: &mut super::super::cache::Cache, tokens: &[u32]) -> Vec<f64> {
    let scores = model.transformer.forward(&mut [Span { cache, tokens }], &[true]).expect("it runs").expect("scores");
    logarithms(&scores.to_vec2().expect("a matrix")[0])
}

/// The logarithms of the probabilities that scores mean.
fn logarithms(scores: &[f32]) -> Vec<f64> {
    let top = f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = scores.iter().map(|score| (f64::from(*score) - top).exp()).sum();
    scores.iter().map(|score| f64::from(*score) - top - sum.ln()).collect()
}

/// The likeliest token.
fn best(logarithms: &[f64]) -> u32 {
    (0..logarithms.len()).max_by(|a, b| logarithms[*a].total_cmp(&logarithms[*b])).unwrap_or(0) as u32
}

/// A token of llama.cpp's reply, and the likeliest ones in its place.
struct Theirs {
    token: u32,
    likely: Vec<(u32, f64)>,
}

fn theirs(prompt: &[u32], tokens: usize) -> Vec<Theirs> {
    let body = json!({
        "prompt": prompt, "n_predict": tokens, "temperature": 0, "n_probs": 5, "cache_prompt": false,
    });
    let reply = ask("/completion", &body);
    let id = |token: &Value| token["id"].as_u64().expect("an id") as u32;
    // Bytes that are not a text yet come without.
    let steps = reply["completion_probabilities"].as_array().cloned().unwrap_or_default();
    let likely = |step: &Value| -> Vec<(u32, f64)> {
        let top = step["top_logprobs"].as_array().expect("a list");
        top.iter().map(|token| (id(token), token["logprob"].as_f64().expect("a number"))).collect()
    };
    steps.iter().map(|step| Theirs { token: id(step), likely: likely(step) }).collect()
}

/// Prompts over the first paragraphs, as tokens.
fn prompts(model: &Model, count: usize) -> Vec<Vec<u32>> {
    let mut rows = csv::Reader::from_reader(PARAGRAPHS.as_bytes());
    let prompt = |row: csv::StringRecord| {
        let text = format!("Say in one sentence what this passage is about.\n\n{}", &row[3]);
        model.chat.tokens(&[Message::user(text)], &model.vocabulary).expect("tokens")
    };
    rows.records().take(count).map(|row| prompt(row.expect("a row"))).collect()
}

#[test]
#[ignore = "needs a llama.cpp server"]
fn tokens_of_500_texts() {
    let model = shared();
    let mut texts: Vec<String> = include_str!("tokens.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<(String, Value)>(line).expect("a text").0)
        .collect();
    // Each with a neighbour, then paragraphs, by sentence and whole.
    texts.extend(texts.clone().windows(2).map(|two| two.concat()));
    let mut rows = csv::Reader::from_reader(PARAGRAPHS.as_bytes());
    for row in rows.records() {
        let row = row.expect("a row");
        texts.extend(row[3].split_inclusive(". ").map(str::to_owned));
    }
    let halves = |text: &String| [0, 1].map(|half| text.chars().skip(half).step_by(2).collect::<String>());
    texts.extend(texts.clone().iter().flat_map(halves));
    texts.truncate(500);
    let count = texts.len();
    let differ = texts.iter().filter(|text| {
        let theirs = ask("/tokenize", &json!({ "content": text, "parse_special": false, "add_special": false }));
        let differs = json!(model.vocabulary.tokens(text)) != theirs["tokens"];
        if differs {
            println!("{text:?}: {:?}, not {}", model.vocabulary.tokens(text), theirs["tokens"]);
        }
        differs
    });
    let differ = differ.count();
    println!("{differ} of {count} texts are cut into other tokens");
    assert_eq!((differ, count), (0, 500));
}

#[test]
#[ignore = "needs a llama.cpp server"]
fn scores_of_the_first_token() {
    let (path, model) = (file(), shared());
    let (mut far, mut same, mut count) = ([(0.0f64, 0.0f64); 3], 0, 0);
    // The plain forward pass takes its time.
    let prompts = prompts(&model, env::var("LLAMA_PROMPTS").map_or(20, |n| n.parse().expect("a number")));
    println!();
    for prompt in &prompts {
        let ours = next(&model, &mut model.transformer.cache(0), prompt);
        let plain = logarithms(&reference::scores(&path, prompt, model.vocabulary.len()));
        let Some(theirs) = theirs(prompt, 1).pop() else { continue };
        same += usize::from(best(&ours) == theirs.token);
        for (token, logarithm) in theirs.likely {
            let (ours, plain) = (ours[token as usize], plain[token as usize]);
            for (far, two) in far.iter_mut().zip([(ours, logarithm), (ours, plain), (logarithm, plain)]) {
                let apart = (two.0 - two.1).abs();
                *far = (far.0 + apart, far.1.max(apart));
            }
            count += 1;
        }
    }
    println!("first token of {} prompts: {same} the same; differences of llama.cpp's five likeliest:", prompts.len());
    for (name, far) in ["ours, llama.cpp's", "ours, unrounded", "llama.cpp's, unrounded"].into_iter().zip(far) {
        println!("{name:24} {:.4} in the mean, {:.4} at most", far.0 / f64::from(count), far.1);
    }
}

#[test]
#[ignore = "needs a llama.cpp server"]
fn greedy_replies() {
    let model = shared();
    let mut equal = 0;
    for (i, prompt) in prompts(&model, 20).into_iter().enumerate() {
        let mut cache = model.transformer.cache(0);
        let mut ours = next(&model, &mut cache, &prompt);
        let mut parted = false;
        for (at, theirs) in theirs(&prompt, TOKENS).into_iter().enumerate() {
            let token = best(&ours);
            if token != theirs.token {
                let told = |token: u32| {
                    let text = String::from_utf8_lossy(model.vocabulary.bytes(token)).into_owned();
                    let there = theirs.likely.iter().find(|(id, _)| *id == token).map_or(f64::NAN, |(_, l)| *l);
                    format!("{text:?} here {:.4}, there {there:.4}", ours[token as usize])
                };
                println!("prompt {i:2} parts at token {at:2}: {}; {}", told(token), told(theirs.token));
                parted = true;
                break;
            }
            ours = next(&model, &mut cache, &[token]);
        }
        equal += usize::from(!parted);
    }
    println!("{equal} of 20 greedy replies are the same for {TOKENS} tokens");
}

#[test]
#[ignore = "writes files for a llama.cpp server"]
fn write_tiny_models() {
    let folder = temporary();
    fs::create_dir_all(&folder).expect("a folder");
    for (kind, answering) in KINDS {
        let file = folder.join(format!("{kind}-{answering}.gguf"));
        fs::write(&file, Tiny::new(kind, answering).bytes()).expect("a file");
        println!("{}", file.display());
    }
}

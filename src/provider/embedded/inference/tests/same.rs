//! The same question gets the same answer, to the bit, however it is asked.

use rayon::ThreadPoolBuilder;
use serde_json::json;

use super::super::cache::Cache;
use super::super::model::Model;
use super::super::transformer::Span;
use super::*;

const TEXT: &str = "The Constitution charges you to give the Congress information of the state of the Union, and you say \
                    that 3.5 % of 1,200 citizens – « naïve » ones – were asked on 4 July 1854: \"Is it so?\" 你好 😀 No one has ever said \
                    anything like that.";

/// The bits of the scores of what comes after these tokens, run in pieces of this size.
fn run(model: &Model, cache: &mut Cache, tokens: &[u32], piece: usize) -> Vec<u32> {
    let step = |tokens| step(model, &mut [Span { cache: &mut *cache, tokens }], &[true]).remove(0);
    alone(|| tokens.chunks(piece).map(step).last().unwrap_or_default())
}

fn step(model: &Model, spans: &mut [Span<'_>], wanted: &[bool]) -> Vec<Vec<u32>> {
    let scores = model.transformer.forward(spans, wanted).expect("it runs").expect("scores are wanted");
    let rows: Vec<Vec<f32>> = scores.to_vec2().expect("a matrix");
    rows.into_iter().map(|row| row.into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn scores_do_not_depend_on_the_cut() {
    let Some(model) = model("scores_do_not_depend_on_the_cut") else { return };
    let tokens = model.vocabulary.tokens(TEXT);
    assert!(tokens.len() > 64);
    let whole = run(model, &mut model.transformer.cache(0), &tokens, tokens.len());
    for piece in [7, 64] {
        assert!(run(model, &mut model.transformer.cache(0), &tokens, piece) == whole, "pieces of {piece}");
    }
    // Token by token, against the scores of whole beginnings.
    let mut cache = model.transformer.cache(0);
    for (i, token) in tokens.iter().enumerate() {
        let one = run(model, &mut cache, &[*token], 1);
        if [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 47, tokens.len() - 1].contains(&i) {
            assert!(run(model, &mut model.transformer.cache(0), &tokens[..=i], 128) == one, "token {i}");
        }
    }
    // Also on several threads.
    let pool = ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
    let mut cache = model.transformer.cache(0);
    let pooled = pool.install(|| step(model, &mut [Span { cache: &mut cache, tokens: &tokens }], &[true]));
    assert!(pooled[0] == whole);
}

#[test]
fn scores_do_not_depend_on_the_neighbours() {
    let Some(model) = model("scores_do_not_depend_on_the_neighbours") else { return };
    let tokens = model.vocabulary.tokens(TEXT);
    let (tokens, last) = (&tokens[..40], &tokens[40..41]);
    let mut cache = model.transformer.cache(0);
    let by_itself = run(model, &mut cache, tokens, 40);
    let after = run(model, &mut cache, last, 1);
    let others: Vec<Vec<u32>> =
        [1usize, 2, 5, 17, 30].map(|n| model.vocabulary.tokens(&"other words ".repeat(n))).to_vec();
    for count in 1..=others.len() {
        for place in [0, count] {
            let mut caches: Vec<Cache> = (0..=count).map(|_| model.transformer.cache(0)).collect();
            let mut rest = others.iter();
            let mut spans: Vec<Span<'_>> = Vec::new();
            for (i, cache) in caches.iter_mut().enumerate() {
                let tokens = if i == place { tokens } else { rest.next().expect("another") };
                spans.push(Span { cache, tokens });
            }
            let wanted: Vec<bool> = (0..=count).map(|i| i == place || i % 2 == 0).collect();
            let row = wanted[..place].iter().filter(|wanted| **wanted).count();
            assert!(alone(|| step(model, &mut spans, &wanted))[row] == by_itself, "{count} others, place {place}");
            // And on, a token each.
            let mut spans: Vec<Span<'_>> = caches.iter_mut().map(|cache| Span { cache, tokens: last }).collect();
            let all = alone(|| step(model, &mut spans, &vec![true; count + 1]));
            assert!(all[place] == after, "{count} others, one token");
        }
    }
}

#[test]
fn scores_do_not_depend_on_where_the_beginning_comes_from() {
    let Some(model) = model("scores_do_not_depend_on_where_the_beginning_comes_from") else { return };
    let tokens = model.vocabulary.tokens(TEXT);
    let tokens = &tokens[..48];
    let whole = run(model, &mut model.transformer.cache(0), tokens, 48);
    let mut other = model.transformer.cache(0);
    let mut text = tokens[..33].to_vec();
    text.extend(model.vocabulary.tokens(" and then something else"));
    run(model, &mut other, &text, 9);
    for known in [0, 1, 20, 33] {
        let mut cache = other.prefix(known, 64);
        assert!(cache.len() == known && run(model, &mut cache, &tokens[known..], 48) == whole, "{known} known");
    }
}

/// Calls of all sorts, some of which begin alike.
fn calls() -> Vec<Body> {
    let tone = json!({
        "type": "object",
        "properties": {
            "tone": { "type": "string", "enum": ["positive", "neutral", "negative"] },
            "score": { "type": "integer", "minimum": 0, "maximum": 10 },
        },
        "required": ["tone", "score"],
        "additionalProperties": false,
    });
    let rows = ["I love this.", "I love that, but what an endless, boring day it was!", "ok"];
    let mut calls = Vec::new();
    for (i, row) in rows.into_iter().enumerate() {
        for (temperature, seed) in [(0.0, None), (0.8, Some(7)), (0.8, Some(8))] {
            let text = format!("Read this sentence carefully and say what you think of its tone.\n\n{row}");
            for mut call in [typed(&text, 24, tone.clone()), question(&text, 5 + 3 * i as u32)] {
                call.sampling.temperature = Some(temperature);
                call.sampling.seed = seed;
                calls.push(call);
            }
        }
    }
    calls
}

#[test]
fn replies_do_not_depend_on_what_else_is_asked() {
    let Some(model) = model("replies_do_not_depend_on_what_else_is_asked") else { return };
    let alone: Vec<_> = with_engine(model, |queue| {
        let reply = |call| send(queue, call).blocking_recv().unwrap().map(|(reply, _)| reply);
        calls().into_iter().map(reply).collect()
    });
    let together = answers(model, calls());
    assert_eq!(together, alone);
    let mut backwards = calls();
    backwards.reverse();
    let mut backwards = answers(model, backwards);
    backwards.reverse();
    assert_eq!(backwards, alone);
    assert!(alone.iter().all(Result::is_ok), "{alone:?}");
    let texts: Vec<&str> = alone.iter().flatten().map(|reply| reply.text.as_str()).collect();
    assert!(texts.chunks(6).any(|row| row[3] != row[5]), "seeds make no difference: {texts:?}");
}

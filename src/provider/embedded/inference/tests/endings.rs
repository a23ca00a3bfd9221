//! How a call ends: stop texts, limits, contexts that are too short, callers that go away.

use std::time::{Duration, Instant};

use super::*;
use crate::provider::{CallErrorKind, Finish};

const LONG: &str = "Tell me a long story about a ship.";

#[test]
fn a_stop_text_ends_the_reply_before_it() {
    let Some(model) = model("a_stop_text_ends_the_reply_before_it") else { return };
    let whole = reply(model, question(LONG, 24));
    assert_eq!((whole.finish, whole.completion_tokens), (Finish::Length, Some(24)));
    // A text from its middle, with parts of two words.
    let from = whole.text.char_indices().nth(20).expect("a longer reply").0;
    let to = whole.text.char_indices().nth(28).expect("a longer reply").0;
    let stop = &whole.text[from..to];
    let mut call = question(LONG, 24);
    call.sampling.stop = vec!["never said".to_owned(), String::new(), stop.to_owned()];
    let stopped = reply(model, call);
    assert_eq!(stopped.finish, Finish::Stop);
    assert_eq!(stopped.text, whole.text[..whole.text.find(stop).expect("it is there")]);
    assert!(stopped.completion_tokens < Some(24));
}

#[test]
fn replies_end_by_themselves_or_at_the_limit() {
    let Some(model) = model("replies_end_by_themselves_or_at_the_limit") else { return };
    let short = reply(model, question(LONG, 3));
    assert_eq!((short.finish, short.completion_tokens), (Finish::Length, Some(3)));
    let ended = reply(model, question("What is 2+2? Answer with one number.", 60));
    assert_eq!(ended.finish, Finish::Stop, "{ended:?}");
    assert!(!ended.text.is_empty() && !ended.text.contains("<|im_end|>"));
    // A context that the reply fills up.
    let mut call = question(LONG, 60);
    let prompt = short.prompt_tokens.expect("a count");
    call.sampling.num_ctx = Some(prompt as u32 + 5);
    let full = reply(model, call);
    assert_eq!((full.finish, full.completion_tokens), (Finish::Length, Some(5)));
}

#[test]
fn a_prompt_longer_than_the_context_is_an_error_with_both_numbers() {
    let Some(model) = model("a_prompt_longer_than_the_context_is_an_error_with_both_numbers") else { return };
    let mut call = question(LONG, 3);
    call.sampling.num_ctx = Some(20);
    let tokens = model.chat.tokens(&call.messages, &model.vocabulary).expect("tokens").len();
    let far = question(&"word ".repeat(9000), 3);
    let told = answers(model, vec![call, far, question(LONG, 3)]);
    let error = told[0].as_ref().unwrap_err();
    assert_eq!(error.kind, CallErrorKind::ContextTooLong);
    assert!(error.message.contains(&tokens.to_string()) && error.message.contains("20"), "{}", error.message);
    let error = told[1].as_ref().unwrap_err();
    assert!(error.kind == CallErrorKind::ContextTooLong && error.message.contains("8192"), "{}", error.message);
    assert!(told[2].is_ok());
}

#[test]
fn a_caller_that_goes_away_leaves_room_for_others() {
    let Some(model) = model("a_caller_that_goes_away_leaves_room_for_others") else { return };
    with_engine(model, |queue| {
        // More than all threads together take in hand, and for minutes.
        let left: Vec<Told> = (0..100).map(|i| send(queue, question(&format!("{LONG} {i}"), 8000))).collect();
        thread::sleep(Duration::from_millis(300));
        let gone = Instant::now();
        drop(left);
        let told = send(queue, question(LONG, 3)).blocking_recv().expect("the engine goes on");
        assert_eq!(told.expect("a reply").0.completion_tokens, Some(3));
        assert!(gone.elapsed() < Duration::from_secs(60), "{:?}", gone.elapsed());
    });
}

#[test]
fn seeds() {
    let Some(model) = model("seeds") else { return };
    let drawn = |seed| {
        let mut call = question(LONG, 12);
        call.sampling.temperature = Some(1.0);
        call.sampling.seed = seed;
        reply(model, call).text
    };
    assert_eq!(drawn(Some(3)), drawn(Some(3)));
    assert_ne!(drawn(Some(3)), drawn(Some(4)));
    assert_eq!(drawn(None), drawn(Some(0)));
}

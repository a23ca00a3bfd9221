//! Paraphrases: lets a model write other wordings of a prompt, before the run that asks them.

use std::sync::Arc;

use super::call::CallRequest;
use super::error::RunError;
use super::pilot::Asking;
use super::progress::Progress;
use super::stop::{Stop, StopReason};
use crate::ask::{Replicate, Terms};
use crate::models::Models;
use crate::plan::Plan;
use crate::prompt::{Addressee, Expect, Message, Prompt};
use crate::spec::{ANSWERS, Paraphrased, Paraphrases, Unwritten};
use crate::store::Project;

/// How often a wording is asked for, until it can be used.
const TRIES: u64 = 5;

/// Asks for the wordings that the spec of `plan` lacks, and records them in the ledger of `project`. Returns why it
/// stopped if it did.
pub(crate) async fn paraphrase(
    plan: Arc<Plan>,
    models: Models,
    project: &Project,
    stop: Stop,
) -> Result<Result<Paraphrases, StopReason>, RunError> {
    let _shared = project.share()?;
    let asking = Asking::start(&plan, models, (project, 1), stop.clone())?;
    let mut written = Paraphrases::new();
    for unwritten in &plan.spec.unwritten {
        let Some(wordings) = wordings(&plan, unwritten, &asking).await? else {
            asking.close().await?;
            return Ok(Err(stop.reason().unwrap_or(StopReason::Interrupted)));
        };
        written.insert(unwritten.stage.clone(), Paraphrased { of: unwritten.of.clone(), wordings });
    }
    asking.close().await?;
    Ok(Ok(written))
}

/// The wordings of one prompt. `None` if the run stops.
async fn wordings(plan: &Plan, unwritten: &Unwritten, asking: &Asking) -> Result<Option<Vec<String>>, RunError> {
    let Unwritten { stage, model: name, prompt, n, .. } = unwritten;
    let progress = Progress::new(plan);
    let mut wordings: Vec<String> = Vec::new();
    while wordings.len() < *n {
        let mut why = String::new();
        for attempt in 0..TRIES {
            let number = wordings.len() as u64 * TRIES + attempt;
            let Some(reply) = ask(plan, unwritten, asking, (number, &progress)).await? else { return Ok(None) };
            match usable(&reply, prompt, &wordings) {
                Ok(wording) => {
                    wordings.push(wording);
                    why.clear();
                    break;
                }
                Err(reason) => why = reason,
            }
        }
        if !why.is_empty() {
            let number = wordings.len() + 1;
            return Err(RunError::Paraphrase {
                stage: stage.clone(),
                message: format!("`{name}` wrote no usable wording {number} in {TRIES} tries: {why}"),
            });
        }
    }
    Ok(Some(wordings))
}

/// The reply to the request for a wording; each `number` makes a different request. `None` if the run stops.
async fn ask(
    plan: &Plan,
    Unwritten { stage, model: name, prompt, .. }: &Unwritten,
    asking: &Asking,
    (number, progress): (u64, &Progress),
) -> Result<Option<String>, RunError> {
    let failed = |message: String| RunError::Paraphrase { stage: stage.clone(), message };
    let missing = || failed("the spec has no such stage or model".to_owned());
    let model = plan.spec.models.get_index_of(name.as_str()).ok_or_else(missing)?;
    let answers = plan.spec.find(&format!("{stage}.{ANSWERS}")).ok_or_else(missing)?;
    let universe = *plan.spec.table(answers).inputs().first().ok_or_else(missing)?;
    let of = plan.spec.table(universe).as_stage().ok_or_else(missing)?;
    let messages = vec![Message::user(request(prompt))];
    let prompt = Prompt {
        messages,
        expect: Arc::new(Expect::Text),
        schema: None,
        respondent: None,
        pack: None,
        to: Addressee::Row,
    };
    let target = asking.calls.target(model);
    let replicate = Replicate { number, repeat: 0 };
    let lane = asking.lanes.lane().await;
    let request = CallRequest {
        model,
        replicate,
        prompt: &prompt,
        key: target.key(&prompt, replicate),
        terms: Terms::new(of, &target.fallback, target.context_size()),
        lane: &lane,
        is_first: true,
        fallback_of: None,
    };
    match asking.calls.look_up_or_ask(request, progress.stage(universe)).await.map(|finished| finished.answer) {
        None => Ok(None),
        Some(Ok(answer)) => Ok(Some(answer.first().map(|cell| cell.text()).unwrap_or_default())),
        Some(Err(failure)) => Err(failed(format!("`{name}` gave no wording: {failure}"))),
    }
}

fn request(prompt: &str) -> String {
    format!(
        "Write the instruction below in other words. Keep its meaning, and keep everything in double braces exactly as it \
         is. Answer with the new instruction only.\n\n<instruction>\n{}\n</instruction>",
        prompt.trim()
    )
}

/// The wording in a reply. It must differ from the prompt and the `others`, and read the same columns. The error is a
/// sentence.
fn usable(reply: &str, prompt: &str, others: &[String]) -> Result<String, String> {
    let text = bare(reply);
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    let [wanted, found] = [prompt, text].map(tags);
    if let Some(tag) = wanted.iter().find(|tag| !found.contains(tag)) {
        return Err(format!("it lacks `{tag}`"));
    }
    if wanted.len() != found.len() {
        return Err("it has other parts in braces than the prompt".to_owned());
    }
    if text == prompt.trim() || others.iter().any(|other| other == text) {
        return Err("it is the prompt itself, or an earlier wording".to_owned());
    }
    Ok(text.to_owned())
}

/// The reply without what models put around a text.
fn bare(reply: &str) -> &str {
    let mut text = reply.trim();
    for (open, close) in [("```", "```"), ("<instruction>", "</instruction>"), ("\"", "\""), ("“", "”")] {
        let inner = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        let is_one = |inner: &&str| !inner.contains(open);
        text = inner.filter(is_one).map_or(text, str::trim);
    }
    text
}

/// The parts of a template in braces, sorted.
fn tags(template: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let close = if rest[start..].starts_with("{{") { "}}" } else { "%}" };
        let Some(length) = rest[start..].find(close) else { break };
        let tag = &rest[start..start + length + close.len()];
        tags.push(tag.split_whitespace().collect::<Vec<_>>().join(" "));
        rest = &rest[start + length + close.len()..];
    }
    tags.sort_unstable();
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: &str = "What is the tone of this?\n{{ text }}\n";

    #[test]
    fn a_wording_has_the_parts_in_braces_of_the_prompt_and_is_new() {
        let read = |reply: &str| usable(reply, PROMPT, &["Tone? {{ text }}".to_owned()]);
        for around in [
            "How does it sound?\n{{  text }}",
            "\"How does it sound?\n{{  text }}\"",
            "```\nHow does it sound?\n{{  text }}\n```",
        ] {
            assert_eq!(read(around).as_deref(), Ok("How does it sound?\n{{  text }}"), "{around}");
        }
        assert_eq!(read("How does it sound?"), Err("it lacks `{{ text }}`".to_owned()));
        assert!(read("Sound of {{ text }}, {{ other }}?").is_err());
        assert!(read("Sound of {{ text }}, {{ text }}?").is_err());
        assert!(read(PROMPT).is_err());
        assert!(read(" Tone? {{ text }} ").is_err());
        assert!(read(" \n").is_err());
    }

    #[test]
    fn parts_in_braces_are_found_in_any_template() {
        let template = "{% if a %}{{a}}{% endif %} {{ b | upper }} {c} {{ open";
        assert_eq!(tags(template), ["{% endif %}", "{% if a %}", "{{ b | upper }}", "{{a}}"]);
    }
}

//! Volumes: the calls of a stage to one model, those to send and those that the ledger answers.

use std::sync::Arc;

use crate::ask::Respondent;
use crate::prompt::Prompt;
use crate::random::Stream;
use crate::spec::StageSpec;
use crate::store::{CallTotals, Record};

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Volume {
    /// The most calls to send.
    pub(crate) calls: u64,
    /// The bytes of their prompts.
    pub(crate) bytes: u64,
    /// Those of the calls whose prompts are not known, so that `bytes` lacks them.
    pub(crate) of_unknown_size: u64,
    /// The calls that the ledger answers.
    pub(crate) recorded: CallTotals,
    /// The bytes of the recorded prompts that were sent once, and their tokens by the server's count.
    pub(crate) measured: (u64, u64),
}

impl Volume {
    /// Adds calls with prompts of this size.
    pub(crate) fn ask(&mut self, prompt: &Prompt, calls: u64) {
        self.calls += calls;
        self.bytes += calls * bytes(prompt);
    }

    pub(crate) fn known(&mut self, prompt: &Prompt, record: &Record) {
        self.recorded.add(record);
        if record.attempts == 1 && record.prompt_tokens > 0 {
            self.measured.0 += bytes(prompt);
            self.measured.1 += record.prompt_tokens;
        }
    }

    /// Adds the first round about a row, and as many prompts of its last size as later rounds may have.
    pub(crate) fn ask_rounds(&mut self, prompts: &[Prompt], most: u64) {
        prompts.iter().for_each(|prompt| self.ask(prompt, 1));
        if let Some(last) = prompts.last() {
            self.ask(last, most.saturating_sub(prompts.len() as u64));
        }
    }

    pub(crate) fn ask_unknown(&mut self, calls: u64) {
        self.calls += calls;
        self.of_unknown_size += calls;
    }
}

/// Adds the calls about `rows` rows of which nothing is known. Models that share rows get equal shares.
pub(crate) fn ask_about_unknown(volumes: &mut [Volume], stage: &StageSpec, rows: u64) {
    let packs = rows.div_ceil(stage.rows_per_prompt);
    let calls = |prompts: u64| packs * prompts * stage.answers.replicates as u64;
    let info = &stage.stage.info;
    let (models, sub) = (stage.answers.models as u64, calls(info.most_sub_prompts));
    let calls = calls(info.most_prompts - info.most_sub_prompts);
    if let Some(volume) = volumes.last_mut().filter(|_| sub > 0) {
        volume.ask_unknown(sub);
    }
    for (i, volume) in volumes.iter_mut().enumerate().take(models as usize) {
        let shared = (calls + models - 1 - i as u64) / models;
        volume.ask_unknown(if stage.answers.fanned_out() { calls } else { shared });
    }
}

pub(crate) fn bytes(prompt: &Prompt) -> u64 {
    prompt.messages.iter().map(|message| message.content.len() as u64).sum()
}

/// A call to send, for a pilot.
#[derive(Clone)]
pub(crate) struct OpenCall {
    pub(crate) who: Respondent,
    pub(crate) prompt: Arc<Prompt>,
}

/// A sample of the calls to send, each equally likely (reservoir sampling, Vitter 1985,
/// <https://doi.org/10.1145/3147.3165>, algorithm R).
pub(crate) struct Sample {
    size: usize,
    seen: u64,
    stream: Stream,
    pub(crate) calls: Vec<OpenCall>,
}

impl Sample {
    pub(crate) fn new(size: usize, stream: Stream) -> Sample {
        Sample { size, seen: 0, stream, calls: Vec::new() }
    }

    pub(crate) fn offer(&mut self, call: impl FnOnce() -> OpenCall) {
        self.seen += 1;
        if self.calls.len() < self.size {
            return self.calls.push(call());
        }
        let place = self.stream.below(self.seen) as usize;
        if let Some(kept) = self.calls.get_mut(place) {
            *kept = call();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Replicate;
    use crate::prompt::{Addressee, Expect, Message};
    use crate::random::Streams;

    fn prompt(text: &str) -> Prompt {
        let messages = vec![Message::user(text)];
        Prompt {
            messages,
            expect: Arc::new(Expect::Text),
            schema: None,
            respondent: None,
            pack: None,
            to: Addressee::Row,
        }
    }

    #[test]
    fn later_rounds_count_with_the_size_of_the_last_prompt() {
        let mut volume = Volume::default();
        volume.ask_rounds(&[prompt("four"), prompt("eight...")], 5);
        assert_eq!((volume.calls, volume.bytes), (5, 4 + 4 * 8));
    }

    #[test]
    fn only_prompts_that_were_sent_once_measure_the_tokenizer() {
        let mut volume = Volume::default();
        let record = |attempts| Record { attempts, prompt_tokens: 3, completion_tokens: 5, ..Record::default() };
        volume.known(&prompt("twelve bytes"), &record(1));
        volume.known(&prompt("twelve bytes"), &record(2));
        assert_eq!(volume.measured, (12, 3));
        assert_eq!((volume.recorded.calls, volume.recorded.attempts, volume.recorded.completion_tokens), (2, 3, 10));
    }

    #[test]
    fn every_call_is_equally_likely_in_the_sample() {
        let who = |model| Respondent { model, replicate: Replicate::default() };
        let mut counts = [0_u32; 10];
        for seed in 0..6000 {
            let mut sample = Sample::new(3, Streams::new(seed, &["pilot"]).of(0));
            (0..10).for_each(|i| sample.offer(|| OpenCall { who: who(i), prompt: Arc::new(prompt("a")) }));
            assert_eq!(sample.calls.len(), 3);
            sample.calls.iter().for_each(|call| counts[call.who.model] += 1);
        }
        // Each call is in 30 % of the samples: 1,800, with a standard deviation of 35.
        assert!(counts.iter().all(|count| (1600..2000).contains(count)), "{counts:?}");
    }
}

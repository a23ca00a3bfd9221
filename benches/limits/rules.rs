//! Servers with limits, without a network or a clock: which calls they refuse, and the Retry-After that they say.

#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// Refuses this share of the calls, at random.
    Random(f64),
    /// Lets calls in at a rate per second, with a burst of one second, at least one call.
    Bucket(f64),
    /// Lets a number of calls in within each window of seconds.
    Window(u32, f64),
    AtOnce(usize),
    /// Refuses the same share of the calls each time.
    Poison(f64),
}

/// The Retry-After of a refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum After {
    None,
    Exact,
    /// In whole seconds.
    Ceil,
    Fixed(f64),
}

/// What a call meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Entry {
    LetIn,
    /// Holds the Retry-After in seconds.
    Refused(Option<f64>),
}

/// A server with its state.
#[derive(Debug)]
pub(crate) struct Limited {
    rule: Rule,
    after: After,
    level: f64,
    at: f64,
    in_flight: usize,
}

impl Limited {
    pub(crate) fn new(rule: Rule, after: After) -> Self {
        let level = match rule {
            Rule::Bucket(rate) => rate.max(1.0),
            Rule::Window(most, _) => f64::from(most),
            _ => 0.0,
        };
        Limited { rule, after, level, at: 0.0, in_flight: 0 }
    }

    /// `call` is its number, `t` the time in seconds, `random` a number from 0 to 1.
    pub(crate) fn arrive(&mut self, call: usize, t: f64, random: f64) -> Entry {
        let wait = match self.rule {
            Rule::Random(share) => (random < share).then_some(1.0),
            Rule::Poison(share) => ((call as f64 * 0.618_034).fract() < share).then_some(1.0),
            Rule::Bucket(rate) => {
                self.level = (self.level + rate * (t - self.at)).min(rate.max(1.0));
                self.at = t;
                (self.level < 1.0).then_some((1.0 - self.level) / rate)
            }
            Rule::Window(most, seconds) => {
                let window = (t / seconds).floor();
                if window > self.at {
                    (self.level, self.at) = (f64::from(most), window);
                }
                (self.level < 1.0).then_some((window + 1.0) * seconds - t)
            }
            Rule::AtOnce(most) => (self.in_flight >= most).then_some(0.5),
        };
        let Some(wait) = wait else {
            self.level -= 1.0;
            self.in_flight += 1;
            return Entry::LetIn;
        };
        Entry::Refused(match self.after {
            After::None => None,
            After::Exact => Some(wait),
            After::Ceil => Some(wait.ceil().max(1.0)),
            After::Fixed(seconds) => Some(seconds),
        })
    }

    /// Ends a call that was let in.
    pub(crate) fn leave(&mut self) {
        self.in_flight -= 1;
    }
}

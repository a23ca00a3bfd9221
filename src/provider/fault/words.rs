//! Words of failures: what servers say in codes and messages, as tables of patterns. Pure.

/// Google uses the same code and wait for all limits; only the id of the quota differs.
pub(super) const DAILY_QUOTA: &str = "daily_quota";

/// A pattern is a list of words that a message in lower case contains in this order.
type Pattern = &'static [&'static str];

/// The ways to say that a prompt is longer than the context of its model.
static TOO_LONG: &[Pattern] = &[
    &["maximum context length"],
    &["max context length"],
    &["contextwindowexceeded"],
    &["context_length_exceeded"],
    &["exceed_context_size"],
    &["exceed", "context length"],
    &["exceed", "context size"],
    &["exceed", "context window"],
    &["exceed", "context limit"],
    &["context length", "exceed"],
    &["context window", "exceed"],
    &["context size", "exceed"],
    &["context window", "is full"],
    &["context length is only"],
    &["context length of only"],
    &["longer than", "context"],
    &["longer than", "maximum model length"],
    &["longer than", "max_model_len"],
    &["longer than", "max session"],
    &["greater than", "context length"],
    &["greater than", "max_seq_len"],
    &["larger than", "context"],
    &["too large for", "context"],
    &["too long", "context"],
    &["not fit", "context"],
    &["n_keep", "n_ctx"],
    &["prompt is too long"],
    &["prompt too long"],
    &["input is too long"],
    &["input too long"],
    &["the prompt (", "is too long"],
    &["too many tokens", "prompt"],
    &["too many input tokens"],
    &["prompt token", "exceed"],
    &["input token", "exceed"],
    &["input token", "only supports up to"],
    &["token count exceeds"],
    &["prompt length", "exceed"],
    &["input length", "exceed"],
    &["exceed", "maximum number of tokens"],
    &["exceed", "model token limit"],
    &["exceed", "max_num_tokens"],
    &["exceed", "max_seq_len"],
    &["exceed", "maximum model length"],
    &["reduce the length of the"],
    &["reduce", "input token count"],
    &["inputs", "tokens + ", "max_new_tokens", "must be"],
    &["must have less than", "tokens"],
    &["range of input length"],
    &["maximum prompt length is"],
    &["request body too large for", "model"],
    &["provide a shorter input"],
    &["try using a shorter prompt"],
];

/// One request that is larger than what a server takes in a minute never fits, whatever its status.
static TOO_LARGE: &[Pattern] = &[&["request too large for"]];

static TOO_LONG_CODES: &[&str] = &[
    "context_length_exceeded",
    "context_window_exceeded",
    "exceed_context_size_error",
    "string_above_max_length",
    "model_max_prompt_tokens_exceeded",
    "tokens_limit_reached",
    "prompt_too_long",
    "input_too_long",
    "ContextWindowExceededError",
];

/// The ways to say that an account has nothing left. Source of Anthropic's words:
/// <https://platform.claude.com/docs/en/api/rate-limits>.
static SPENT: &[Pattern] = &[
    &["you have reached your specified ", "usage limits"],
    &["credit balance is too low"],
    &["insufficient balance"],
    &["insufficient credits"],
    &["insufficient_quota"],
    &["requires more credits"],
    &["exceeded your monthly", "credits"],
    &["out of credits"],
];

static SPENT_CODES: &[&str] = &[
    "insufficient_quota",
    "insufficient_balance",
    "insufficient_credits",
    "exceeded_current_quota_error",
    "Arrearage",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "enforced_spend_limit_reached",
    DAILY_QUOTA,
];

/// The ways to say that the model's text missed the schema, which the server checked itself.
static UNFIT: &[Pattern] = &[
    &["failed_generation"],
    &["json_validate_failed"],
    &["failed to validate json"],
    &["failed to generate json"],
    &["failed to generate valid json"],
    &["failed to generate", "valid", "json"],
    &["did not generate valid json"],
    &["jsonschemavalidationerror"],
    &["model output", "not", "valid json"],
    &["output", "does not match", "schema"],
    &["response", "does not match", "schema"],
];

/// The ways to say that a chat template has no system messages.
static NO_SYSTEM_ROLE: &[Pattern] = &[
    &["system role", "not support"],
    &["system role", "n't support"],
    &["system role", "not allowed"],
    &["system message", "not support"],
    &["system message", "n't support"],
    &["system message", "not allowed"],
    &["system prompt", "not support"],
    &["system instruction", "not enabled"],
    &["developer instruction", "not enabled"],
    &["not support", "system role"],
    &["not support", "system message"],
    &["not support", "system prompt"],
    &["not support", "'system'"],
    &["n't support", "system"],
    &["roles must alternate"],
    &["roles are supported", "got system"],
    &["unexpected role", "system"],
    &["unsupported role", "system"],
    &["unknown role", "system"],
    &["invalid role", "system"],
    &["role", "'system'", "not supported"],
    &["first message", "must be", "user"],
];

/// The ways to ask for `max_completion_tokens` instead of `max_tokens`.
static OTHER_LIMIT: &[Pattern] =
    &[&["max_tokens", "max_completion_tokens", "instead"], &["max_tokens", "not supported", "max_completion_tokens"]];

/// The ways to refuse the mark of what may be cached, or a text for all rows that is a list of blocks.
static NO_CACHE_MARK: &[Pattern] = &[
    &["cache_control"],
    &["system", "should be a valid string"],
    &["system", "must be a string"],
    &["system", "expected a string"],
    &["system", "expected string"],
    &["system", "invalid type: sequence"],
    &["cannot unmarshal array", "system"],
];

/// The status that the codes of an error mean. Codes are compared by their letters alone.
static STATUSES: &[(&str, u16)] = &[
    ("ratelimit", 429),
    ("toomanyrequests", 429),
    ("throttl", 429),
    ("resourceexhausted", 429),
    ("overloaded", 503),
    ("unavailable", 503),
    ("serverbusy", 503),
    ("invalidapikey", 401),
    ("apikeyinvalid", 401),
    ("authentication", 401),
    ("unauthorized", 401),
    ("unauthenticated", 401),
    ("permissiondenied", 403),
    ("invalidrequest", 400),
    ("badrequest", 400),
    ("invalidargument", 400),
];

/// The ways to say that the content of a prompt or a reply is withheld.
static WITHHELD: &[Pattern] =
    &[&["blocked by content filtering"], &["content management policy"], &["filtered", "content policy"]];

const WITHHELD_CODES: &[&str] = &["content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"];

fn any(patterns: &[Pattern], text: &str) -> bool {
    let in_order = |pattern: &Pattern| {
        let mut rest = text;
        pattern.iter().all(|word| {
            let found = rest.find(word);
            rest = found.map_or(rest, |at| &rest[at + word.len()..]);
            found.is_some()
        })
    };
    patterns.iter().any(in_order)
}

/// What an error says: its codes, and its messages in lower case.
pub(super) struct Words<'a> {
    pub(super) codes: &'a [String],
    pub(super) text: &'a str,
}

impl Words<'_> {
    fn has_code(&self, codes: &[&str]) -> bool {
        self.codes.iter().any(|code| codes.contains(&code.as_str()))
    }

    pub(super) fn are_too_long(&self, status: u16) -> bool {
        let is_rate = status == 429;
        any(TOO_LARGE, self.text) || !is_rate && (self.has_code(TOO_LONG_CODES) || any(TOO_LONG, self.text))
    }

    pub(super) fn are_spent(&self) -> bool {
        self.has_code(SPENT_CODES) || any(SPENT, self.text)
    }

    pub(super) fn are_withheld(&self) -> bool {
        self.has_code(WITHHELD_CODES) || any(WITHHELD, self.text)
    }

    pub(super) fn are_unfit(&self) -> bool {
        self.has_code(&["json_validate_failed"]) || any(UNFIT, self.text)
    }

    pub(super) fn status(&self) -> Option<u16> {
        let letters = |code: &String| -> String {
            code.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect()
        };
        let codes: Vec<String> = self.codes.iter().map(letters).collect();
        STATUSES.iter().find(|(word, _)| codes.iter().any(|code| code.contains(word))).map(|(_, status)| *status)
    }
}

pub(super) fn refuses_system_role(message: &str) -> bool {
    any(NO_SYSTEM_ROLE, &message.to_ascii_lowercase())
}

pub(super) fn refuses_cache_mark(message: &str) -> bool {
    any(NO_CACHE_MARK, &message.to_ascii_lowercase())
}

pub(super) fn wants_other_limit(message: &str) -> bool {
    any(OTHER_LIMIT, &message.to_ascii_lowercase())
}

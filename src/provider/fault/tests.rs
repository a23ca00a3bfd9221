//! Bodies of failed calls, and their classes.

use CallErrorKind as K;

use super::*;

fn class(status: u16, body: &str) -> CallErrorKind {
    let answer = Answer { status, retry_after: Some(Duration::from_secs(2)), body: body.as_bytes() };
    Fault::of_body(answer.body).class(answer)
}

type Case = (u16, &'static str, CallErrorKind);

/// Statuses and bodies of OpenAI-compatible servers with their classes; `wait` is the Retry-After of each answer.
fn openai(wait: Option<Duration>) -> Vec<Case> {
    vec![
        (
            401,
            r#"{"error":{"message":"bad key","type":"invalid_request_error","code":"invalid_api_key"}}"#,
            K::Unauthorized,
        ),
        (403, r#"{"detail":"no"}"#, K::Unauthorized),
        (404, r#"{"error":{"message":"x","code":"model_not_found"}}"#, K::UnknownModel),
        (400, r#"{"error":{"message":"x","code":"model_not_found"}}"#, K::UnknownModel),
        (
            429,
            r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#,
            K::RateLimited { retry_after: wait },
        ),
        (429, r#"{"error":{"message":"pay","type":"insufficient_quota","code":null}}"#, K::QuotaExhausted),
        (400, r#"{"error":{"message":"long","code":"context_length_exceeded"}}"#, K::ContextTooLong),
        (
            400,
            r#"{"error":{"code":400,"message":"long","type":"exceed_context_size_error","n_ctx":512}}"#,
            K::ContextTooLong,
        ),
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 9","type":"BadRequestError","code":400}"#,
            K::ContextTooLong,
        ),
        (400, r#"{"error":{"message":"bad schema","type":"invalid_request_error"}}"#, K::Rejected),
        (422, r#"{"detail":[{"loc":["body"],"msg":"x"}]}"#, K::Rejected),
        (
            503,
            r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
            K::Unavailable { retry_after: wait },
        ),
        (502, "<html>Bad Gateway</html>", K::Unavailable { retry_after: wait }),
        (529, "", K::Unavailable { retry_after: wait }),
        (200, r#"{"error":{"message":"upstream is busy","code":429}}"#, K::RateLimited { retry_after: wait }),
        (200, r#"{"error":{"message":"busy","type":"overloaded_error"}}"#, K::Unavailable { retry_after: wait }),
        (200, r#"{"error":{"message":"slow","code":"rate_limit_exceeded"}}"#, K::RateLimited { retry_after: wait }),
        // An unknown path is not an outage.
        (200, r#"{"error":"Unexpected endpoint or method. (POST /x)"}"#, K::ServerError { retry_after: wait }),
        (200, r#"{"error":{"message":"upstream broke"}}"#, K::ServerError { retry_after: wait }),
        (200, r#"{"detail":"Not Found"}"#, K::ServerError { retry_after: wait }),
    ]
}

#[test]
fn a_server_that_knows_no_format_rejects_the_call() {
    for message in [
        "failed to load model vocabulary required for format",
        "failed to create grammar sampler",
        "this model does not support structured outputs",
        "JSON schema conversion failed: unknown keyword",
        "Unsupported response_format",
        "guided decoding is not available on this backend",
    ] {
        let body = serde_json::json!({ "error": message }).to_string();
        assert_eq!(class(500, &body), K::Rejected, "{message}");
        assert!(matches!(class(503, &body), K::Unavailable { .. }), "{message}");
    }
    for message in ["CUDA out of memory", "failed to load the model's information", "the format"] {
        let body = serde_json::json!({ "error": message }).to_string();
        assert!(matches!(class(500, &body), K::ServerError { .. }), "{message}");
    }
}

/// Those of Anthropic and Gemini.
fn hosted(wait: Option<Duration>) -> Vec<Case> {
    vec![
        (
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"},"request_id":"r"}"#,
            K::Unauthorized,
        ),
        (402, r#"{"type":"error","error":{"type":"billing_error","message":"pay"}}"#, K::QuotaExhausted),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}"#,
            K::ContextTooLong,
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified workspace API usage limits. You will regain access on 2026-12-01."}}"#,
            K::QuotaExhausted,
        ),
        (413, r#"{"type":"error","error":{"type":"request_too_large","message":"x"}}"#, K::Rejected),
        (
            429,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#,
            K::RateLimited { retry_after: wait },
        ),
        (
            429,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
            K::QuotaExhausted,
        ),
        (
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
            K::Unavailable { retry_after: wait },
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#,
            K::Unauthorized,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"no free tier here","status":"FAILED_PRECONDITION"}}"#,
            K::Unauthorized,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (8).","status":"INVALID_ARGUMENT"}}"#,
            K::ContextTooLong,
        ),
        (400, r#"{"error":{"code":400,"message":"bad schema","status":"INVALID_ARGUMENT"}}"#, K::Rejected),
    ]
}

#[test]
fn faults_are_classed_by_status_and_code() {
    let wait = Some(Duration::from_secs(2));
    for (status, body, want) in openai(wait).into_iter().chain(hosted(wait)) {
        assert_eq!(class(status, body), want, "{status} {body}");
    }
}

#[test]
fn the_wait_and_the_quota_stand_in_googles_details() {
    let limited = |details: &str| {
        let head = r#"{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED""#;
        class(429, &format!(r#"{head},"details":[{details}]}}}}"#))
    };
    let after = |secs: f64| K::RateLimited { retry_after: Some(Duration::from_secs_f64(secs)) };
    let quota = |id: &str| {
        format!(r#"{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaId":"{id}"}}]}}"#)
    };
    let wait = |secs: &str| format!(r#"{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{secs}"}}"#);
    let minute = quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier");
    assert_eq!(limited(&format!("{minute},{}", wait("34.5s"))), after(34.5));
    let day = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier");
    assert_eq!(limited(&format!("{day},{}", wait("36s"))), K::QuotaExhausted);
    assert_eq!(limited(&wait("1s")), after(2.0), "the header's wait is longer");
    assert_eq!(limited(&wait("999999s")), after(999999.0));
    for nonsense in ["", "s", "-5s", "NaNs", "5", "infs"] {
        assert_eq!(limited(&wait(nonsense)), after(2.0), "{nonsense}");
    }
}

#[test]
fn a_fault_inside_a_text_is_found() {
    let body =
        r#"{"error":"{\"error\":{\"code\":400,\"message\":\"too big\",\"type\":\"exceed_context_size_error\"}}"}"#;
    assert_eq!(Fault::of_body(body.as_bytes()).message, "too big");
    assert_eq!(class(400, body), K::ContextTooLong);
    assert_eq!(Fault::of_body(br#"{"error":"plain {text}"}"#).message, "plain {text}");
    assert_eq!(Fault::of_body(br#"{"error":null,"choices":[]}"#).message, r#"{"error":null,"choices":[]}"#);
}

/// How servers say that a prompt is too long, with the status.
const TOO_LONG: &[(&str, u16, &str)] = &[
    (
        "OpenAI",
        400,
        r#"{"error":{"message":"This model's maximum context length is 4097 tokens. However, your messages resulted in 4301 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
    ),
    (
        "OpenAI, newer",
        400,
        r#"{"error":{"message":"Your input exceeds the context window of this model. Please adjust your input and try again.","type":"invalid_request_error"}}"#,
    ),
    (
        "OpenAI, per minute",
        429,
        r#"{"error":{"message":"Request too large for gpt-4 in organization org-x on tokens per min (TPM): Limit 10000, Requested 12000.","type":"tokens","code":"rate_limit_exceeded"}}"#,
    ),
    (
        "Azure",
        400,
        r#"{"error":{"message":"This model's maximum context length is 8192 tokens, however you requested 9000 tokens","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
    ),
    (
        "GitHub Models",
        413,
        r#"{"error":{"code":"tokens_limit_reached","message":"Request body too large for gpt-4o model. Max size: 8000 tokens.","details":"x"}}"#,
    ),
    (
        "vLLM",
        400,
        r#"{"object":"error","message":"This model's maximum context length is 300 tokens. However, you requested 900 tokens.","type":"BadRequestError","code":400}"#,
    ),
    (
        "vLLM, newer",
        400,
        r#"{"error":{"message":"The decoder prompt (length 900) is longer than the maximum model length of 300. Make sure that `max_model_len` is large enough.","type":"BadRequestError","code":400}}"#,
    ),
    (
        "vLLM, other",
        400,
        r#"{"error":{"message":"The prompt (total length 25938) is too long to fit into the model (context length 4096).","code":400}}"#,
    ),
    (
        "vLLM, newest",
        400,
        r#"{"error":{"message":"You passed 9000 input tokens and requested 100 output tokens. However, the model's context length is only 8192 tokens.","code":400}}"#,
    ),
    (
        "SGLang",
        400,
        r#"{"object":"error","message":"The input (900 tokens) is longer than the model's context length (300 tokens).","type":"BadRequestError","param":null,"code":400}"#,
    ),
    (
        "SGLang, total",
        400,
        r#"{"object":"error","message":"Requested token count exceeds the model's maximum context length of 4096 tokens.","code":400}"#,
    ),
    (
        "llama.cpp",
        400,
        r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_ctx":512}}"#,
    ),
    (
        "llama.cpp, older",
        500,
        r#"{"error":{"code":500,"message":"the request exceeds the available context size","type":"server_error"}}"#,
    ),
    (
        "LM Studio",
        400,
        r#"{"error":"Trying to keep the first 900 tokens when context the overflows. However, the model is loaded with context length of only 300 tokens, which is not enough."}"#,
    ),
    (
        "LM Studio, keep",
        400,
        r#"{"error":"The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 900 >= n_ctx: 300)."}"#,
    ),
    ("LM Studio, older", 400, r#"{"error":"Input length 1581 exceeds context length 1500"}"#),
    (
        "Groq",
        400,
        r#"{"error":{"message":"Please reduce the length of the messages or completion.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
    ),
    (
        "Groq, per minute",
        413,
        r#"{"error":{"message":"Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 9000","type":"tokens","code":"rate_limit_exceeded"}}"#,
    ),
    (
        "OpenRouter",
        400,
        r#"{"error":{"message":"This endpoint's maximum context length is 32768 tokens. However, you requested about 42832 tokens.","code":400}}"#,
    ),
    (
        "OpenRouter, wrapped",
        400,
        r#"{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"error\":{\"message\":\"prompt is too long: 9 tokens > 8 maximum\"}}","provider_name":"x"}}}"#,
    ),
    (
        "Mistral",
        400,
        r#"{"object":"error","message":"Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length","type":"invalid_request_prompt","param":null,"code":"3051"}"#,
    ),
    (
        "Together",
        422,
        r#"{"error":{"message":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 `inputs` tokens and 10 `max_new_tokens`","type":"invalid_request_error"}}"#,
    ),
    (
        "TGI",
        422,
        r#"{"error":"Input validation error: `inputs` must have less than 1000 tokens. Given: 1168","error_type":"validation"}"#,
    ),
    (
        "LiteLLM",
        400,
        r#"{"error":{"message":"litellm.ContextWindowExceededError: litellm.BadRequestError: AnthropicException - {\"error\":{\"message\":\"x\"}}","type":null,"param":null,"code":"400"}}"#,
    ),
    (
        "Anthropic",
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000"}}"#,
    ),
    ("Bedrock", 400, r#"{"message":"Input is too long for requested model."}"#),
    (
        "Gemini",
        400,
        r#"{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (8).","status":"INVALID_ARGUMENT"}}"#,
    ),
    (
        "Vertex",
        400,
        r#"[{"error":{"code":400,"message":"Unable to submit request because the input token count is 9 but model only supports up to 8. Reduce the input token count and try again.","status":"INVALID_ARGUMENT"}}]"#,
    ),
    (
        "xAI",
        400,
        r#"{"code":"x","error":"This model's maximum prompt length is 131072 but the request contains 537812 tokens."}"#,
    ),
    (
        "Moonshot",
        400,
        r#"{"error":{"message":"Invalid request: Your request exceeded model token limit: 8192","type":"invalid_request_error"}}"#,
    ),
    (
        "Alibaba",
        400,
        r#"{"error":{"message":"Range of input length should be [1, 30720]","type":"invalid_request_error","code":"invalid_parameter_error"}}"#,
    ),
    (
        "Cohere",
        400,
        r#"{"message":"too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292."}"#,
    ),
    (
        "Fireworks",
        400,
        r#"{"error":{"message":"The prompt is too long: 10000, model maximum context length: 8192","type":"invalid_request_error"}}"#,
    ),
    ("TabbyAPI", 400, r#"{"detail":"Prompt length 9000 is greater than max_seq_len 4096"}"#),
    ("Ollama", 400, r#"{"error":"prompt too long; exceeded max context length by 12 tokens"}"#),
];

#[test]
fn every_server_says_too_long_in_its_own_words() {
    for (server, status, body) in TOO_LONG {
        assert_eq!(class(*status, body), K::ContextTooLong, "{server}");
    }
    for (status, body) in [
        (
            400,
            r#"{"error":{"message":"max_tokens is too large: 9000. This model supports at most 4096 completion tokens"}}"#,
        ),
        (400, r#"{"error":{"message":"temperature must not exceed 2"}}"#),
        (400, r#"{"error":{"message":"image exceeds 5 MB maximum"}}"#),
    ] {
        assert_eq!(class(status, body), K::Rejected, "{body}");
    }
    let deadline = r#"{"error":"context deadline exceeded (Client.Timeout exceeded while awaiting headers)"}"#;
    assert!(matches!(class(500, deadline), K::ServerError { .. }));
}

const WAIT: Option<Duration> = Some(Duration::from_secs(2));

/// Statuses and bodies, with the message and the kind of the error.
const ERRORS: &[(u16, &str, &str, K)] = &[
    (
        400,
        r#"[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]"#,
        "API key not valid.",
        K::Unauthorized,
    ),
    (
        429,
        r#"[{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},{"retryDelay":"1s"}]}}]"#,
        "quota",
        K::QuotaExhausted,
    ),
    (400, r#"{"error":["no such thing"]}"#, "no such thing", K::Rejected),
    (
        400,
        r#"{"errors":[{"code":10000,"message":"first fault"},{"message":"second fault"}],"success":false}"#,
        "first fault: second fault",
        K::Rejected,
    ),
    (
        429,
        r#"{"error":"rate_limit","message":"slow down please"}"#,
        "slow down please",
        K::RateLimited { retry_after: WAIT },
    ),
    (
        422,
        r#"{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required"}]}"#,
        "messages: Field required",
        K::Rejected,
    ),
    (
        422,
        r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted"}]},"type":"invalid_request_error"}"#,
        "seed: Extra inputs are not permitted",
        K::Rejected,
    ),
    (
        401,
        r#"{"statusCode":401,"message":"Access denied due to invalid subscription key."}"#,
        "Access denied due to invalid subscription key.",
        K::Unauthorized,
    ),
    (400, r#"{"code":1302,"msg":"too many calls at once","success":false}"#, "too many calls at once", K::Rejected),
    (
        502,
        r#"{"error":{"message":"Provider returned error","code":502,"metadata":{"raw":"upstream is down now"}}}"#,
        "Provider returned error: upstream is down now",
        K::Unavailable { retry_after: WAIT },
    ),
    (
        400,
        r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":{"error":{"message":"slow down now"}}}}}"#,
        "Provider returned error: slow down now",
        K::RateLimited { retry_after: WAIT },
    ),
    (
        500,
        r#"{"error":{"message":"litellm.RateLimitError: x","type":"throttling_error","code":"500"}}"#,
        "litellm.RateLimitError: x",
        K::RateLimited { retry_after: WAIT },
    ),
    (
        402,
        r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","code":"invalid_request_error"}}"#,
        "Insufficient Balance",
        K::QuotaExhausted,
    ),
    (
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}}"#,
        "Your credit balance is too low to access the API.",
        K::QuotaExhausted,
    ),
    (
        400,
        r#"{"error":{"message":"filtered text","code":"x","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
        "filtered text",
        K::Refused,
    ),
    (
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#,
        "Output blocked by content filtering policy",
        K::Refused,
    ),
    (
        200,
        r#"{"error":{"message":"Insufficient credits. Add more.","code":402}}"#,
        "Insufficient credits. Add more.",
        K::QuotaExhausted,
    ),
    (503, "data: {\"error\":{\"message\":\"busy now\"}}\n\n", "busy now", K::Unavailable { retry_after: WAIT }),
];

#[test]
fn errors_are_found_in_lists_texts_and_other_errors() {
    let said = |status: u16, body: &str| {
        let fault = Fault::of_body(body.as_bytes());
        (fault.message.clone(), fault.class(Answer { status, retry_after: WAIT, body: body.as_bytes() }))
    };
    for (status, body, message, kind) in ERRORS {
        assert_eq!(said(*status, body), ((*message).to_owned(), kind.clone()), "{status} {body}");
    }
}

#[test]
fn a_text_that_misses_the_schema_is_no_rejection() {
    for (body, text) in [
        (
            r#"{"error":{"message":"Failed to validate JSON. Please adjust your prompt.","type":"invalid_request_error","code":"json_validate_failed","failed_generation":"{\"a\": 1"}}"#,
            "{\"a\": 1",
        ),
        (
            r#"{"error":{"message":"Failed to generate JSON. See 'failed_generation' for more details.","code":"json_validate_failed","failed_generation":""}}"#,
            "",
        ),
        (
            r#"{"error":{"message":"litellm.BadRequestError: GroqException - {\"error\":{\"message\":\"Failed to validate JSON.\",\"code\":\"json_validate_failed\",\"failed_generation\":\"x\"}}"}}"#,
            "x",
        ),
        (r#"{"error":{"message":"litellm.JSONSchemaValidationError: model=m, returned an invalid response"}}"#, ""),
        (r#"{"error":{"message":"The model output is not valid JSON","code":422}}"#, ""),
    ] {
        assert_eq!(Fault::of_body(body.as_bytes()).unfit(), Some(text), "{body}");
    }
    for body in [
        r#"{"error":{"message":"Invalid schema for response_format"}}"#,
        r#"{"error":{"message":"json_schema is not supported"}}"#,
    ] {
        assert_eq!(Fault::of_body(body.as_bytes()).unfit(), None, "{body}");
    }
}

#[test]
fn a_form_that_a_server_refuses_is_known() {
    let of = |message: &str| Refusal::of(&CallError::new(K::Rejected, message));
    for message in [
        "System role not supported (status 400)",
        "Only user, assistant and tool roles are supported, got system.",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Developer instruction is not enabled for models/gemma-3-4b-it",
        "This model does not support system messages",
        "Unexpected role 'system' after role 'user'",
    ] {
        assert_eq!(of(message), Some(Refusal::SystemRole), "{message}");
    }
    for message in [
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "max_tokens is not supported; please use max_completion_tokens",
        "Setting max_tokens fails here: use max_completion_tokens instead",
    ] {
        assert_eq!(of(message), Some(Refusal::MaxTokens), "{message}");
    }
    for message in [
        "system.0.cache_control: Extra inputs are not permitted (status 400)",
        "system: Input should be a valid string",
        "json: cannot unmarshal array into Go struct field MessagesRequest.system of type string",
    ] {
        assert_eq!(of(message), Some(Refusal::CacheMark), "{message}");
    }
    for message in ["Invalid schema", "max_tokens is too large", "the system is busy"] {
        assert_eq!(of(message), None, "{message}");
    }
}

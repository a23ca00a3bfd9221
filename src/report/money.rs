//! Money and time: texts and JSON about the expected cost of a run, and how it compares with the budget.

use std::collections::BTreeMap;

use indexmap::IndexSet;
use serde_json::{Value, json};

use super::text::{about, count, figure, number, percent, usd};
use crate::name::listed;
use crate::preview::{Amounts, Basis, Forecast, ModelForecast, Origin, Range};
use crate::run::{Cost, SpentLimit};
use crate::spec::{Budget, Spending};
use crate::store::{Manifest, PriceSource};

/// `about 0.21 USD, at most 0.73 USD; about 8 min, at most 20 min`.
pub(crate) fn cost_and_time(amounts: &Amounts) -> String {
    let cost = match amounts.usd {
        Some(Range { expected: 0.0, .. }) => "0 USD".to_owned(),
        Some(range) => estimate(range, usd) + &prices_of(amounts),
        None => "cost not known".to_owned(),
    };
    let time = amounts.seconds.map_or("time not known".to_owned(), |range| estimate(range, about));
    format!("{cost}; {time}")
}

/// ` (prices of 2026-11-29)`, if prices are not in the spec.
fn prices_of(amounts: &Amounts) -> String {
    match amounts.prices_read {
        None => String::new(),
        Some((first, last)) if first == last => format!(" (prices of {first})"),
        Some((first, last)) => format!(" (prices of {first} to {last})"),
    }
}

/// Where the prices of a run come from that are not in its spec, a line for each source. None if the run cost nothing.
pub(crate) fn prices_used(manifest: &Manifest) -> Vec<String> {
    let mut sources: BTreeMap<&PriceSource, Vec<&str>> = BTreeMap::new();
    for (name, model) in manifest.models.iter().filter(|_| manifest.stages.values().any(|stage| stage.usd > Some(0.0)))
    {
        if let Some(source) = &model.listed_price {
            sources.entry(source).or_default().push(name);
        }
    }
    let line = |(PriceSource { read, source }, names): (&PriceSource, Vec<&str>)| {
        let what = if names.len() > 1 { "prices" } else { "price" };
        format!("{what} of {}: {source}, read on {read}", listed(names))
    };
    sources.into_iter().map(line).collect()
}

/// What is known of the cost, if the price of a model is not known.
pub(crate) fn known_part(forecast: &Forecast) -> Option<String> {
    let models = forecast.stages.iter().flat_map(|stage| &stage.models);
    let (priced, unpriced): (Vec<&ModelForecast>, Vec<&ModelForecast>) =
        models.partition(|model| model.amounts.usd.is_some());
    let range = Amounts::sum(priced.iter().map(|model| &model.amounts)).usd.filter(|usd| usd.expected > 0.0)?;
    let names: IndexSet<&str> = unpriced.iter().map(|model| model.name.as_str()).collect();
    let names = (!names.is_empty()).then(|| listed(names))?;
    let prices = Amounts::sum(priced.iter().map(|model| &model.amounts));
    Some(format!("without the calls of {names}: {}{}", estimate(range, usd), prices_of(&prices)))
}

fn estimate(range: Range, text: impl Fn(f64) -> String) -> String {
    let (expected, most) = (text(range.expected), range.maximum.map(&text));
    match most {
        Some(most) if most == expected => format!("about {expected}"),
        Some(most) => format!("about {expected}, at most {most}"),
        None => format!("about {expected}, with no upper limit (no `max_tokens`)"),
    }
}

/// `about 853,000 tokens in and 130,000 out`.
pub(crate) fn tokens(amounts: &Amounts) -> String {
    let most = amounts.reply_tokens.maximum.filter(|most| *most > amounts.reply_tokens.expected);
    let most = most.map_or(String::new(), |most| format!(" (at most {})", figure(most)));
    format!(
        "about {} tokens in and {} out{most}",
        figure(amounts.prompt_tokens.round()),
        figure(amounts.reply_tokens.expected.round())
    )
}

/// What the forecast of a model rests on: its price, then the sizes and times of its calls.
pub(crate) fn basis(model: &ModelForecast) -> [String; 2] {
    let Basis { bytes_per_token, cached, reply, latency, in_flight, .. } = &model.basis;
    let mut parts = vec![(format!("{} bytes a token", figure(bytes_per_token.0)), Some(bytes_per_token.1))];
    parts.extend(cached.map(|((read, _), from)| (format!("{} of the prompts cached", percent(read)), Some(from))));
    parts.push((format!("{} tokens a reply", figure(reply.0)), Some(reply.1)));
    match latency {
        Some((seconds, origin)) => parts.push((format!("{} s a call", figure(*seconds)), Some(*origin))),
        None => parts.push(("time of a call not known".to_owned(), None)),
    }
    let mut sizes = String::new();
    for (i, (text, from)) in parts.iter().enumerate() {
        let is_last = parts.get(i + 1).is_none_or(|(_, next)| next != from);
        let origin = from.filter(|_| is_last).map_or(String::new(), |from| format!(" ({})", origin(from)));
        sizes += &format!("{}{text}{origin}", if i > 0 { ", " } else { "" });
    }
    [format!("{}: {}", model.name, price(&model.basis)), format!("{sizes}, {} in flight", number(*in_flight))]
}

fn price(basis: &Basis) -> String {
    let Some(price) = basis.price else {
        return "no price is known: write `price = { input = .., output = .. }`".to_owned();
    };
    if price.input == 0.0 && price.output == 0.0 {
        return "free".to_owned();
    }
    let origin = basis.listed.map_or("in the spec".to_owned(), |listed| listed.origin(number));
    let cached = price.cached_input.map_or(String::new(), |cached| format!(" ({} cached)", figure(cached)));
    format!("{} USD a million tokens in{cached}, {} out ({origin})", figure(price.input), figure(price.output))
}

fn origin(origin: Origin) -> String {
    match origin {
        Origin::Stage(calls) => count(calls, "recorded call"),
        Origin::Model(calls) => format!("{} of other stages", count(calls, "recorded call")),
        Origin::Tokenizer(name) => name.to_owned(),
        Origin::Assumed => "assumed".to_owned(),
    }
}

/// Where a forecast exceeds the budget: first for this run, then for all runs of the project.
pub(crate) fn warnings(forecast: &Forecast, budget: &Budget) -> Vec<String> {
    let amounts = forecast.amounts();
    let run = over(&amounts, &budget.of_a_run(), Cost::default());
    let run = run.into_iter().map(|text| format!("{text} of this run"));
    let total = over(&amounts, &budget.total.unwrap_or_default(), forecast.earlier.unwrap_or_default());
    let total = total.into_iter().map(|text| format!("{text} of all runs of the project"));
    run.chain(total).collect()
}

fn over(amounts: &Amounts, limit: &Spending, spent: Cost) -> Vec<String> {
    type Text<'a> = &'a dyn Fn(f64) -> String;
    let tokens = amounts.tokens();
    let calls = Range { expected: amounts.calls as f64, maximum: Some(amounts.calls as f64) };
    let count = |n: f64| figure(n);
    let number = |limit: Option<std::num::NonZeroU64>| limit.map(|limit| limit.get() as f64);
    let all: [(Option<Range>, Option<f64>, f64, Text<'_>); 3] = [
        (Some(calls), number(limit.calls), spent.calls as f64, &|n| format!("{} calls", count(n))),
        (Some(tokens), number(limit.tokens), spent.tokens as f64, &|n| format!("{} tokens", count(n))),
        (amounts.usd, limit.usd, spent.usd, &usd),
    ];
    let mut warnings = Vec::new();
    for (range, limit, spent, text) in all {
        let (Some(range), Some(limit)) = (range, limit) else { continue };
        let spent_text = if spent > 0.0 { format!(" and {} spent before", text(spent)) } else { String::new() };
        if range.expected + spent > limit {
            let expected = text(range.expected);
            warnings.push(format!("warning: {expected} expected{spent_text}, above the budget of {}", text(limit)));
        } else if range.maximum.is_none_or(|most| most + spent > limit) {
            let most = match range.maximum {
                Some(most) => format!("up to {}{spent_text}, above", text(most)),
                None => format!("no upper limit{spent_text}, so the run may exceed"),
            };
            warnings.push(format!("note: {most} the budget of {}", text(limit)));
        }
    }
    warnings
}

/// The question before calls that are expected to cost more than `most` US dollars.
pub(crate) fn question(amounts: &Amounts, most: f64) -> Option<String> {
    amounts.usd.is_some_and(|usd| usd.expected > most).then(|| {
        let calls = count(amounts.calls, "call");
        format!("{calls}: {}. Go on? [y/N] ", cost_and_time(amounts))
    })
}

/// The text about the limit of the budget that stopped a run.
pub(crate) fn limit_reached(limit: SpentLimit, budget: &Budget) -> String {
    let SpentLimit { what, of_all_runs } = limit;
    let (scope, key, most) = match of_all_runs {
        true => ("all runs of the project", "total.", budget.total.unwrap_or_default()),
        false => ("this run", "", budget.of_a_run()),
    };
    let most = match what {
        "calls" => most.calls.map(|most| number(most.get())),
        "tokens" => most.tokens.map(|most| number(most.get())),
        _ => most.usd.map(figure),
    };
    let most = most.unwrap_or_default();
    format!("stopped: the next call might exceed the budget of {scope} (`{key}{what}` is {most})")
}

pub(crate) fn amounts_json(amounts: &Amounts) -> Value {
    let range = |range: Range| json!({ "expected": range.expected, "maximum": range.maximum });
    json!({
        "calls": amounts.calls, "prompt_tokens": amounts.prompt_tokens.round(),
        "completion_tokens": range(amounts.reply_tokens), "usd": amounts.usd.map(range),
        "seconds": amounts.seconds.map(range),
    })
}

pub(crate) fn model_json(model: &ModelForecast) -> Value {
    let Basis { price, listed, bytes_per_token, cached, reply, attempts, latency, in_flight } = &model.basis;
    let figure = |(value, from): (f64, Origin)| json!({ "value": value, "from": origin(from) });
    let mut json = amounts_json(&model.amounts);
    json["model"] = json!(model.name);
    json["price"] = json!(price.map(|price| json!({
        "input": price.input, "output": price.output, "cached_input": price.cached_input,
        "cache_write": price.cache_write, "batch": price.batch,
        "longest_prompt": listed.and_then(|listed| listed.longest_prompt),
        "source": listed.map_or("spec", |listed| listed.source), "read": listed.map(|listed| listed.read),
    })));
    json["bytes_per_token"] = figure(*bytes_per_token);
    json["cached_share"] = json!(cached.map(|((read, _), from)| figure((read, from))));
    json["completion_tokens_per_call"] = figure(*reply);
    json["seconds_per_call"] = json!(latency.map(figure));
    json["attempts_per_call"] = json!(attempts);
    json["in_flight"] = json!(in_flight);
    json
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::basis as texts_of;
    use super::*;
    use crate::preview::StageForecast;
    use crate::spec::Price;

    fn range(expected: f64, maximum: f64) -> Range {
        Range { expected, maximum: Some(maximum) }
    }

    fn amounts() -> Amounts {
        Amounts {
            calls: 10_000,
            prompt_tokens: 853_214.0,
            reply_tokens: range(130_000.0, 1_000_000.0),
            usd: Some(range(0.2060, 0.728)),
            prices_read: None,
            seconds: Some(range(480.0, 3700.0)),
        }
    }

    fn forecast(amounts: Amounts, earlier: Option<Cost>) -> Forecast {
        Forecast { stages: vec![StageForecast { models: Vec::new(), amounts }], earlier }
    }

    #[test]
    fn cost_and_time_have_an_expected_and_a_largest_amount() {
        assert_eq!(cost_and_time(&amounts()), "about 0.206 USD, at most 0.728 USD; about 8 min, at most 1 h 2 min");
        assert_eq!(tokens(&amounts()), "about 853,000 tokens in and 130,000 out (at most 1,000,000)");
        let unbounded = Amounts { usd: Some(Range { expected: 1.0, maximum: None }), seconds: None, ..amounts() };
        let text = "about 1 USD, with no upper limit (no `max_tokens`); time not known";
        assert_eq!(cost_and_time(&unbounded), text);
        let free = Amounts { usd: Some(range(0.0, 0.0)), seconds: Some(range(12.0, 12.0)), ..amounts() };
        assert_eq!(cost_and_time(&free), "0 USD; about 12 s");
        assert_eq!(cost_and_time(&Amounts { usd: None, ..free }), "cost not known; about 12 s");
    }

    #[test]
    fn the_basis_names_the_origin_of_each_figure() {
        let basis_of = |price, listed, reply, latency| {
            let bytes_per_token = (4.0, Origin::Assumed);
            let (cached, attempts) = (None, 1.0);
            let basis = Basis { price, listed, bytes_per_token, cached, reply, attempts, latency, in_flight: 16 };
            texts_of(&ModelForecast { name: "small".to_owned(), amounts: amounts(), basis })
        };
        let price = Some(Price { input: 0.15, output: 0.6, ..Price::default() });
        let measured = Origin::Stage(20);
        assert_eq!(
            basis_of(price, None, (13.26, measured), Some((0.768, measured))),
            [
                "small: 0.15 USD a million tokens in, 0.6 out (in the spec)",
                "4 bytes a token (assumed), 13.3 tokens a reply, 0.768 s a call (20 recorded calls), 16 in flight"
            ]
        );
        assert_eq!(
            basis_of(None, None, (256.0, Origin::Assumed), None),
            [
                "small: no price is known: write `price = { input = .., output = .. }`",
                "4 bytes a token, 256 tokens a reply (assumed), time of a call not known, 16 in flight"
            ]
        );
        let other = Origin::Model(1);
        let [_, sizes] = basis_of(price, None, (7.0, other), Some((2.0, other)));
        assert!(sizes.contains("7 tokens a reply, 2 s a call (1 recorded call of other stages)"), "{sizes}");
    }

    #[test]
    fn the_known_part_of_a_cost_names_the_models_without_a_price() {
        let basis = Basis {
            price: None,
            listed: None,
            bytes_per_token: (4.0, Origin::Assumed),
            cached: None,
            reply: (13.0, Origin::Assumed),
            attempts: 1.0,
            latency: None,
            in_flight: 16,
        };
        let model =
            |name: &str, usd| ModelForecast { name: name.to_owned(), amounts: Amounts { usd, ..amounts() }, basis };
        let text = |models: Vec<ModelForecast>| {
            let amounts = Amounts::sum(models.iter().map(|model| &model.amounts));
            known_part(&Forecast { stages: vec![StageForecast { models, amounts }], earlier: None })
        };
        let (big, small) = (|| model("big", Some(range(0.2, 0.7))), || model("small", None));
        let expected = "without the calls of `small`: about 0.2 USD, at most 0.7 USD";
        assert_eq!(text(vec![small(), big(), small()]).as_deref(), Some(expected));
        let free = model("free", Some(range(0.0, 0.0)));
        assert_eq!((text(vec![big()]), text(vec![small(), free]), text(vec![])), (None, None, None));
    }

    #[test]
    fn a_budget_is_compared_with_the_expected_amount_then_with_the_largest() {
        let texts = |budget: Budget, earlier| warnings(&forecast(amounts(), earlier), &budget);
        let usd = |usd| Budget { usd: Some(usd), ..Budget::default() };
        assert!(texts(usd(1.0), None).is_empty());
        assert_eq!(texts(usd(0.5), None), ["note: up to 0.728 USD, above the budget of 0.5 USD of this run"]);
        assert_eq!(texts(usd(0.1), None), ["warning: 0.206 USD expected, above the budget of 0.1 USD of this run"]);
        let calls = Budget { calls: NonZeroU64::new(9000), ..Budget::default() };
        assert_eq!(texts(calls, None), ["warning: 10,000 calls expected, above the budget of 9,000 calls of this run"]);
        let unlimited = Amounts { usd: Some(Range { expected: 0.2, maximum: None }), ..amounts() };
        let text = ["note: no upper limit, so the run may exceed the budget of 1 USD of this run"];
        assert_eq!(warnings(&forecast(unlimited, None), &usd(1.0)), text);
        let total = Spending { usd: Some(1.0), ..Spending::default() };
        let total = Budget { total: Some(total), ..Budget::default() };
        let earlier = Some(Cost { calls: 1, tokens: 1, usd: 0.9 });
        let text = "warning: 0.206 USD expected and 0.9 USD spent before, above the budget of 1 USD of all runs of the \
                    project";
        assert_eq!(texts(total, earlier), [text]);
    }

    #[test]
    fn a_run_asks_only_if_it_is_expected_to_cost_more() {
        let text = "10,000 calls: about 0.206 USD, at most 0.728 USD; about 8 min, at most 1 h 2 min. Go on? [y/N] ";
        assert_eq!(question(&amounts(), 0.2).as_deref(), Some(text));
        assert_eq!(question(&amounts(), 0.3), None);
        assert_eq!(question(&Amounts { usd: None, ..amounts() }, 0.3), None);
    }

    #[test]
    fn a_stop_names_the_scope_of_the_limit() {
        let total = Spending { tokens: NonZeroU64::new(5000), ..Spending::default() };
        let budget = Budget { usd: Some(0.02), total: Some(total), ..Budget::default() };
        let text = |what, of_all_runs| limit_reached(SpentLimit { what, of_all_runs }, &budget);
        assert_eq!(text("usd", false), "stopped: the next call might exceed the budget of this run (`usd` is 0.02)");
        let all = "stopped: the next call might exceed the budget of all runs of the project (`total.tokens` is 5,000)";
        assert_eq!(text("tokens", true), all);
    }
}

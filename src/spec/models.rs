//! Models: their endpoints, their sampling and their prices.

use indexmap::IndexMap;

use super::language::ModelTable;
use super::limits::Limits;
use super::pipeline::{EndpointSpec, ModelSpec};
use super::prices::listed;
use super::read::Raw;
use super::resolve::Resolver;
use crate::document::Path;
use crate::name::Name;
use crate::provider::{
    Endpoint, Ignored, Model, PROVIDERS, Sampling, SystemRole, added_fields, default_endpoint, merge, taken,
};

/// The highest temperature without a warning.
const HIGH: f64 = 2.0;

impl Resolver<'_> {
    pub(super) fn endpoints(&mut self, raw: &Raw) -> IndexMap<String, EndpointSpec> {
        let mut endpoints: IndexMap<String, EndpointSpec> = IndexMap::new();
        for (name, provider) in &raw.providers {
            let Some((limits, endpoint)) = provider else { continue };
            endpoints.insert(name.to_string(), EndpointSpec { endpoint: endpoint.clone(), limits: *limits });
        }
        for (name, model) in raw.known_models() {
            let wanted = &model.provider;
            let is_broken = raw.providers.contains_key(wanted.as_str()) || raw.is_unreadable("providers", wanted);
            let at = Path::of(["models", name.as_str(), "provider"]);
            if is_broken || endpoints.contains_key(wanted) || self.problems.is_distrusted(&at) {
                continue;
            }
            if let Some(endpoint) = default_endpoint(wanted) {
                endpoints.insert(wanted.clone(), EndpointSpec { endpoint, limits: Limits::default() });
                continue;
            }
            let known = raw.providers.keys().map(Name::as_str).chain(PROVIDERS.iter().map(|kind| kind.name));
            self.error("unknown-provider", at, format!("there is no provider `{wanted}`")).choices(
                wanted,
                "providers",
                known,
            );
        }
        endpoints
    }

    pub(super) fn models(
        &mut self,
        raw: &Raw,
        endpoints: &IndexMap<String, EndpointSpec>,
    ) -> IndexMap<Name, ModelSpec> {
        let mut models = IndexMap::new();
        for (name, table) in raw.known_models() {
            let at = |key: &str| Path::of(["models", name.as_str(), key]);
            let endpoint = endpoints.get(&table.provider).map(|e| e.endpoint.as_ref());
            self.sampling(table, endpoint, at);
            let sampling = Sampling {
                temperature: table.temperature,
                top_p: table.top_p,
                max_tokens: table.max_tokens,
                stop: table.stop.clone(),
                seed: table.seed.or(raw.header.seed),
                num_ctx: table.num_ctx,
                options: table.options.clone(),
                extra: table.extra.clone(),
                system_role: table.system_role,
                hides_seed: !table.send_seed,
                ..Sampling::default()
            };
            if let Some(endpoint) = endpoint {
                self.options(&sampling, endpoint, at);
                self.extra(&sampling, endpoint, &at("extra"));
            }
            if endpoints.contains_key(&table.provider) {
                let model = Model { id: table.model.clone(), sampling };
                let context_tokens = table.context_tokens.map(|tokens| tokens.get().into());
                let listed = endpoint.and_then(|endpoint| listed(endpoint, &table.model));
                let listed = listed.filter(|_| table.price.is_none());
                let price = table.price.or(listed.map(|listed| listed.price));
                let (endpoint, fallback) = (table.provider.clone(), Vec::new());
                models.insert(name.clone(), ModelSpec { endpoint, model, price, listed, context_tokens, fallback });
            }
        }
        for (name, table) in raw.known_models() {
            let fallback = self.fallback(raw, name, table, &models);
            if let Some(model) = models.get_mut(name.as_str()) {
                model.fallback = fallback;
            }
        }
        models
    }

    fn fallback(
        &mut self,
        raw: &Raw,
        name: &Name,
        table: &ModelTable,
        models: &IndexMap<Name, ModelSpec>,
    ) -> Vec<usize> {
        let mut found = Vec::new();
        for (i, other) in table.fallback.iter().enumerate() {
            let path = Path::of(["models", name.as_str(), "fallback"]).index(i);
            let chained = raw.has_fallback(other);
            match models.get_index_of(other.as_str()) {
                _ if other == name.as_str() => {
                    self.error("bad-value", path, format!("`{name}` can't be its own fallback"));
                }
                _ if chained => {
                    let message = format!("`{other}` has fallbacks, which are not asked for `{name}`");
                    let help = "list all models here, in the order to ask them";
                    self.error("bad-value", path, message).help(help);
                }
                Some(model) if found.contains(&model) => {
                    self.error("duplicate-model", path, format!("`{other}` is listed in `fallback` twice"));
                }
                Some(model) => found.push(model),
                None => self.known_model(raw, path, other),
            }
        }
        found
    }

    /// Reports a name that is not the name of a model. The names of broken models are valid.
    pub(super) fn known_model(&mut self, raw: &Raw, path: Path, name: &str) {
        if raw.models.contains_key(name) || raw.is_unreadable("models", name) {
            return;
        }
        let problem = self.error("unknown-model", path, format!("there is no model `{name}`"));
        match raw.models.is_empty() {
            true => problem.help(format!("write a table `[models.{name}]`")),
            false => {
                problem.choices(name, "models", raw.models.keys().filter(|name| !name.is_variant()).map(Name::as_str))
            }
        };
    }

    pub(super) fn budget(&mut self, raw: &Raw, endpoints: &IndexMap<String, EndpointSpec>) {
        let dollars = raw.header.budget.map(|budget| budget.dollars()).unwrap_or_default();
        for (keys, usd) in &dollars {
            if usd.is_some_and(|usd| !(usd > 0.0 && usd.is_finite())) {
                let path = keys.iter().fold(Path::of(["budget"]), |path, key| path.key(key));
                self.error("bad-value", path, format!("`{}` must be more than 0", keys[keys.len() - 1]));
            }
        }
        let counts_dollars = dollars.iter().any(|(_, usd)| usd.is_some());
        for (name, table) in raw.known_models() {
            if table.price.is_some_and(|price| !price.is_valid()) {
                let at = Path::of(["models", name.as_str(), "price"]);
                self.error("bad-value", at, "a price must be 0 or more");
            }
            let endpoint = endpoints.get(&table.provider).map(|e| e.endpoint.as_ref());
            let costs =
                endpoint.is_some_and(|endpoint| !endpoint.is_free() && listed(endpoint, &table.model).is_none());
            if counts_dollars && table.price.is_none() && costs {
                let message = format!("a budget in `usd` needs the `price` of `{name}`");
                let help =
                    "write `price = { input = .., output = .. }`, in dollars per million tokens; 0 if it is free";
                self.error("missing-field", Path::of(["models", name.as_str()]), message).help(help);
            }
        }
    }

    fn options(&mut self, sampling: &Sampling, endpoint: &dyn Endpoint, at: impl Fn(&str) -> Path) {
        for (option, problem) in sampling.options.problems() {
            self.error("bad-value", at(option), problem);
        }
        for (option, value) in sampling.options.set() {
            if endpoint.option_field(&option).is_none() {
                let message = format!("`{option}` can't be set for a model of `{}`", endpoint.kind());
                let help = match endpoint.full_body() {
                    None => "leave it out, or use a server such as Ollama".to_owned(),
                    Some(_) if option == "repeat_penalty" => format!(
                        "leave it out, or name the server's own field: `extra = {{ repeat_penalty = {value} }}` for \
                         llama.cpp, `extra = {{ repetition_penalty = {value} }}` for vLLM"
                    ),
                    Some(_) => {
                        format!("leave it out; if the server reads it, write `extra = {{ {option} = {value} }}`")
                    }
                };
                self.error("bad-value", at(&option), message).help(help);
            }
        }
    }

    fn extra(&mut self, sampling: &Sampling, endpoint: &dyn Endpoint, at: &Path) {
        if sampling.extra.is_empty() {
            return;
        }
        let Some(mut own) = endpoint.full_body() else {
            let message = format!("`extra` is added to requests, and `{}` sends none", endpoint.kind());
            self.error("bad-value", at.clone(), message);
            return;
        };
        let place = |path: &[String]| path.iter().fold(at.clone(), |place, key| place.key(key));
        let ignored = endpoint.ignored(&sampling.extra);
        let options = Sampling { options: sampling.options.clone(), ..Sampling::default() };
        merge(&mut own, &added_fields(&options, |option, value| Some((endpoint.option_field(option)?, value))));
        for path in taken(&own, &sampling.extra) {
            let message = format!("`{}` is set by fanfold itself", path.join("."));
            let help = "leave it out; if the model's table has a field for it, such as `temperature`, use that";
            self.error("bad-value", place(&path), message).help(help);
        }
        for Ignored { path, message, help } in ignored {
            self.error("bad-value", place(&path), message).help(help);
        }
    }

    fn sampling(&mut self, table: &ModelTable, endpoint: Option<&dyn Endpoint>, at: impl Fn(&str) -> Path) {
        let (highest, of) = endpoint.map_or((5.0, ""), |endpoint| (endpoint.highest_temperature(), endpoint.kind()));
        if table.temperature.is_some_and(|t| !(0.0..=highest).contains(&t)) {
            let of = if of.is_empty() { String::new() } else { format!(" for a model of `{of}`") };
            self.error("bad-value", at("temperature"), format!("`temperature` must be from 0 to {highest}{of}"));
        }
        if let Some(high) = table.temperature.filter(|t| *t > HIGH && *t <= highest) {
            let message = format!("with a `temperature` of {high}, most models write nonsense");
            self.problems.warning("high-temperature", at("temperature"), message).help(
                "0 takes the likeliest answer, 1 is usual for varied answers, and 2 is the most of many services",
            );
        }
        if table.top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
            self.error("bad-value", at("top_p"), "`top_p` must be above 0 and at most 1");
        }
        for (key, value) in [("max_tokens", table.max_tokens), ("num_ctx", table.num_ctx)] {
            if value == Some(0) {
                self.error("bad-value", at(key), format!("`{key}` must be 1 or more"));
            }
        }
        if table.context_tokens.is_some() && endpoint.is_some_and(Endpoint::uses_num_ctx) {
            let message = format!("the context of a model of `{of}` is set by `num_ctx`");
            self.error("bad-value", at("context_tokens"), message);
        }
        if let Some(role) = table.system_role {
            let has_role = match role {
                SystemRole::Developer => of == "openai",
                _ => endpoint.is_none_or(|endpoint| endpoint.full_body().is_some()),
            };
            if !has_role {
                let message = format!("this `system_role` can't be set for a model of `{of}`");
                self.error("bad-value", at("system_role"), message);
            }
        }
        if table.model.is_empty() {
            self.error("bad-value", at("model"), "`model` is empty");
        }
    }
}

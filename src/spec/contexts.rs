//! Contexts: hints at one model of a server that is loaded again for each `num_ctx`.

use indexmap::IndexMap;

use super::pipeline::{EndpointSpec, ModelSpec};
use super::resolve::Resolver;
use crate::document::Path;
use crate::name::Name;
use crate::provider::DEFAULT_NUM_CTX;

impl Resolver<'_> {
    pub(super) fn contexts(&mut self, models: &IndexMap<Name, ModelSpec>, endpoints: &IndexMap<String, EndpointSpec>) {
        let context = |model: &ModelSpec| model.model.sampling.num_ctx.unwrap_or(DEFAULT_NUM_CTX);
        for (i, (name, model)) in models.iter().enumerate() {
            if !endpoints.get(&model.endpoint).is_some_and(|endpoint| endpoint.endpoint.uses_num_ctx()) {
                continue;
            }
            let mut earlier = models.iter().take(i);
            let same = |(_, other): &(&Name, &ModelSpec)| {
                (&other.endpoint, &other.model.id) == (&model.endpoint, &model.model.id)
                    && context(other) != context(model)
            };
            if let Some((first, other)) = earlier.find(same) {
                let (id, one, two) = (&model.model.id, context(other), context(model));
                let message = format!("`{first}` and `{name}` are `{id}` with a `num_ctx` of {one} and of {two}");
                let help = "the server loads the model again for each `num_ctx`; write the same one if both can use it";
                let path = Path::of(["models", name.as_str()]);
                self.problems.warning("two-contexts", path, message).help(help);
            }
        }
    }
}

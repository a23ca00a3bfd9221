//! Servers: asks each server of a spec for its models, and checks that it has those that the stages ask.

use indexmap::IndexMap;

use crate::provider::{ConnectContext, Env, Inventory, Listed, Provider};
use crate::spec::Spec;

#[derive(Debug)]
pub(crate) struct Surveyed {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    /// The server's address; `None` if the environment does not set it.
    pub(crate) endpoint: Option<String>,
    pub(crate) inventory: Result<Inventory, Lack>,
    pub(crate) needs: Vec<Need>,
}

#[derive(Debug)]
pub(crate) struct Need {
    pub(crate) model: String,
    pub(crate) index: usize,
    pub(crate) id: String,
    pub(crate) listed: Option<Listed>,
    pub(crate) lack: Option<Lack>,
    /// What the provider does not use of a Modelfile.
    pub(crate) unused: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    /// A sentence without a full stop.
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

pub(crate) async fn survey(spec: &Spec, env: Env<'_>) -> Vec<Surveyed> {
    let mut needed: IndexMap<&str, Vec<usize>> = IndexMap::new();
    for model in spec.stages().flat_map(|(_, stage)| &stage.models) {
        for index in [model].into_iter().chain(&spec.model(*model).1.fallback) {
            let indices = needed.entry(&spec.model(*index).1.endpoint).or_default();
            if !indices.contains(index) {
                indices.push(*index);
            }
        }
    }
    let mut surveyed = Vec::new();
    for (name, indices) in needed {
        surveyed.push(server(spec, name, &indices, env).await);
    }
    surveyed
}

async fn server(spec: &Spec, name: &str, indices: &[usize], env: Env<'_>) -> Surveyed {
    let endpoint = &spec.endpoints[name].endpoint;
    let need = |index: &usize| {
        let (model, known) = spec.model(*index);
        Need {
            model: model.to_string(),
            index: *index,
            id: known.model.id.clone(),
            listed: None,
            lack: None,
            unused: Vec::new(),
        }
    };
    let mut needs: Vec<Need> = indices.iter().map(need).collect();
    let name = name.to_owned();
    let context = ConnectContext { env, folder: &spec.folder };
    let provider = match endpoint.connect(&context) {
        Ok(provider) => provider,
        Err(error) => {
            let lack = Lack { message: error.message, help: error.help };
            return Surveyed { name, kind: endpoint.kind(), endpoint: None, inventory: Err(lack), needs };
        }
    };
    let ids: Vec<&str> = indices.iter().map(|index| spec.model(*index).1.model.id.as_str()).collect();
    let inventory = provider.inventory(&ids).await;
    let inventory = inventory.map_err(|error| Lack { message: error.message, help: None });
    if let Ok(inventory) = &inventory {
        for (at, need) in needs.iter_mut().enumerate() {
            need.listed = inventory.asked.get(at).cloned().flatten();
            let examined = endpoint.examine(&need.id, &context);
            need.unused = examined.unused;
            need.lack = match examined.error {
                Some(error) => Some(Lack { message: error.message, help: error.help }),
                None if need.listed.is_none() => lack(spec, need, provider.as_ref()).await,
                None => None,
            };
        }
    }
    Surveyed { name, kind: provider.kind(), endpoint: Some(provider.endpoint()), inventory, needs }
}

/// Why a model can't be asked that the server does not list. Some servers list nothing and still have the model.
async fn lack(spec: &Spec, need: &Need, provider: &dyn Provider) -> Option<Lack> {
    match provider.inspect(&spec.model(need.index).1.model).await {
        Err(error) => Some(Lack { message: error.message, help: None }),
        Ok(_) if provider.kind() == "embedded" => Some(Lack {
            message: format!("the weights of `{}` are not on this machine yet", need.id),
            help: Some(format!("`fanfold models pull {}` fetches them; the first run does so too", need.id)),
        }),
        Ok(_) => None,
    }
}

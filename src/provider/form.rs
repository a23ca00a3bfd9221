//! The form of a call that the settings of its model ask for. Pure.

use super::call::{Call, Encoded, Model, Sampling, SystemRole};
use crate::prompt::{Message, Role, folded};

/// Encodes a call in this form. A seed that is not sent is still a part of the call key.
pub(super) fn formed(call: &Call<'_>, encode: impl FnOnce(&Call<'_>) -> Encoded) -> Encoded {
    let sampling = &call.model.sampling;
    if sampling.system_role.is_none() && !sampling.hides_seed {
        return encode(call);
    }
    let messages: Vec<Message> = match sampling.system_role {
        Some(SystemRole::User) => folded(call.messages),
        Some(SystemRole::None) => call.messages.iter().filter(|said| said.role != Role::System).cloned().collect(),
        _ => call.messages.to_vec(),
    };
    let hidden = sampling.seed.filter(|_| sampling.hides_seed);
    let seed = sampling.seed.filter(|_| !sampling.hides_seed);
    let model = Model { id: call.model.id.clone(), sampling: Sampling { seed, ..sampling.clone() } };
    let mut encoded = encode(&Call { model: &model, messages: &messages, schema: call.schema });
    if let Some(seed) = hidden {
        let line = format!("{seed}\n");
        encoded.body.splice(encoded.unsent..encoded.unsent, line.bytes());
        encoded.unsent += line.len();
        encoded.keyed += line.len();
    }
    encoded
}

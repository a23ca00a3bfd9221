//! `type = "population"`: synthetic respondents, drawn from distributions or raked to margins.
//!
//! A characteristic with the key `depends_on` is conditional, one with the key `distribution` is numeric, one with the
//! key `file` has the weights of a file, one with the key `expression` is computed, any other table has weights. To add a shape: a variant of `characteristic::Law`, one of `graph::Values`, a line in `schema`.

mod characteristic;
mod columns;
mod draw;
mod expression;
mod fields;
mod frame;
mod graph;
mod margin;
mod numeric;
mod quota;
mod raking;
mod read;
pub(crate) mod report;
mod respondents;
mod schema;

use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;
use serde_json::json;

use super::batches::{Batches, SourceError};
use super::reading::Changes;
use super::rows::Source;
use crate::registry::Kind;
use columns::ID;
use fields::Fields;
use respondents::How;

pub(crate) use respondents::Population;

const ABOUT: &str = "Synthetic respondents, drawn from distributions or raked to margins.";

pub(crate) const KIND: Kind<Box<dyn Source>> = Kind::read_by::<Fields>("population", ABOUT, read::decode);

impl Source for Population {
    fn seed(&mut self, seed: Option<u64>) -> bool {
        self.seed = self.own_seed.or(seed).unwrap_or(0);
        self.own_seed.is_none()
    }

    fn schema(&self, folder: &Path) -> Result<SchemaRef, SourceError> {
        Ok(self.columns(&self.basis(folder)?)?.schema())
    }

    fn read_counting(&self, folder: &Path, _: &Changes) -> Result<Batches, SourceError> {
        let basis = self.basis(folder)?;
        let columns = self.columns(&basis)?;
        Ok(Box::new(self.blocks(&basis).map(move |block| columns.batch(&block))))
    }

    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
        Ok(self.paths().into_iter().map(|(_, path)| folder.join(path)).collect())
    }

    fn key(&self) -> Option<&str> {
        Some(ID)
    }

    fn paths(&self) -> Vec<(&'static str, String)> {
        let raking = match &self.how {
            How::Drawn(people) => {
                let files = people.characteristics.iter().filter_map(|one| one.file.as_ref()?.file());
                return files.map(|file| ("characteristics", file.to_owned())).collect();
            }
            How::Raked(raking) => raking,
        };
        let margins = raking.margins.iter().map(|margin| ("margins", margin.file()));
        let seed = raking.seed_table.iter().map(|table| ("seed_table", table.file()));
        margins.chain(seed).filter_map(|(field, file)| Some((field, file?.to_owned()))).collect()
    }

    fn meaning(&self) -> serde_json::Value {
        let how = match &self.how {
            How::Drawn(people) => {
                let mut how = json!({ "quota": people.quota, "characteristics": &people.characteristics[..] });
                if !people.expressions.is_empty() {
                    how["expressions"] = json!(&people.expressions[..]);
                }
                how
            }
            How::Raked(raking) => json!({ "raking": raking }),
        };
        json!({ "population": 1, "n": self.n, "seed": self.seed, "how": how, "fixed": self.fixed })
    }

    fn population(&self) -> Option<&Population> {
        Some(self)
    }
}

impl Population {
    /// Everything that a row depends on, except its number and the fixed values.
    pub(crate) fn draws(&self) -> serde_json::Value {
        let mut meaning = self.meaning();
        for key in ["n", "fixed"] {
            meaning[key].take();
        }
        meaning
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! Lengths of vectors: those of a column must be equal, or they can't be compared.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};

use crate::spec::StageSpec;
use crate::stage::DataError;

/// The length of the vectors in each column that a stage of embeddings has written.
#[derive(Debug, Default)]
pub(crate) struct VectorLengths(BTreeMap<String, usize>);

/// The lengths that occur in each column of these rows.
pub(crate) fn found(stage: &StageSpec, rows: &RecordBatch) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    if !stage.stage.info.embeds {
        return found;
    }
    let columns = rows.schema_ref().fields().iter().zip(rows.columns()).skip(stage.given);
    for (field, column) in columns {
        let Some(lists) = column.as_list_opt::<i32>() else { continue };
        let lengths = (0..lists.len()).filter(|row| lists.is_valid(*row)).map(|row| lists.value_length(row) as usize);
        found.extend(lengths.map(|length| (field.name().clone(), length)));
    }
    found.sort_unstable();
    found.dedup();
    found
}

impl VectorLengths {
    /// Adds the lengths of further rows.
    pub(crate) fn add(&mut self, found: Vec<(String, usize)>) -> Result<(), DataError> {
        for (column, length) in found {
            let known = *self.0.entry(column.clone()).or_insert(length);
            if known != length {
                let message = format!("the model returned vectors of {known} and of {length} numbers for `{column}`");
                return Err(DataError::at("dimensions", message)
                    .help("vectors of different lengths can't be compared; give the stage `dimensions`"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_a_column_have_one_length() {
        let of = |column: &str, length| vec![(column.to_owned(), length)];
        let mut lengths = VectorLengths::default();
        assert!(lengths.add(of("a", 3)).is_ok() && lengths.add(of("b", 4)).is_ok() && lengths.add(of("a", 3)).is_ok());
        let error = lengths.add(of("a", 4)).unwrap_err();
        assert_eq!(error.message, "the model returned vectors of 3 and of 4 numbers for `a`");
        assert!(lengths.add(vec![("c".to_owned(), 1), ("c".to_owned(), 2)]).is_err());
    }
}

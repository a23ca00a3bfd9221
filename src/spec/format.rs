//! Formats of outputs: their extensions, their limits and what they can hold.

use crate::name::{listed, nearest};

/// The format of an output. To add one: a variant, a row in [`FORMATS`], and a writer in `output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableFormat {
    Parquet,
    Csv,
    Jsonl,
    Xlsx,
    Dta,
    Sav,
    Arrow,
    /// A codebook.
    Markdown,
}

const FORMATS: [(TableFormat, &str); 8] = [
    (TableFormat::Parquet, "parquet"),
    (TableFormat::Csv, "csv"),
    (TableFormat::Jsonl, "jsonl"),
    (TableFormat::Xlsx, "xlsx"),
    (TableFormat::Dta, "dta"),
    (TableFormat::Sav, "sav"),
    (TableFormat::Arrow, "arrow"),
    (TableFormat::Markdown, "md"),
];

impl TableFormat {
    pub(crate) fn of(path: &str) -> Option<TableFormat> {
        let extension = extension(path)?;
        FORMATS.iter().find(|(_, known)| *known == extension).map(|(format, _)| *format)
    }

    /// What to write instead of an unknown extension.
    pub(crate) fn help(path: &str) -> String {
        let known = FORMATS.map(|(_, known)| known);
        // `PARQUET` is as near as `parqet`, and `xls` is read as Excel's.
        let near = extension(path).and_then(|found| nearest(found, known));
        let meant = near.map(|near| format!("did you mean `.{near}`? ")).unwrap_or_default();
        let all = known.map(|known| format!(".{known}"));
        format!("{meant}the formats are {}", listed(all.iter().map(String::as_str)))
    }

    /// Whether columns and codes can have labels.
    pub(crate) fn has_labels(self) -> bool {
        !matches!(self, TableFormat::Csv | TableFormat::Jsonl)
    }

    /// Whether columns have types.
    pub(crate) fn has_types(self) -> bool {
        matches!(self, TableFormat::Parquet | TableFormat::Arrow)
    }

    /// Whether the file is for a statistics program, which has codes for missing values.
    pub(crate) fn has_missing_codes(self) -> bool {
        matches!(self, TableFormat::Dta | TableFormat::Sav)
    }

    pub(crate) fn most_columns(self) -> Option<usize> {
        match self {
            TableFormat::Xlsx => Some(16_384),
            TableFormat::Dta => Some(32_767),
            _ => None,
        }
    }

    /// The most rows below the row of names.
    pub(crate) fn most_rows(self) -> Option<u64> {
        match self {
            TableFormat::Xlsx => Some(1_048_575),
            TableFormat::Dta | TableFormat::Sav => Some(i32::MAX as u64),
            _ => None,
        }
    }
}

fn extension(path: &str) -> Option<&str> {
    std::path::Path::new(path).extension()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_extension_gets_the_near_one_and_all() {
        let all = "the formats are `.parquet`, `.csv`, `.jsonl`, `.xlsx`, `.dta`, `.sav`, `.arrow` and `.md`";
        for (path, near) in [("o.parqet", ".parquet"), ("o.xls", ".xlsx"), ("o.CSV", ".csv"), ("o.json", ".jsonl")] {
            assert_eq!(TableFormat::of(path), None);
            assert_eq!(TableFormat::help(path), format!("did you mean `{near}`? {all}"));
        }
        assert_eq!(TableFormat::help("o"), all);
        assert_eq!(TableFormat::help("o.zebra"), all);
    }
}

//! Output files: writes the tables of a run and their codebooks, and reads them back.
//!
//! A file appears whole or not at all, and its bytes depend only on the rows and the spec. To add a format: a variant of
//! [`TableFormat`](crate::spec::TableFormat) and a writer.

mod arrow_file;
mod codebook;
mod describe;
mod kept;
mod kept_workbook;
mod names;
#[cfg(test)]
mod nested_tests;
mod origin;
mod parquet_file;
mod read;
mod spss;
mod stata;
mod table;
mod text;
mod variables;
mod workbook;
mod workbook_cells;

use crate::object::{outdate, publish};
use crate::spec::{OutputSpec, TableFormat};
use crate::store::StoreError;

pub(crate) use codebook::{escaped, fence};
pub(crate) use describe::{Description, describe};
pub(crate) use kept::{check, progress};
pub(crate) use read::read;
pub(crate) use table::{Batches, Output, Written};
pub(crate) use text::csv_text;
pub(crate) use workbook_cells::WorkbookFile;

impl Output<'_> {
    pub(crate) fn write(&self) -> Result<Written, StoreError> {
        match (&self.output.sheet, self.output.address()) {
            (Some(sheet), _) => self.keep(sheet, || self.write_new()),
            (None, None) => self.write_new(),
            (None, Some(address)) => {
                outdate(&self.output.file).map_err(|error| self.io(error))?;
                let written = self.write_new()?;
                publish(&address, &self.output.file)?;
                Ok(written)
            }
        }
    }

    fn write_new(&self) -> Result<Written, StoreError> {
        let OutputSpec { format, codebook, bom, .. } = *self.output;
        let columns = self.output.schema.fields().len();
        let plain = |rows| Written { rows, columns, ..Written::default() };
        match format {
            _ if codebook => self.whole(|file| codebook::write(self, file)),
            TableFormat::Parquet => parquet_file::write(self).map(plain),
            TableFormat::Csv => self.whole(|file| text::csv(file, self, bom).map(plain)),
            TableFormat::Jsonl | TableFormat::Markdown => self.whole(|file| text::jsonl(file, self).map(plain)),
            TableFormat::Arrow => self.whole(|file| arrow_file::write(file, self).map(plain)),
            TableFormat::Xlsx => self.whole(|file| workbook::write(file, self)),
            TableFormat::Dta => self.whole(|file| stata::write(file, self)),
            TableFormat::Sav => self.whole(|file| spss::write(file, self)),
        }
    }
}

//! Object stores in a program without the feature `cloud`: none can be opened.

use std::fs::File;
use std::path::Path;

use super::address::Address;
use super::error::ObjectError;

/// A store. It has no values.
#[derive(Clone, Debug)]
pub(crate) enum Bucket {}

impl Bucket {
    pub(crate) fn open(folder: &Address) -> Result<Bucket, ObjectError> {
        let message = format!("`{folder}` is on an object store, and this program was built without object stores");
        Err(ObjectError::new(
            message,
            "install one that has them: the program of a release, or `cargo install fanfold --features cloud`",
        ))
    }

    pub(crate) fn put_new(&self, _: &str, _: Vec<u8>) -> Result<bool, ObjectError> {
        match *self {}
    }

    pub(crate) fn put(&self, _: &str, _: Vec<u8>) -> Result<(), ObjectError> {
        match *self {}
    }

    pub(crate) fn get(&self, _: &str) -> Result<Option<Vec<u8>>, ObjectError> {
        match *self {}
    }

    pub(crate) fn get_all(&self, _: &[String]) -> Result<Vec<Vec<u8>>, ObjectError> {
        match *self {}
    }

    pub(crate) fn list(&self, _: &str) -> Result<Vec<String>, ObjectError> {
        match *self {}
    }

    pub(crate) fn delete(&self, _: &[String]) -> Result<(), ObjectError> {
        match *self {}
    }

    pub(crate) fn put_file(&self, _: &str, _: &Path) -> Result<String, ObjectError> {
        match *self {}
    }

    pub(crate) fn get_file(&self, _: &str, _: &File) -> Result<String, ObjectError> {
        match *self {}
    }

    pub(crate) fn version(&self, _: &str) -> Result<Option<String>, ObjectError> {
        match *self {}
    }

    pub(crate) fn check(&self) -> Result<(), ObjectError> {
        match *self {}
    }

    pub(crate) fn missing(&self, _: &str) -> ObjectError {
        match *self {}
    }
}

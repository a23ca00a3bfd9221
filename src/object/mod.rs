//! Object stores: objects at addresses such as `s3://bucket/folder/file.csv`, and their copies on this machine.
//!
//! - `address`: addresses, and what they are made of
//! - `bucket`: the operations on a store; without the feature `cloud`, `absent` refuses to open one
//! - `copies`: the copies of objects that are read and written as files
//!
//! Credentials come from the environment, as the crate `object_store` reads them. They are never written.

#[cfg(not(feature = "cloud"))]
#[path = "absent.rs"]
mod bucket;
#[cfg(feature = "cloud")]
mod bucket;

mod address;
mod copies;
mod error;

pub(crate) use address::{Address, is_address};
pub(crate) use bucket::Bucket;
pub(crate) use copies::{copy_path, fetch, outdate, publish};
pub(crate) use error::ObjectError;

//! Search: the nearest of many vectors or texts, exactly and without a model. Pure; knows nothing of tables.
//!
//! - [`Vectors`]: vectors of one length, and the nearest of them by cosine similarity.
//! - [`TextIndex`]: texts, and those that fit a query best by BM25.
//! - [`fused`]: several rankings as one.
//! - [`like_texts`], [`like_vectors`]: near duplicates of earlier rows.
//!
//! A result depends only on the vectors and texts, in their order. Equal scores keep that order.

mod bm25;
mod duplicates;
mod fusion;
mod hit;
mod vectors;
mod words;

pub(crate) use bm25::TextIndex;
pub(crate) use duplicates::{like_texts, like_vectors};
pub(crate) use fusion::{Fused, fused};
pub(crate) use hit::Hit;
pub(crate) use vectors::{Nearest, VectorFault, Vectors};

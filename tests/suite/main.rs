//! The tests of the finished program: each runs the real binary over its own folder, most against a local server.
//!
//! `server`, `llama`, `weights`, `project` and `recipe` are the stage, the others the tests.
//! To add tests: a file and a `mod` line.

mod limits;
mod llama;
mod project;
mod python;
mod recipe;
mod server;
mod venv;
mod weights;

mod assertions;
mod bench;
mod broken;
mod budget;
mod builds;
mod changes;
mod clones;
mod command;
mod cut;
mod dialects;
mod diff;
mod disk;
mod documents;
#[cfg(feature = "embedded")]
mod embedded;
mod english;
mod everyday;
mod examples;
mod explain;
mod faults;
mod fill_missing;
mod filter;
mod formats;
#[cfg(feature = "embedded")]
mod gguf;
mod hosted;
mod hostile;
mod inventory;
mod kill;
mod labels;
mod layers;
mod ledger;
mod lock;
mod map_reduce;
mod matrix;
mod modelfile;
mod models;
mod money;
mod nested;
mod old_data;
mod old_words;
mod options;
mod outputs;
mod pack;
mod pack_kinds;
mod pipelines;
mod population;
mod prob;
mod progress;
mod readme;
mod real;
mod real_ollama;
mod repeatability;
mod replay;
mod reruns;
mod rescue;
mod rows;
mod run;
mod runs;
mod same;
mod servers;
mod show;
mod stops;
mod summary;
mod survey;
mod swaps;
mod together;
mod transform;
mod traps;
mod tries;
mod unasked;
mod verify;
mod versions;
mod waits;

//! Fuzzes [`fanfold::fuzz_targets::json`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold::fuzz_targets::json(data));

//! Fuzzes [`fanfold::fuzz_targets::openai`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold::fuzz_targets::openai(data));

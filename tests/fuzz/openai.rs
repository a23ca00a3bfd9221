//! Fuzzes [`fanfold_fuzz::openai`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold_fuzz::openai(data));

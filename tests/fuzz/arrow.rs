//! Fuzzes [`fanfold::fuzz_targets::arrow`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold::fuzz_targets::arrow(data));

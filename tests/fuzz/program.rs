//! Fuzzes [`fanfold::fuzz_targets::program`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold::fuzz_targets::program(data));

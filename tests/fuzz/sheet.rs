//! Fuzzes [`fanfold::fuzz_targets::sheet`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold::fuzz_targets::sheet(data));

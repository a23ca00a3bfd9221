//! Fuzzes [`fanfold::fuzz_targets::dta`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold::fuzz_targets::dta(data));

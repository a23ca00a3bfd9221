//! Fuzzes [`fanfold_fuzz::template`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold_fuzz::template(data));

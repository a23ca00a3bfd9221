//! Fuzzes [`fanfold_fuzz::anthropic`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold_fuzz::anthropic(data));

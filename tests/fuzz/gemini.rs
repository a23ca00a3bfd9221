//! Fuzzes [`fanfold_fuzz::gemini`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold_fuzz::gemini(data));

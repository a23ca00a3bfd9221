//! Fuzzes [`fanfold_fuzz::ledger`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfold_fuzz::ledger(data));

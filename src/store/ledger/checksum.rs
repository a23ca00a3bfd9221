//! Checksums: whether a record is the one that was written, and whether it may be served.

use super::Record;

/// A checksum of a record: of all that is in it.
pub fn checksum(record: &Record) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"3");
    hasher.update(&record.key.0);
    for number in [record.prompt_tokens, record.completion_tokens, record.attempts.into()] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&record.latency_ms.to_bits().to_le_bytes());
    let whole = [&record.model, &record.reply, &record.finish].map(|text| Some(text.as_str()));
    // A failed call whose error is lost must not pass for an answer.
    let parts = [&record.build, &record.error, &record.tries, &record.probabilities].map(Option::as_deref);
    for text in whole.into_iter().chain(parts) {
        // No text has this length, so that a missing one is told from an empty one.
        hasher.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
        hasher.update(text.unwrap_or_default().as_bytes());
    }
    // A record without notes has the sum that it had before there were any.
    hasher.update(record.notes.to_json().unwrap_or_default().as_bytes());
    first_bytes(&hasher)
}

/// Whether `sum` is the checksum of an answered record, by the rule of now or by that of formats 1 and 2. To pass by the
/// older rule a changed record would have to meet a sum of 64 bits by chance, so nobody has to know who wrote it.
pub fn fits(record: &Record, sum: i64) -> bool {
    checksum(record) == sum || (record.error.is_none() && older(record) == sum)
}

/// The checksum of formats 1 and 2: of what decides an answer.
fn older(record: &Record) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&record.key.0);
    for text in [&record.model, &record.reply, &record.finish] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(&record.prompt_tokens.to_le_bytes());
    hasher.update(&record.completion_tokens.to_le_bytes());
    hasher.update(record.probabilities.as_deref().unwrap_or_default().as_bytes());
    first_bytes(&hasher)
}

fn first_bytes(hasher: &blake3::Hasher) -> i64 {
    let bytes: [u8; 8] = hasher.finalize().as_bytes()[..8].try_into().expect("a hash has 32 bytes");
    i64::from_le_bytes(bytes)
}

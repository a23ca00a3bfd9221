//! The distance of two sets of labels.

/// The MASI distance of two sets, each sorted and without repeats: 0 if equal, 1 if they share nothing (Passonneau 2006,
/// Measuring Agreement on Set-valued Items (MASI), <https://aclanthology.org/L06-1392/>).
pub(crate) fn masi(a: &[u64], b: &[u64]) -> f64 {
    let both = a.iter().filter(|label| b.binary_search(label).is_ok()).count();
    let either = a.len() + b.len() - both;
    if either == 0 {
        return 0.0;
    }
    let monotony = match both {
        _ if a == b => 1.0,
        _ if both == a.len().min(b.len()) && both > 0 => 2.0 / 3.0,
        0 => 0.0,
        _ => 1.0 / 3.0,
    };
    1.0 - both as f64 / either as f64 * monotony
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_apart_by_overlap_and_inclusion() {
        let cases: [(&[u64], &[u64], f64); 7] = [
            (&[1, 2], &[1, 2], 0.0),
            (&[1], &[1, 2], 1.0 - 0.5 * 2.0 / 3.0),
            (&[1, 2], &[2, 3], 1.0 - 1.0 / 3.0 / 3.0),
            (&[1], &[2], 1.0),
            (&[], &[2], 1.0),
            (&[], &[], 0.0),
            (&[1, 2, 3], &[2], 1.0 - 1.0 / 3.0 * 2.0 / 3.0),
        ];
        for (a, b, distance) in cases {
            assert!((masi(a, b) - distance).abs() < 1e-12, "{a:?} {b:?}");
            assert_eq!(masi(a, b), masi(b, a));
        }
    }
}

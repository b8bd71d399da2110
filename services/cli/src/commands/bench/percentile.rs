//! Percentiles of what was measured.

/// The value below which a share of the sorted values lies; 0 without values.
pub(super) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(0.0)
}

/// The same of values in any order.
pub(super) fn percentile_of(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(&values, share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|share| percentile_of(values.clone(), share)), [50.0, 99.0, 100.0]);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}

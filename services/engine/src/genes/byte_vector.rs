//! Vectors of unit norm, a byte a component.

/// `values[i] * step` is component `i`.
#[derive(Debug, Clone, PartialEq)]
pub struct ByteVector {
    /// -127 to 127.
    pub values: Vec<i8>,
    /// Length of one step.
    pub step: f32,
}

impl ByteVector {
    /// A vector scaled to unit norm; one of zeros stays zero.
    #[must_use]
    pub fn new(vector: &[f32]) -> Self {
        let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        let greatest =
            vector.iter().fold(0.0_f32, |most, value| most.max(value.abs())).max(f32::MIN_POSITIVE);
        let values = vector.iter().map(|value| (value / greatest * 127.0).round() as i8).collect();
        Self { values, step: greatest / norm / 127.0 }
    }

    /// Components.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.values.len()
    }

    /// Its components.
    pub fn components(&self) -> impl Iterator<Item = f32> {
        self.values.iter().map(|&value| f32::from(value) * self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_come_back_at_unit_norm() {
        let found: Vec<f32> = ByteVector::new(&[3.0, 0.0, -4.0]).components().collect();
        assert!(found.iter().zip([0.6, 0.0, -0.8]).all(|(a, b)| (a - b).abs() < 5e-3), "{found:?}");
        assert!(ByteVector::new(&[0.0, 0.0]).components().all(|value| value == 0.0));
    }
}

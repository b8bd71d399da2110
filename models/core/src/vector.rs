//! Vectors that know which kind they are: encoder rows and joint vectors do not mix.

use crate::error::VectorError;

/// One row in encoder space, of any norm: what a pretrained model says of one record.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderRow(Vec<f32>);

impl EncoderRow {
    /// Wraps finite values.
    ///
    /// # Errors
    /// [`VectorError::NotFinite`] if a component is NaN or infinite.
    pub fn new(values: Vec<f32>) -> Result<Self, VectorError> {
        ensure_finite(&values)?;
        Ok(Self(values))
    }

    /// The components.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// The components, owned.
    #[must_use]
    pub fn into_vec(self) -> Vec<f32> {
        self.0
    }
}

/// One vector of a joint space: finite, with unit norm. Indexes take nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct JointVector(Vec<f32>);

impl JointVector {
    /// Scales `values` to unit norm (in f64, so that the result's norm is 1 within 1e-6).
    ///
    /// # Errors
    /// [`VectorError::NotFinite`] or [`VectorError::Zero`].
    pub fn normalized(mut values: Vec<f32>) -> Result<Self, VectorError> {
        ensure_finite(&values)?;
        let norm = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
        if norm == 0.0 {
            return Err(VectorError::Zero);
        }
        for value in &mut values {
            *value = (f64::from(*value) / norm) as f32;
        }
        Ok(Self(values))
    }

    /// The components; their squares sum to 1.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// The components, owned.
    #[must_use]
    pub fn into_vec(self) -> Vec<f32> {
        self.0
    }

    /// Cosine with another vector of the same space, in -1..=1.
    ///
    /// # Panics
    /// In debug builds when the widths differ; callers compare spaces first.
    #[must_use]
    pub fn cosine(&self, other: &JointVector) -> f32 {
        debug_assert_eq!(self.0.len(), other.0.len(), "spaces are compared before vectors");
        let dot: f32 = self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum();
        dot.clamp(-1.0, 1.0)
    }
}

fn ensure_finite(values: &[f32]) -> Result<(), VectorError> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(VectorError::NotFinite { index }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizing_gives_unit_norm_or_a_reason() {
        let unit = JointVector::normalized(vec![3.0, 4.0]).unwrap();
        assert_eq!(unit.as_slice(), &[0.6, 0.8]);
        assert_eq!(JointVector::normalized(vec![0.0, 0.0]), Err(VectorError::Zero));
        assert_eq!(JointVector::normalized(vec![1.0, f32::NAN]), Err(VectorError::NotFinite { index: 1 }));
    }

    #[test]
    fn very_small_and_very_large_values_keep_their_direction() {
        for scale in [1e-30_f32, 1e30] {
            let unit = JointVector::normalized(vec![3.0 * scale, 4.0 * scale]).unwrap();
            assert!((unit.as_slice()[0] - 0.6).abs() < 1e-6);
        }
    }
}

//! What a head reads of an encoded record: its vectors in the head's spaces, side by side.

use protext_core::{Encoded, FeatureCard, FeatureKind, FeatureRows, HeadCard, HeadError, RowKind, Space};

use crate::embedder::Embedder;
use crate::error::EngineError;

/// Rows of encoded records for `head`, all made by `embedder`. Vectors of other spaces than the head's are refused.
///
/// # Errors
/// [`EngineError::Head`] where a space is another one, [`EngineError::NotLoaded`] where the encoder has no such vectors.
pub fn features_of(
    embedder: &Embedder,
    head: &HeadCard,
    records: &[&Encoded],
) -> Result<FeatureRows, EngineError> {
    let mut spaces = Vec::with_capacity(head.features.len());
    let mut parts = Vec::with_capacity(head.features.len());
    for feature in &head.features {
        let (space, vectors) = vectors_of(embedder, feature, records)?;
        feature.space.ensure_same("the head", &space, "what it is to read").map_err(HeadError::from)?;
        spaces.push(space);
        parts.push(vectors);
    }
    let mut values = Vec::with_capacity(records.len() * head.input_dim());
    for row in 0..records.len() {
        parts.iter().for_each(|part| values.extend_from_slice(&part[row]));
    }
    Ok(FeatureRows::new(spaces, values)?)
}

fn vectors_of(
    embedder: &Embedder,
    feature: &FeatureCard,
    records: &[&Encoded],
) -> Result<(Space, Vec<Vec<f32>>), EngineError> {
    let missing = EngineError::NotLoaded {
        what: "encoder with the vectors that the head reads",
        instead: "another head",
    };
    let encoder = embedder.encoder();
    let kind = match feature.kind {
        FeatureKind::Pooled => RowKind::Pooled,
        FeatureKind::Statistics => RowKind::LayerStatistics,
        FeatureKind::Joint => {
            let mut spaces = embedder.joint_spaces();
            let same = |space: &&Space| space.fingerprint == feature.space.fingerprint;
            // Without that very space, the one of its name is what the refusal is to speak of.
            let named = embedder.joint_spaces().find(|space| space.name == feature.space.name);
            let space = spaces.find(same).or(named).ok_or(missing)?;
            let vectors = embedder.project(records, space)?;
            return Ok((space.clone(), vectors.into_iter().map(|vector| vector.into_vec()).collect()));
        }
        FeatureKind::Residue | FeatureKind::File => return Err(missing),
    };
    let space = encoder.space(kind).ok_or(missing)?.clone();
    let rows = records.iter().filter_map(|record| record.row(kind)).map(|row| row.as_slice().to_vec());
    Ok((space, rows.collect()))
}

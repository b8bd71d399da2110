//! Data for the index tests: unit vectors in clusters, as embeddings of protein families are.

use protext_core::{Fingerprint, JointVector, Space};
use protext_index::{Collection, CollectionBuilder, IndexKind, Record};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A space of `dim` components.
pub(crate) fn space(dim: usize) -> Space {
    Space { name: format!("test/{dim}"), dim, fingerprint: Fingerprint::of(["test", &dim.to_string()]) }
}

/// `n` unit vectors around sixty centres.
pub(crate) fn clustered(n: usize, dim: usize, seed: u64) -> Vec<JointVector> {
    let mut rng = StdRng::seed_from_u64(seed);
    // Centres come from a generator of their own, so that queries of another seed fall into the same clusters.
    let mut centre_rng = StdRng::seed_from_u64(1);
    let around = |rng: &mut StdRng, centre: &[f32], spread: f32| {
        let values = centre.iter().map(|c| c + spread * rng.random_range(-1.0_f32..1.0)).collect();
        JointVector::normalized(values).unwrap()
    };
    let centres: Vec<_> = (0..60).map(|_| around(&mut centre_rng, &vec![0.0; dim], 1.0)).collect();
    let mut near_a_centre = || {
        let centre = &centres[rng.random_range(0..60)];
        around(&mut rng, centre.as_slice(), 0.25)
    };
    (0..n).map(|_| near_a_centre()).collect()
}

/// A record whose id is `prefix` and the row.
pub(crate) fn record(prefix: &str, row: usize) -> Record {
    Record {
        id: format!("{prefix}{row}"),
        description: "alcohol dehydrogenase, \"quoted\"\nand on two lines".into(),
        organism: row.is_multiple_of(2).then(|| "Homo sapiens".into()),
        taxon_id: row.is_multiple_of(2).then_some(9606),
        length: row as u32,
        ..Record::default()
    }
}

/// A collection of these vectors.
pub(crate) fn collection(prefix: &str, vectors: &[JointVector], kind: IndexKind) -> Collection {
    let mut builder = CollectionBuilder::new(space(vectors[0].as_slice().len()), kind).unwrap();
    builder.set_metadata("encoder", "test-encoder");
    for (row, vector) in vectors.iter().enumerate() {
        builder.push(record(prefix, row), vector).unwrap();
    }
    builder.build(&mut |_| {}).unwrap()
}

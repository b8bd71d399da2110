//! A collection in the plane: records whose vectors are near lie near each other.
//!
//! The nearest records of each are found by the index, and t-SNE lays them out. Distances between groups mean little.
//! Callers: the map of the page. Source of the method: van der Maaten 2014, JMLR 15, 3221.

use std::ops::ControlFlow;

use bhtsne::{Neighbor, tSNE};
use protext_core::JointVector;
use protext_index::{CollectionView, Record, Wanted};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rayon::prelude::*;
use serde::Serialize;

use crate::error::EngineError;

/// Effective number of neighbours of a record; three times as many are looked up.
const PERPLEXITY: usize = 15;
const EPOCHS: usize = 600;
/// Opening angle of the Barnes-Hut tree.
const THETA: f32 = 0.5;
const SEED: u64 = 1;
/// Fewer records than this are laid on a circle: there is nothing to learn from them.
const LEAST_RECORDS: usize = 8;

/// Columns over the records of a map.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CollectionMap {
    /// Records of the collection; those below are evenly spread among them.
    pub n_records: usize,
    /// Ids.
    pub ids: Vec<String>,
    /// Left to right, -1..=1.
    pub x: Vec<f32>,
    /// Bottom to top, -1..=1.
    pub y: Vec<f32>,
    /// Names.
    pub names: Vec<String>,
    /// Gene symbols; empty where there is none.
    pub genes: Vec<String>,
    /// Organisms; empty where there is none.
    pub organisms: Vec<String>,
    /// Residues; 0 for texts.
    pub lengths: Vec<u32>,
}

/// Lays out the records of `view`, at most `max_points` of them. The same collection gives the same map.
///
/// # Errors
/// [`EngineError`] where the index refuses.
pub fn map_of(view: &dyn CollectionView, max_points: usize) -> Result<CollectionMap, EngineError> {
    let step = view.len().div_ceil(max_points.max(1)).max(1);
    let mut map = CollectionMap {
        n_records: view.len(),
        ids: Vec::new(),
        x: Vec::new(),
        y: Vec::new(),
        names: Vec::new(),
        genes: Vec::new(),
        organisms: Vec::new(),
        lengths: Vec::new(),
    };
    let mut vectors = Vec::new();
    view.each((0, step), true, &mut |mut stored| {
        if !stored.vectors.is_empty() {
            map.push(&stored.record);
            vectors.push(stored.vectors.swap_remove(0));
        }
        ControlFlow::Continue(())
    })?;
    let points = if vectors.len() < LEAST_RECORDS {
        circle(vectors.len())
    } else {
        lay_out(view, &map.ids, &vectors)?
    };
    (map.x, map.y) = points.into_iter().map(|[x, y]| (x, y)).unzip();
    Ok(map)
}

impl CollectionMap {
    fn push(&mut self, record: &Record) {
        self.ids.push(record.id.clone());
        self.names.push(record.description.clone());
        self.genes.push(record.gene.clone().unwrap_or_default());
        self.organisms.push(record.organism.clone().unwrap_or_default());
        self.lengths.push(record.length);
    }
}

fn circle(n: usize) -> Vec<[f32; 2]> {
    let angle = |at: usize| at as f32 / n.max(1) as f32 * std::f32::consts::TAU;
    (0..n).map(|at| [angle(at).cos(), angle(at).sin()]).collect()
}

/// Places by t-SNE, scaled into the square.
fn lay_out(
    view: &dyn CollectionView,
    ids: &[String],
    vectors: &[JointVector],
) -> Result<Vec<[f32; 2]>, EngineError> {
    let n = vectors.len();
    let k = (3 * PERPLEXITY).min(n - 1);
    let neighbours = neighbours(view, ids, vectors, k)?;
    let mut rng = StdRng::seed_from_u64(SEED);
    let start: Vec<f32> = (0..2 * n).map(|_| rng.random_range(-1e-2..1e-2)).collect();
    let samples = vec![(); n];
    let mut tsne: tSNE<'_, f32, (), 2> = tSNE::new(&samples);
    tsne.perplexity((k as f32 / 3.0).max(2.0)).epochs(EPOCHS).initial_embedding(start);
    let found = tsne.barnes_hut_with_neighbors(THETA, &neighbours).embedding();
    let most = found.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
    Ok(found.chunks(2).map(|point| [point[0] / most, point[1] / most]).collect())
}

/// The `k` nearest of the records drawn, of each, by rising distance. Where the index gives fewer (it may hold more records
/// than are drawn), the list is filled with records of the greatest distance.
fn neighbours(
    view: &dyn CollectionView,
    ids: &[String],
    vectors: &[JointVector],
    k: usize,
) -> Result<Vec<Vec<Neighbor<f32>>>, EngineError> {
    let row_of: std::collections::HashMap<&str, usize> =
        ids.iter().enumerate().map(|(row, id)| (id.as_str(), row)).collect();
    let space = view.space();
    let step = view.len().div_ceil(vectors.len().max(1));
    let wanted = Wanted::new((k * step + 1).min(view.len()).max(1));
    let nearest = |(row, vector): (usize, &JointVector)| -> Result<Vec<Neighbor<f32>>, EngineError> {
        let hits = view.find(space, vector, &wanted)?;
        let mut found: Vec<Neighbor<f32>> = hits
            .iter()
            .filter_map(|hit| Some((*row_of.get(hit.record.id.as_str())?, hit.cosine)))
            .filter(|&(other, _)| other != row)
            .map(|(other, cosine)| Neighbor { index: other, distance: (2.0 - 2.0 * cosine).max(0.0).sqrt() })
            .take(k)
            .collect();
        let mut other = row;
        while found.len() < k {
            other = (other + 1) % vectors.len();
            if other != row && found.iter().all(|known| known.index != other) {
                found.push(Neighbor { index: other, distance: 2.0 });
            }
        }
        Ok(found)
    };
    vectors.par_iter().enumerate().map(nearest).collect()
}

//! Vectors derived from real proteins, as many as asked for, and the exact answers to the queries.
//!
//! Rows of the encoder are centred and reduced to their 128 principal components. A vector is a mix of a protein and two
//! of its 16 nearest neighbours, with weights drawn evenly from the simplex, and noise of norm 0.3, normalized. Base and
//! queries are drawn alike; the seed is fixed.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use ndarray::{Array2, ArrayView1};
use protext_core::{Fingerprint, JointVector, Modality, RowKind, Space};
use protext_engine::embed_records;
use protext_engine::input::{InputOptions, Source, open};
use protext_index::{ExactIndex, SearchParams, VectorIndex as _, VectorTable};
use protext_train::{Whitening, WhiteningSettings};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rand_distr::StandardNormal;

use super::process::Workload;
use crate::commands::embed::RecordArgs;
use crate::fault::UsageError;
use crate::wiring::{self, ModelArgs};
use crate::{interrupt, progress};

const DIM: usize = 128;
const N_NEIGHBOURS: usize = 16;
const NOISE: f32 = 0.3;
const SEED: u64 = 1;
/// So much is added to every variance before scaling by it that the components keep the scales they have.
const KEEP_SCALES: f64 = 100.0;

/// Where vectors and queries are.
pub(super) struct Vectors {
    pub(super) dim: usize,
    folder: PathBuf,
    queries: Vec<JointVector>,
}

/// Writes `base.f32` `[n, dim]` and `queries.f32` `[n_queries, dim]`, little-endian, into `folder`.
pub(super) fn derive(
    data: &Path,
    model: &ModelArgs,
    (n, n_queries): (usize, usize),
    folder: &Path,
) -> anyhow::Result<Vectors> {
    let proteins = proteins(data, model)?;
    let neighbours = neighbours(&proteins);
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut draw = |n: usize, name: &str| -> anyhow::Result<Vec<f32>> {
        let path = folder.join(name);
        let mut file = BufWriter::new(File::create(&path)?);
        let mut last = Vec::new();
        let bar = progress::count(n as u64, "deriving vectors");
        for _ in 0..n {
            let vector = mix(&proteins, &neighbours, &mut rng);
            for value in &vector {
                file.write_all(&value.to_le_bytes())?;
            }
            if name == "queries.f32" {
                last.extend(vector);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        file.into_inner().with_context(|| format!("{} cannot be written", path.display()))?.sync_all()?;
        Ok(last)
    };
    let queries = draw(n_queries, "queries.f32")?;
    draw(n, "base.f32")?;
    let queries = queries.chunks(DIM).map(|vector| JointVector::normalized(vector.to_vec()));
    Ok(Vectors { dim: DIM, folder: folder.to_owned(), queries: queries.collect::<Result<_, _>>()? })
}

/// Unit rows `[n, 128]` of the proteins of the file.
fn proteins(data: &Path, model: &ModelArgs) -> anyhow::Result<Array2<f32>> {
    let embedder = wiring::start_embedder(model, false)?;
    let records = open(&Source::from_arg(data), &InputOptions::new(Modality::Protein))?;
    let settings = RecordArgs::default().settings(Modality::Protein, false, false);
    let bar = progress::residues(wiring::count_residues(data), "embedding");
    let stop = interrupt::flag()?;
    let (mut values, mut dim) = (Vec::new(), 0);
    let name = data.display().to_string();
    embed_records(&embedder, &name, records, &settings, |outcome| -> anyhow::Result<()> {
        if stop.load(Ordering::Relaxed) {
            return Err(interrupt::Interrupted.into());
        }
        let record = outcome?;
        let row = record.encoded.row(RowKind::Pooled).context("every encoder has pooled rows")?;
        dim = row.as_slice().len();
        values.extend_from_slice(row.as_slice());
        bar.inc(record.content.len() as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    let rows = Array2::from_shape_vec((values.len() / dim.max(1), dim), values)?;
    if rows.nrows() <= DIM.max(N_NEIGHBOURS) || dim < DIM {
        let said = format!(
            "{}: vectors are derived from more than {DIM} proteins; it holds {}",
            data.display(),
            rows.nrows()
        );
        return Err(UsageError(said).into());
    }
    let settings = WhiteningSettings { n_components: DIM, shrinkage: KEEP_SCALES };
    Ok(Whitening::fit(&rows.view(), settings)?.apply(&rows.view()))
}

/// The nearest other proteins of each, `[n][16]`.
fn neighbours(proteins: &Array2<f32>) -> Vec<Vec<usize>> {
    let cosines = proteins.dot(&proteins.t());
    let nearest = |(protein, row): (usize, ArrayView1<'_, f32>)| {
        let mut others: Vec<usize> = (0..row.len()).filter(|&other| other != protein).collect();
        others.select_nth_unstable_by(N_NEIGHBOURS - 1, |&a, &b| row[b].total_cmp(&row[a]));
        others.truncate(N_NEIGHBOURS);
        others
    };
    cosines.outer_iter().enumerate().map(nearest).collect()
}

/// One vector.
fn mix(proteins: &Array2<f32>, neighbours: &[Vec<usize>], rng: &mut StdRng) -> Vec<f32> {
    let protein = rng.random_range(0..proteins.nrows());
    let among = &neighbours[protein];
    let members =
        [protein, among[rng.random_range(0..N_NEIGHBOURS)], among[rng.random_range(0..N_NEIGHBOURS)]];
    // Exponential draws over their sum are even on the simplex.
    let weights = members.map(|_| -rng.random::<f32>().max(f32::MIN_POSITIVE).ln());
    let mut vector = vec![0.0; DIM];
    for (member, weight) in members.into_iter().zip(weights) {
        vector.iter_mut().zip(proteins.row(member)).for_each(|(sum, value)| *sum += weight * value);
    }
    normalize(&mut vector);
    let scale = NOISE / (DIM as f32).sqrt();
    vector.iter_mut().for_each(|value| *value += scale * rng.sample::<f32, _>(StandardNormal));
    normalize(&mut vector);
    vector
}

fn normalize(vector: &mut [f32]) {
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.iter_mut().for_each(|value| *value /= norm);
}

impl Vectors {
    /// Writes the rows of the `k` nearest of the first `workload.n` vectors, `truth.u32` `[n_queries, k]`.
    pub(super) fn write_truth(&self, workload: &Workload, k: usize) -> anyhow::Result<()> {
        let index = ExactIndex::new(Arc::new(workload.table()?));
        let hits = index.search_batch(&self.queries, &SearchParams::new(k))?;
        let rows = hits.iter().flatten().flat_map(|hit| hit.row.to_le_bytes());
        Ok(std::fs::write(self.folder.join("truth.u32"), rows.collect::<Vec<u8>>())?)
    }
}

/// The space that benches search in.
pub(super) fn space(dim: usize) -> Space {
    Space { name: "bench".to_owned(), dim, fingerprint: Fingerprint::of(["bench search"]) }
}

impl Workload {
    /// Its vectors.
    pub(super) fn table(&self) -> anyhow::Result<VectorTable> {
        let values = super::read_f32(&self.folder.join("base.f32"), self.n * self.dim)?;
        Ok(VectorTable::from_matrix(space(self.dim), &values)?)
    }
}

//! All pairs of the distinct proteins of a job: the second stage of a job of kind `ppi`.
//!
//! The first stage makes a head's code of each protein, as every other job makes its answers. Here the proteins of one shard
//! are compared with those of all shards, and the best partners of each are kept; so each pair is scored from both sides, and
//! no shard waits for another. Memory grows with the number of distinct proteins: 4 bytes a component of each code.

pub(crate) mod code;

use std::sync::Arc;

use protext_engine::ppi::{Partner, PpiPredictor};

use crate::blobs::{Blob, BlobFile, BlobWriter};
use crate::error::JobError;
use crate::plan::shard_name;
use crate::run::{OpenJob, Stage, Watch, check_cancelled};
use crate::spec::Task;
use code::Code;

/// One partner of a protein.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    /// Number of the partner among the distinct contents.
    pub(crate) content: u64,
    pub(crate) score: f32,
    pub(crate) probability: f64,
}

/// The proteins of a job as the head sees them, by the number of their content.
pub(crate) struct Proteins {
    /// Those that have a code, in the order of their contents.
    partners: Vec<Partner>,
    /// Their contents; ascending.
    contents: Vec<u64>,
}

impl Proteins {
    /// Reads the codes that the first stage made.
    pub(crate) fn read(job: &OpenJob) -> Result<Self, JobError> {
        let scratch = job.folder.scratch()?;
        let (mut partners, mut contents) = (Vec::new(), Vec::new());
        for (shard, entry) in job.shards.iter().enumerate() {
            let name = shard_name(Stage::Contents.out(), shard as u64);
            // A shard that was given up has none.
            if !job.folder.has(&name)? {
                continue;
            }
            let unreadable = |error| job.folder.read_failed(&name, error);
            let file = BlobFile::open(&job.folder.fetch(&name, scratch.path())?).map_err(unreadable)?;
            for index in 0..file.len() {
                let Blob::Done(bytes) = file.get(index).map_err(unreadable)? else { continue };
                let code =
                    Code::from_bytes(&bytes).ok_or_else(|| job.folder.damaged(&name, "it holds no codes"))?;
                contents.push(entry.first + u64::from(index));
                partners.push(code.into_partner());
            }
        }
        Ok(Self { partners, contents })
    }

    /// The protein of a content, if it has a code.
    pub(crate) fn get(&self, content: u64) -> Option<&Partner> {
        self.at(content).map(|at| &self.partners[at])
    }

    fn at(&self, content: u64) -> Option<usize> {
        self.contents.binary_search(&content).ok()
    }

    /// The best partners of one, best first; of equal scores the earlier content.
    fn best(&self, predictor: &PpiPredictor, one: usize, rule: Rule) -> Result<Vec<Found>, JobError> {
        let others: Vec<usize> = (0..self.partners.len()).filter(|&other| other != one).collect();
        let scored = predictor.one_against(&self.partners, one, &others);
        let mut scored = scored.map_err(|error| JobError::Engine(error.into()))?;
        scored.retain(|pair| pair.probability >= rule.min_probability);
        let better = |a: &protext_engine::ppi::Scored, b: &protext_engine::ppi::Scored| {
            b.score.total_cmp(&a.score).then(a.b.cmp(&b.b))
        };
        if scored.len() > rule.k {
            scored.select_nth_unstable_by(rule.k, better);
            scored.truncate(rule.k);
        }
        scored.sort_unstable_by(better);
        let found = |pair: protext_engine::ppi::Scored| Found {
            content: self.contents[pair.b],
            score: pair.score,
            probability: pair.probability,
        };
        Ok(scored.into_iter().map(found).collect())
    }
}

/// Which partners are kept.
#[derive(Debug, Clone, Copy)]
struct Rule {
    k: usize,
    min_probability: f64,
}

/// The head of this worker.
pub(crate) fn predictor(job: &OpenJob) -> Result<&Arc<PpiPredictor>, JobError> {
    crate::models::ppi_head(&job.engine)
}

/// Pairs the proteins of a shard with all others and puts the shard's file in place.
pub(crate) fn pair_shard(job: &OpenJob, shard: u64, watch: &Watch) -> Result<(), JobError> {
    let Task::Ppi { k, min_probability, .. } = &job.spec.task else { return Ok(()) };
    let rule = Rule { k: *k, min_probability: min_probability.unwrap_or(0.0) };
    let predictor = predictor(job)?;
    let proteins = job.proteins()?;
    let (folder, entry) = (&job.folder, job.shards[shard as usize]);
    let scratch = folder.scratch()?;
    let (input_name, output_name) =
        (shard_name(Stage::Contents.out(), shard), shard_name(Stage::Pairs.out(), shard));
    let input = folder.fetch(&input_name, scratch.path())?;
    let unreadable = |error| folder.read_failed(&input_name, error);
    let input = BlobFile::open(&input).map_err(unreadable)?;
    let written = |error| folder.write_failed(&output_name, error);
    let mut output = BlobWriter::new(folder.stage()?).map_err(written)?;
    for index in 0..entry.n {
        watch.check()?;
        check_cancelled(folder)?;
        let blob = match (proteins.at(entry.first + u64::from(index)), input.get(index).map_err(unreadable)?)
        {
            (Some(one), _) => Blob::Done(code::found_to_bytes(&proteins.best(predictor, one, rule)?)),
            (None, failed) => failed,
        };
        output.push(&blob).map_err(written)?;
    }
    let (file, _) = output.finish().map_err(written)?;
    folder.put_file(&output_name, file)
}

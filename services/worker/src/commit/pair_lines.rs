//! Lines of a job over pairs: the partners of each record, by name, as `protext ppi` writes them.
//!
//! Proteins of one sequence are one protein here: a partner goes by the id of the first record that has its sequence, and
//! no record is paired with its own sequence.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use protext_engine::ppi::Partner;
use serde_json::{Value, json};

use super::assemble::{ContentAt, open_plan_file, read_records};
use crate::error::JobError;
use crate::pairs::Proteins;
use crate::pairs::code::found_from_bytes;
use crate::plan::{NO_CONTENT, PlannedRecord, shard_name};
use crate::run::{OpenJob, Stage};

/// Columns of the output.
pub(super) const PAIR_COLUMNS: &str = "protein_a\tprotein_b\tprobability\tscore\ta_in_training\ta_nearest\ta_similarity\t\
                                       b_in_training\tb_nearest\tb_similarity";

pub(super) struct PairLines {
    proteins: Arc<Proteins>,
    /// Of each content, the id of its first record.
    names: Vec<Option<Box<str>>>,
    is_json: bool,
}

impl PairLines {
    pub(super) fn new(job: &OpenJob, is_json: bool, scratch: &Path) -> Result<Self, JobError> {
        let n_contents = usize::try_from(job.plan.counts.n_contents).unwrap_or(usize::MAX);
        let mut names: Vec<Option<Box<str>>> = vec![None; n_contents];
        let name = "plan/map.bin";
        let mut map = open_plan_file(&job.folder, name, scratch)?;
        read_records(&job.folder, scratch, &mut |record: PlannedRecord| {
            let mut content = [0; 8];
            map.read_exact(&mut content).map_err(|error| job.folder.read_failed(name, error))?;
            let content = u64::from_le_bytes(content);
            if content == NO_CONTENT {
                return Ok(());
            }
            let unknown = || job.folder.damaged(name, "it points to a content that is not there");
            let known = names.get_mut(content as usize).ok_or_else(unknown)?;
            known.get_or_insert_with(|| record.id.into_boxed_str());
            Ok(())
        })?;
        Ok(Self { proteins: job.proteins()?, names, is_json })
    }

    /// The lines of one record, from what its shard keeps of it.
    pub(super) fn lines(
        &self,
        job: &OpenJob,
        id: &str,
        content: ContentAt,
        bytes: &[u8],
    ) -> Result<String, JobError> {
        let damaged =
            || job.folder.damaged(&shard_name(Stage::Pairs.out(), content.shard), "it holds no pairs");
        let own = job.shards[content.shard as usize].first + u64::from(content.index);
        let one = self.proteins.get(own).ok_or_else(damaged)?;
        let mut lines = String::new();
        for found in found_from_bytes(bytes).ok_or_else(damaged)? {
            let other = self.proteins.get(found.content).ok_or_else(damaged)?;
            let name =
                self.names.get(found.content as usize).and_then(Option::as_deref).ok_or_else(damaged)?;
            if self.is_json {
                let line = json!({
                    "protein_a": id, "protein_b": name, "probability": found.probability,
                    "score": found.score, "a": known(one), "b": known(other),
                });
                lines.push_str(&format!("{line}\n"));
                continue;
            }
            let (probability, score) = (found.probability, found.score);
            let (a, b) = (cells(one), cells(other));
            // A string takes whatever is written.
            let _ = writeln!(lines, "{id}\t{name}\t{probability:.4}\t{score:.4}\t{a}\t{b}");
        }
        Ok(lines)
    }
}

/// Whether it was trained on, its nearest training protein and the similarity.
fn cells(partner: &Partner) -> String {
    let trained = if partner.in_training { "yes" } else { "no" };
    match &partner.nearest {
        Some(nearest) => format!("{trained}\t{}\t{:.3}", nearest.id, nearest.similarity),
        None => format!("{trained}\t-\t-"),
    }
}

fn known(partner: &Partner) -> Value {
    json!({ "in_training": partner.in_training, "nearest_training_protein": partner.nearest })
}

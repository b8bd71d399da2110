//! Which rows a head is trained, chosen and measured on: the split of a table, made by group or checked for relatives.

use std::collections::BTreeSet;
use std::path::Path;

use protext_core::card::CardData;
use protext_engine::heads::LabelledTable;
use protext_engine::split::{
    ClusterMethod, Groups, Shares, SplitError, assign_parts, cluster, folds, mmseqs_is_here,
};
use protext_registry::Cache;
use protext_registry::cache::sha256_of;

use crate::commands::train::SPLIT_FILE;
use crate::fault::UsageError;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct SplitArgs {
    /// Part to train on.
    #[arg(long, default_value = "train")]
    pub(super) split: String,
    /// Part to choose settings and epochs by.
    #[arg(long, default_value = "valid")]
    pub(super) validate: String,
    /// Part to measure on, if the table has it; nothing is chosen by it.
    #[arg(long, default_value = "test")]
    test: String,
    /// Cross-validation by group with this many folds instead of parts: every row is measured by heads that have not seen
    /// its group, and the head that is written learns from all rows.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=50))]
    pub(super) folds: Option<u8>,
    /// Column of the group, where it is neither group nor cluster30.
    #[arg(long, value_name = "COLUMN")]
    pub(super) group: Option<String>,
    /// Shares of train, valid and test where --data has no split column; groups stay whole.
    #[arg(long, value_name = "SHARES", default_value = "0.8,0.1,0.1")]
    split_shares: String,
    /// Seed of the split or the folds that are made.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    split_seed: u64,
}

/// The rows of a run by part, as places in the table.
pub(super) struct Parts {
    pub(super) training: Vec<usize>,
    pub(super) validation: Vec<usize>,
    /// Perhaps empty.
    pub(super) test: Vec<usize>,
    /// Group of each row of the table, by number.
    pub(super) groups: Vec<usize>,
    /// Fold of each row, in a cross-validation.
    pub(super) folds: Option<Vec<usize>>,
    /// What the card says.
    pub(super) data: CardData,
    pub(super) validation_data: Option<CardData>,
    /// Name of the part that figures are measured on.
    pub(super) test_name: String,
    /// The split that was made.
    made: Option<String>,
}

impl Parts {
    /// Makes the split, or checks the one that is there.
    pub(super) fn new(args: &SplitArgs, path: &Path, table: &mut LabelledTable) -> anyhow::Result<Self> {
        let shares: Shares = args.split_shares.parse().map_err(usage)?;
        let rows = table.to_compare();
        let (clusters, how) = relatives(table)?;
        let groups = Groups::new(&rows, clusters.as_deref(), false);
        let names: Vec<String> = groups.names().iter().map(|&name| name.to_owned()).collect();
        let n_groups = names.iter().collect::<BTreeSet<_>>().len();
        let sha256 = sha256_of(path)?;
        let source = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let data = |split: &str, split_rule: String, n_rows: usize| CardData {
            source: source.clone(),
            split: split.to_owned(),
            split_rule,
            n_rows,
            sha256: sha256.clone(),
        };
        let numbers = numbered(&names);
        if let Some(n_folds) = args.folds {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let of_row = folds(&names, usize::from(n_folds), args.split_seed);
            let rule = format!(
                "all rows; figures by {n_folds}-fold cross-validation by group, seed {}: {how}; {n_groups} groups",
                args.split_seed
            );
            let all: Vec<usize> = (0..rows.len()).collect();
            return Ok(Self {
                data: data("all", rule, all.len()),
                validation_data: None,
                training: all,
                validation: Vec::new(),
                test: Vec::new(),
                groups: numbers,
                folds: Some(of_row),
                test_name: "cv".to_owned(),
                made: None,
            });
        }
        let is_made = !table.has_split();
        let rule = if is_made {
            let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
            let parts = assign_parts(&borrowed, shares, args.split_seed);
            for (row, name) in table.rows.iter_mut().zip(&names) {
                row.split = Some(parts[name.as_str()].to_owned());
            }
            let (shares, seed) = (&args.split_shares, args.split_seed);
            format!("made by group, shares {shares}, seed {seed}: {how}; {n_groups} groups")
        } else {
            if let Some(leak) = groups.leak() {
                let part = |split: &Option<String>| split.clone().unwrap_or_default();
                return Err(UsageError(format!(
                    "{source}: {} and {} are relatives ({how}), but one is in part {} and one in part {}; keep groups on one \
                     side, or leave the split column out and let one be made",
                    leak.one.accession,
                    leak.other.accession,
                    part(&leak.one.split),
                    part(&leak.other.split)
                ))
                .into());
            }
            format!("as given: no group is in two parts, checked before training; {how}; {n_groups} groups")
        };
        let made = is_made.then(|| lines(table, &names));
        let training = table.in_split(path, &args.split)?;
        let validation = table.in_split(path, &args.validate)?;
        let test = table.in_split(path, &args.test).unwrap_or_default();
        Ok(Self {
            data: data(&args.split, rule.clone(), training.len()),
            validation_data: Some(data(&args.validate, rule, validation.len())),
            training,
            validation,
            test,
            groups: numbers,
            folds: None,
            test_name: args.test.clone(),
            made,
        })
    }

    /// The same parts of rows that belong to rows of the table, such as residues to proteins: `owners[i]` is that of row `i`.
    pub(super) fn of_members(&self, owners: &[usize]) -> Self {
        let of = |places: &[usize]| {
            let wanted: BTreeSet<usize> = places.iter().copied().collect();
            (0..owners.len()).filter(|&member| wanted.contains(&owners[member])).collect()
        };
        Self {
            training: of(&self.training),
            validation: of(&self.validation),
            test: of(&self.test),
            groups: owners.iter().map(|&owner| self.groups[owner]).collect(),
            folds: self.folds.as_ref().map(|folds| owners.iter().map(|&owner| folds[owner]).collect()),
            data: self.data.clone(),
            validation_data: self.validation_data.clone(),
            test_name: self.test_name.clone(),
            made: self.made.clone(),
        }
    }

    /// Writes the split that was made into `folder`; one that was given is in its own file.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(SPLIT_FILE);
        match &self.made {
            Some(lines) => Ok(Cache::put(&path, lines.as_bytes())?),
            None => match std::fs::remove_file(&path) {
                // A split of an earlier run would stand beside a head that it does not belong to.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            },
        }
    }
}

/// Clusters of the sequences where the table has neither groups nor a split that was made by them, and how relatives were told.
fn relatives(table: &LabelledTable) -> anyhow::Result<(Option<Vec<u32>>, &'static str)> {
    let has_sequences = table.rows.iter().all(|row| !row.sequence.is_empty());
    let method = match (table.has_groups, has_sequences) {
        (true, _) => ClusterMethod::Column,
        (false, true) if mmseqs_is_here() => ClusterMethod::Mmseqs,
        (false, true) => ClusterMethod::Minhash,
        (false, false) => ClusterMethod::None,
    };
    let sequences: Vec<&str> = table.rows.iter().map(|row| row.sequence.as_str()).collect();
    Ok((cluster(method, &sequences).map_err(usage)?, method.describe()))
}

fn numbered(names: &[String]) -> Vec<usize> {
    let mut numbers = std::collections::HashMap::new();
    names
        .iter()
        .map(|name| {
            let next = numbers.len();
            *numbers.entry(name.as_str()).or_insert(next)
        })
        .collect()
}

fn lines(table: &LabelledTable, names: &[String]) -> String {
    let mut lines: Vec<String> = table
        .rows
        .iter()
        .zip(names)
        .map(|(row, group)| format!("{}\t{}\t{group}\n", row.id, row.split.as_deref().unwrap_or_default()))
        .collect();
    lines.sort_unstable();
    lines.insert(0, "accession\tsplit\tgroup\n".to_owned());
    lines.concat()
}

#[expect(clippy::needless_pass_by_value, reason = "called through map_err")]
fn usage(error: SplitError) -> anyhow::Error {
    UsageError(error.to_string()).into()
}

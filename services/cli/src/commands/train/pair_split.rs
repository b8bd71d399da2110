//! Which pairs are trained on: the split of a table, made or checked, and what further data may add to it.
//!
//! No relative of a validation or test pair is ever trained on: a split that leaks ends the run, and further pairs that
//! would leak are left out and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use protext_core::card::CardData;
use protext_engine::eval::{PairTable, TextPair};
use protext_engine::split::{
    ClusterMethod, Groups, HoldOut, KeptOut, Leak, LeftOut, PARTS, Shares, SplitError, assign_parts, cluster,
    mmseqs_is_here,
};
use protext_registry::Cache;
use protext_registry::cache::sha256_of;

use crate::commands::pair_rows::{PairArgs, RowFiles};
use crate::fault::UsageError;

/// The split that was made, beside the towers; evaluation reads it.
pub(crate) const SPLIT_FILE: &str = "split.tsv";

#[derive(Debug, clap::Args)]
pub(crate) struct SplitArgs {
    /// Part to train on.
    #[arg(long, default_value = "train")]
    pub(super) split: String,
    /// Part to choose the epoch by; never the test part.
    #[arg(long, default_value = "valid")]
    pub(super) validate: String,
    /// Shares of train, valid and test where --data has no split column; groups stay whole.
    #[arg(long, value_name = "SHARES", default_value = "0.8,0.1,0.1")]
    split_shares: String,
    /// Seed of the split that is made; --seed does not touch it.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    split_seed: u64,
    /// How relatives are told: by the column group or cluster30, by MMseqs2, by k-mers (minhash), or not at all; auto
    /// takes the first of these that there is.
    #[arg(long, value_enum, default_value_t = ClusterArg::Auto)]
    cluster: ClusterArg,
    /// Further pairs, only ever trained on; relatives of validation and test pairs are left out.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    extra: Vec<PathBuf>,
    /// Tables with accession and group or cluster30: no pair of a group with one of these proteins is trained on, unless
    /// that protein is in the training part of --data.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    hold_out: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClusterArg {
    Auto,
    Mmseqs,
    Minhash,
    Column,
    None,
}

/// The pairs of a run.
pub(super) struct Plan {
    table: PairTable,
    training: Vec<usize>,
    validation: Vec<usize>,
    /// Further pairs to train on.
    pub(super) extra: Vec<TextPair>,
    /// What the card says of --data and of each extra file.
    pub(super) data: CardData,
    pub(super) extra_data: Vec<CardData>,
    is_made: bool,
}

impl Plan {
    /// Reads all tables, makes or checks the split, and chooses the pairs.
    pub(super) fn new(args: &SplitArgs, pairs: &PairArgs, files: &RowFiles) -> anyhow::Result<Self> {
        let shares: Shares = args.split_shares.parse().map_err(usage)?;
        let table = pairs.read(files)?;
        let extra = args.extra.iter().map(|path| pairs.read_extra(path, files));
        let extra = extra.collect::<anyhow::Result<Vec<_>>>()?;
        let hold_out = HoldOut::read(&args.hold_out)?;
        let relatives = Relatives::find(args.cluster, &table, &extra)?;
        let mut plan = Self {
            is_made: !table.has_split(),
            data: CardData {
                source: file_name(&pairs.data),
                split: args.split.clone(),
                split_rule: String::new(),
                n_rows: 0,
                sha256: sha256_of(&pairs.data)?,
            },
            table,
            training: Vec::new(),
            validation: Vec::new(),
            extra: Vec::new(),
            extra_data: Vec::new(),
        };
        plan.split(args, shares, &relatives)?;
        plan.validation = plan.table.in_split(&pairs.data, &args.validate)?;
        // Several right answers would make the choice of an epoch a matter of luck.
        plan.validation.retain(|&row| plan.table.pairs[row].n_same_text == 1);
        plan.training = plan.table.in_split(&pairs.data, &args.split)?;
        plan.keep_out(args, &hold_out, extra, &relatives)?;
        Ok(plan)
    }

    pub(super) fn training(&self) -> Vec<&TextPair> {
        self.training.iter().map(|&row| &self.table.pairs[row]).collect()
    }

    pub(super) fn validation(&self) -> Vec<&TextPair> {
        self.validation.iter().map(|&row| &self.table.pairs[row]).collect()
    }

    /// Writes the split that was made into `folder`; one that was given is in its own file.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(SPLIT_FILE);
        if !self.is_made {
            return match std::fs::remove_file(&path) {
                // A split of an earlier run would stand beside towers that it does not belong to.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            };
        }
        let mut lines: Vec<String> = Vec::with_capacity(self.table.pairs.len());
        for TextPair { accession, split, group, .. } in &self.table.pairs {
            lines.push(format!("{accession}\t{}\t{group}\n", split.as_deref().unwrap_or_default()));
        }
        lines.sort_unstable();
        lines.insert(0, "accession\tsplit\tgroup\n".to_owned());
        Ok(Cache::put(&path, lines.concat().as_bytes())?)
    }

    /// Makes a split where there is none, and checks one that is there.
    fn split(&mut self, args: &SplitArgs, shares: Shares, relatives: &Relatives) -> anyhow::Result<()> {
        let by_column = relatives.method == ClusterMethod::Column;
        let clusters = relatives.of_data(&self.table).filter(|_| !by_column);
        // With a split and groups of its own a table has decided which texts belong together.
        let by_text = self.is_made || !by_column;
        let groups = Groups::new(&self.table.pairs, clusters, by_text);
        let joined =
            if by_text { "; pairs of one sequence or one text (at most 30 rows) joined" } else { "" };
        let how = format!("{}{joined}", relatives.method.describe());
        let n_groups = groups.names().iter().collect::<BTreeSet<_>>().len();
        if self.is_made {
            let parts = assign_parts(groups.names(), shares, args.split_seed);
            let names: Vec<String> = groups.names().iter().map(|&name| name.to_owned()).collect();
            let parts: Vec<&str> = groups.names().iter().map(|name| parts[name]).collect();
            for ((pair, group), part) in self.table.pairs.iter_mut().zip(names).zip(parts) {
                (pair.group, pair.split) = (group, Some(part.to_owned()));
            }
            let (shares, seed) = (&args.split_shares, args.split_seed);
            self.data.split_rule = format!(
                "made by group, shares {shares}, seed {seed}: {how}; {n_groups} groups; {}",
                self.counts()
            );
            eprintln!("{}: the split was {}", self.data.source, self.data.split_rule);
            return Ok(());
        }
        if relatives.method == ClusterMethod::None && !self.table.has_groups() {
            self.data.split_rule = "as given, not checked for relatives (--cluster none)".to_owned();
            return Ok(());
        }
        if let Some(leak) = groups.leak() {
            return Err(UsageError(leak_message(leak, &how)).into());
        }
        if clusters.is_some() {
            let names: Vec<String> = groups.names().iter().map(|&name| name.to_owned()).collect();
            self.table.pairs.iter_mut().zip(names).for_each(|(pair, name)| pair.group = name);
        }
        self.data.split_rule = if by_column || self.table.has_groups() && clusters.is_none() {
            "by group: no group is in two parts, checked before training".to_owned()
        } else {
            format!("as given: no group is in two parts, checked before training; {how}; {n_groups} groups")
        };
        Ok(())
    }

    /// Rows of each part, in the parts' order.
    fn counts(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        self.table.pairs.iter().filter_map(|pair| pair.split.as_deref()).for_each(|part| {
            *counts.entry(part).or_default() += 1;
        });
        let count = |part: &str| format!("{part} {}", counts.get(part).unwrap_or(&0));
        PARTS.map(count).join(", ")
    }

    /// Leaves out of training what is held out, and takes what further tables may add.
    fn keep_out(
        &mut self,
        args: &SplitArgs,
        hold_out: &HoldOut,
        extra: Vec<PairTable>,
        relatives: &Relatives,
    ) -> anyhow::Result<()> {
        let pairs = &self.table.pairs;
        let in_training: Vec<bool> =
            pairs.iter().map(|pair| pair.split.as_deref() == Some(args.split.as_str())).collect();
        let rule = KeptOut::new(pairs, &in_training, relatives.of_data(&self.table), hold_out);
        rule.ensure_comparable(&self.data.source, pairs).map_err(usage)?;
        let n_before = self.training.len();
        self.training.retain(|&row| !rule.is_held_out(&pairs[row]));
        let held = held_names(&args.hold_out);
        let n_held_out = n_before - self.training.len();
        if !args.hold_out.is_empty() {
            eprintln!(
                "{}: {n_held_out} training pairs are left out as relatives of {held}",
                self.data.source
            );
            self.data.split_rule += &format!("; {n_held_out} pairs left out as relatives of {held}");
        }
        self.data.n_rows = self.training.len();
        for (at, (path, table)) in args.extra.iter().zip(extra).enumerate() {
            let source = file_name(path);
            rule.ensure_comparable(&source, &table.pairs).map_err(usage)?;
            let n = table.pairs.len();
            let (kept, LeftOut { n_other_parts, n_held_out }) =
                rule.filter(table.pairs, relatives.of_extra(at));
            let mut split_rule = format!(
                "only trained on: {} of {n} pairs; {n_other_parts} left out as relatives of pairs of other parts ({})",
                kept.len(),
                relatives.extra_rule(),
            );
            if !args.hold_out.is_empty() {
                split_rule += &format!(", {n_held_out} as relatives of {held}");
            }
            eprintln!("{source}: {split_rule}");
            let sha256 = sha256_of(path)?;
            let n_rows = kept.len();
            self.extra_data.push(CardData { source, split: "all".to_owned(), split_rule, n_rows, sha256 });
            self.extra.extend(kept);
        }
        Ok(())
    }
}

/// What tells relatives, and the clusters that were made for it: over the pairs of --data, then those of each extra table.
struct Relatives {
    method: ClusterMethod,
    /// What was used to compare extra pairs with those of --data.
    compared_by: ClusterMethod,
    clusters: Option<Vec<u32>>,
    /// Where the rows of each extra table begin, and their end.
    starts: Vec<usize>,
}

impl Relatives {
    fn find(asked: ClusterArg, table: &PairTable, extra: &[PairTable]) -> anyhow::Result<Self> {
        let method = match asked {
            ClusterArg::Column if !table.has_groups() => {
                let said = "--cluster column, but --data has no column group or cluster30; add one, or leave --cluster out";
                return Err(UsageError(said.to_owned()).into());
            }
            ClusterArg::Column => ClusterMethod::Column,
            ClusterArg::Auto if table.has_groups() => ClusterMethod::Column,
            ClusterArg::Auto => by_sequence(),
            ClusterArg::Mmseqs => ClusterMethod::Mmseqs,
            ClusterArg::Minhash => ClusterMethod::Minhash,
            ClusterArg::None => ClusterMethod::None,
        };
        let has_common_labels = extra.iter().all(|extra| have_common_labels(table, extra));
        let compared_by = match method {
            ClusterMethod::Column if !has_common_labels => by_sequence(),
            method => method,
        };
        let mut starts = vec![table.pairs.len()];
        extra.iter().for_each(|extra| starts.push(starts[starts.len() - 1] + extra.pairs.len()));
        let clusters = match compared_by {
            ClusterMethod::Column | ClusterMethod::None => None,
            method => {
                let all = table.pairs.iter().chain(extra.iter().flat_map(|table| &table.pairs));
                let all = all_sequences(all)?;
                eprintln!("clustering {} sequences: {}", all.len(), method.describe());
                cluster(method, &all)?
            }
        };
        Ok(Self { method, compared_by, clusters, starts })
    }

    fn of_data(&self, table: &PairTable) -> Option<&[u32]> {
        self.clusters.as_deref().map(|clusters| &clusters[..table.pairs.len()])
    }

    fn of_extra(&self, at: usize) -> Option<&[u32]> {
        self.clusters.as_deref().map(|clusters| &clusters[self.starts[at]..self.starts[at + 1]])
    }

    fn extra_rule(&self) -> String {
        format!("same accession, sequence, text or group; {}", self.compared_by.describe())
    }
}

/// MMseqs2 where it is installed.
fn by_sequence() -> ClusterMethod {
    if mmseqs_is_here() { ClusterMethod::Mmseqs } else { ClusterMethod::Minhash }
}

fn have_common_labels(one: &PairTable, other: &PairTable) -> bool {
    let has = |table: &PairTable| {
        let any =
            |label: fn(&TextPair) -> &Option<String>| table.pairs.iter().any(|pair| label(pair).is_some());
        [any(|pair| &pair.group_label), any(|pair| &pair.cluster_label)]
    };
    has(one).into_iter().zip(has(other)).any(|(one, other)| one && other)
}

fn all_sequences<'a>(pairs: impl Iterator<Item = &'a TextPair>) -> anyhow::Result<Vec<&'a str>> {
    let pairs: Vec<&TextPair> = pairs.collect();
    let without: Vec<&&TextPair> = pairs.iter().filter(|pair| pair.sequence.is_empty()).collect();
    if let Some(first) = without.first() {
        return Err(UsageError(format!(
            "{} pairs have no sequence ({} the first), so that relatives cannot be told; give --sequences or a column \
             group, or choose --cluster none",
            without.len(),
            first.accession
        ))
        .into());
    }
    Ok(pairs.iter().map(|pair| pair.sequence.as_str()).collect())
}

fn leak_message(leak: Leak<'_>, how: &str) -> String {
    let Leak { one, other, group } = leak;
    let part = |pair: &TextPair| pair.split.clone().unwrap_or_default();
    let why = if one.group == other.group {
        format!("of one group ({})", one.group)
    } else if one.sequence == other.sequence && !one.sequence.is_empty() {
        "of one sequence".to_owned()
    } else {
        format!("of one group ({group}: {how})")
    };
    format!(
        "{} and {} are {why}, but one is in part {} and one in part {}; keep groups on one side, or leave the split column \
         out and let one be made",
        one.accession,
        other.accession,
        part(one),
        part(other),
    )
}

fn held_names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| file_name(path)).collect::<Vec<_>>().join(", ")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[expect(clippy::needless_pass_by_value, reason = "called through map_err")]
fn usage(error: SplitError) -> anyhow::Error {
    UsageError(error.to_string()).into()
}

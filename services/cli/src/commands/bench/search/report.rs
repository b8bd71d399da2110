//! The figures of `protext bench search` as they are written to JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::process::{Measured, Single};

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) bench: &'static str,
    /// Name of the file that vectors were derived from.
    pub(super) data: String,
    pub(super) n: usize,
    pub(super) dim: usize,
    pub(super) k: usize,
    pub(super) n_queries: usize,
    pub(super) rounds: usize,
    pub(super) threads: usize,
    #[serde(flatten)]
    pub(super) ratios: Ratios,
    pub(super) not_installed: Vec<String>,
    pub(super) systems: Vec<SystemReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) growth: Vec<Growth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) opening: Option<Opening>,
}

/// Ours over each peer; a peer that is not installed or does not reach the recall has none.
#[derive(Serialize)]
pub(super) struct Ratios {
    #[serde(flatten)]
    by_name: serde_json::Map<String, serde_json::Value>,
}

/// One system.
#[derive(Serialize)]
pub(super) struct SystemReport {
    pub(super) name: &'static str,
    pub(super) version: String,
    pub(super) build_s: f64,
    pub(super) build_processor_s: f64,
    pub(super) bytes_per_vector: f64,
    pub(super) variants: Vec<VariantReport>,
}

/// One way of searching it.
#[derive(Serialize)]
pub(super) struct VariantReport {
    pub(super) name: String,
    pub(super) points: Vec<PointReport>,
    /// By the ends of the names of [`TARGETS`].
    pub(super) queries_per_s_at: BTreeMap<&'static str, f64>,
    /// Latency of single queries where these recalls are reached, by the same names.
    pub(super) latency_at: BTreeMap<&'static str, Single>,
    pub(super) speed_up_by_threads: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct PointReport {
    pub(super) candidates: usize,
    pub(super) recall: f64,
    pub(super) queries_per_s: f64,
    #[serde(flatten)]
    pub(super) latency: Option<Single>,
}

/// What a size costs.
#[derive(Serialize)]
pub(super) struct Growth {
    pub(super) name: &'static str,
    pub(super) n: usize,
    pub(super) build_processor_s: f64,
    pub(super) bytes_per_vector: f64,
    /// At a recall of 0.99; ours over codes.
    pub(super) queries_per_s: Option<f64>,
}

/// A saved collection, opened by a new process whose files the system still has in memory.
#[derive(Serialize, Deserialize)]
pub(super) struct Opening {
    pub(super) n: usize,
    pub(super) open_s: f64,
    pub(super) first_search_ms: f64,
    /// Memory that opening took, beside the mapped files.
    pub(super) opened_bytes: u64,
    pub(super) file_bytes: u64,
}

/// Recalls of ratios, with the ends of their names.
pub(super) const TARGETS: [(f64, &str); 3] = [(0.98, "0_98"), (0.99, "0_99"), (0.999, "0_999")];

impl Ratios {
    /// `ratio_to_<peer>_at_<recall>`, the same with `quantized_` before it for codes, `build_ratio_to_<peer>`.
    pub(super) fn of(systems: &[Measured]) -> Self {
        let mut by_name = serde_json::Map::new();
        let Some((ours, peers)) = systems.split_first() else { return Self { by_name } };
        for peer in peers {
            let rate = |system: &Measured, variant: &str, recall| {
                let variant = system.variants.iter().find(|of| of.name == variant)?;
                variant.curve.queries_per_s_at(recall)
            };
            for (recall, ending) in TARGETS {
                for (variant, start) in [("f32", ""), ("codes", "quantized_")] {
                    let both = rate(ours, variant, recall).zip(rate(peer, "f32", recall));
                    if let Some((ours, theirs)) = both {
                        let name = format!("{start}ratio_to_{}_at_{ending}", peer.name);
                        by_name.insert(name, (ours / theirs).into());
                    }
                }
            }
            let build = ours.built.build_processor_s / peer.built.build_processor_s;
            by_name.insert(format!("build_ratio_to_{}", peer.name), build.into());
        }
        Self { by_name }
    }

    pub(super) fn get(&self, name: &str) -> Option<f64> {
        self.by_name.get(name).and_then(serde_json::Value::as_f64)
    }
}

impl SystemReport {
    pub(super) fn of(system: &Measured) -> Self {
        let built = &system.built;
        let variants = system.variants.iter().map(|variant| VariantReport {
            name: variant.name.clone(),
            points: variant
                .curve
                .points()
                .map(|(candidates, point)| PointReport {
                    candidates,
                    recall: point.recall,
                    queries_per_s: point.queries_per_s,
                    latency: variant.latencies.get(&candidates).cloned(),
                })
                .collect(),
            queries_per_s_at: TARGETS
                .iter()
                .filter_map(|&(recall, ending)| Some((ending, variant.curve.queries_per_s_at(recall)?)))
                .collect(),
            latency_at: TARGETS
                .iter()
                .filter_map(|&(recall, ending)| Some((ending, variant.latency_at(recall)?.clone())))
                .collect(),
            speed_up_by_threads: variant.speed_up,
        });
        Self {
            name: system.name,
            version: built.version.clone(),
            build_s: built.build_s,
            build_processor_s: built.build_processor_s,
            bytes_per_vector: built.bytes as f64 / system.n as f64,
            variants: variants.collect(),
        }
    }
}

impl Growth {
    pub(super) fn of(system: &Measured) -> Self {
        let n = system.n;
        let variant = system.variants.iter().find(|variant| variant.name == "codes");
        let variant = variant.or_else(|| system.variants.iter().find(|variant| variant.name == "f32"));
        Self {
            name: system.name,
            n,
            build_processor_s: system.built.build_processor_s,
            bytes_per_vector: system.built.bytes as f64 / n as f64,
            queries_per_s: variant.and_then(|variant| variant.curve.queries_per_s_at(0.99)),
        }
    }
}

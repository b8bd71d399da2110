//! A split made by group: the hash of a group's name says into which part it goes.

use std::collections::HashMap;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::error::SplitError;

/// Names of the parts that are made.
pub const PARTS: [&str; 3] = ["train", "valid", "test"];

/// Shares of the groups that go into each of [`PARTS`]; they add up to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares(pub [f64; 3]);

impl FromStr for Shares {
    type Err = SplitError;

    fn from_str(given: &str) -> Result<Self, SplitError> {
        let failed = |rule| SplitError::Shares { given: given.to_owned(), rule };
        let shares: Vec<f64> = given
            .split(',')
            .map(|share| share.trim().parse().map_err(|_| failed("they are not numbers")))
            .collect::<Result<_, _>>()?;
        let shares: [f64; 3] = shares.try_into().map_err(|_| failed("they are not three"))?;
        if shares.iter().any(|share| !(0.0..=1.0).contains(share)) || shares[0] == 0.0 {
            return Err(failed("each must be from 0 to 1, the first above 0"));
        }
        if (shares.iter().sum::<f64>() - 1.0).abs() > 1e-6 {
            return Err(failed("they do not add up to 1"));
        }
        Ok(Self(shares))
    }
}

/// The part of each group, by name and size. It depends on the group's name and the seed alone, but for a group with
/// more rows than half a part should have: such a one is trained on, for it would be most of the part.
#[must_use]
pub fn assign_parts<'a>(groups: &[&'a str], shares: Shares, seed: u64) -> HashMap<&'a str, &'static str> {
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    groups.iter().for_each(|group| *sizes.entry(group).or_default() += 1);
    let part = |group: &str, size: usize| {
        let mut position = position(group, seed);
        for (name, share) in PARTS.into_iter().zip(shares.0) {
            if position < share {
                let most = (share * groups.len() as f64 / 2.0).max(1.0);
                return if size as f64 > most { PARTS[0] } else { name };
            }
            position -= share;
        }
        PARTS[0]
    };
    sizes.into_iter().map(|(group, size)| (group, part(group, size))).collect()
}

/// From 0 to below 1, as good as drawn.
fn position(group: &str, seed: u64) -> f64 {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(group).finalize();
    let bits = digest.iter().take(8).fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
    // 53 bits are what a double holds.
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept_and_order_does_not_matter() {
        let names: Vec<String> = (0..4000).map(|number| format!("g{}", number % 3000)).collect();
        let groups: Vec<&str> = names.iter().map(String::as_str).collect();
        let shares: Shares = "0.7, 0.2,0.1".parse().unwrap();
        let parts = assign_parts(&groups, shares, 1);
        for (name, share) in PARTS.into_iter().zip(shares.0) {
            let found = parts.values().filter(|part| **part == name).count() as f64 / 3000.0;
            assert!((found - share).abs() < 0.03, "{name} {found}");
        }
        let reversed: Vec<&str> = groups.iter().rev().copied().collect();
        assert_eq!(assign_parts(&reversed, shares, 1), parts);
        assert_ne!(assign_parts(&groups, shares, 2), parts);
    }

    #[test]
    fn a_group_that_would_be_most_of_a_part_is_trained_on() {
        for seed in 0..20 {
            let groups: Vec<&str> = std::iter::repeat_n("big", 60).chain(["a", "b", "c", "d"]).collect();
            assert_eq!(assign_parts(&groups, Shares([0.8, 0.1, 0.1]), seed)["big"], "train");
        }
    }

    #[test]
    fn shares_that_are_none_are_refused() {
        for (given, rule) in [
            ("0.8,0.2", "not three"),
            ("0.8,x,0.1", "not numbers"),
            ("0.8,0.3,0.1", "add up"),
            ("0,0.5,0.5", "above 0"),
            ("1.2,-0.1,-0.1", "from 0 to 1"),
        ] {
            let said = given.parse::<Shares>().unwrap_err().to_string();
            assert!(said.contains(rule), "{said}");
        }
    }
}

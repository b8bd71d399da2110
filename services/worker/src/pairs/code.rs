//! What the stages of a `ppi` job keep of a protein: its code, and its best partners. Little-endian.

use protext_core::Encoded;
use protext_engine::heads::features_of;
use protext_engine::ppi::{Nearest, Partner};

use super::Found;
use crate::blobs::Blob;
use crate::error::JobError;
use crate::run::OpenJob;

const FOUND_BYTES: usize = 8 + 4 + 8;

/// A protein in the terms of the head.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Code(Partner);

/// Codes of proteins that were encoded, in order; a reason stays one.
pub(crate) fn codes(
    job: &OpenJob,
    chunk: Vec<(String, Result<Encoded, String>)>,
) -> Result<Vec<Blob>, JobError> {
    let predictor = super::predictor(job)?;
    let good: Vec<(&str, &Encoded)> = chunk
        .iter()
        .filter_map(|(content, encoded)| Some((content.as_str(), encoded.as_ref().ok()?)))
        .collect();
    let mut partners = Vec::new();
    if !good.is_empty() {
        let records: Vec<&Encoded> = good.iter().map(|(_, encoded)| *encoded).collect();
        let rows = features_of(job.embedder()?, predictor.head().card(), &records)?;
        let named: Vec<(&str, &str)> = good.iter().map(|(content, _)| ("", *content)).collect();
        partners = predictor.partners(&named, &rows).map_err(|error| JobError::Engine(error.into()))?;
    }
    let mut partners = partners.into_iter();
    let blob = |(_, encoded): (String, Result<Encoded, String>)| match encoded {
        Ok(_) => Blob::Done(Code(partners.next().expect("one partner a record")).to_bytes()),
        Err(reason) => Blob::Failed(reason),
    };
    Ok(chunk.into_iter().map(blob).collect())
}

impl Code {
    fn to_bytes(&self) -> Vec<u8> {
        let Partner { code, in_training, nearest, .. } = &self.0;
        let (id, similarity) =
            nearest.as_ref().map_or(("", f32::NAN), |near| (near.id.as_str(), near.similarity));
        let mut bytes = vec![u8::from(*in_training)];
        bytes.extend_from_slice(&similarity.to_le_bytes());
        bytes.extend_from_slice(&(id.len() as u32).to_le_bytes());
        bytes.extend_from_slice(id.as_bytes());
        code.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<9>()?;
        let [in_training, a, b, c, d, e, f, g, h] = *head;
        let similarity = f32::from_le_bytes([a, b, c, d]);
        let (id, code) = rest.split_at_checked(u32::from_le_bytes([e, f, g, h]) as usize)?;
        let id = std::str::from_utf8(id).ok()?.to_owned();
        let (code, tail) = code.as_chunks();
        if !tail.is_empty() {
            return None;
        }
        Some(Self(Partner {
            id: String::new(),
            code: code.iter().map(|&value| f32::from_le_bytes(value)).collect(),
            in_training: in_training != 0,
            nearest: (!similarity.is_nan()).then_some(Nearest { id, similarity }),
        }))
    }

    pub(crate) fn into_partner(self) -> Partner {
        self.0
    }
}

pub(super) fn found_to_bytes(found: &[Found]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(found.len() * FOUND_BYTES);
    for Found { content, score, probability } in found {
        bytes.extend_from_slice(&content.to_le_bytes());
        bytes.extend_from_slice(&score.to_le_bytes());
        bytes.extend_from_slice(&probability.to_le_bytes());
    }
    bytes
}

pub(crate) fn found_from_bytes(bytes: &[u8]) -> Option<Vec<Found>> {
    let (found, tail) = bytes.as_chunks::<FOUND_BYTES>();
    let read = |bytes: &[u8; FOUND_BYTES]| {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *bytes;
        Found {
            content: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            score: f32::from_le_bytes([i, j, k, l]),
            probability: f64::from_le_bytes([m, n, o, p, q, r, s, t]),
        }
    };
    tail.is_empty().then(|| found.iter().map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_partners_come_back_and_damage_is_seen() {
        let nearest = Some(Nearest { id: "P1".to_owned(), similarity: 0.5 });
        let partner = Partner { id: String::new(), code: vec![1.0, -2.5], in_training: true, nearest };
        let code = Code(partner);
        let bytes = code.to_bytes();
        assert_eq!(Code::from_bytes(&bytes), Some(code));
        assert_eq!(Code::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Code::from_bytes(&bytes[..5]), None);
        let found = vec![Found { content: 7, score: 0.25, probability: 0.75 }];
        let bytes = found_to_bytes(&found);
        assert_eq!(found_from_bytes(&bytes), Some(found));
        assert_eq!(found_from_bytes(&bytes[1..]), None);
    }
}

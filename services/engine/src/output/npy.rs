//! NumPy's array file: a header that is a Python dictionary, then the values.
//!
//! Written: version 1.0, C order, float32 or fixed-width unicode. Read: versions 1 to 3, C order, float16,
//! float32 and float64 of either byte order, fixed-width unicode and bytes.
//! Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::fmt;
use std::io::{self, Read};

/// Longest header that is read: arrays of numbers or strings need about a hundred bytes.
const MAX_HEADER_BYTES: u32 = 1 << 16;

/// The bytes before the values of an array.
pub(super) fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", sizes.join(", "));
    // The values begin at a multiple of 64 bytes; the padding ends in a line end.
    let padded_len = (10 + text.len() + 1).next_multiple_of(64);
    let text_len = u16::try_from(padded_len - 10).expect("two sizes and a type take less than 65,536 bytes");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&text_len.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(padded_len - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArrayHeader {
    /// Such as `<f4`.
    pub(super) descr: String,
    pub(super) shape: Vec<usize>,
}

impl fmt::Display for ArrayHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of type {:?} and shape {:?}", self.descr, self.shape)
    }
}

impl ArrayHeader {
    /// Reads the header that `stream` begins with; the values follow.
    pub(super) fn read(stream: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 8];
        stream.read_exact(&mut head)?;
        let text_len = match head {
            [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _] => {
                let mut len = [0; 2];
                stream.read_exact(&mut len)?;
                u32::from(u16::from_le_bytes(len))
            }
            [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _] => {
                let mut len = [0; 4];
                stream.read_exact(&mut len)?;
                u32::from_le_bytes(len)
            }
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "no NumPy array")),
        };
        let mut text = String::new();
        stream.take(u64::from(text_len.min(MAX_HEADER_BYTES))).read_to_string(&mut text)?;
        Self::parse(&text).map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        const DAMAGED: &str = "a NumPy header that is damaged";
        if after(text, "'fortran_order':").ok_or(DAMAGED)?.starts_with("True") {
            return Err("an array in Fortran order; save it with numpy.ascontiguousarray");
        }
        let descr =
            after(text, "'descr':").and_then(|rest| rest.strip_prefix('\'')).ok_or("a structured array")?;
        let (descr, _) = descr.split_once('\'').ok_or(DAMAGED)?;
        let sizes = after(text, "'shape':").and_then(|rest| rest.strip_prefix('(')).ok_or(DAMAGED)?;
        let (sizes, _) = sizes.split_once(')').ok_or(DAMAGED)?;
        let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
        let shape = sizes.map(|size| size.parse().map_err(|_| DAMAGED)).collect::<Result<_, _>>()?;
        Ok(Self { descr: descr.to_owned(), shape })
    }

    /// Bytes of one floating-point number, or `None` for another type.
    pub(super) fn float_bytes(&self) -> Option<usize> {
        match self.descr.get(1..)? {
            "f2" => Some(2),
            "f4" => Some(4),
            "f8" => Some(8),
            _ => None,
        }
    }

    /// Bytes of one string, or `None` for another type.
    fn string_bytes(&self) -> Option<usize> {
        let width: usize = self.descr.get(2..)?.parse().ok().filter(|&width| width > 0)?;
        match self.descr.get(1..2)? {
            "S" => Some(width),
            "U" => width.checked_mul(4),
            _ => None,
        }
    }

    fn is_big_endian(&self) -> bool {
        self.descr.starts_with('>')
    }

    /// The floating-point values of `bytes`, or `None` for another type.
    pub(super) fn floats(&self, bytes: &[u8]) -> Option<Vec<f32>> {
        let swap = self.is_big_endian();
        let floats = |width: usize, decode: fn(&[u8]) -> f32| {
            let decode_item = move |item: &[u8]| {
                let mut item: Vec<u8> = item.to_vec();
                if swap {
                    item.reverse();
                }
                decode(&item)
            };
            bytes.chunks_exact(width).map(decode_item).collect()
        };
        Some(match self.descr.get(1..)? {
            "f2" => floats(2, |b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()),
            "f4" if !swap => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            "f4" => floats(4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            "f8" => {
                floats(8, |b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            }
            _ => return None,
        })
    }

    /// The strings of `bytes`, or `None` for another type or bytes that are no text.
    pub(super) fn strings(&self, bytes: &[u8]) -> Option<Vec<String>> {
        let items = bytes.chunks_exact(self.string_bytes()?);
        if self.descr.get(1..2)? == "S" {
            let text = |item: &[u8]| {
                let end = item.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
                String::from_utf8(item[..end].to_vec()).ok()
            };
            return items.map(text).collect();
        }
        let big = self.is_big_endian();
        let character = |&bytes: &[u8; 4]| {
            let code = if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
            char::from_u32(code)
        };
        let text = |item: &[u8]| {
            let text: Option<String> = item.as_chunks().0.iter().map(character).collect();
            text.map(|text| text.trim_end_matches('\0').to_owned())
        };
        items.map(text).collect()
    }
}

/// What follows `key` in a header, without white space.
fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split_once(key).map(|(_, rest)| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_aligned_and_read_back() {
        for (descr, shape) in [("<f4", vec![3, 4]), ("<U10", vec![3]), ("<f4", vec![0, 320])] {
            let bytes = header(descr, &shape);
            assert_eq!(bytes.len() % 64, 0);
            let parsed = ArrayHeader::read(&mut &bytes[..]).unwrap();
            assert_eq!(parsed, ArrayHeader { descr: descr.into(), shape });
        }
    }

    #[test]
    fn foreign_types_are_decoded() {
        let array = |descr: &str| ArrayHeader { descr: descr.into(), shape: vec![1] };
        assert_eq!(array("<f2").floats(&[0, 0x3c]), Some(vec![1.0]));
        assert_eq!(array(">f4").floats(&1.5_f32.to_be_bytes()), Some(vec![1.5]));
        assert_eq!(array("<f8").floats(&2.5_f64.to_le_bytes()), Some(vec![2.5]));
        assert_eq!(array("<i4").floats(&[0; 4]), None);
        assert_eq!(array("|S3").strings(b"ab\0cde"), Some(vec!["ab".into(), "cde".into()]));
        assert_eq!(array(">U1").strings(&[0, 0, 0, b'x']), Some(vec!["x".into()]));
    }
}

//! Text tokenization by a model's own `tokenizer.json`.
//!
//! The file's truncation and padding are switched off: Protext cuts long texts itself and reports it. Special
//! tokens are learnt from the file's post-processor, so that each chunk of a long text gets them too.

use std::path::Path;

use protext_core::EncodeError;
use tokenizers::Tokenizer;

use crate::error::ModelError;

/// A loaded tokenizer and the special tokens it puts around a text.
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    prefix: Vec<i64>,
    suffix: Vec<i64>,
}

impl TextTokenizer {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn from_file(path: &Path) -> Result<Self, ModelError> {
        let refused = |source| ModelError::Tokenizer { path: path.to_owned(), source };
        let mut tokenizer = Tokenizer::from_file(path).map_err(refused)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(refused)?;
        let (prefix, suffix) = special_tokens(&tokenizer).map_err(refused)?;
        Ok(Self { tokenizer, prefix, suffix })
    }

    /// Token ids without the special ones.
    ///
    /// # Errors
    /// [`EncodeError::Tokenizer`].
    pub fn body(&self, text: &str) -> Result<Vec<i64>, EncodeError> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(EncodeError::Tokenizer)?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// Puts the special tokens around a chunk.
    #[must_use]
    pub fn wrap(&self, chunk: &[i64]) -> Vec<i64> {
        [&self.prefix, chunk, &self.suffix].concat()
    }

    /// Takes the special tokens off again.
    #[must_use]
    pub fn unwrap<'a>(&self, wrapped: &'a [i64]) -> &'a [i64] {
        &wrapped[self.prefix.len()..wrapped.len() - self.suffix.len()]
    }
}

/// What the post-processor puts before and after a text.
fn special_tokens(tokenizer: &Tokenizer) -> tokenizers::Result<(Vec<i64>, Vec<i64>)> {
    let ids = |with_special| -> tokenizers::Result<Vec<i64>> {
        let encoding = tokenizer.encode_fast("protein", with_special)?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    };
    let (body, all) = (ids(false)?, ids(true)?);
    let start = all.windows(body.len().max(1)).position(|window| window == body);
    let start = start.ok_or("the post-processor changes the text's own tokens")?;
    Ok((all[..start].to_vec(), all[start + body.len()..].to_vec()))
}

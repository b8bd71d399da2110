//! Tokenization: the ESM alphabet as a table, and Hugging Face tokenizers for text.

mod esm;
mod text;

pub use esm::EsmAlphabet;
pub use text::TextTokenizer;

//! Fetching from UniProt, NCBI and the GO project, page by page.
//!
//! A [`Fetcher`] asks one page after the other, no faster than each service allows, tries again where that may help, and
//! keeps every page that was read whole on disk. A fetch that broke off, or was killed, starts again with the same
//! question and takes the pages it has from there. Pages never grow old by themselves: give each data release its own
//! folder, or remove the folder to ask anew.
//!
//! ```no_run
//! use protext_texts::fetch::{FetchSettings, Fetcher};
//!
//! # async fn example() -> Result<(), protext_texts::fetch::FetchError> {
//! let fetcher = Fetcher::new(FetchSettings { cache: Some("pages/2026_01".into()), ..FetchSettings::default() })?;
//! let mut pages = fetcher.uniprot("organism_id:9606 AND reviewed:true")?;
//! while let Some(entries) = pages.next_page().await? {
//!     println!("{} proteins", entries.len());
//! }
//! # Ok(())
//! # }
//! ```

mod cache;
mod error;
mod fetcher;
mod ncbi;
mod ncbi_search;
mod pace;
mod progress;
mod settings;
mod transport;
mod uniprot;

pub use error::FetchError;
pub use fetcher::Fetcher;
pub use ncbi::{GenePage, GenePages, GeneSummary};
pub use progress::FetchEvent;
pub use protext_http::ApiKey;
pub use settings::FetchSettings;
pub use uniprot::UniprotPages;

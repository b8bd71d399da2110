//! The encoder: cuts texts, opens workers, averages the pieces of long texts by size.

use std::sync::{Arc, Mutex};

use protext_core::{
    EncodeError, Encoded, Encoder, EncoderInput, EncoderWorker, LongPolicy, Modality, Packing, PieceOutput,
    Prepared, RowKind, Space, join,
};
use protext_rows::Claims;
use reqwest::Url;

use crate::client::Client;
use crate::cut::Measure;
use crate::error::RemoteError;
use crate::spec::RemoteSpec;
use crate::spend::SpendAccount;
use crate::store::Store;
use crate::worker::RemoteWorker;

/// A text encoder behind an endpoint.
#[derive(Debug)]
pub struct RemoteEncoder {
    spec: Arc<RemoteSpec>,
    account: Arc<SpendAccount>,
    endpoint: Url,
    space: Space,
    store: Arc<Mutex<Store>>,
}

impl RemoteEncoder {
    /// Checks `spec` and opens the cache. Nothing is sent.
    ///
    /// # Errors
    /// [`RemoteError`] naming the setting, the missing key or the cache.
    pub fn open(spec: RemoteSpec, account: Arc<SpendAccount>) -> Result<Self, RemoteError> {
        let endpoint = spec.check()?;
        if account.limits().max_usd.is_some() && spec.usd_per_million_tokens.is_none() {
            return Err(RemoteError::Setting {
                encoder: spec.id,
                setting: "price_per_million_tokens",
                rule: "must be stated in the manifest where money is limited (0 if it costs nothing)"
                    .to_owned(),
            });
        }
        let space = spec.space();
        let store = Arc::new(Mutex::new(Store::open(&spec.cache, &space)?));
        Ok(Self { spec: Arc::new(spec), account, endpoint, space, store })
    }

    /// Where texts are sent.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str()
    }

    fn worker(&self) -> Result<RemoteWorker, RemoteError> {
        let (spec, account) = (Arc::clone(&self.spec), Arc::clone(&self.account));
        Ok(RemoteWorker {
            client: Client::new(Arc::clone(&spec), Arc::clone(&account), self.endpoint.clone())?,
            claims: Claims::open(&spec.cache, &self.space)?,
            store: Arc::clone(&self.store),
            spec,
            account,
        })
    }
}

impl Encoder for RemoteEncoder {
    fn id(&self) -> &str {
        &self.spec.id
    }

    fn modality(&self) -> Modality {
        Modality::Text
    }

    fn space(&self, kind: RowKind) -> Option<&Space> {
        (kind == RowKind::Pooled).then_some(&self.space)
    }

    fn window(&self) -> usize {
        self.spec.window
    }

    fn packing(&self) -> Packing {
        Packing::Listed { max_pieces: self.spec.max_inputs, max_tokens: self.spec.max_request_tokens }
    }

    fn prepare(&self, input: &EncoderInput, policy: LongPolicy) -> Result<Prepared, EncodeError> {
        let EncoderInput::Text(text) = input else {
            return Err(EncodeError::WrongModality {
                encoder: self.spec.id.clone(),
                expected: Modality::Text,
                found: input.modality(),
            });
        };
        if text.as_str().is_empty() {
            return Err(RemoteError::EmptyText.of_encoder(&self.spec.id));
        }
        let measure = Measure { window: self.spec.window, bytes_per_token: self.spec.bytes_per_token };
        let (pieces, report) = measure.cut(text.as_str(), policy)?;
        Ok(Prepared { pieces, report })
    }

    fn open_worker(&self) -> Result<Box<dyn EncoderWorker>, EncodeError> {
        let worker = self.worker().map_err(|error| error.of_encoder(&self.spec.id))?;
        Ok(Box::new(worker))
    }

    fn join(&self, prepared: &Prepared, outputs: Vec<PieceOutput>) -> Result<Encoded, EncodeError> {
        join(&self.spec.id, prepared, outputs, self.spec.normalize, None)
    }
}

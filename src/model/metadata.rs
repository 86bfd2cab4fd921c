//! The caller's own words about an operation, kept byte for byte.

use std::sync::Arc;

use serde::de::IgnoredAny;

/// JSON of the caller's, at most 4 KiB, kept in the journal as the bytes it came as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata(Arc<[u8]>);

/// Metadata that is not JSON or too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMetadata {
    /// More than 4 KiB.
    #[error("metadata of {0} bytes, at most 4096 are kept")]
    TooLong(usize),
    /// Not one JSON value.
    #[error("metadata is not JSON: {0}")]
    NotJson(String),
}

impl Metadata {
    /// The longest metadata that is kept.
    pub const BYTES_MAX: usize = 4096;

    /// Takes one JSON value over, unchanged.
    ///
    /// # Errors
    /// [`InvalidMetadata`] when it is longer than 4 KiB or not JSON.
    pub fn from_json(json: impl AsRef<[u8]>) -> Result<Self, InvalidMetadata> {
        let bytes = json.as_ref();
        if bytes.len() > Self::BYTES_MAX {
            return Err(InvalidMetadata::TooLong(bytes.len()));
        }
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| InvalidMetadata::NotJson(error.to_string()))?;
        Ok(Self(Arc::from(bytes)))
    }

    /// Takes bytes over that a store kept.
    pub fn from_stored(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }

    /// The JSON, as it came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

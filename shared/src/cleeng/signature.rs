//! Proves that Cleeng sent a webhook: HMAC with SHA-256 over the raw body and a shared secret (Cleeng, "Webhook verification").
//!
//! The name of the header and the writing of the signature could not be read in Cleeng's documentation, so both are settings. Must never
//! decode a body whose signature has not been checked, and never accept an unsigned one unless a setting allows it explicitly.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use ring::hmac;
use thiserror::Error;

use super::client::CleengEnvironment;
use super::webhook::{Topic, Verified, Webhook, WebhookError};
use crate::ids::PublisherId;
use crate::secret::SecretString;
use crate::settings::{Problem, Problems, SettingsReader};

/// The shortest and the longest shared secret in bytes (Cleeng, "Webhook verification").
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 16..=64;
/// The maximum number of values of the signature header that are checked.
const MAX_CANDIDATES: usize = 4;
/// What the setting that accepts unsigned webhooks must say, letter by letter.
const OPT_OUT: &str = "anyone-may-forge-charges";
const OPT_OUT_SETTING: &str = "CLEENG_DANGEROUSLY_ACCEPT_UNSIGNED_WEBHOOKS";

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 64 hexadecimal digits of either case.
    Hex,
    /// Standard base64 with padding.
    Base64,
    /// Whichever of the two fits, the default: their lengths differ, so that none is taken for the other.
    Either,
}

/// Where a signature is found and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureSettings {
    /// The header. Default `x-cleeng-signature`, a guess: without the right name every webhook is refused, and none is forged.
    pub header: HeaderName,
    /// What stands before the signature, such as `sha256=`. Nothing by default; where it is set, it must be there.
    pub prefix: Option<String>,
    /// The writing.
    pub encoding: Encoding,
    /// Whether a webhook without the header is accepted.
    pub accept_unsigned: bool,
}

impl Default for SignatureSettings {
    fn default() -> Self {
        Self { header: HeaderName::from_static("x-cleeng-signature"), prefix: None, encoding: Encoding::Either, accept_unsigned: false }
    }
}

impl SignatureSettings {
    /// Reads `CLEENG_SIGNATURE_HEADER`, `CLEENG_SIGNATURE_PREFIX`, `CLEENG_SIGNATURE_ENCODING` (`hex`, `base64`, `either`) and
    /// `CLEENG_DANGEROUSLY_ACCEPT_UNSIGNED_WEBHOOKS`. The last is refused in production, and where the environment is not known.
    pub fn read(reader: &mut SettingsReader<'_>, environment: Option<CleengEnvironment>) -> Self {
        let defaults = Self::default();
        let header = reader.parsed("CLEENG_SIGNATURE_HEADER", defaults.header, "the name of an HTTP header", |text| {
            HeaderName::from_bytes(text.as_bytes()).ok()
        });
        let prefix = reader.parsed("CLEENG_SIGNATURE_PREFIX", None, "up to 32 visible characters without a comma", |text| {
            let plain = text.len() <= 32 && text.bytes().all(|b| b.is_ascii_graphic() && b != b',');
            plain.then(|| Some(text.to_owned()))
        });
        let encoding = reader.parsed("CLEENG_SIGNATURE_ENCODING", Encoding::Either, "hex, base64 or either", |text| match text {
            "hex" => Some(Encoding::Hex),
            "base64" => Some(Encoding::Base64),
            "either" => Some(Encoding::Either),
            _ => None,
        });
        Self { header, prefix, encoding, accept_unsigned: read_opt_out(reader, environment) }
    }
}

fn read_opt_out(reader: &mut SettingsReader<'_>, environment: Option<CleengEnvironment>) -> bool {
    match reader.text(OPT_OUT_SETTING).as_deref() {
        None => false,
        Some(OPT_OUT) if environment == Some(CleengEnvironment::Sandbox) => true,
        Some(OPT_OUT) => {
            reader.problem(
                OPT_OUT_SETTING,
                "lets anyone who finds the address charge subscribers",
                "remove it; production needs signatures",
            );
            false
        }
        Some(_) => {
            reader.problem(OPT_OUT_SETTING, "is not understood", "remove it and let Cleeng sign its webhooks");
            false
        }
    }
}

/// Why a webhook was turned away. Nothing of the body is quoted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum VerificationError {
    /// The signature header is missing.
    #[error("the webhook is not signed")]
    Unsigned,
    /// There is a signature header, and it fits no secret.
    #[error("the webhook's signature does not fit")]
    BadSignature,
    /// The signature fits, the body is no webhook.
    #[error("the webhook is malformed: {0}")]
    Malformed(WebhookError),
    /// The signature fits, but this address is for another topic.
    #[error("the webhook's topic does not belong to this address")]
    WrongTopic,
    /// The signature fits, but the webhook is another publisher's.
    #[error("the webhook belongs to another publisher")]
    WrongPublisher,
}

impl VerificationError {
    /// The HTTP status to answer with: 401 where the origin is in doubt, else 400.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Unsigned | Self::BadSignature => 401,
            Self::Malformed(_) | Self::WrongTopic | Self::WrongPublisher => 400,
        }
    }

    /// A stable code for logs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::BadSignature => "bad_signature",
            Self::Malformed(_) => "malformed",
            Self::WrongTopic => "wrong_topic",
            Self::WrongPublisher => "wrong_publisher",
        }
    }
}

/// Checks signatures. It has no `Debug`, as it holds keys.
pub struct WebhookVerifier {
    settings: SignatureSettings,
    keys: Vec<hmac::Key>,
}

impl WebhookVerifier {
    /// A verifier with the current secret and, while it is being rotated, the previous one: Cleeng drops an old secret at once, webhooks
    /// on their way still carry it.
    ///
    /// # Errors
    /// [`Problems`] if there is none (unless unsigned webhooks are accepted), more than two, or one that is too short, too long or
    /// evidently not a secret.
    pub fn new(settings: SignatureSettings, secrets: &[SecretString]) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut note = |setting: &str, problem: &str, fix: &str| {
            problems.push(Problem { setting: setting.to_owned(), problem: problem.to_owned(), fix: fix.to_owned() });
        };
        if secrets.is_empty() && !settings.accept_unsigned {
            note("cleeng.webhook_secrets", "is missing", "put the shared secret of Cleeng's webhook verification into the secret");
        }
        if secrets.len() > 2 {
            note("cleeng.webhook_secrets", "has more than two values", "keep the current and the previous one");
        }
        for (secret, name) in secrets.iter().zip(["cleeng.webhook_secrets", "cleeng.webhook_secrets[1]"]) {
            if secret.is_placeholder() {
                note(name, "is empty or a placeholder", "set a random secret of 32 bytes, the same in Cleeng");
            } else if !SECRET_LENGTH.contains(&secret.expose().len()) {
                note(name, "has not 16 to 64 bytes", "set a random secret of 32 bytes, the same in Cleeng");
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let keys = secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes())).collect();
        Ok(Self { settings, keys })
    }

    /// Whether a signature in the headers fits the body and one of the secrets. Proves the origin and nothing else: what the body says is
    /// for [`WebhookVerifier::verify`]. An unsigned webhook never fits, under any settings.
    #[must_use]
    pub fn signature_matches(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let values = headers.get_all(&self.settings.header).iter().filter_map(|value| value.to_str().ok());
        // Several values of a header arrive joined by commas through an HTTP API.
        let candidates = values.flat_map(|value| value.split(',')).map(str::trim).take(MAX_CANDIDATES);
        candidates.filter_map(|text| self.decode(text)).any(|tag| self.keys.iter().any(|key| hmac::verify(key, body, &tag).is_ok()))
    }

    /// Accepts a webhook that Cleeng sent, for this publisher and of this topic (`None`: of any topic). [`Webhook::validate`] checks the
    /// members that its topic needs, once it is known to be ours: another connector's event may have any.
    ///
    /// # Errors
    /// [`VerificationError`], the signature's first: the body is parsed only after it fits.
    pub fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        expected_publisher: &PublisherId,
        expected_topic: impl Into<Option<Topic>>,
    ) -> Result<Verified<Webhook>, VerificationError> {
        let signed = headers.contains_key(&self.settings.header);
        if signed && !self.signature_matches(headers, body) {
            return Err(VerificationError::BadSignature);
        }
        if !signed && !self.settings.accept_unsigned {
            return Err(VerificationError::Unsigned);
        }
        let webhook = Webhook::parse(body).map_err(VerificationError::Malformed)?;
        if webhook.publisher != *expected_publisher {
            return Err(VerificationError::WrongPublisher);
        }
        if expected_topic.into().is_some_and(|topic| webhook.topic != topic) {
            return Err(VerificationError::WrongTopic);
        }
        Ok(Verified::attest(webhook))
    }

    fn decode(&self, text: &str) -> Option<Vec<u8>> {
        let text = match &self.settings.prefix {
            Some(prefix) => text.strip_prefix(prefix.as_str())?,
            None => text,
        };
        match self.settings.encoding {
            Encoding::Hex => from_hex(text),
            Encoding::Base64 => STANDARD.decode(text).ok(),
            Encoding::Either => from_hex(text).or_else(|| STANDARD.decode(text).ok()),
        }
    }
}

/// 64 hexadecimal digits of either case.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).filter_map(|digit| u8::try_from(digit).ok()).collect();
    digits.chunks_exact(2).map(|pair| pair.iter().try_fold(0_u8, |byte, digit| byte.checked_mul(16)?.checked_add(*digit))).collect()
}

#[cfg(test)]
mod tests;

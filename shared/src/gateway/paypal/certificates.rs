//! The certificates that PayPal signs its notifications with: where they may come from, and whether they are PayPal's and valid now. Must
//! never fetch from a place that the request alone names, nor accept a certificate that no trusted authority signed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, ring};

use super::settings::PayPalEnvironment;
use crate::clock::{Clock, Timestamp};
use crate::http::{Method, Request, Transport};
use crate::rate_limit::WindowLimiter;

/// How long fetching a certificate may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Where certificates lie on PayPal's hosts (`PAYPAL-CERT-URL` of its documentation's examples).
const FOLDER: &str = "/v1/notifications/certs/";
/// The longest URL; the verify call takes no longer one (Webhooks 1.11, `cert_url`).
const LONGEST_URL: usize = 500;
/// How many certificates are kept. PayPal uses one at a time.
const MAX_CACHED: usize = 8;
/// How many certificates a chain may have.
const LONGEST_CHAIN: usize = 6;
/// How many calls notifications may cause in [`CALL_WINDOW`]: forged notifications must not use up our calls at PayPal.
const MAX_CALLS: u32 = 120;
const CALL_WINDOW: Duration = Duration::from_secs(60);
/// A certificate that is of no use is not fetched again for this long: each notification then costs one question, not two calls.
const REJECTED_FOR: Duration = Duration::from_secs(60);

/// Why there is no certificate to check a signature with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CertificateError {
    /// The URL is not one of PayPal's.
    ForeignUrl,
    /// It cannot be fetched now, or not be trusted: PayPal itself has to be asked.
    Unusable,
}

/// Fetches, checks and keeps certificates.
pub(super) struct Certificates {
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    environment: PayPalEnvironment,
    /// Where else certificates may come from: the base URL that was set for tests.
    test_base_url: Option<String>,
    trust_root: Option<Vec<u8>>,
    roots: OnceLock<Vec<TrustAnchor<'static>>>,
    cached: Mutex<BTreeMap<String, Arc<Chain>>>,
    /// Where there was none, and when.
    rejected: Mutex<BTreeMap<String, Timestamp>>,
    calls: WindowLimiter,
}

/// A certificate and those that it was signed with, as they came.
type Chain = Vec<CertificateDer<'static>>;

/// A certificate that is PayPal's and valid now.
pub(super) struct TrustedCertificate(Arc<Chain>);

impl TrustedCertificate {
    /// Whether this certificate's key made this signature over this message (RSA, PKCS #1 v1.5, SHA-256).
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let leaf = self.0.first().and_then(|leaf| EndEntityCert::try_from(leaf).ok());
        leaf.is_some_and(|leaf| leaf.verify_signature(ring::RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok())
    }
}

impl Certificates {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        environment: PayPalEnvironment,
        test_base_url: Option<String>,
        trust_root: Option<Vec<u8>>,
    ) -> Self {
        let calls = WindowLimiter::new(MAX_CALLS, CALL_WINDOW);
        Self {
            transport,
            clock,
            environment,
            test_base_url,
            trust_root,
            roots: OnceLock::new(),
            cached: Mutex::default(),
            rejected: Mutex::default(),
            calls,
        }
    }

    /// The certificate at this URL.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub(super) async fn get(&self, url: &str) -> Result<TrustedCertificate, CertificateError> {
        if !self.is_paypal_url(url) {
            return Err(CertificateError::ForeignUrl);
        }
        let known = lock(&self.cached).get(url).cloned();
        // Its time may be over, and another one may lie there.
        if let Some(chain) = known.filter(|chain| self.is_trusted(chain)) {
            return Ok(TrustedCertificate(chain));
        }
        let now = self.clock.now();
        if lock(&self.rejected).get(url).is_some_and(|since| now.since(*since) < REJECTED_FOR) {
            return Err(CertificateError::Unusable);
        }
        match self.fetch(url).await.map(Arc::new).filter(|chain| self.is_trusted(chain)) {
            Some(chain) => {
                insert_bounded(&self.cached, url, Arc::clone(&chain));
                Ok(TrustedCertificate(chain))
            }
            None => {
                insert_bounded(&self.rejected, url, now);
                Err(CertificateError::Unusable)
            }
        }
    }

    /// Takes one of the calls that notifications may cause for now; false if no call is left.
    pub(super) fn allow_call(&self) -> bool {
        self.calls.allows(self.clock.now())
    }

    /// Whether a URL is one of PayPal's for this environment: https, a host of PayPal's, no port, no user, the folder of certificates and a
    /// plain name. A live connector takes none of the sandbox's hosts.
    fn is_paypal_url(&self, url: &str) -> bool {
        let plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let named = |rest: &str| rest.strip_prefix(FOLDER).is_some_and(plain);
        if url.len() > LONGEST_URL {
            return false;
        }
        if self.test_base_url.as_deref().and_then(|base| url.strip_prefix(base)).is_some_and(named) {
            return true;
        }
        let Some((host, path)) = url.strip_prefix("https://").and_then(|rest| rest.split_once('/')) else { return false };
        self.is_paypal_host(host) && named(&format!("/{path}"))
    }

    fn is_paypal_host(&self, host: &str) -> bool {
        let under = |domain: &str| {
            let label = host.strip_suffix(domain).and_then(|labels| labels.strip_suffix('.'));
            label.is_some_and(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')))
        };
        match self.environment {
            PayPalEnvironment::Sandbox => under("paypal.com"),
            PayPalEnvironment::Live => under("paypal.com") && host != "sandbox.paypal.com" && !under("sandbox.paypal.com"),
        }
    }

    async fn fetch(&self, url: &str) -> Option<Chain> {
        if !self.allow_call() {
            return None;
        }
        // Redirects are answers, and any but 200 is no certificate.
        let response = self.transport.send(Request::new(Method::GET, url, FETCH_TIMEOUT)).await.ok()?;
        if response.status.as_u16() != 200 {
            return None;
        }
        let chain: Result<Chain, _> = CertificateDer::pem_slice_iter(&response.body).take(LONGEST_CHAIN).collect();
        chain.ok().filter(|chain| !chain.is_empty())
    }

    /// Whether the first certificate is issued to PayPal's signer, leads back to a root, and all of it is valid now.
    fn is_trusted(&self, chain: &Chain) -> bool {
        self.verify_chain(chain).is_some()
    }

    fn verify_chain(&self, chain: &Chain) -> Option<()> {
        let (leaf, others) = chain.split_first()?;
        let leaf = EndEntityCert::try_from(leaf).ok()?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(self.clock.now().secs()).ok()?));
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, self.roots(), others, now, KeyUsage::server_auth(), None, None).ok()?;
        let signer = ServerName::try_from(self.signer_name()).ok()?;
        leaf.verify_is_valid_for_subject_name(&signer).ok()
    }

    /// The name that the certificate is issued to (PayPal's Java SDK, `SSLUtil`, takes `messageverificationcerts*.paypal.com`).
    const fn signer_name(&self) -> &'static str {
        match self.environment {
            PayPalEnvironment::Sandbox => "messageverificationcerts.sandbox.paypal.com",
            PayPalEnvironment::Live => "messageverificationcerts.paypal.com",
        }
    }

    /// The test root, or those of the system, read when they are needed for the first time.
    fn roots(&self) -> &[TrustAnchor<'static>] {
        self.roots.get_or_init(|| match &self.trust_root {
            Some(der) => anchor(&CertificateDer::from(der.as_slice())).into_iter().collect(),
            None => rustls_native_certs::load_native_certs().certs.iter().filter_map(anchor).collect(),
        })
    }
}

/// Keeps something by its URL; when there is too much of it, everything before is forgotten.
fn insert_bounded<T>(cached: &Mutex<BTreeMap<String, T>>, url: &str, what: T) {
    let mut cached = lock(cached);
    if cached.len() >= MAX_CACHED {
        cached.clear();
    }
    cached.insert(url.to_owned(), what);
}

fn anchor(der: &CertificateDer<'_>) -> Option<TrustAnchor<'static>> {
    webpki::anchor_from_trusted_cert(der).ok().map(|anchor| anchor.to_owned())
}

/// Nothing below these locks can fail half-way, and none is held across a wait.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::clock::SystemClock;
    use crate::http::{Response, TransportCause, TransportError};

    struct UnreachableTransport;

    #[async_trait]
    impl Transport for UnreachableTransport {
        async fn send(&self, _request: Request) -> Result<Response, TransportError> {
            Err(TransportError::NotSent(TransportCause::Connect))
        }
    }

    fn certificates(environment: PayPalEnvironment, test_base_url: Option<&str>) -> Certificates {
        Certificates::new(Arc::new(UnreachableTransport), Arc::new(SystemClock), environment, test_base_url.map(str::to_owned), None)
    }

    #[test]
    fn certificates_come_from_paypals_hosts_only() {
        let (live, sandbox) = (certificates(PayPalEnvironment::Live, None), certificates(PayPalEnvironment::Sandbox, None));
        for (url, in_sandbox, in_live) in [
            ("https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-7a2f", true, true),
            ("https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594", true, false),
            ("https://api-m.sandbox.paypal.com/v1/notifications/certs/CERT-1", true, false),
            ("https://api-m.paypal.com/v1/notifications/certs/CERT-1", true, true),
        ] {
            assert_eq!((sandbox.is_paypal_url(url), live.is_paypal_url(url)), (in_sandbox, in_live), "{url}");
        }
        for url in [
            "",
            "http://api.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com.evil.test/v1/notifications/certs/CERT-1",
            "https://evilpaypal.com/v1/notifications/certs/CERT-1",
            "https://paypal.com/v1/notifications/certs/CERT-1",
            "https://.paypal.com/v1/notifications/certs/CERT-1",
            "https://evil.test/.paypal.com/v1/notifications/certs/CERT-1",
            "https://evil.test#.paypal.com/v1/notifications/certs/CERT-1",
            "https://evil.test?.paypal.com/v1/notifications/certs/CERT-1",
            "https://evil.test\\.paypal.com/v1/notifications/certs/CERT-1",
            "https://user@api.paypal.com/v1/notifications/certs/CERT-1",
            "https://evil.test:443@api.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com:8443/v1/notifications/certs/CERT-1",
            "https://api.paypal.com/v1/notifications/certs/",
            "https://api.paypal.com/v1/notifications/certs/../../oauth2/token",
            "https://api.paypal.com/v1/notifications/certs/CERT-1?x=1",
            "https://api.paypal.com/v1/notifications/certs/CERT-1#x",
            "https://api.paypal.com/some/redirect/v1/notifications/certs/CERT-1",
            "https://API.PAYPAL.COM.evil.test/v1/notifications/certs/CERT-1",
            "ftp://api.paypal.com/v1/notifications/certs/CERT-1",
        ] {
            assert!(!sandbox.is_paypal_url(url) && !live.is_paypal_url(url), "{url}");
        }
        let start = "https://api.paypal.com/v1/notifications/certs/";
        let long = |length: usize| format!("{start}{}", "C".repeat(length - start.len()));
        assert!(live.is_paypal_url(&long(LONGEST_URL)));
        assert!(!live.is_paypal_url(&long(LONGEST_URL + 1)));
    }

    #[test]
    fn the_base_url_of_a_test_is_one_more_place_and_no_other() {
        let test = certificates(PayPalEnvironment::Sandbox, Some("http://127.0.0.1:4000"));
        assert!(test.is_paypal_url("http://127.0.0.1:4000/v1/notifications/certs/CERT-1"));
        assert!(!test.is_paypal_url("http://127.0.0.1:40001/v1/notifications/certs/CERT-1"));
        assert!(!test.is_paypal_url("http://127.0.0.1/v1/notifications/certs/CERT-1"));
    }

    #[test]
    fn a_bounded_number_of_urls_is_remembered_and_none_is_forgotten_before() {
        let cached = Mutex::default();
        for url in 0..MAX_CACHED {
            insert_bounded(&cached, &url.to_string(), ());
        }
        assert_eq!(lock(&cached).len(), MAX_CACHED);
        insert_bounded(&cached, "one more", ());
        assert_eq!(lock(&cached).keys().map(String::as_str).collect::<Vec<_>>(), ["one more"]);
    }

    #[test]
    fn notifications_cause_a_bounded_number_of_calls() {
        let certificates = certificates(PayPalEnvironment::Live, None);
        let allowed = (0..1_000).filter(|_| certificates.allow_call()).count();
        assert_eq!(u32::try_from(allowed).unwrap(), MAX_CALLS);
    }
}

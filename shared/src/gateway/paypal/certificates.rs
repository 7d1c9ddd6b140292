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
/// The hosts that certificates lie on (`PAYPAL-CERT-URL` of its documentation's examples). Spelled in one way alone: another writing of a name
/// would be another certificate to fetch.
const LIVE_HOSTS: [&str; 2] = ["api.paypal.com", "api-m.paypal.com"];
const SANDBOX_HOSTS: [&str; 2] = ["api.sandbox.paypal.com", "api-m.sandbox.paypal.com"];
/// How many certificates are kept. PayPal uses one at a time.
const MAX_CACHED: usize = 8;
/// How many certificates a chain may have.
const LONGEST_CHAIN: usize = 6;
/// How many certificates may be fetched in [`CALL_WINDOW`], and how many questions be asked: forged notifications must not use up our calls at
/// PayPal, nor what is asked in their place the fetching of a genuine one's certificate.
const MAX_FETCHES: u32 = 60;
const MAX_QUESTIONS: u32 = 60;
const CALL_WINDOW: Duration = Duration::from_secs(60);
/// A certificate that is of no use is not fetched again for this long: each notification then costs one question, not two calls.
const REJECTED_FOR: Duration = Duration::from_secs(60);
/// PayPal repeats a notification for three days (developer.paypal.com, "Webhooks", "Retries").
const OLDEST_TRANSMISSION: Duration = Duration::from_secs(4 * 86_400);
/// How far PayPal's clock may be ahead of ours.
const LARGEST_CLOCK_DIFFERENCE: Duration = Duration::from_secs(600);

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
    /// By name: the hosts have the same ones.
    cached: Mutex<BTreeMap<String, CachedCertificate>>,
    /// Which name was of no use, and when.
    rejected: Mutex<BTreeMap<String, Timestamp>>,
    fetches: WindowLimiter,
    questions: WindowLimiter,
}

#[derive(Clone)]
struct CachedCertificate {
    chain: Arc<Chain>,
    /// A signature was made with it, so that it is one that PayPal uses.
    has_verified: bool,
}

/// A certificate and those that it was signed with, as they came.
type Chain = Vec<CertificateDer<'static>>;

/// A certificate that is PayPal's and valid now.
pub(super) struct TrustedCertificate {
    name: String,
    chain: Arc<Chain>,
}

impl TrustedCertificate {
    /// Whether this certificate's key made this signature over this message (RSA, PKCS #1 v1.5, SHA-256).
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let leaf = self.chain.first().and_then(|leaf| EndEntityCert::try_from(leaf).ok());
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
        Self {
            transport,
            clock,
            environment,
            test_base_url,
            trust_root,
            roots: OnceLock::new(),
            cached: Mutex::default(),
            rejected: Mutex::default(),
            fetches: WindowLimiter::new(MAX_FETCHES, CALL_WINDOW),
            questions: WindowLimiter::new(MAX_QUESTIONS, CALL_WINDOW),
        }
    }

    /// The certificate at this URL.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub(super) async fn get(&self, url: &str) -> Result<TrustedCertificate, CertificateError> {
        let name = self.certificate_name(url).ok_or(CertificateError::ForeignUrl)?;
        let known = lock(&self.cached).get(name).map(|cached| Arc::clone(&cached.chain));
        // Its time may be over, and another one may lie there.
        if let Some(chain) = known.filter(|chain| self.is_trusted(chain)) {
            return Ok(TrustedCertificate { name: name.to_owned(), chain });
        }
        let now = self.clock.now();
        if lock(&self.rejected).get(name).is_some_and(|since| now.since(*since) < REJECTED_FOR) {
            return Err(CertificateError::Unusable);
        }
        if !self.fetches.allows(now) {
            return Err(CertificateError::Unusable);
        }
        match self.fetch(url).await.map(Arc::new).filter(|chain| self.is_trusted(chain)) {
            Some(chain) => {
                self.keep(name, &chain);
                Ok(TrustedCertificate { name: name.to_owned(), chain })
            }
            None => {
                let mut rejected = lock(&self.rejected);
                if rejected.len() >= MAX_CACHED {
                    rejected.clear();
                }
                rejected.insert(name.to_owned(), now);
                Err(CertificateError::Unusable)
            }
        }
    }

    /// Keeps a certificate, if there is room beside those that have verified something and are valid still.
    fn keep(&self, name: &str, chain: &Arc<Chain>) {
        let mut cached = lock(&self.cached);
        if cached.len() >= MAX_CACHED {
            cached.retain(|_, kept| kept.has_verified && self.is_trusted(&kept.chain));
        }
        if cached.len() < MAX_CACHED {
            cached.insert(name.to_owned(), CachedCertificate { chain: Arc::clone(chain), has_verified: false });
        }
    }

    /// Notes that PayPal signed something with this certificate.
    pub(super) fn note_verified(&self, certificate: &TrustedCertificate) {
        if let Some(cached) = lock(&self.cached).get_mut(&certificate.name) {
            cached.has_verified = true;
        }
    }

    /// Takes one of the questions that notifications may cause for now; false if none is left.
    pub(super) fn allow_question(&self) -> bool {
        self.questions.allows(self.clock.now())
    }

    /// Whether a transmission was made about now: not in the future beyond what clocks differ by, and not before PayPal gave up repeating it.
    pub(super) fn is_recent(&self, transmitted_at: Timestamp) -> bool {
        let now = self.clock.now();
        now.since(transmitted_at) <= OLDEST_TRANSMISSION && transmitted_at.since(now) <= LARGEST_CLOCK_DIFFERENCE
    }

    /// The name of a certificate at one of PayPal's URLs for this environment: https, one of its hosts, no port, no user, the folder of
    /// certificates and a plain name. A live connector takes none of the sandbox's hosts. `None` for any other URL.
    fn certificate_name<'u>(&self, url: &'u str) -> Option<&'u str> {
        let is_plain = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let sandbox_hosts = SANDBOX_HOSTS.iter().filter(|_| self.environment == PayPalEnvironment::Sandbox);
        let of_host = |host: &&str| url.strip_prefix("https://")?.strip_prefix(*host)?.strip_prefix(FOLDER);
        let of_test = || url.strip_prefix(self.test_base_url.as_deref()?)?.strip_prefix(FOLDER);
        let name = LIVE_HOSTS.iter().chain(sandbox_hosts).find_map(of_host).or_else(of_test);
        name.filter(is_plain).filter(|_| url.len() <= LONGEST_URL)
    }

    async fn fetch(&self, url: &str) -> Option<Chain> {
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
            let found = (sandbox.certificate_name(url).is_some(), live.certificate_name(url).is_some());
            assert_eq!(found, (in_sandbox, in_live), "{url}");
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
            "https://API.paypal.com/v1/notifications/certs/CERT-1",
            "https://www.paypal.com/v1/notifications/certs/CERT-1",
            "https://a.b.api.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com./v1/notifications/certs/CERT-1",
            "https://API.PAYPAL.COM.evil.test/v1/notifications/certs/CERT-1",
            "ftp://api.paypal.com/v1/notifications/certs/CERT-1",
        ] {
            assert!(sandbox.certificate_name(url).is_none() && live.certificate_name(url).is_none(), "{url}");
        }
        let start = "https://api.paypal.com/v1/notifications/certs/";
        let long = |length: usize| format!("{start}{}", "C".repeat(length - start.len()));
        assert!(live.certificate_name(&long(LONGEST_URL)).is_some());
        assert!(live.certificate_name(&long(LONGEST_URL + 1)).is_none());
    }

    #[test]
    fn the_base_url_of_a_test_is_one_more_place_and_no_other() {
        let test = certificates(PayPalEnvironment::Sandbox, Some("http://127.0.0.1:4000"));
        assert_eq!(test.certificate_name("http://127.0.0.1:4000/v1/notifications/certs/CERT-1"), Some("CERT-1"));
        assert_eq!(test.certificate_name("http://127.0.0.1:40001/v1/notifications/certs/CERT-1"), None);
        assert_eq!(test.certificate_name("http://127.0.0.1/v1/notifications/certs/CERT-1"), None);
    }

    #[tokio::test]
    async fn notifications_cause_a_bounded_number_of_fetches_and_of_questions_each() {
        let certificates = certificates(PayPalEnvironment::Live, None);
        let questions = (0..1_000).filter(|_| certificates.allow_question()).count();
        assert_eq!(u32::try_from(questions), Ok(MAX_QUESTIONS));
        for name in 0..1_000 {
            let found = certificates.get(&format!("https://api.paypal.com/v1/notifications/certs/CERT-{name}")).await;
            assert_eq!(found.err(), Some(CertificateError::Unusable));
            assert!(lock(&certificates.rejected).len() <= MAX_CACHED);
        }
        assert!(!certificates.fetches.allows(certificates.clock.now()), "none is left");
    }

    #[test]
    fn only_a_transmission_of_about_now_is_taken() {
        let certificates = certificates(PayPalEnvironment::Live, None);
        let now = certificates.clock.now();
        let days = |count: u64| Duration::from_secs(count * 86_400);
        for (at, is_recent) in [
            (now, true),
            (now.before(days(3)), true),
            (now.before(days(5)), false),
            (now.after(Duration::from_secs(300)), true),
            (now.after(days(1)), false),
        ] {
            assert_eq!(certificates.is_recent(at), is_recent, "{at}");
        }
    }
}

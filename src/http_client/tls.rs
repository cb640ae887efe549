//! `tls_config`: whom to trust, and as whom to appear.

use std::{
    fs, io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use crate::config::prometheus::http_client::{SecretSource, TlsConfig, TlsVersion};

/// How long certificates are used until their files are looked at again.
const LOOKED_AT_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("tls_config: read {place}: {source}")]
    File { place: String, source: io::Error },
    #[error("tls_config: {place}: {reason}")]
    Pem { place: String, reason: String },
    #[error("tls_config: {0} holds no certificate")]
    NoCertificate(String),
    #[error("tls_config: {0}")]
    Refused(String),
    #[error("tls_config: max_version is below TLS12, the oldest version that is spoken here")]
    TooOld,
    #[error("tls_config: the system's certificates can't be read: {0}; name some as ca_file")]
    SystemRoots(String),
}

/// Makes the configuration when it is first needed, and again when its files have changed.
pub(super) struct Tls {
    config: TlsConfig,
    enable_http2: bool,
    made: Mutex<Option<Made>>,
}

struct Made {
    config: Arc<ClientConfig>,
    files: Vec<Vec<u8>>,
    looked_at: Instant,
}

impl Tls {
    pub(super) fn new(config: &TlsConfig, enable_http2: bool) -> Self {
        Self { config: config.clone(), enable_http2, made: Mutex::default() }
    }

    /// The name that the server's certificate must have, if not the URL's host.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.config.server_name.as_deref().filter(|name| !name.is_empty())
    }

    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made
            && made.looked_at.elapsed() < LOOKED_AT_AFTER
        {
            return Ok(made.config.clone());
        }
        let files = self.files()?;
        let config = match &*made {
            Some(made) if made.files == files => made.config.clone(),
            _ => Arc::new(self.make(&files)?),
        };
        *made = Some(Made { config: config.clone(), files, looked_at: Instant::now() });
        Ok(config)
    }

    fn sources(&self) -> [Option<&SecretSource>; 3] {
        [self.config.ca.as_ref(), self.config.cert.as_ref(), self.config.key.as_ref()]
    }

    fn files(&self) -> Result<Vec<Vec<u8>>, TlsError> {
        let read = |source: Option<&SecretSource>| match source {
            None => Ok(Vec::new()),
            Some(SecretSource::Inline(text)) => Ok(text.expose().as_bytes().to_vec()),
            Some(SecretSource::File(path)) => {
                fs::read(path).map_err(|source| TlsError::File { place: path.clone(), source })
            }
        };
        self.sources().into_iter().map(read).collect()
    }

    fn make(&self, files: &[Vec<u8>]) -> Result<ClientConfig, TlsError> {
        let [ca, cert, key] = files else { unreachable!("one text for each source") };
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.versions()?)
            .map_err(|error| TlsError::Refused(error.to_string()))?;
        let builder = if self.config.insecure_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        } else if self.config.ca.is_some() {
            builder.with_root_certificates(self.own_roots(ca)?)
        } else {
            builder.with_root_certificates(system_roots()?)
        };
        let mut config = if self.config.cert.is_some() {
            let place = place(self.config.cert.as_ref(), "cert");
            let chain = certificates(cert, &place)?;
            let key_place = self::place(self.config.key.as_ref(), "key");
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|error| TlsError::Pem { place: key_place, reason: error.to_string() })?;
            builder.with_client_auth_cert(chain, key).map_err(|error| TlsError::Refused(error.to_string()))?
        } else {
            builder.with_no_client_auth()
        };
        if self.enable_http2 {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Ok(config)
    }

    fn own_roots(&self, pem: &[u8]) -> Result<RootCertStore, TlsError> {
        let place = place(self.config.ca.as_ref(), "ca");
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem, &place)? {
            let refuse = |error: rustls::Error| TlsError::Pem { place: place.clone(), reason: error.to_string() };
            roots.add(certificate).map_err(refuse)?;
        }
        Ok(roots)
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
        let allows = |version: TlsVersion| {
            self.config.min_version.is_none_or(|min| version >= min)
                && self.config.max_version.is_none_or(|max| version <= max)
        };
        let known = [(TlsVersion::Tls12, &TLS12), (TlsVersion::Tls13, &TLS13)];
        let allowed: Vec<_> =
            known.into_iter().filter(|(version, _)| allows(*version)).map(|(_, known)| known).collect();
        if allowed.is_empty() { Err(TlsError::TooOld) } else { Ok(allowed) }
    }
}

fn place(source: Option<&SecretSource>, key: &str) -> String {
    match source {
        Some(SecretSource::File(path)) => path.clone(),
        _ => key.to_owned(),
    }
}

fn certificates(pem: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| TlsError::Pem { place: place.to_owned(), reason: error.to_string() })?;
    if all.is_empty() { Err(TlsError::NoCertificate(place.to_owned())) } else { Ok(all) }
}

/// Read once: it is hundreds of files.
fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    static ROOTS: OnceLock<Result<Arc<RootCertStore>, String>> = OnceLock::new();
    let load = || {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        match found.errors.first() {
            Some(error) if added == 0 => Err(error.to_string()),
            _ => Ok(Arc::new(roots)),
        }
    };
    ROOTS.get_or_init(load).clone().map_err(TlsError::SystemRoots)
}

/// `insecure_skip_verify`: any certificate will do. What is signed is still checked.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

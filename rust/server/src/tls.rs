//! TLS: certificates and keys of the configuration, and connections that are encrypted ([`stream`]).
//!
//! What connections are begun with is one immutable value. A change of the files' names reads the files
//! again and replaces it; connections that are there go on as they began.

use crate::config::{CipherSuites, ClientCertificates, Config, TlsProtocols};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig, SupportedCipherSuite};
use std::path::Path;
use std::sync::Arc;

mod stream;

pub(crate) use stream::{Encrypted, Reading};

/// Names the cryptography that everything in this process uses. Called first of all, and once.
pub fn install_provider() {
    if aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("the cryptography was chosen before");
    }
}

/// What connections are begun with.
///
/// # Errors
/// What is missing or cannot be read; a text for the administrator.
pub(crate) fn server_config(config: &Config) -> Result<Arc<ServerConfig>, String> {
    let mut provider = aws_lc_rs::default_provider();
    choose_suites(&mut provider, &config.tls_ciphers, &config.tls_ciphersuites);
    let provider = Arc::new(provider);
    let key = certified_key(config, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&config.tls_protocols.versions())
        .map_err(|e| format!("tls-protocols and tls-ciphers leave nothing to offer: {e}"))?;
    let builder = match config.tls_auth_clients {
        ClientCertificates::No => builder.with_no_client_auth(),
        wanted => {
            let roots = Arc::new(roots(config)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match wanted {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            let verifier = verifier
                .build()
                .map_err(|e| format!("tls-ca-cert-file or tls-ca-cert-dir cannot be used: {e}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut made = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    made.ignore_client_order = config.tls_prefer_server_ciphers;
    if config.tls_session_caching {
        // Redis's 0 is "no limit" of OpenSSL; here a number is needed.
        let size = match config.tls_session_cache_size {
            0 => 20_480,
            size => size as usize,
        };
        made.session_storage = ServerSessionMemoryCache::new(size);
    } else {
        made.session_storage = Arc::new(NoServerSessionStorage {});
        made.send_tls13_tickets = 0;
    }
    Ok(Arc::new(made))
}

/// The names of `tls-ciphersuites`.
pub(crate) const SUITES_13: &[&str] =
    &["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];
/// The names of `tls-ciphers`.
pub(crate) const SUITES_12: &[&str] = &[
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// A suite by the name that OpenSSL has for it.
fn suite(name: &str) -> Option<SupportedCipherSuite> {
    use aws_lc_rs::cipher_suite as of;
    Some(match name {
        "TLS_AES_256_GCM_SHA384" => of::TLS13_AES_256_GCM_SHA384,
        "TLS_AES_128_GCM_SHA256" => of::TLS13_AES_128_GCM_SHA256,
        "TLS_CHACHA20_POLY1305_SHA256" => of::TLS13_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-AES256-GCM-SHA384" => of::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES128-GCM-SHA256" => of::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305" => of::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-AES256-GCM-SHA384" => of::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES128-GCM-SHA256" => of::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305" => of::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        _ => return None,
    })
}

/// The suites that the configuration names, in its order.
fn choose_suites(provider: &mut CryptoProvider, of_12: &CipherSuites, of_13: &CipherSuites) {
    let all = |names: &CipherSuites, known: &[&'static str]| -> Vec<SupportedCipherSuite> {
        let names = if names.names().is_empty() { known } else { names.names() };
        names.iter().filter_map(|name| suite(name)).collect()
    };
    provider.cipher_suites = all(of_13, SUITES_13);
    provider.cipher_suites.extend(all(of_12, SUITES_12));
}

fn certified_key(config: &Config, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    if config.tls_cert_file.is_empty() || config.tls_key_file.is_empty() {
        return Err("tls-cert-file and tls-key-file must be given".into());
    }
    let path = config.path(&config.tls_cert_file);
    let chain = certificates(&path, "tls-cert-file")?;
    let path = config.path(&config.tls_key_file);
    let key = PrivateKeyDer::from_pem_file(&path).map_err(|e| match e {
        pem::Error::NoItemsFound => format!(
            "tls-key-file {}: there is no private key in it that is not encrypted",
            path.display()
        ),
        e => format!("tls-key-file {}: {e}", path.display()),
    })?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|e| format!("tls-key-file {}: {e}", path.display()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(format!(
            "tls-key-file {} is not the key of the certificate in tls-cert-file",
            path.display()
        )),
        // An old form of certificate cannot be compared; clients judge it themselves.
        _ => Ok(certified),
    }
}

fn certificates(path: &Path, directive: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |e: pem::Error| format!("{directive} {}: {e}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(failed)?;
    if found.is_empty() {
        return Err(format!("{directive} {}: there is no certificate in it", path.display()));
    }
    Ok(found)
}

/// Whom certificates of clients have to come from.
fn roots(config: &Config) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if config.tls_ca_cert_file.is_empty() && config.tls_ca_cert_dir.is_empty() {
        return Err("Either tls-ca-cert-file or tls-ca-cert-dir must be specified when \
                    tls-auth-clients is enabled"
            .into());
    }
    if !config.tls_ca_cert_file.is_empty() {
        let path = config.path(&config.tls_ca_cert_file);
        for certificate in certificates(&path, "tls-ca-cert-file")? {
            roots
                .add(certificate)
                .map_err(|e| format!("tls-ca-cert-file {}: {e}", path.display()))?;
        }
    }
    if !config.tls_ca_cert_dir.is_empty() {
        let path = config.path(&config.tls_ca_cert_dir);
        let failed = |e: std::io::Error| format!("tls-ca-cert-dir {}: {e}", path.display());
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if !file.is_file() {
                continue;
            }
            // Other things may lie there, as for OpenSSL.
            let Ok(found) = certificates(&file, "tls-ca-cert-dir") else { continue };
            let (_, ignored) = roots.add_parsable_certificates(found);
            if ignored > 0 {
                tracing::warn!("{}: a certificate cannot be used", file.display());
            }
        }
    }
    Ok(roots)
}

impl TlsProtocols {
    fn versions(&self) -> Vec<&'static rustls::SupportedProtocolVersion> {
        let mut versions = Vec::new();
        if self.has_13() {
            versions.push(&rustls::version::TLS13);
        }
        if self.has_12() {
            versions.push(&rustls::version::TLS12);
        }
        versions
    }
}

#[cfg(test)]
mod tests;

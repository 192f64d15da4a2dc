use super::*;
use crate::config::Config;

#[test]
fn every_suite_of_the_configuration_is_there() {
    assert!(SUITES_12.iter().chain(SUITES_13).all(|name| suite(name).is_some()));
    let mut provider = aws_lc_rs::default_provider();
    let all = provider.cipher_suites.len();
    choose_suites(&mut provider, &CipherSuites::default(), &CipherSuites::default());
    assert_eq!(provider.cipher_suites.len(), all);
    assert!(suite("NONSENSE").is_none());
}

#[test]
fn what_is_missing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        Config { dir: dir.path().to_string_lossy().into_owned(), tls_port: 1, ..Config::default() };
    let why = |config: &Config| server_config(config).map(drop).unwrap_err();
    assert!(why(&config).contains("tls-cert-file and tls-key-file must be given"));
    let config = Config { tls_cert_file: "a.crt".into(), tls_key_file: "a.key".into(), ..config };
    assert!(why(&config).contains("tls-cert-file") && why(&config).contains("a.crt"));
    std::fs::write(dir.path().join("a.crt"), "nothing\n").unwrap();
    assert!(why(&config).contains("there is no certificate in it"));
}

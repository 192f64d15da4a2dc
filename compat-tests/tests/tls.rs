//! TLS as clients see it: redis-cli and redis-py over encrypted connections, certificates of clients,
//! clients that speak in the clear, files that change while the server runs. Certificates are made by
//! openssl for each test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use forgekv_compat_tests::Result;
use forgekv_compat_tests::server::{Server, Start};
use tempfile::TempDir;

fn can_run(program: &str) -> bool {
    let mut tried = Command::new(program);
    tried.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let can = tried.status().is_ok();
    if !can {
        println!("SKIPPED: there is no {program}");
    }
    can
}

/// A directory with an authority and what it has signed.
struct Authority(TempDir);

impl Authority {
    fn new() -> Result<Authority> {
        let made = Authority(tempfile::tempdir()?);
        made.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ])?;
        std::fs::write(made.path("ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n")?;
        Ok(made)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    fn openssl(&self, args: &[&str]) -> Result<()> {
        let done = Command::new("openssl").args(args).current_dir(self.0.path()).output()?;
        if done.status.success() {
            return Ok(());
        }
        Err(format!("openssl {args:?}: {}", String::from_utf8_lossy(&done.stderr)).into())
    }

    /// Makes `NAME.key` and `NAME.crt`.
    fn sign(&self, name: &str, subject: &str) -> Result<()> {
        let (key, request, out) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"));
        let subject = format!("/CN={subject}");
        self.openssl(&[
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-keyout", &key, "-out",
            &request,
        ])?;
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "ext",
            "-out",
            &out,
        ])
    }

    /// A server with the certificate `NAME`; the port is that of TLS.
    fn serve(&self, name: &str, flags: &[&str]) -> Result<(Server, u16)> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut all = vec![
            "--tls-port".into(),
            port.to_string(),
            "--tls-cert-file".into(),
            self.text(&format!("{name}.crt")),
            "--tls-key-file".into(),
            self.text(&format!("{name}.key")),
            "--tls-ca-cert-file".into(),
            self.text("ca.crt"),
        ];
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Ok((Start::forgekv()?.flags(&all).run()?, port))
    }

    /// What redis-cli prints.
    fn cli(&self, port: u16, certificate: Option<&str>, args: &[&str]) -> Result<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &port.to_string(), "--tls", "--cacert", &self.text("ca.crt")]);
        if let Some(name) = certificate {
            command.args(["--cert", &self.text(&format!("{name}.crt"))]);
            command.args(["--key", &self.text(&format!("{name}.key"))]);
        }
        let done = command.args(args).stdin(Stdio::null()).output()?;
        let mut text = String::from_utf8_lossy(&done.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&done.stderr));
        Ok(text.trim().to_owned())
    }
}

#[test]
fn redis_cli_over_tls() -> Result<()> {
    if !can_run("openssl") || !can_run("redis-cli") {
        return Ok(());
    }
    let authority = Authority::new()?;
    authority.sign("server", "localhost")?;
    let (server, port) = authority.serve("server", &["--tls-auth-clients", "no"])?;
    let cli = |args: &[&str]| authority.cli(port, None, args);
    assert_eq!(cli(&["PING"])?, "PONG");
    assert_eq!(cli(&["SET", "k", "v"])?, "OK");
    assert_eq!(cli(&["GET", "k"])?, "v");
    for version in ["-tls1_2", "-tls1_3"] {
        let told = shake_hands(port, &[version])?;
        assert!(told.contains("Verify return code") || told.contains("Cipher is"), "{told}");
    }
    // The port in the clear is the same server.
    let mut plain = server.connect()?;
    assert_eq!(plain.call(&["GET", "k"])?.as_bytes(), Some(&b"v"[..]));
    // Larger than what becomes records at once, both ways, and many commands in one go.
    let large = "x".repeat(3_000_000);
    plain.call(&["SET", "large", &large])?;
    assert_eq!(cli(&["STRLEN", "large"])?, "3000000");
    assert_eq!(cli(&["GET", "large"])?.len(), 3_000_000);
    let file = authority.path("large");
    std::fs::write(&file, &large)?;
    let told = Command::new("redis-cli")
        .args(["-p", &port.to_string(), "--tls", "--cacert", &authority.text("ca.crt")])
        .args(["-x", "SET", "back"])
        .stdin(std::fs::File::open(&file)?)
        .output()?;
    assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), "OK");
    assert_eq!(plain.call(&["STRLEN", "back"])?.shown(), "3000000");
    let commands: String = (0..20_000).map(|n| format!("SET key:{n} {n}\r\n")).collect();
    std::fs::write(&file, commands)?;
    let told = Command::new("redis-cli")
        .args(["-p", &port.to_string(), "--tls", "--cacert", &authority.text("ca.crt"), "--pipe"])
        .stdin(std::fs::File::open(&file)?)
        .output()?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("errors: 0, replies: 20000"), "{told}");
    Ok(())
}

/// What openssl says of a handshake.
fn shake_hands(port: u16, args: &[&str]) -> Result<String> {
    let done = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .args(args)
        .stdin(Stdio::null())
        .output()?;
    let mut text = String::from_utf8_lossy(&done.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&done.stderr));
    Ok(text)
}

#[test]
fn only_who_shows_a_certificate_is_let_in() -> Result<()> {
    if !can_run("openssl") || !can_run("redis-cli") {
        return Ok(());
    }
    let authority = Authority::new()?;
    authority.sign("server", "localhost")?;
    authority.sign("client", "somebody")?;
    let stranger = Authority::new()?;
    stranger.sign("client", "stranger")?;
    // `yes` is what holds if nothing is said.
    let (_server, port) = authority.serve("server", &[])?;
    assert_eq!(authority.cli(port, Some("client"), &["PING"])?, "PONG");
    assert_ne!(authority.cli(port, None, &["PING"])?, "PONG");
    for name in ["client.crt", "client.key"] {
        std::fs::copy(stranger.path(name), authority.path(&format!("other-{name}")))?;
    }
    std::fs::rename(authority.path("other-client.crt"), authority.path("other.crt"))?;
    std::fs::rename(authority.path("other-client.key"), authority.path("other.key"))?;
    assert_ne!(authority.cli(port, Some("other"), &["PING"])?, "PONG");
    let (_server, port) = authority.serve("server", &["--tls-auth-clients", "optional"])?;
    assert_eq!(authority.cli(port, Some("client"), &["PING"])?, "PONG");
    assert_eq!(authority.cli(port, None, &["PING"])?, "PONG");
    assert_ne!(authority.cli(port, Some("other"), &["PING"])?, "PONG");
    Ok(())
}

#[test]
fn a_client_in_the_clear_is_turned_away() -> Result<()> {
    if !can_run("openssl") || !can_run("redis-cli") {
        return Ok(());
    }
    let authority = Authority::new()?;
    authority.sign("server", "localhost")?;
    let (server, port) = authority.serve("server", &["--tls-auth-clients", "no"])?;
    let mut plain = TcpStream::connect(("127.0.0.1", port))?;
    plain.set_read_timeout(Some(Duration::from_secs(10)))?;
    plain.write_all(b"*1\r\n$4\r\nPING\r\n")?;
    let mut answer = Vec::new();
    // An alert, or just the end; never a reply.
    plain.read_to_end(&mut answer).ok();
    assert!(!answer.starts_with(b"+PONG"));
    // One that says nothing keeps nobody else waiting.
    let _silent = TcpStream::connect(("127.0.0.1", port))?;
    assert_eq!(authority.cli(port, None, &["PING"])?, "PONG");
    assert!(server.connect().is_ok());
    Ok(())
}

#[test]
fn versions_and_suites_are_chosen() -> Result<()> {
    if !can_run("openssl") {
        return Ok(());
    }
    let authority = Authority::new()?;
    authority.sign("server", "localhost")?;
    let (_server, port) = authority.serve(
        "server",
        &[
            "--tls-auth-clients",
            "no",
            "--tls-protocols",
            "TLSv1.2",
            "--tls-ciphers",
            "ECDHE-RSA-AES128-GCM-SHA256",
        ],
    )?;
    let told = shake_hands(port, &["-tls1_2"])?;
    assert!(told.contains("Cipher is ECDHE-RSA-AES128-GCM-SHA256"), "{told}");
    assert!(shake_hands(port, &["-tls1_3"])?.contains("Cipher is (NONE)"));
    let (_server, port) = authority.serve(
        "server",
        &[
            "--tls-auth-clients",
            "no",
            "--tls-protocols",
            "TLSv1.3",
            "--tls-ciphersuites",
            "TLS_CHACHA20_POLY1305_SHA256",
        ],
    )?;
    let told = shake_hands(port, &["-tls1_3"])?;
    assert!(told.contains("Cipher is TLS_CHACHA20_POLY1305_SHA256"), "{told}");
    assert!(shake_hands(port, &["-tls1_2"])?.contains("Cipher is (NONE)"));
    Ok(())
}

#[test]
fn files_change_while_it_runs() -> Result<()> {
    if !can_run("openssl") || !can_run("redis-cli") {
        return Ok(());
    }
    let authority = Authority::new()?;
    authority.sign("server", "localhost")?;
    authority.sign("next", "another")?;
    let (server, port) = authority.serve("server", &["--tls-auth-clients", "no"])?;
    assert!(shake_hands(port, &[])?.contains("CN = localhost"));
    let mut plain = server.connect()?;
    let mut set = |words: &[&str]| -> Result<String> {
        let words: Vec<&str> = ["CONFIG", "SET"].into_iter().chain(words.iter().copied()).collect();
        Ok(plain.call(&words)?.shown())
    };
    let (certificate, key) = (authority.text("next.crt"), authority.text("next.key"));
    // One without the other does not fit; nothing changes.
    let refusal = set(&["tls-cert-file", &certificate])?;
    assert!(refusal.contains("Unable to update TLS configuration"), "{refusal}");
    assert!(shake_hands(port, &[])?.contains("CN = localhost"));
    assert_eq!(set(&["tls-cert-file", &certificate, "tls-key-file", &key])?, "OK");
    assert!(shake_hands(port, &[])?.contains("CN = another"));
    // The files themselves have changed: setting the same names again does nothing, another name does.
    assert_eq!(set(&["tls-auth-clients", "yes"])?, "OK");
    assert_ne!(authority.cli(port, None, &["PING"])?, "PONG");
    assert_eq!(authority.cli(port, Some("server"), &["PING"])?, "PONG");
    // The port goes and comes.
    assert_eq!(set(&["tls-port", "0"])?, "OK");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(set(&["tls-auth-clients", "no", "tls-port", &port.to_string()])?, "OK");
    assert_eq!(authority.cli(port, None, &["PING"])?, "PONG");
    Ok(())
}

/// Only encrypted connections: there is no port in the clear.
#[test]
fn redis_py_over_tls() -> Result<()> {
    let python =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/compat/venv-clients/bin/python");
    if !python.exists() || !can_run("openssl") {
        println!("SKIPPED: there is no redis-py (clients/run.sh installs it)");
        return Ok(());
    }
    let authority = Authority::new()?;
    authority.sign("server", "localhost")?;
    authority.sign("client", "somebody")?;
    let (_server, port) = authority.serve("server", &[])?;
    let told = Command::new(python)
        .args(["-c", PYTHON, &port.to_string()])
        .current_dir(authority.0.path())
        .output()?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(text.trim(), "fine", "{}", String::from_utf8_lossy(&told.stderr));
    Ok(())
}

const PYTHON: &str = r#"
import sys, threading, redis
def connect(**more):
    return redis.Redis(host="127.0.0.1", port=int(sys.argv[1]), ssl=True, ssl_ca_certs="ca.crt",
                       ssl_certfile="client.crt", ssl_keyfile="client.key", **more)
for protocol in (2, 3):
    r = connect(protocol=protocol)
    assert r.set("k", "v") and r.get("k") == b"v"
    pipe = r.pipeline(transaction=False)
    for n in range(5000):
        pipe.set(f"k{n}", "x" * n)
    pipe.execute()
    pipe = r.pipeline(transaction=False)
    for n in range(5000):
        pipe.get(f"k{n}")
    assert [len(v) for v in pipe.execute()] == list(range(5000))
    p = r.pubsub()
    p.subscribe("c")
    assert p.get_message(timeout=5)["type"] == "subscribe"
    assert r.publish("c", "hello") == 1
    assert p.get_message(timeout=5)["data"] == b"hello"
def work(n):
    r = connect()
    for i in range(300):
        assert r.set(f"t{n}", str(i)) and r.get(f"t{n}") == str(i).encode()
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
assert sorted(r.get(f"t{n}") for n in range(8)) == [b"299"] * 8
try:
    redis.Redis(host="127.0.0.1", port=int(sys.argv[1]), ssl=True, ssl_ca_certs="ca.crt").ping()
    print("let in without a certificate")
except (redis.ConnectionError, OSError):
    print("fine")
"#;

trait Shown {
    /// As a line of text, without quotes around a string.
    fn shown(&self) -> String;
}

impl Shown for forgekv_resp::Value {
    fn shown(&self) -> String {
        match self.as_bytes() {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => forgekv_compat_tests::text::render(self).join("\n").replace("(integer) ", ""),
        }
    }
}

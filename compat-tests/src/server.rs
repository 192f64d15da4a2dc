//! A server under test: our program or a redis-server, each in a directory of its own, on a free
//! port of 127.0.0.1, killed when dropped.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use forgekv_resp::Value;
use tempfile::TempDir;

use crate::Result;
use crate::client::Client;

/// Whose program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The server of this workspace.
    ForgeKv,
    /// A redis-server of this machine.
    Redis,
}

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Start {
    kind: Kind,
    program: PathBuf,
    flags: Vec<OsString>,
    /// KiB of address space, as `ulimit -v` takes it.
    address_space_kib: Option<u64>,
    has_file: bool,
}

impl Start {
    /// Our server: `FORGEKV_BIN`, or else the workspace's, built now if need be.
    ///
    /// # Errors
    /// When it can't be built.
    pub fn forgekv() -> Result<Start> {
        let flags = ["--enable-debug-command", "yes", "--maxmemory", "512mb"];
        Ok(Start::of(Kind::ForgeKv, our_program()?, &flags))
    }

    /// Redis 7.0 (`REDIS_SERVER_BIN`, or the one in `PATH`) without persistence; `None` where there
    /// is none, or it is of another version: expectations were taken from 7.0.
    pub fn redis() -> Option<Start> {
        let program = std::env::var_os("REDIS_SERVER_BIN").unwrap_or_else(|| "redis-server".into());
        let output = Command::new(&program).arg("--version").output().ok()?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let flags = ["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"];
        told.contains(" v=7.0.").then(|| Start::of(Kind::Redis, program.into(), &flags))
    }

    fn of(kind: Kind, program: PathBuf, flags: &[&str]) -> Start {
        let flags = flags.iter().map(OsString::from).collect();
        Start { kind, program, flags, address_space_kib: None, has_file: false }
    }

    /// Adds flags: `--requirepass secret`.
    #[must_use]
    pub fn flags<S: AsRef<str>>(mut self, flags: &[S]) -> Start {
        self.flags.extend(flags.iter().map(|f| OsString::from(f.as_ref())));
        self
    }

    /// Limits what the program may map (`ulimit -v`).
    #[must_use]
    pub fn address_space_kib(mut self, kib: u64) -> Start {
        self.address_space_kib = Some(kib);
        self
    }

    /// Gives it a configuration file of its own, empty at first.
    #[must_use]
    pub fn with_file(mut self) -> Start {
        self.has_file = true;
        self
    }

    /// Whose program it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Starts it in a new directory and waits until it answers.
    ///
    /// # Errors
    /// When it does not start; says what it printed.
    pub fn run(self) -> Result<Server> {
        let dir = tempfile::Builder::new().prefix("compat-").tempdir()?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let child = self.spawn(dir.path(), port)?;
        let mut server = Server { start: self, dir, port, child, version: (0, 0) };
        server.wait_until_it_answers()?;
        server.version = server.ask_version().unwrap_or((0, 0));
        Ok(server)
    }

    fn spawn(&self, dir: &Path, port: u16) -> Result<Child> {
        let log = std::fs::File::options().create(true).append(true).open(dir.join("printed"))?;
        let mut command = match self.address_space_kib {
            None => Command::new(&self.program),
            Some(kib) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(format!("ulimit -v {kib}; exec \"$0\" \"$@\""));
                shell.arg(&self.program);
                shell
            }
        };
        if self.has_file {
            let file = dir.join("server.conf");
            std::fs::File::options().create(true).append(true).open(&file)?;
            command.arg(file);
        }
        let data = dir.join("data");
        std::fs::create_dir_all(&data)?;
        command.arg("--port").arg(port.to_string());
        command.args(["--bind", "127.0.0.1", "--dir"]).arg(data).args(&self.flags);
        command.current_dir(dir).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        command.spawn().map_err(|e| format!("{}: {e}", self.program.display()).into())
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    start: Start,
    dir: TempDir,
    port: u16,
    child: Child,
    version: (u32, u32),
}

impl Server {
    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whose program it is.
    pub fn kind(&self) -> Kind {
        self.start.kind
    }

    /// Major and minor of `redis_version`.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A new connection.
    ///
    /// # Errors
    /// When it does not accept.
    pub fn connect(&self) -> Result<Client> {
        Client::connect(self.port)
    }

    /// `kill -9`, without a warning.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// `kill -TERM`, and waits until it is gone; whether it ended with success.
    ///
    /// # Errors
    /// When it does not end within half a minute.
    pub fn terminate(&mut self) -> Result<bool> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.success());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("the server did not end after SIGTERM".into())
    }

    /// Starts it again on the same directory and port, after [`kill`](Self::kill) or
    /// [`terminate`](Self::terminate).
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        self.child = self.start.spawn(self.dir.path(), self.port)?;
        self.wait_until_it_answers()
    }

    /// Starts it again, does not wait until it answers, and kills it with -9 after a while.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_and_kill_after(&mut self, lifetime: Duration) -> Result<()> {
        self.child = self.start.spawn(self.dir.path(), self.port)?;
        std::thread::sleep(lifetime);
        self.kill()
    }

    /// Whether the process is still there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The last lines of what it printed.
    pub fn printed(&self) -> String {
        let all = std::fs::read(self.dir.path().join("printed")).unwrap_or_default();
        let all = String::from_utf8_lossy(&all);
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Ok(mut client) = self.connect()
                && let Ok(reply) = client.call(&["PING"])
                && !reply.as_bytes().is_some_and(|text| text.starts_with(b"LOADING"))
            {
                return Ok(());
            }
            if !self.is_alive() || start.elapsed() > Duration::from_secs(60) {
                return Err(format!("the server did not start:\n{}", self.printed()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ask_version(&self) -> Option<(u32, u32)> {
        let Ok(Value::Bulk(info)) = self.connect().ok()?.call(&["INFO", "server"]) else {
            return None;
        };
        let info = String::from_utf8_lossy(&info).into_owned();
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"))?;
        let mut parts = version.split('.').map(|part| part.trim().parse().ok());
        Some((parts.next()??, parts.next()??))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is as good.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

/// `FORGEKV_BIN`, or the program that cargo builds beside this test.
fn our_program() -> Result<PathBuf> {
    static PROGRAM: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    PROGRAM
        .get_or_init(|| build_our_program().map_err(|e| e.to_string()))
        .clone()
        .map_err(Into::into)
}

fn build_our_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FORGEKV_BIN") {
        return std::fs::canonicalize(&path)
            .map_err(|e| format!("FORGEKV_BIN={}: {e}", path.display()).into());
    }
    // This test is <target>/<profile>/deps/<name>.
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).ok_or("where is the target directory?")?;
    let target = profile.parent().ok_or("where is the target directory?")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "-p", "forgekv", "--target-dir"]).arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(profile.join("forgekv"))
}

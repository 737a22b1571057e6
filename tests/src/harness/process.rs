//! A child process: in a group of its own, its output in files, ended by its own number and never by a name.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
};

use super::host::{self, PATIENCE, Task};

/// How much of a log is shown when something failed.
const TAIL: usize = 40;

/// A child that is told apart by its name, and killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// Lines of stdout, as they come. Everything also goes to the file.
    lines: mpsc::UnboundedReceiver<String>,
    logs: [PathBuf; 2],
    /// Open for as long as this lives: to some children its end is a leash.
    _stdin: Option<ChildStdin>,
    _reader: Task<()>,
}

impl Process {
    /// Starts a program; its output goes to `NAME.out` and `NAME.err` in `folder`, added to what is there.
    pub fn start(name: &str, folder: &Path, mut command: Command) -> Result<Self> {
        let logs = [folder.join(format!("{name}.out")), folder.join(format!("{name}.err"))];
        let append = |path: &Path| File::options().create(true).append(true).open(path);
        let err = append(&logs[1])?;
        let out = append(&logs[0])?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(err).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        let stdout = child.stdout.take().context("stdout is a pipe")?;
        let (sender, lines) = mpsc::unbounded_channel();
        let reader = host::spawn(read(BufReader::new(stdout), out, sender));
        // Taken out, because waiting for a child closes what is left in it.
        let stdin = child.stdin.take();
        Ok(Self { name: name.into(), child, lines, logs, _stdin: stdin, _reader: reader })
    }

    /// The name the test gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next line of its stdout.
    pub async fn line(&mut self) -> Result<String> {
        let line = host::within(PATIENCE, &format!("a line of {}", self.name), self.lines.recv()).await?;
        match line {
            Some(line) => Ok(line),
            None => bail!("{} said no more\n{}", self.name, self.tails()),
        }
    }

    /// A line of its stdout that is there already.
    pub fn said(&mut self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Reads its stdout up to the line that begins so, and returns the rest of it.
    pub async fn line_after(&mut self, beginning: &str) -> Result<String> {
        loop {
            let line = self.line().await.with_context(|| format!("waiting for `{beginning}…`"))?;
            if let Some(rest) = line.strip_prefix(beginning) {
                return Ok(rest.to_owned());
            }
        }
    }

    /// Its number, while it lives.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The memory that is its own, in bytes.
    pub fn resident(&self) -> Result<u64> {
        let pid = self.pid().with_context(|| format!("{} has ended", self.name))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("a process that is measured")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS in kB")?;
        Ok(kibibytes << 10)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.with_context(|| format!("{} has ended", self.name))?;
        kill_process(pid, signal).with_context(|| format!("{signal:?} to {}", self.name))
    }

    /// SIGKILL, and it is gone when this returns.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.exit(PATIENCE).await?;
        Ok(())
    }

    /// SIGTERM; returns how it ended.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.exit(limit).await
    }

    /// Waits for its end.
    pub async fn exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        match host::within(limit, &what, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(error) => Err(error.context(self.tails())),
        }
    }

    /// Everything it wrote to stderr.
    pub fn stderr(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.logs[1])?).into_owned())
    }

    /// The lines of its stdout that were not read yet, up to its end.
    pub async fn rest(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let what = format!("the last line of {}", self.name);
        while let Some(line) = host::within(PATIENCE, &what, self.lines.recv()).await? {
            lines.push(line);
        }
        Ok(lines)
    }

    /// The ends of its logs.
    pub fn tails(&self) -> String {
        let mut text = String::new();
        for path in &self.logs {
            let whole = fs::read(path).unwrap_or_default();
            let whole = String::from_utf8_lossy(&whole);
            let lines: Vec<_> = whole.lines().collect();
            let _ = writeln!(text, "--- the end of {}", path.display());
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tails());
        }
        // The child itself is killed by `kill_on_drop`.
    }
}

async fn read(mut from: impl AsyncBufReadExt + Unpin, to: File, lines: mpsc::UnboundedSender<String>) {
    use std::io::Write as _;

    let mut line = String::new();
    while let Ok(1..) = from.read_line(&mut line).await {
        // The file is for people, and a full disk must not look like a silent child.
        let _ = (&to).write_all(line.as_bytes());
        let _ = lines.send(line.trim_end().to_owned());
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Pid, Signal, test_kill_process};
    use tempfile::TempDir;
    use tokio::process::Command;

    use super::Process;
    use crate::harness::host::PATIENCE;

    fn shell(folder: &TempDir, script: &str) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Process::start("child", folder.path(), command).unwrap()
    }

    #[tokio::test]
    async fn it_is_heard_and_ends_as_it_is_told() {
        let folder = TempDir::new().unwrap();
        let mut child =
            shell(&folder, "trap 'exit 7' TERM; echo noise; echo oops >&2; echo ready 5; while :; do read _; done");
        assert_eq!(child.line_after("ready ").await.unwrap(), "5");
        let status = child.terminate(PATIENCE).await.unwrap();
        assert_eq!(status.code(), Some(7));
        let tails = child.tails();
        assert!(tails.contains("noise") && tails.contains("oops"), "{tails}");
        assert!(child.line().await.is_err(), "it says no more");
        assert!(child.signal(Signal::KILL).is_err(), "it has ended");
    }

    #[tokio::test]
    async fn it_does_not_outlive_its_handle() {
        let folder = TempDir::new().unwrap();
        let mut child = shell(&folder, "echo up; exec cat");
        child.line().await.unwrap();
        let pid = Pid::from_raw(i32::try_from(child.pid().unwrap()).unwrap()).unwrap();
        assert!(child.exit(Duration::from_millis(50)).await.is_err(), "it lives");
        child.kill().await.unwrap();
        assert!(test_kill_process(pid).is_err());
    }
}

//! A receiver of webhooks: a real HTTP server on a real socket of the test's own process, which answers what the test says
//! and checks signatures with code of its own.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::Sha256;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
};

use super::host::{self, PATIENCE, Task};

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With this status.
    Status(u16),
    /// With this status, these header lines and this body.
    Full(u16, String, String),
    /// Not at all: the connection stays open.
    Never,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The path it was sent to.
    pub path: String,
    /// Its headers, in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: String,
}

/// A listening receiver.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    heard: mpsc::UnboundedReceiver<Heard>,
    script: Arc<Script>,
    _serving: Task<()>,
}

#[derive(Debug)]
struct Script {
    /// By path, what comes next.
    next: Mutex<BTreeMap<String, VecDeque<Answer>>>,
    /// What comes after that.
    rest: Mutex<BTreeMap<String, Answer>>,
    /// How many connections were opened to a path.
    count: Mutex<BTreeMap<String, usize>>,
    changed: Notify,
}

impl Script {
    fn answer(&self, path: &str) -> Answer {
        *self.count.lock().entry(path.into()).or_default() += 1;
        self.changed.notify_waiters();
        let next = self.next.lock().get_mut(path).and_then(VecDeque::pop_front);
        next.or_else(|| self.rest.lock().get(path).cloned()).unwrap_or(Answer::Status(200))
    }
}

impl Receiver {
    /// Listens on a port of its own.
    pub async fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (said, heard) = mpsc::unbounded_channel();
        let script = Arc::new(Script {
            next: Mutex::default(),
            rest: Mutex::default(),
            count: Mutex::default(),
            changed: Notify::new(),
        });
        let shared = script.clone();
        let serving = host::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (said, script) = (said.clone(), shared.clone());
                // A receiver that is dropped drops its connections.
                open.push(host::spawn(async move {
                    drop(serve(stream, &said, &script).await);
                }));
            }
        });
        Ok(Self { address, heard, script, _serving: serving })
    }

    /// Where it is reached.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers requests to a path so, one after the other; then as before.
    pub fn next(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.script.next.lock().entry(path.into()).or_default().extend(answers);
    }

    /// Answers requests to a path so from now on.
    pub fn always(&self, path: &str, answer: Answer) {
        self.script.rest.lock().insert(path.into(), answer);
    }

    /// The next request, whenever it comes.
    pub async fn heard(&mut self) -> Result<Heard> {
        host::within(PATIENCE, "a request", self.heard.recv()).await?.context("the receiver has ended")
    }

    /// The next request to a path; those to others are dropped.
    pub async fn heard_at(&mut self, path: &str) -> Result<Heard> {
        loop {
            let heard = self.heard().await?;
            if heard.path == path {
                return Ok(heard);
            }
        }
    }

    /// Whether a request came that nobody has asked for.
    pub fn has_heard(&mut self) -> bool {
        !self.heard.is_empty()
    }

    /// How many requests came to a path.
    pub fn count(&self, path: &str) -> usize {
        self.script.count.lock().get(path).copied().unwrap_or_default()
    }

    /// Waits until so many requests have come to a path.
    pub async fn counted(&self, path: &str, count: usize) -> Result<()> {
        let reached = async {
            loop {
                let changed = self.script.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.count(path) >= count {
                    return;
                }
                changed.await;
            }
        };
        host::within(PATIENCE, &format!("{count} requests to {path}"), reached).await
    }
}

impl Heard {
    /// A header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.body)?)
    }

    /// Checks that it was signed with this secret, as Standard Webhooks says; and gives the body.
    pub fn verified(&self, secret: &str) -> Result<Value> {
        let (id, timestamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let key = STANDARD.decode(secret.strip_prefix("whsec_").context("no secret")?)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key)?;
        mac.update(format!("{id}.{timestamp}.{}", self.body).as_bytes());
        let signed = self.header("webhook-signature").split(' ').filter_map(|one| one.strip_prefix("v1,"));
        let tags = signed.map(|tag| STANDARD.decode(tag)).collect::<Result<Vec<_>, _>>()?;
        ensure!(tags.iter().any(|tag| mac.clone().verify_slice(tag).is_ok()), "the signature is not good: {self:?}");
        ensure!(self.header("content-type") == "application/json", "{self:?}");
        let body = self.json()?;
        ensure!(body["id"] == id, "the id of the body is another than the header's: {self:?}");
        Ok(body)
    }
}

async fn serve(stream: TcpStream, said: &mpsc::UnboundedSender<Heard>, script: &Script) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let path = line.split(' ').nth(1).context("no request")?.to_owned();
    ensure!(line.starts_with("POST "), "{line}");
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").context("no length")?.parse()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let answer = script.answer(&path);
    said.send(Heard { path, headers, body: String::from_utf8(body)? })?;
    let (status, headers, body) = match answer {
        Answer::Status(status) => (status, String::new(), String::new()),
        Answer::Full(status, headers, body) => (status, headers, body),
        Answer::Never => {
            // Until the other side gives up.
            stream.read_to_end(&mut Vec::new()).await?;
            return Ok(());
        }
    };
    let head = format!("HTTP/1.1 {status} Told\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

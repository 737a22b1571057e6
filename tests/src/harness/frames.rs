//! HTTP/2 by hand: frames that no library would send, over a plain socket.

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::host::{self, PATIENCE};

/// What a client of HTTP/2 says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub mod kind {
    /// A piece of a body.
    pub const DATA: u8 = 0;
    /// The beginning of a call.
    pub const HEADERS: u8 = 1;
    /// The end of a call, out of turn.
    pub const RST_STREAM: u8 = 3;
    /// Settings, or that they were read.
    pub const SETTINGS: u8 = 4;
    /// Are you there.
    pub const PING: u8 = 6;
    /// More headers.
    pub const CONTINUATION: u8 = 9;
}

/// A flag of HEADERS and CONTINUATION: no more headers follow.
pub const END_HEADERS: u8 = 4;

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The headers of a call, each written out: no table is used.
pub fn headers(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let call = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    call.iter().chain(more).flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A number that begins in seven bits, as HPACK writes it.
    let mut rest = text.len();
    if rest < 127 {
        bytes.push(u8::try_from(rest).unwrap_or(0));
    } else {
        bytes.push(127);
        rest -= 127;
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).unwrap_or(0));
    }
    bytes.extend(text.bytes());
    bytes
}

/// A socket that says what it is told.
#[derive(Debug)]
pub struct Bare {
    socket: TcpStream,
}

impl Bare {
    /// Connects, and says nothing.
    pub async fn connect(address: &str) -> Result<Self> {
        let socket = host::within(PATIENCE, "a connection", TcpStream::connect(address)).await??;
        Ok(Self { socket })
    }

    /// Connects, and greets as every client does.
    pub async fn greet(address: &str) -> Result<Self> {
        let mut bare = Self::connect(address).await?;
        bare.say(PREFACE).await?;
        bare.say(&frame(kind::SETTINGS, 0, 0, &[])).await?;
        Ok(bare)
    }

    /// Says some bytes.
    pub async fn say(&mut self, bytes: &[u8]) -> Result<()> {
        host::within(PATIENCE, "room for some bytes", self.socket.write_all(bytes))
            .await?
            .context("the other side left")
    }

    /// Says them again and again, so often or until the other side has had enough.
    pub async fn flood(&mut self, times: u32, what: impl Fn(u32) -> Vec<u8>) -> bool {
        for number in 0..times {
            if self.say(&what(number)).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Ends it as a process does that was killed: with a reset, whatever is on the way.
    pub fn reset(self) -> Result<()> {
        // Zero seconds: what was not sent is dropped.
        self.socket.set_zero_linger()?;
        Ok(())
    }

    /// Reads until the other side has said these bytes.
    pub async fn heard(&mut self, bytes: &[u8]) -> Result<()> {
        let reads = async {
            let mut heard = Vec::new();
            while !heard.windows(bytes.len()).any(|window| window == bytes) {
                if self.socket.read_buf(&mut heard).await? == 0 {
                    bail!("the other side closed");
                }
            }
            Ok(())
        };
        host::within(PATIENCE, "some bytes", reads).await?
    }

    /// Reads until the other side has closed.
    pub async fn closed(&mut self) -> Result<Vec<u8>> {
        let mut heard = Vec::new();
        let end = host::within(PATIENCE, "the end of a connection", self.socket.read_to_end(&mut heard)).await?;
        // A reset is an end like any other.
        let _ = end;
        Ok(heard)
    }
}

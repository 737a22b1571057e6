//! Calls with bytes as they are, under any path.

use prost::bytes::{Buf as _, BufMut as _, Bytes};
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};

use super::server::Server;

/// Bytes as they are.
#[derive(Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// The answers to one message, which may be those of a unary call as well.
pub(crate) async fn open(
    server: &Server,
    path: &str,
    token: Option<String>,
    body: impl Into<Bytes>,
) -> Result<Streaming<Bytes>, Status> {
    let mut client = Grpc::new(server.as_caller(token));
    client.ready().await.unwrap();
    let path = PathAndQuery::try_from(path).unwrap();
    let request = Request::new(tokio_stream::once(body.into()));
    Ok(client.streaming::<_, Bytes, Bytes, _>(request, path, Raw).await?.into_inner())
}

/// The first answer to one message; empty where there is none.
pub(crate) async fn first(
    server: &Server,
    path: &str,
    token: Option<String>,
    body: impl Into<Bytes>,
) -> Result<Bytes, Status> {
    Ok(open(server, path, token, body).await?.message().await?.unwrap_or_default())
}

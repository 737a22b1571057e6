//! What is no message of the contract at all.

use tonic::Code;

use super::{
    contract::{path, rpcs, short},
    raw,
    server::Server,
    stage::Told,
};

#[tokio::test]
async fn no_rpc_takes_bytes_that_are_not_its_message() {
    let server = Server::start().await;
    for rpc in rpcs() {
        let name = short(&rpc);
        let status = raw::first(&server, &path(&rpc), Some(server.key()), vec![0xff; 9]).await.expect_err(&name);
        Told::of(&status).is(Code::InvalidArgument, "MESSAGE_MALFORMED", &name);
    }
}

#[tokio::test]
async fn a_method_that_no_service_has_is_unknown() {
    let server = Server::start().await;
    for rpc in rpcs() {
        let unknown = format!("{}Twice", path(&rpc));
        for token in [None, Some(server.key())] {
            let status = raw::first(&server, &unknown, token, vec![]).await.expect_err(&unknown);
            Told::of(&status).is(Code::Unimplemented, "METHOD_UNKNOWN", &unknown);
        }
    }
}

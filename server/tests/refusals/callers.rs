//! Whoever calls an rpc that anybody may call; who may call the others is in the table of `matrix.rs`.

use tonic::Code;

use super::{
    contract::{Rule, path, rpcs, rule, short},
    raw,
    server::Server,
    stage::Told,
};

#[tokio::test]
async fn a_public_rpc_tells_what_is_wrong_with_the_request_whatever_the_caller_shows() {
    let server = Server::start().await;
    let public: Vec<_> = rpcs().into_iter().filter(|rpc| rule(rpc) == Rule::Public).collect();
    assert_eq!(public.len(), 2);
    for rpc in public {
        let name = short(&rpc);
        for token in [None, Some("garbage".to_owned())] {
            let status = raw::first(&server, &path(&rpc), token, vec![]).await.expect_err(&name);
            Told::of(&status).is(Code::InvalidArgument, "FIELD_INVALID", &name);
        }
    }
}

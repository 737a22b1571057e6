//! Who may call: no credential, one that is none, and roles that do not hold the permission.

use mainspring_proto::auth::v1::GetCallerRequest;
use tonic::Code;

use super::{
    contract::{Rule, path, rpcs, rule, short},
    raw,
    server::{Server, key_with},
    stage::Told,
};

const ROLES: [&str; 4] = ["admin", "operator", "viewer", "worker"];

#[tokio::test]
async fn no_rpc_answers_a_caller_without_a_credential_but_the_public_ones() {
    let server = Server::start().await;
    for rpc in rpcs() {
        let name = short(&rpc);
        let told = async |token: Option<&str>| {
            let answer = raw::first(&server, &path(&rpc), token.map(str::to_owned), vec![]).await;
            answer.err().map(|status| Told::of(&status))
        };
        if rule(&rpc) == Rule::Public {
            // It hears what is wrong with the request, whatever it shows.
            for token in [None, Some("garbage")] {
                told(token).await.unwrap().is(Code::InvalidArgument, "FIELD_INVALID", &name);
            }
            continue;
        }
        told(None).await.unwrap().is(Code::Unauthenticated, "TOKEN_MISSING", &name);
        for garbage in ["garbage", "mk_1_2", "a.b.c"] {
            told(Some(garbage)).await.unwrap().is(Code::Unauthenticated, "TOKEN_INVALID", &name);
        }
    }
}

#[tokio::test]
async fn no_rpc_answers_a_role_that_does_not_hold_its_permission() {
    let server = Server::start().await;
    for role in ROLES {
        let key = server.users().create_api_key(key_with(role)).await.unwrap().into_inner().secret;
        let caller = server.auth(Some(key.clone())).get_caller(GetCallerRequest {}).await.unwrap().into_inner();
        let mut refused = 0;
        for rpc in rpcs() {
            let Rule::Permission(permission) = rule(&rpc) else { continue };
            if caller.permissions.contains(&permission) {
                continue;
            }
            refused += 1;
            let why = format!("{} as {role}", short(&rpc));
            let status = raw::first(&server, &path(&rpc), Some(key.clone()), vec![]).await.expect_err(&why);
            let told = Told::of(&status);
            told.is(Code::PermissionDenied, "PERMISSION_MISSING", &why);
            assert_eq!(told.metadata["required_permission"], permission, "{why}");
        }
        assert_eq!(refused == 0, role == "admin", "{role}");
    }
}

//! `AuthService`: signing in and out.

use mainspring_proto::auth::v1::{self as wire, auth_service_server::AuthService};
use tonic::Request;

use super::{
    Answer, Api, Call, answer,
    convert::{read, time},
    status::{Reason, Refusal},
    user,
};
use crate::auth::{Credential, Passwords, RefreshError, SignInError, SignedIn};

const MAX_USERNAME: usize = 128;
const MAX_CLIENT_NAME: usize = 128;

#[tonic::async_trait]
impl AuthService for Api {
    async fn login(&self, request: Request<wire::LoginRequest>) -> Answer<wire::LoginResponse> {
        answer(login(self, request.into_inner())).await
    }

    async fn refresh_token(&self, request: Request<wire::RefreshTokenRequest>) -> Answer<wire::RefreshTokenResponse> {
        let wire::RefreshTokenRequest { refresh_token } = request.into_inner();
        answer(async {
            if refresh_token.is_empty() {
                return Err(Refusal::field("refresh_token", "is required"));
            }
            let signed_in = self.auth.refresh(&refresh_token).await?;
            Ok(wire::RefreshTokenResponse { tokens: Some(tokens(signed_in)) })
        })
        .await
    }

    async fn logout(&self, request: Request<wire::LogoutRequest>) -> Answer<wire::LogoutResponse> {
        let (call, wire::LogoutRequest {}) = Call::split(request);
        answer(async {
            // An API key has no session, and stays good until it is revoked.
            if let Credential::Token { session, user: _ } = &call.caller()?.credential {
                self.auth.sign_out(session).await?;
            }
            Ok(wire::LogoutResponse {})
        })
        .await
    }

    async fn get_caller(&self, request: Request<wire::GetCallerRequest>) -> Answer<wire::GetCallerResponse> {
        let (call, wire::GetCallerRequest {}) = Call::split(request);
        answer(async {
            let caller = call.caller()?;
            let credential = match caller.credential {
                Credential::Token { .. } => wire::CredentialKind::AccessToken,
                Credential::Key { .. } => wire::CredentialKind::ApiKey,
            };
            Ok(wire::GetCallerResponse {
                subject: caller.subject(),
                display_name: caller.display_name.clone(),
                bindings: caller.roles.iter().map(|role| user::binding(role)).collect(),
                permissions: caller.permissions().into_iter().map(str::to_owned).collect(),
                credential: credential.into(),
                expire_time: caller.expire_time.map(time::timestamp),
            })
        })
        .await
    }

    async fn change_password(
        &self,
        request: Request<wire::ChangePasswordRequest>,
    ) -> Answer<wire::ChangePasswordResponse> {
        let (call, request) = Call::split(request);
        answer(change_password(self, &call, request)).await
    }
}

async fn login(api: &Api, request: wire::LoginRequest) -> Result<wire::LoginResponse, Refusal> {
    let wire::LoginRequest { username, password, client_name } = request;
    let client_name = read(|check| {
        for (field, text) in [("username", &username), ("password", &password)] {
            if text.is_empty() {
                check.refuse(field, "is required");
            }
        }
        if username.chars().nth(MAX_USERNAME).is_some() {
            check.refuse("username", format!("must be at most {MAX_USERNAME} characters"));
        }
        if let Err(error @ crate::auth::PolicyError::TooLong) = Passwords::check(&password) {
            check.refuse("password", error.to_string());
        }
        Some(check.line("client_name", client_name, MAX_CLIENT_NAME))
    })?;
    let signed_in = api.auth.sign_in(&username, password, client_name).await?;
    let password_change_required = signed_in.must_change_password;
    Ok(wire::LoginResponse { tokens: Some(tokens(signed_in)), password_change_required })
}

async fn change_password(
    api: &Api,
    call: &Call,
    request: wire::ChangePasswordRequest,
) -> Result<wire::ChangePasswordResponse, Refusal> {
    let wire::ChangePasswordRequest { current_password, new_password } = request;
    let Credential::Token { session, user } = &call.caller()?.credential else {
        return Err(Refusal::new(
            Reason::PasswordNotHeld,
            "the caller came with an API key, which has no password; sign in as a user",
        ));
    };
    read(|check| {
        if current_password.is_empty() {
            check.refuse("current_password", "is required");
        }
        match Passwords::check(&new_password) {
            Err(error) => check.refuse("new_password", error.to_string()),
            Ok(()) if new_password == current_password => {
                check.refuse("new_password", "must not be the one in force");
            }
            Ok(()) => {}
        }
        Some(())
    })?;
    api.auth.change_password(user, session, current_password, new_password).await?;
    Ok(wire::ChangePasswordResponse {})
}

fn tokens(signed_in: SignedIn) -> wire::TokenPair {
    let SignedIn { access_token, lifetime, refresh_token, session_expire_time, must_change_password: _ } = signed_in;
    wire::TokenPair {
        access_token,
        access_token_lifetime: Some(time::duration(lifetime)),
        refresh_token,
        session_expire_time: Some(time::timestamp(session_expire_time)),
    }
}

impl From<SignInError> for Refusal {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Credentials => Self::new(Reason::CredentialsInvalid, error.to_string()),
            SignInError::Busy => {
                Self::new(Reason::RateLimited, error.to_string()).retry_after(std::time::Duration::from_secs(2))
            }
            SignInError::Bug(why) => Self::bug(why),
            SignInError::Store(error) => error.into(),
        }
    }
}

impl From<RefreshError> for Refusal {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Denied(denied) => denied.into(),
            RefreshError::Bug(why) => Self::bug(why),
        }
    }
}

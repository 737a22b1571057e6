//! Users, sessions, keys.

use mainspring_engine::{
    domain::filter::Filter,
    ports::store::{
        ApiKeyRecord, CreateKey, Direction, NewPassword, NewSession, RefreshAnswer, RefreshUse, RequestKey, RootUser,
    },
};

use super::world::{World, all, page, secs};

async fn root(w: &World) {
    let root = RootUser { password_hash: "$argon2id$1".into(), must_change_password: true };
    assert!(w.store.claim_root(w.now, root).await.unwrap());
}

async fn open_by(w: &World, id: &str, token: u8, hash: &str) -> bool {
    let session = NewSession {
        id: id.into(),
        user: "root".into(),
        client: "cli".into(),
        refresh_hash: [token; 32],
        expire_time: w.now.plus(secs(1_000)),
        password_hash: hash.into(),
    };
    w.store.open_session(w.now, session).await.unwrap()
}

async fn open(w: &World, id: &str, token: u8) {
    assert!(open_by(w, id, token, "$argon2id$1").await);
}

async fn change(w: &World, current: &str, next: &str, keep: Option<&str>) -> bool {
    let (user, keep) = ("root".into(), keep.map(str::to_owned));
    let password = NewPassword { user, current: current.into(), next: next.into(), keep };
    w.store.set_password(w.now, password).await.unwrap()
}

async fn refresh(w: &World, shown: u8, next: u8) -> RefreshAnswer {
    w.store.refresh(w.now, RefreshUse { shown: [shown; 32], next: [next; 32] }).await.unwrap()
}

fn key(w: &World, id: &str) -> ApiKeyRecord {
    ApiKeyRecord {
        id: id.into(),
        name: "ci".into(),
        role: "operator".into(),
        secret_hash: [7; 32],
        creator: "root".into(),
        create_time: w.now,
        expire_time: Some(w.now.plus(secs(60))),
        revoke_time: None,
        last_use_time: None,
    }
}

pub async fn root_is_claimed_until_it_has_a_password_of_its_own(mut w: World) {
    let claim = async |w: &World, hash: &str, must_change_password| {
        let root = RootUser { password_hash: hash.into(), must_change_password };
        w.store.claim_root(w.now, root).await.unwrap()
    };
    assert!(!w.store.has_users().await.unwrap());
    assert_eq!(w.store.user("root").await.unwrap(), None);
    root(&w).await;
    assert!(w.store.has_users().await.unwrap());
    open(&w, "before", 1).await;
    w.pass(secs(1));
    assert!(claim(&w, "$argon2id$2", true).await, "nobody has chosen a password");
    let user = w.store.user("root").await.unwrap().unwrap();
    assert_eq!((user.password_hash.as_str(), user.must_change_password), ("$argon2id$2", true));
    assert_eq!(user.roles, ["admin"]);
    assert!(w.store.session("before").await.unwrap().unwrap().revoked);
    assert!(change(&w, "$argon2id$2", "$argon2id$3", None).await);
    assert!(!claim(&w, "$argon2id$4", true).await);
    assert!(!claim(&w, "$argon2id$4", false).await);
    let user = w.store.user("root").await.unwrap().unwrap();
    assert_eq!((user.password_hash.as_str(), user.must_change_password), ("$argon2id$3", false));
}

pub async fn passwords_replace_and_end_sessions(w: World) {
    root(&w).await;
    open(&w, "keep", 1).await;
    open(&w, "other", 2).await;
    assert!(change(&w, "$argon2id$1", "$argon2id$3", Some("keep")).await);
    let user = w.store.user("root").await.unwrap().unwrap();
    assert_eq!((user.password_hash.as_str(), user.must_change_password), ("$argon2id$3", false));
    assert!(!w.store.session("keep").await.unwrap().unwrap().revoked);
    assert!(w.store.session("other").await.unwrap().unwrap().revoked);
    assert!(change(&w, "$argon2id$3", "$argon2id$4", None).await);
    assert!(w.store.session("keep").await.unwrap().unwrap().revoked);
}

pub async fn a_password_that_was_changed_meanwhile_opens_and_changes_nothing(w: World) {
    root(&w).await;
    open(&w, "before", 1).await;
    assert!(change(&w, "$argon2id$1", "$argon2id$2", None).await);
    // Both checked the old one, and come after the change.
    assert!(!open_by(&w, "late", 2, "$argon2id$1").await);
    assert_eq!(w.store.session("late").await.unwrap(), None);
    assert_eq!(refresh(&w, 2, 3).await, RefreshAnswer::Unknown);
    assert!(open_by(&w, "new", 4, "$argon2id$2").await);
    assert!(!change(&w, "$argon2id$1", "$argon2id$3", None).await);
    assert_eq!(w.store.user("root").await.unwrap().unwrap().password_hash, "$argon2id$2");
    assert!(!w.store.session("new").await.unwrap().unwrap().revoked);
    assert_eq!(refresh(&w, 1, 5).await, RefreshAnswer::Revoked, "nor does an old refresh token");
}

pub async fn refresh_replaces_the_token(w: World) {
    root(&w).await;
    open(&w, "s", 1).await;
    let answer = refresh(&w, 1, 2).await;
    let RefreshAnswer::Refreshed(session) = answer else { panic!("{answer:?}") };
    assert_eq!((session.id.as_str(), session.user.as_str(), session.revoked), ("s", "root", false));
    assert!(session.must_change_password);
    assert!(matches!(refresh(&w, 2, 3).await, RefreshAnswer::Refreshed(_)));
}

pub async fn a_reused_token_ends_the_session(w: World) {
    root(&w).await;
    open(&w, "s", 1).await;
    refresh(&w, 1, 2).await;
    refresh(&w, 2, 3).await;
    open(&w, "other", 5).await;
    assert_eq!(refresh(&w, 1, 9).await, RefreshAnswer::Reused { session: "s".into() });
    assert!(!w.store.session("other").await.unwrap().unwrap().revoked, "only that one");
    assert!(w.store.session("s").await.unwrap().unwrap().revoked);
    assert_eq!(refresh(&w, 3, 4).await, RefreshAnswer::Revoked, "the thief and the owner alike");
    assert_eq!(refresh(&w, 1, 9).await, RefreshAnswer::Reused { session: "s".into() }, "again");
}

pub async fn unknown_and_ended_sessions_are_told_apart(mut w: World) {
    root(&w).await;
    assert_eq!(refresh(&w, 1, 2).await, RefreshAnswer::Unknown);
    open(&w, "ended", 3).await;
    w.store.end_session(w.now, "ended").await.unwrap();
    w.store.end_session(w.now, "ended").await.unwrap();
    w.store.end_session(w.now, "never").await.unwrap();
    assert_eq!(refresh(&w, 3, 4).await, RefreshAnswer::Revoked);
    open(&w, "old", 5).await;
    let end = w.store.session("old").await.unwrap().unwrap().expire_time;
    w.pass(secs(1_000));
    assert_eq!(refresh(&w, 5, 6).await, RefreshAnswer::Expired(end));
    assert_eq!(w.store.session("nobody").await.unwrap(), None);
}

pub async fn keys_live_and_die(mut w: World) {
    let made = key(&w, "k1");
    assert_eq!(w.store.create_key(made.clone(), None).await.unwrap(), CreateKey::Created);
    assert_eq!(w.store.key("k1").await.unwrap(), Some(made.clone()));
    assert_eq!(w.store.key("k2").await.unwrap(), None);
    w.pass(secs(1));
    let revoked = w.store.revoke_key(w.now, "k1").await.unwrap().unwrap();
    assert_eq!(revoked, ApiKeyRecord { revoke_time: Some(w.now), ..made });
    w.pass(secs(1));
    assert_eq!(w.store.revoke_key(w.now, "k1").await.unwrap(), Some(revoked), "the first time stays");
    assert_eq!(w.store.revoke_key(w.now, "nobody").await.unwrap(), None);
}

pub async fn keys_page_newest_first(mut w: World) {
    for id in ["a", "b", "c", "d"] {
        w.store.create_key(key(&w, id), None).await.unwrap();
        // Two of one instant are told apart by their ids.
        if id != "b" {
            w.pass(secs(1));
        }
    }
    let mut got: Vec<String> = Vec::new();
    while got.len() < 4 {
        let page = page(got.last().cloned(), 1);
        got.push(w.store.keys(&Filter::All, Direction::Down, page).await.unwrap().remove(0).id);
    }
    assert_eq!(got, ["d", "c", "b", "a"]);
    let oldest = page(got.pop(), 1);
    assert!(w.store.keys(&Filter::All, Direction::Down, oldest).await.unwrap().is_empty());
    let up = w.store.keys(&Filter::All, Direction::Up, page(Some("a".into()), 9)).await.unwrap();
    assert_eq!(up.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["b", "c", "d"]);
}

pub async fn a_repeated_key_is_replayed(mut w: World) {
    let request = |body| Some(RequestKey { call: "CreateApiKey", id: "r1".into(), body: [body; 32] });
    let id = |n: u128| uuid::Uuid::from_u128(n).simple().to_string();
    let made = key(&w, &id(1));
    assert_eq!(w.store.create_key(made.clone(), request(1)).await.unwrap(), CreateKey::Created);
    w.pass(secs(1));
    let again = w.store.create_key(key(&w, &id(2)), request(1)).await.unwrap();
    assert_eq!(again, CreateKey::Replayed(made));
    assert_eq!(w.store.create_key(key(&w, &id(3)), request(2)).await.unwrap(), CreateKey::RequestReused);
    assert_eq!(w.store.keys(&Filter::All, Direction::Down, all()).await.unwrap().len(), 1);
}

pub async fn touching_a_key_is_cheap(mut w: World) {
    w.store.create_key(key(&w, "k"), None).await.unwrap();
    let touch = async |w: &World| {
        w.store.touch_keys(w.now, vec!["k".into(), "nobody".into()]).await.unwrap();
        w.store.key("k").await.unwrap().unwrap().last_use_time
    };
    let first = w.now;
    assert_eq!(touch(&w).await, Some(first));
    w.pass(secs(59));
    assert_eq!(touch(&w).await, Some(first), "to the minute");
    w.pass(secs(1));
    assert_eq!(touch(&w).await, Some(w.now));
}

pub async fn sessions_do_not_touch_each_other(mut w: World) {
    root(&w).await;
    open(&w, "one", 1).await;
    open(&w, "other", 11).await;
    assert!(matches!(refresh(&w, 1, 2).await, RefreshAnswer::Refreshed(session) if session.id == "one"));
    assert!(matches!(refresh(&w, 11, 12).await, RefreshAnswer::Refreshed(session) if session.id == "other"));
    assert_eq!(refresh(&w, 99, 98).await, RefreshAnswer::Unknown, "though others were used");
    assert!(matches!(refresh(&w, 1, 3).await, RefreshAnswer::Reused { .. }));
    let revoked = async |w: &World, id: &str| w.store.session(id).await.unwrap().unwrap().revoked;
    assert_eq!((revoked(&w, "one").await, revoked(&w, "other").await), (true, false));
    assert!(matches!(refresh(&w, 12, 13).await, RefreshAnswer::Refreshed(_)));
    w.store.create_key(key(&w, "k1"), None).await.unwrap();
    w.store.create_key(key(&w, "k2"), None).await.unwrap();
    w.pass(secs(1));
    w.store.revoke_key(w.now, "k1").await.unwrap();
    w.store.touch_keys(w.now, vec!["k1".into()]).await.unwrap();
    let other = w.store.key("k2").await.unwrap().unwrap();
    assert_eq!((other.revoke_time, other.last_use_time), (None, None));
}

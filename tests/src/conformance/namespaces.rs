//! Namespaces, and what each says for all of its jobs and runs.

use std::sync::Arc;

use mainspring_engine::{
    domain::{
        namespace::{Namespace, NamespaceSettings},
        policy::Timeouts,
    },
    ports::store::NamespaceChange,
};

use super::world::{World, lane_of, secs};

async fn standing(w: &World, name: &str) -> Option<Arc<Namespace>> {
    w.store.namespace(&name.parse().unwrap()).await.unwrap()
}

/// The one that is there from the start says nothing, and one that is named comes to be.
pub async fn a_namespace_that_is_named_comes_to_be(w: World) {
    let default = standing(&w, "default").await.unwrap();
    assert_eq!((default.revision, &*default.settings), (1, &NamespaceSettings::default()));
    assert_eq!(standing(&w, "apart").await, None);
    let mut run = w.new_run();
    run.lane = lane_of("apart", "default", "echo");
    w.submit(vec![run]).await;
    assert_eq!(standing(&w, "apart").await.unwrap().revision, 1);
}

/// What a namespace says is changed by whoever knows what it said.
pub async fn a_namespace_is_changed_from_what_it_was(w: World) {
    let name = "default".parse().unwrap();
    let timeouts = Timeouts { execution: Some(secs(300)), ..Timeouts::default() };
    let settings = NamespaceSettings { timeouts, strict_schedules: true };
    let change = async |revision, settings| w.store.update_namespace(&name, revision, settings).await.unwrap();
    let NamespaceChange::Done(changed) = change(1, settings.clone()).await else { panic!("it was the first") };
    assert_eq!((changed.revision, &*changed.settings), (2, &settings));
    assert_eq!(standing(&w, "default").await, Some(Arc::clone(&changed)));
    assert_eq!(change(2, settings.clone()).await, NamespaceChange::Done(changed));
    assert_eq!(change(1, NamespaceSettings::default()).await, NamespaceChange::RevisionMismatch);
    let nowhere = w.store.update_namespace(&"nowhere".parse().unwrap(), 1, settings).await.unwrap();
    assert_eq!(nowhere, NamespaceChange::Missing);
}

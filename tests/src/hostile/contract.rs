//! The contract as its descriptors tell it: every rpc, and what the comments of fields promise. Nothing is listed by hand,
//! so an rpc that is new is attacked like the others.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use mainspring_proto::DESCRIPTOR_SET;
use prost_reflect::{
    DescriptorPool, FieldDescriptor, MessageDescriptor, MethodDescriptor, prost_types::FileDescriptorProto,
};

/// What a field says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// A request without it is refused.
    pub(super) required: bool,
    /// Callers do not fill it.
    pub(super) output: bool,
}

/// One rpc.
#[derive(Clone, Debug)]
pub(super) struct Rpc {
    /// `Service/Method`.
    pub(super) name: String,
    /// The path of a call.
    pub(super) path: String,
    pub(super) method: MethodDescriptor,
}

/// The contract.
#[derive(Debug)]
pub(super) struct Contract {
    pub(super) rpcs: Vec<Rpc>,
    notes: HashMap<String, Note>,
}

impl Rpc {
    fn of(method: MethodDescriptor) -> Self {
        let service = method.parent_service();
        Self {
            name: format!("{}/{}", service.name(), method.name()),
            path: format!("/{}/{}", service.full_name(), method.name()),
            method,
        }
    }

    /// Its answer may be meant to take long: it is a stream, or is told how long it may wait.
    pub(super) fn is_long(&self) -> bool {
        self.method.is_server_streaming() || self.method.input().get_field_by_name("timeout").is_some()
    }

    /// It takes a password, and may hash it: some 50 ms of a core, on purpose.
    pub(super) fn hashes(&self) -> bool {
        self.method.input().fields().any(|field| field.name().ends_with("password"))
    }
}

impl Contract {
    pub(super) fn read() -> Result<Self> {
        let pool = DescriptorPool::decode(DESCRIPTOR_SET).context("the descriptor set of the contract")?;
        let rpcs = pool.services().flat_map(|service| service.methods().map(Rpc::of).collect::<Vec<_>>()).collect();
        let mut comments = HashMap::new();
        for file in pool.files() {
            gather(file.file_descriptor_proto(), &mut comments);
        }
        let notes = pool.all_messages().flat_map(|message| notes(&message, &comments)).collect();
        Ok(Self { rpcs, notes })
    }

    pub(super) fn note(&self, field: &FieldDescriptor) -> Note {
        self.notes.get(field.full_name()).copied().unwrap_or_default()
    }
}

/// Comments by file and place, which is how descriptors keep them.
type Comments = HashMap<(String, Vec<i32>), String>;

fn gather(file: &FileDescriptorProto, comments: &mut Comments) {
    for place in file.source_code_info.iter().flat_map(|info| &info.location) {
        let text = place.leading_comments().split_whitespace().collect::<Vec<_>>().join(" ");
        comments.insert((file.name().to_owned(), place.path.clone()), text);
    }
}

fn notes(message: &MessageDescriptor, comments: &Comments) -> Vec<(String, Note)> {
    let file = message.parent_file().name().to_owned();
    let note = |field: FieldDescriptor| {
        let comment = comments.get(&(file.clone(), field.path().to_vec())).map_or("", String::as_str);
        let note = Note { required: comment.ends_with("Required."), output: comment.starts_with("Output only.") };
        (field.full_name().to_owned(), note)
    };
    message.fields().map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::{Contract, Note};

    #[test]
    fn fields_are_known_by_what_they_say() {
        let contract = Contract::read().unwrap();
        let rpc = |name: &str| contract.rpcs.iter().find(|rpc| rpc.name == name).unwrap();
        let job = rpc("SchedulerService/CreateJob").method.input().get_field_by_name("job").unwrap();
        assert_eq!(contract.note(&job), Note { required: true, output: false });
        let prost_reflect::Kind::Message(job) = job.kind() else { panic!("a job is a message") };
        assert!(contract.note(&job.get_field_by_name("uid").unwrap()).output);
        assert!(rpc("AuthService/Login").hashes() && !rpc("AuthService/GetCaller").hashes());
        let long = contract.rpcs.iter().filter(|rpc| rpc.is_long()).map(|rpc| rpc.name.as_str());
        let expected = ["BackupDatabase", "TailLogs", "WaitRun", "WatchEvents", "WorkerStream"];
        let mut found: Vec<_> = long.filter_map(|name| name.split('/').nth(1)).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}

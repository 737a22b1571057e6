//! `api`: the contract as this program knows it.

use std::{fs, path::PathBuf};

use clap::Subcommand;
use mainspring_proto::DESCRIPTOR_SET;
use serde_json::json;

use super::examples;
use crate::{
    exit::Exit,
    failure::{Failure, unwritable},
    session::Session,
};

/// The contract, for tools and generators
#[derive(Debug, Subcommand)]
#[command(before_help = examples!["mainspring api descriptor ./mainspring.binpb"])]
pub(crate) enum ApiCommand {
    /// Write the contract's FileDescriptorSet into a file, for grpcurl -protoset, buf and generators
    #[command(before_help = examples![
        "mainspring api descriptor ./mainspring.binpb",
        "mainspring api descriptor ./again.binpb -o json",
    ])]
    Descriptor {
        /// The file; one that is there is replaced
        file: PathBuf,
    },
}

pub(super) fn run(command: ApiCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        ApiCommand::Descriptor { file } => {
            fs::write(&file, DESCRIPTOR_SET).map_err(|error| unwritable(&file, &error))?;
            let size = DESCRIPTOR_SET.len();
            let text = format!("{} written, {size} bytes\n", file.display());
            session.out.value(&text, &json!({"file": file, "sizeBytes": size}))?;
        }
    }
    Ok(Exit::Done)
}

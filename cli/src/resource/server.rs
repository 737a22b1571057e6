//! What a person sees of the server.

use mainspring_proto::scheduler::v1::ServerMode;

use super::word;

/// `embedded` or `distributed`.
pub(crate) fn mode_word(mode: ServerMode) -> String {
    word(mode.as_str_name(), "SERVER_MODE_")
}

//! What to do about an error, by its reason: the command to type next. The server's message says what happened and
//! what it needs, in words that fit every client; only here is it known that the caller sits at a shell.

use std::{collections::BTreeMap, time::Duration};

use crate::times;

/// The next thing to type; `None` where the server's message says it all.
pub(crate) fn for_reason(reason: &str, metadata: &BTreeMap<String, String>) -> Option<String> {
    let hint = match reason {
        "JOB_NOT_FOUND" => "`mainspring job list` shows the jobs of the namespace",
        "RUN_NOT_FOUND" => "`mainspring run list` shows the newest runs of the namespace",
        "QUEUE_NOT_FOUND" => {
            "`mainspring queue list` shows the queues of the namespace; one exists from its first use, or by `mainspring queue set QUEUE --concurrency 0 --create`"
        }
        "WORKER_NOT_FOUND" => "`mainspring worker list --all` shows workers, also those that left",
        "KEY_NOT_FOUND" => "`mainspring admin key list` shows the keys",
        "TOKEN_MISSING" => {
            "`mainspring login` signs in; or set MAINSPRING_API_KEY, or choose a context that has a key (--context)"
        }
        "TOKEN_INVALID" | "TOKEN_EXPIRED" | "TOKEN_REVOKED" => {
            "`mainspring login` signs in again; `mainspring admin key create` makes another API key, `mainspring dev` renews its own"
        }
        "PASSWORD_CHANGE_REQUIRED" => "`mainspring login --change-password` signs in and changes it",
        "PAYLOAD_SCHEMA_MISMATCH" => {
            let job_type = metadata.get("job_type").map_or("TYPE", String::as_str);
            return Some(format!("`mainspring type describe {job_type}` shows what it takes, and who says so"));
        }
        "PERMISSION_MISSING" => {
            "`mainspring whoami` shows what you may do; `mainspring admin key create NAME` makes a key of another role (--role)"
        }
        "JOB_ALREADY_EXISTS" => {
            "`mainspring job get NAME` shows it, `mainspring job update NAME` changes it, `mainspring job delete NAME` makes room for another"
        }
        "UNIQUE_KEY_TAKEN" => {
            let run = metadata.get("run_id").map_or("RUN", String::as_str);
            return Some(format!(
                "`mainspring run describe {run}` shows who holds it; a submission may say --on-conflict"
            ));
        }
        "RUN_NOT_RETRYABLE" => {
            "a run is retried when it is over: `mainspring run wait RUN`, or `mainspring run cancel RUN`"
        }
        "ETAG_MISMATCH" => "somebody changed it meanwhile; get it again and repeat",
        "METHOD_UNKNOWN" => "the server is older than this command; `mainspring version` shows both",
        "STORE_UNWRITABLE"
            if metadata.get("obstacle").is_some_and(|obstacle| matches!(&**obstacle, "GONE" | "DAMAGED")) =>
        {
            "`curl http://ADDRESS/readyz` tells how the server is; how a backup is restored stands in docs/operations.md"
        }
        "STORE_UNWRITABLE" => {
            "nothing has to be started again; `curl http://ADDRESS/readyz` tells when the server goes on"
        }
        "CURSOR_EXPIRED" => "the server no longer holds these events; run the command again",
        "BACKUP_UNSUPPORTED" => "this server's database is not embedded; use the tools of your database",
        _ => return None,
    };
    Some(hint.into())
}

/// The flag that would help, for whoever used the command that has it.
pub(crate) fn by_flag(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "JOB_PAUSED" => "resume it, or pass --while-paused",
        "OVERLAP_NOT_ALLOWED" => "wait for the run that is not over, or pass --force",
        "REQUEST_ID_REUSED" => "this --request-id was used for another request within 24 h; choose a new one",
        _ => return None,
    })
}

/// The server named the time after which it is worth trying again.
pub(crate) fn again_in(delay: Duration) -> String {
    format!("try again in {}", times::took(delay))
}

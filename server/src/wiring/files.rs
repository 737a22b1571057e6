//! How many files the process may have open: connections are the most of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are not connections: the database's, its copies', logs, libraries.
const OTHERS: u64 = 128;

/// Raises what may be open to what the system allows this process, and says how many of so many connections there is
/// room for. Where it is less than was wanted, that is told.
pub(super) fn room_for(connections: usize) -> usize {
    let Rlimit { mut current, maximum } = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        current = maximum;
    }
    let room = current.map(|files| usize::try_from(files.saturating_sub(OTHERS).max(1)).unwrap_or(usize::MAX));
    match room.filter(|room| *room < connections) {
        Some(room) => {
            tracing::warn!(
                room,
                wanted = connections,
                "fewer connections than wanted: the system allows no more open files"
            );
            room
        }
        None => connections,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_what_the_system_allows() {
        assert_eq!(room_for(1), 1);
        let most = room_for(usize::MAX);
        assert!(getrlimit(Resource::Nofile).current.is_none_or(|files| most as u64 <= files), "{most}");
        assert!(most > 1);
    }
}

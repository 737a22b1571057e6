//! One request, drawn from a seed: a message or several, put into frames, with headers and a caller, and now and then
//! broken on one of these levels.
//!
//! What is drawn depends on the seed, the rpc and the number alone; only ids and tokens are those of the server at hand.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    contract::{Contract, Rpc},
    known::Known,
    message::{Temper, Writer},
    nasty,
};

/// The longest message that the server reads, and what is just beyond.
const TOO_LONG: usize = (4 << 20) + 1;

/// Who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A key with one of the roles.
    Key(&'static str),
    /// `root`, signed in.
    Session,
    /// Nobody.
    Anonymous,
    /// Somebody with something that is no credential.
    Garbage(usize),
}

/// What is no credential.
pub(super) const GARBAGE: &[&str] = &[
    "Bearer",
    "Bearer ",
    "Bearer x",
    "Bearer mk_1_2",
    "Bearer a.b.c",
    "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.",
    "Basic cm9vdDpyb290",
    "bearer \u{ff}",
];

/// A request as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) caller: Caller,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    /// Frames and all.
    pub(super) body: Vec<u8>,
    /// More of it might still come, for all the server knows.
    pub(super) stays_open: bool,
}

/// The request of a number.
pub(super) fn draw(contract: &Contract, known: &Known, rpc: &Rpc, seed: u64, number: u64) -> Request {
    let mut hasher = DefaultHasher::new();
    (seed, &rpc.name, number).hash(&mut hasher);
    let mut rng = StdRng::seed_from_u64(hasher.finish());
    // The server writes a file where it is told to: no byte of the name may change.
    let writes_files = rpc.method.input().get_field_by_name("path").is_some();
    let caller = caller(&mut rng, rpc);
    let temper = match rng.random_range(0..10) {
        0..5 => Temper::Plausible,
        5..8 => Temper::Odd,
        _ => Temper::Absurd,
    };
    let mut body = Vec::new();
    let frames = if rpc.method.is_client_streaming() { rng.random_range(1..20) } else { 1 };
    for number in 0..frames {
        // The first word of a stream is Hello; without it nothing else is looked at.
        let arm = (rpc.method.is_client_streaming() && number == 0 && rng.random_bool(0.8)).then_some("hello");
        let temper = if arm.is_some() && rng.random_bool(0.7) { Temper::Plausible } else { temper };
        let mut message = Writer { contract, known, rng: &mut rng, temper }.message(&rpc.method.input(), arm);
        if !writes_files && arm.is_none() && rng.random_bool(0.08) {
            spoil(&mut message, &mut rng);
        }
        frame(&message, &mut body);
    }
    if rng.random_bool(0.05) {
        body = broken(body, writes_files, &mut rng);
    }
    let mut headers = Vec::new();
    while rng.random_bool(0.1) {
        headers.push(nasty::HEADERS[rng.random_range(0..nasty::HEADERS.len())]);
    }
    let stays_open = rpc.method.is_client_streaming() && rng.random_bool(0.5);
    Request { caller, headers, body, stays_open }
}

fn caller(rng: &mut StdRng, rpc: &Rpc) -> Caller {
    match rng.random_range(0..20) {
        // What is about the caller is mostly about somebody who has signed in.
        0..10 if rpc.name.starts_with("AuthService/") => Caller::Session,
        0..12 => Caller::Key("admin"),
        12 | 13 => Caller::Key("operator"),
        14 => Caller::Key("viewer"),
        15 | 16 => Caller::Key("worker"),
        17 => Caller::Session,
        18 => Caller::Anonymous,
        _ => Caller::Garbage(rng.random_range(0..GARBAGE.len())),
    }
}

/// Changes a few bytes.
fn spoil(message: &mut Vec<u8>, rng: &mut StdRng) {
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..=message.len());
        let end = (at + rng.random_range(0..9)).min(message.len());
        match rng.random_range(0..5) {
            0 => message.truncate(at),
            1 => drop(message.drain(at..end)),
            2 => message.insert(at, rng.random()),
            3 => message.extend_from_within(at..end),
            _ => message[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << rng.random_range(0..8)),
        }
    }
}

fn frame(message: &[u8], out: &mut Vec<u8>) {
    out.push(0);
    out.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(message);
}

/// Something else than whole frames.
fn broken(mut body: Vec<u8>, writes_files: bool, rng: &mut StdRng) -> Vec<u8> {
    let mut random = |length: usize| {
        let mut bytes = vec![0; length];
        rng.fill_bytes(&mut bytes);
        // Never a name of a file, by chance.
        bytes.iter_mut().filter(|byte| writes_files && **byte == b'/').for_each(|byte| *byte = b'.');
        bytes
    };
    let junk = random(200);
    match rng.random_range(0..12) {
        0 => Vec::new(),
        1 => body[..rng.random_range(0..=body.len().min(9))].to_vec(),
        2 => body[..body.len() - body.len().min(1)].to_vec(),
        // It says that 4 GiB follow.
        3 => [&[0, 0xff, 0xff, 0xff, 0xff][..], &junk].concat(),
        // It says that it is compressed, in no way.
        4 => [&[1][..], &body[1..]].concat(),
        // There is no such flag.
        5 => [&[rng.random_range(2..=255)][..], &body[1..]].concat(),
        6 => {
            body.extend_from_within(..);
            body
        }
        7 => [&body[..], &junk].concat(),
        8 => junk,
        9 => {
            let mut message = Vec::new();
            frame(&junk[..rng.random_range(0..junk.len())], &mut message);
            message
        }
        10 if rng.random_bool(0.1) => {
            let mut message = Vec::new();
            frame(&vec![0; TOO_LONG], &mut message);
            message
        }
        _ => vec![0; rng.random_range(1..40)],
    }
}

#[cfg(test)]
mod tests {
    use super::{Contract, Known, draw};

    #[test]
    fn a_request_follows_from_seed_rpc_and_number() {
        let (contract, known) = (Contract::read().unwrap(), Known::default());
        for rpc in &contract.rpcs {
            for number in 0..20 {
                let body = draw(&contract, &known, rpc, 7, number).body;
                assert_eq!(body, draw(&contract, &known, rpc, 7, number).body, "{}", rpc.name);
            }
        }
        let list = contract.rpcs.iter().find(|rpc| rpc.name.ends_with("/ListRuns")).unwrap();
        let bodies: std::collections::BTreeSet<_> =
            (0..100).map(|number| draw(&contract, &known, list, 7, number).body).collect();
        assert!(bodies.len() > 60, "{}", bodies.len());
        assert_ne!(draw(&contract, &known, list, 7, 0).body, draw(&contract, &known, list, 8, 0).body);
    }
}

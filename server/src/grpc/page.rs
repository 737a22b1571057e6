//! Pages of lists: an opaque token that is good for one list with one set of arguments.
//!
//! A token holds where the last page ended, and the instant at which the first one was asked for, so that `now-1h` in a
//! filter means the same on every page. It is signed together with the arguments, under a key of the data directory: it
//! survives restarts, and none can be made up.

use mainspring_engine::{domain::instant::Instant, ports::store::Page};
use mainspring_proto::{auth::v1 as auth, scheduler::v1 as scheduler};
use prost::Message;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::status::{BadField, Reason, Refusal};
use crate::auth::hex;

/// Where nothing is asked for.
const DEFAULT_SIZE: usize = 50;
/// Larger is cut.
pub(crate) const MAX_SIZE: usize = 1_000;
/// A page is cut before its message would be too large for a client with default limits.
const MAX_BYTES: usize = 3 << 20;
const MAC: usize = 16;
const TIME: usize = 8;

/// A request of a list. That both page fields are taken out before the rest is bound to the token is done here, once for
/// all lists.
pub(crate) trait Paged: Message {
    /// Tells its list from others.
    const LIST: &'static str;

    /// Takes `page_size` and `page_token` out.
    fn take_page(&mut self) -> (i32, String);
}

macro_rules! paged {
    ($($module:ident::$request:ident of $list:literal),+ $(,)?) => {$(
        impl Paged for $module::$request {
            const LIST: &'static str = $list;

            fn take_page(&mut self) -> (i32, String) {
                (std::mem::take(&mut self.page_size), std::mem::take(&mut self.page_token))
            }
        }
    )+};
}

paged! {
    auth::ListApiKeysRequest of "ListApiKeys",
    scheduler::ListAttemptsRequest of "ListAttempts",
    scheduler::ListBackfillsRequest of "ListBackfills",
    scheduler::ListCalendarsRequest of "ListCalendars",
    scheduler::ListDeadLettersRequest of "ListDeadLetters",
    scheduler::ListDeliveriesRequest of "ListDeliveries",
    scheduler::ListInstantsRequest of "ListInstants",
    scheduler::ListJobTypesRequest of "ListJobTypes",
    scheduler::ListJobVersionsRequest of "ListJobVersions",
    scheduler::ListJobsRequest of "ListJobs",
    scheduler::ListLogsRequest of "ListLogs",
    scheduler::ListQueuesRequest of "ListQueues",
    scheduler::ListRunsRequest of "ListRuns",
    scheduler::ListSinksRequest of "ListSinks",
    scheduler::ListWorkersRequest of "ListWorkers",
}

/// Signs and reads page tokens.
#[derive(Clone)]
pub(crate) struct Pages {
    key: [u8; 32],
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

/// One page of one list.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pages: &'a Pages,
    arguments: [u8; 32],
    /// Right after this entry; none on the first page.
    pub(crate) after: Option<String>,
    /// At most so many entries.
    pub(crate) size: usize,
    /// When the first page was asked for.
    pub(crate) asked: Instant,
}

impl Pages {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Reads what a request says about pages, and takes it out of the request.
    pub(crate) fn turn<R: Paged>(&self, request: &mut R, now: Instant) -> Result<Turn<'_>, Refusal> {
        let (size, token) = request.take_page();
        let size = match usize::try_from(size) {
            Ok(0) => DEFAULT_SIZE,
            Ok(size) => size.min(MAX_SIZE),
            Err(_) => return Err(Refusal::field("page_size", "must not be negative")),
        };
        let arguments = Sha256::new().chain_update(R::LIST).chain_update([0]).chain_update(request.encode_to_vec());
        let arguments = arguments.finalize().into();
        let mut turn = Turn { pages: self, arguments, after: None, size, asked: now };
        if !token.is_empty() {
            let (asked, after) = turn.read(&token).ok_or_else(foreign)?;
            (turn.asked, turn.after) = (asked, Some(after));
        }
        Ok(turn)
    }
}

fn foreign() -> Refusal {
    let why = "is not from this list with these arguments; begin again without one";
    Refusal::fields(vec![BadField::new(Reason::PageTokenInvalid, "page_token", why)])
}

impl Turn<'_> {
    /// What the store is asked for: one more than the page holds, to know whether there is a next one.
    pub(crate) fn page(&self) -> Page {
        Page { after: self.after.clone(), limit: self.size + 1, bytes: MAX_BYTES }
    }

    /// Where the last page ended, as its list writes it.
    pub(crate) fn place<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Refusal> {
        self.after.as_deref().map(|after| read(after).ok_or_else(foreign)).transpose()
    }

    /// Cuts what the store answered to the page, with the token of the next one.
    pub(crate) fn cut<M: Message>(&self, entries: impl IntoIterator<Item = (String, M)>) -> (Vec<M>, String) {
        self.cut_listed(entries, false)
    }

    /// The same, of a list that the store may have cut itself, since its entries are large.
    pub(crate) fn cut_listed<M: Message>(
        &self,
        entries: impl IntoIterator<Item = (String, M)>,
        more: bool,
    ) -> (Vec<M>, String) {
        let mut shown = Vec::new();
        let mut room = MAX_BYTES;
        let mut last = None;
        for (key, entry) in entries {
            let bytes = entry.encoded_len();
            if shown.len() == self.size || (bytes > room && !shown.is_empty()) {
                return (shown, last.map(|key: String| self.write(&key)).unwrap_or_default());
            }
            room = room.saturating_sub(bytes);
            shown.push(entry);
            last = Some(key);
        }
        let next = last.filter(|_| more).map(|key| self.write(&key));
        (shown, next.unwrap_or_default())
    }

    fn write(&self, after: &str) -> String {
        let body = [self.asked.as_micros().to_be_bytes().as_slice(), after.as_bytes()].concat();
        format!("{}{}", hex(&self.mac(&body)), hex(&body))
    }

    fn read(&self, token: &str) -> Option<(Instant, String)> {
        let bytes = unhex(token)?;
        let (mac, body) = bytes.split_at_checked(MAC)?;
        if !bool::from(self.mac(body).ct_eq(mac)) {
            return None;
        }
        let (asked, after) = body.split_at_checked(TIME)?;
        let asked = Instant::from_micros(i64::from_be_bytes(asked.try_into().ok()?));
        Some((asked, String::from_utf8(after.to_vec()).ok()?))
    }

    fn mac(&self, body: &[u8]) -> [u8; MAC] {
        // The key meets only digests of fixed length, so nothing can be appended.
        let inner = Sha256::new().chain_update(self.arguments).chain_update(body).finalize();
        let outer: [u8; 32] = Sha256::new().chain_update(self.pages.key).chain_update(inner).finalize().into();
        let mut mac = [0; MAC];
        mac.copy_from_slice(&outer[..MAC]);
        mac
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<_>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0 && digits.len() <= 8_192)?;
    Some(digits.chunks(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use scheduler::{ListJobsRequest, ListRunsRequest};

    use super::*;

    const NOW: Instant = Instant::EPOCH;

    fn request(filter: &str, page_size: i32, page_token: &str) -> ListRunsRequest {
        ListRunsRequest { filter: filter.into(), page_size, page_token: page_token.into(), ..Default::default() }
    }

    fn turn<'a>(pages: &'a Pages, filter: &str, size: i32, token: &str) -> Result<Turn<'a>, Refusal> {
        pages.turn(&mut request(filter, size, token), NOW)
    }

    fn entries(count: usize) -> Vec<(String, String)> {
        (0..count).map(|n| (n.to_string(), format!("entry {n}"))).collect()
    }

    #[test]
    fn a_list_is_read_page_by_page() {
        let pages = Pages::new([1; 32]);
        let mut token = String::new();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let turn = turn(&pages, "a", 4, &token).unwrap();
            let from = turn.after.as_ref().map_or(0, |after| after.parse::<usize>().unwrap() + 1);
            let found: Vec<_> = entries(10).into_iter().skip(from).take(turn.page().limit).collect();
            let (page, next) = turn.cut(found);
            seen.extend(page);
            token = next;
        }
        assert_eq!((seen.len(), token.as_str()), (10, ""));
    }

    #[test]
    fn a_token_is_good_for_its_list_and_arguments_only() {
        let pages = Pages::new([1; 32]);
        let (_, token) = turn(&pages, "a", 1, "").unwrap().cut(entries(2));
        let mut asked_later = request("a", 7, &token);
        let turn = pages.turn(&mut asked_later, Instant::from_micros(9)).unwrap();
        assert_eq!((turn.after.as_deref(), turn.asked, turn.size), (Some("0"), NOW, 7));
        assert_eq!(asked_later, request("a", 0, ""), "both page fields are taken out");
        let refused = |pages: &Pages, filter, token: &str| self::turn(pages, filter, 1, token).unwrap_err().reason();
        assert_eq!(refused(&pages, "b", &token), Reason::PageTokenInvalid);
        assert_eq!(refused(&Pages::new([2; 32]), "a", &token), Reason::PageTokenInvalid);
        for bad in ["x", "00", &token[2..], &format!("{token}00")] {
            assert_eq!(refused(&pages, "a", bad), Reason::PageTokenInvalid);
        }
        // Encoded, both requests are the same bytes.
        let mut jobs = ListJobsRequest { filter: "a".into(), page_token: token, ..Default::default() };
        assert_eq!(pages.turn(&mut jobs, NOW).unwrap_err().reason(), Reason::PageTokenInvalid);
    }

    #[test]
    fn sizes_have_bounds() {
        let pages = Pages::new([1; 32]);
        let size = |size| turn(&pages, "", size, "").map(|turn| turn.size);
        assert_eq!((size(0).ok(), size(7).ok(), size(5_000).ok()), (Some(50), Some(7), Some(1_000)));
        assert!(size(-1).is_err());
    }

    #[test]
    fn a_page_of_large_entries_is_cut_early() {
        let pages = Pages::new([1; 32]);
        let turn = turn(&pages, "", 100, "").unwrap();
        let large = (0..10).map(|n| (n.to_string(), "x".repeat(1 << 20)));
        let (page, token) = turn.cut(large);
        assert_eq!(page.len(), 2);
        let next = self::turn(&pages, "", 100, &token).unwrap();
        assert_eq!(next.after.as_deref(), Some("1"));
        let (page, token) = turn.cut([("0".to_owned(), "x".repeat(9 << 20))]);
        assert_eq!((page.len(), token.as_str()), (1, ""));
    }

    #[test]
    fn what_the_store_cut_goes_on_where_it_ended() {
        let pages = Pages::new([1; 32]);
        let (page, token) = turn(&pages, "", 100, "").unwrap().cut_listed(entries(3), true);
        assert_eq!(page.len(), 3);
        assert_eq!(turn(&pages, "", 100, &token).unwrap().after.as_deref(), Some("2"));
    }

    proptest! {
        #[test]
        fn no_token_panics(token in "\\PC{0,80}") {
            let _ = turn(&Pages::new([1; 32]), "", 1, &token);
        }
    }
}

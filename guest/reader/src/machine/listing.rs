//! One listing of the shards, page by page.
//!
//! A listing ends with a page that has no token. A broken service, or a proxy that answers in its place, may never send
//! one: its tokens may lead back to earlier pages, or always be new and lead to nothing. A listing therefore has
//! bounds. Exceeding one is a failure, and the reader starts the listing again after a pause.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::machine::lineage::PARENTS_MAX;
use crate::wire::{self, ListedShard};

/// The maximum number of shards in a stream: ten times the largest default quota, "20,000 shards per AWS account",
/// because shards that were closed within the retention period are listed too.
/// <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>
pub(crate) const SHARDS_MAX: usize = 200_000;

/// The maximum number of pages in a listing: five times what [`SHARDS_MAX`] shards take at the usual page size.
/// "MaxResults: The default value is 1000. If you specify a value greater than 1000, at most 1000 results are
/// returned." <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
const PAGES_MAX: u32 = 1_000;

/// The maximum number of consecutive pages without a new shard. Kinesis leaves expired shards out of its pages, so a
/// page may be empty. Fifty pages are 50,000 expired shards.
const BARREN_PAGES_MAX: u32 = 50;

/// The pause after a page, which keeps the reader at a tenth of the service's limit: "This operation has a limit of
/// 1000 transactions per second per data stream."
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
const PAUSE: Duration = Duration::from_millis(10);

/// The pause after a page without a new shard.
const BARREN_PAUSE: Duration = Duration::from_millis(50);

/// A listing in progress.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The token for the next page, or `None` for the first page.
    token: Option<String>,
    /// The shards so far. A shard is in here twice if one page shows it as open and a later page shows it as closed.
    shards: Vec<ListedShard>,
    /// The index of each shard's last entry in `shards`, by identifier.
    indexes: BTreeMap<String, usize>,
    pages: u32,
    /// Consecutive pages without a new shard.
    barren: u32,
}

/// The state of a listing after a page.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Request the next page after the pause.
    More { listing: Listing, pause: Duration },
    /// All shards of the stream.
    Complete(Vec<ListedShard>),
}

/// Why a listing cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It does not end. The text says how we know.
    Endless(String),
    /// The lineage of its shards contradicts itself. The text says how.
    Contradiction(String),
    TooManyShards,
    TooManyPages,
    /// It has no shards, as while a stream is being created.
    Empty,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Endless(why) => write!(f, "the listing does not end: {why}"),
            Flaw::Contradiction(why) => write!(f, "the listing contradicts itself: {why}"),
            Flaw::TooManyShards => write!(f, "the stream has more than {SHARDS_MAX} shards"),
            Flaw::TooManyPages => write!(f, "the listing has more than {PAGES_MAX} pages"),
            Flaw::Empty => write!(f, "the stream has no shards"),
        }
    }
}

impl Listing {
    /// Returns the token for the next page, or `None` for the first page.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Adds the next page. The error says why the listing cannot continue.
    pub(crate) fn add(mut self, page: wire::Listing) -> Result<Progress, Flaw> {
        let before = self.indexes.len();
        for shard in page.shards {
            self.add_shard(shard)?;
        }
        let Some(token) = page.next_token else {
            return if self.shards.is_empty() { Err(Flaw::Empty) } else { Ok(Progress::Complete(self.shards)) };
        };
        if self.token.as_ref() == Some(&token) {
            return Err(Flaw::Endless("a token leads to its own page".to_owned()));
        }
        let is_barren = self.indexes.len() == before;
        self.pages += 1;
        self.barren = if is_barren { self.barren + 1 } else { 0 };
        if self.barren >= BARREN_PAGES_MAX {
            return Err(Flaw::Endless(format!("{BARREN_PAGES_MAX} pages in a row without a new shard")));
        }
        if self.pages >= PAGES_MAX {
            return Err(Flaw::TooManyPages);
        }
        self.token = Some(token);
        Ok(Progress::More { listing: self, pause: if is_barren { BARREN_PAUSE } else { PAUSE } })
    }

    /// Adds a shard. Each page shows the stream at the time of its request, so a shard that an earlier page shows as
    /// open may be listed again as closed. Both entries are kept, because a start at LATEST depends on the earlier one.
    fn add_shard(&mut self, shard: ListedShard) -> Result<(), Flaw> {
        let (is_full, next) = (self.indexes.len() >= SHARDS_MAX, self.shards.len());
        // The reader has no use for these sequence numbers, and they take half of the memory.
        let shard = ListedShard { starting: None, ending: None, ..shard };
        match self.indexes.entry(shard.id.clone()) {
            Entry::Vacant(_) if is_full => return Err(Flaw::TooManyShards),
            Entry::Vacant(entry) => {
                entry.insert(next);
                self.shards.push(shard);
            }
            Entry::Occupied(mut entry) => {
                let Some(known) = self.shards.get_mut(*entry.get()) else { return Ok(()) };
                if shard.closed && !known.closed {
                    entry.insert(next);
                    self.shards.push(shard);
                    return Ok(());
                }
                known.hash_range = known.hash_range.or(shard.hash_range);
                for parent in shard.parents {
                    if !known.parents.contains(&parent) {
                        known.parents.push(parent);
                    }
                }
                if known.parents.len() > PARENTS_MAX {
                    let why = format!("shard {} has more than {PARENTS_MAX} parents", known.id);
                    return Err(Flaw::Contradiction(why));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn shard(number: usize) -> ListedShard {
        let id = format!("shardId-{number:012}");
        ListedShard { id, parents: Vec::new(), closed: false, starting: None, ending: None, hash_range: None }
    }

    fn page(numbers: impl IntoIterator<Item = usize>, token: Option<String>) -> wire::Listing {
        wire::Listing { shards: numbers.into_iter().map(shard).collect(), next_token: token }
    }

    /// Adds pages until the listing ends. Returns the number of pages, the number of shards or the error, and the sum
    /// of the pauses.
    fn list(page: impl Fn(usize) -> wire::Listing) -> (usize, Result<usize, String>, Duration) {
        let (mut listing, mut pauses) = (Listing::default(), Duration::ZERO);
        for number in 0.. {
            match listing.add(page(number)) {
                Ok(Progress::More { listing: next, pause }) => {
                    assert!(pause >= PAUSE);
                    pauses += pause;
                    listing = next;
                }
                Ok(Progress::Complete(shards)) => return (number + 1, Ok(shards.len()), pauses),
                Err(flaw) => return (number + 1, Err(flaw.to_string()), pauses),
            }
        }
        unreachable!("a listing ends")
    }

    #[test]
    fn a_listing_of_the_maximum_number_of_shards_completes() {
        let pages = SHARDS_MAX / 1000;
        let token = |number: usize| (number + 1 < pages).then(|| number.to_string());
        let (count, shards, pauses) = list(|number| page(number * 1000..(number + 1) * 1000, token(number)));
        assert_eq!((count, shards), (pages, Ok(SHARDS_MAX)));
        assert_eq!(pauses, PAUSE * (pages as u32 - 1));
    }

    #[test]
    fn an_empty_page_does_not_end_a_listing() {
        let token = |number: usize| (number < 40).then(|| "t".to_owned() + &number.to_string());
        let (count, shards, _) = list(|number| page((number == 40).then_some(7), token(number)));
        assert_eq!((count, shards), (41, Ok(1)));
    }

    #[test]
    fn a_listing_without_shards_is_not_one_of_the_stream() {
        for pages in [1, 3] {
            let (count, shards, _) = list(|number| page([], (number + 1 < pages).then(|| number.to_string())));
            assert_eq!((count, shards), (pages, Err("the stream has no shards".to_owned())));
        }
    }

    #[test]
    fn tokens_that_lead_back_end_a_listing_whatever_the_length_of_their_cycle() {
        let (count, shards, _) = list(|_| page([0], Some("T".to_owned())));
        assert_eq!((count, shards), (2, Err("the listing does not end: a token leads to its own page".to_owned())));
        for round in 2..60 {
            let token = |number: usize| Some((number % round).to_string());
            let (count, shards, pauses) = list(|number| page([number % round], token(number)));
            assert_eq!((count, shards.is_err()), (round + BARREN_PAGES_MAX as usize, true));
            assert!(pauses >= BARREN_PAUSE * (BARREN_PAGES_MAX - 1), "{pauses:?}");
        }
    }

    #[test]
    fn a_listing_without_a_last_page_ends() {
        let fresh = |number: usize| Some(number.to_string());
        let (count, shards, _) = list(|number| page([], fresh(number)));
        assert_eq!(
            (count, shards),
            (50, Err("the listing does not end: 50 pages in a row without a new shard".to_owned()))
        );
        let (count, shards, _) = list(|number| page([number], fresh(number)));
        assert_eq!((count, shards), (1000, Err("the listing has more than 1000 pages".to_owned())));
        let (count, shards, _) = list(|number| page(number * 1000..(number + 1) * 1000, fresh(number)));
        assert_eq!((count, shards), (201, Err("the stream has more than 200000 shards".to_owned())));
    }

    #[test]
    fn a_shard_that_is_listed_again_is_kept_once_as_open_and_once_as_closed() {
        let again = |number: usize| {
            let mut page = page([0], (number < 30).then(|| number.to_string()));
            page.shards[0].closed = number >= 3;
            page.shards[0].parents = Vec::from(["a".to_owned(), "b".to_owned()]);
            page.shards.resize(1000, page.shards[0].clone());
            page
        };
        let mut listing = Listing::default();
        for number in 0..30 {
            let Ok(Progress::More { listing: next, .. }) = listing.add(again(number)) else {
                panic!("the listing ended early")
            };
            assert_eq!(next.shards.len(), if number < 3 { 1 } else { 2 });
            listing = next;
        }
        let Ok(Progress::Complete(shards)) = listing.add(again(30)) else { panic!("the listing did not end") };
        assert_eq!(shards.iter().map(|shard| shard.closed).collect::<Vec<bool>>(), [false, true]);
        assert!(shards.iter().all(|shard| shard.parents == ["a", "b"]));
    }
}

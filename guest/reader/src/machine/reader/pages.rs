//! Pages: what one says about its shard, which of its messages are wanted, and how the shard goes on.

use alloc::borrow::ToOwned;
use alloc::format;
use core::time::Duration;

use super::Reader;
use super::batches::Rest;
use super::wrong::Wrong;
use crate::checkpoint::{MessagePosition, Position};
use crate::config::Until;
use crate::machine::lineage::ShardKey;
use crate::machine::listing::SHARDS_MAX;
use crate::machine::pace;
use crate::machine::shard::conclude::{PageEnd, conclude};
use crate::machine::shard::{Event, State, Verdict};
use crate::machine::tip::{PageSummary, Progress};
use crate::pages::messages::Messages;
use crate::pages::page::Page;
use crate::pages::sequence::Sequence;
use crate::time::{Instant, Timestamp};

/// The size from which a page counts as full. Kinesis returns at most 10 MiB, and stops before the record that would
/// pass that, which may itself be nearly half of it with its key.
const FULL_BYTES: u64 = 5 << 20;

/// The number of consecutive ends with a lag after which an end is believed. Each of them came from a fresh shard
/// iterator and was requested once the shard was listed as closed, when nothing could be put into it any more.
const DOUBTS_MAX: u32 = 3;

/// A page as it was received.
pub(super) struct RequestedPage {
    pub(super) key: ShardKey,
    /// The number of records requested.
    pub(super) limit: u32,
    /// The bytes of its body.
    pub(super) held: u64,
    pub(super) page: Page,
}

/// What a page showed of its shard.
struct Observed {
    /// The page holds a record that was not delivered before.
    is_news: bool,
    behind: u64,
    closed: bool,
    progress: Progress,
    is_end_certain: bool,
}

/// The messages of a page that are wanted now.
struct Selected {
    messages: Messages,
    /// Some were left for another time.
    is_cut_short: bool,
    /// The page reaches the time to read until.
    is_past_until: bool,
}

impl Reader {
    /// A page came that was requested at `sent`, when the service's time was `present` at the earliest.
    pub(super) fn on_page(&mut self, requested: RequestedPage, sent: Instant, present: Timestamp) -> Result<(), Wrong> {
        let RequestedPage { key, limit, held, page } = requested;
        self.batches.note_size(held);
        // A page that is refused below counts against the service's limits too.
        let shard = &mut self.shards[key];
        shard.paced = shard.paced.max(self.plan.pace.after_read(sent, page.data_size()));
        if let Some(index) = page.disorder() {
            return Err(Wrong::contradiction(format!("Records[{index}]: not after the record before it")));
        }
        self.adopt_children(&page)?;
        let skip = self.delivered_before(key, &page)?;
        let observed = self.observe(key, &page, skip, limit, sent, present);
        let Selected { messages, is_cut_short, is_past_until } = self.select(key, page, skip);
        let page = messages.page();
        let is_empty = page.is_empty();
        let end = PageEnd {
            next: page.next_iterator(),
            is_cut_short,
            is_past_until,
            progress: observed.progress,
            is_news: observed.is_news,
            has_records: !is_empty,
            moves: page.len() > skip,
            has_children: !page.children().is_empty(),
            has_lag: observed.behind > 0,
            closed: observed.closed,
            is_end_certain: observed.is_end_certain,
            sent,
        };
        let State::Reading { iterator, trouble, .. } = &self.shards[key].state else { return Ok(()) };
        let then = conclude(&end, iterator, *trouble);
        let rest = Rest { messages, behind: Duration::from_millis(observed.behind), then };
        let (batch, to, then) = self.make_batch(key, held, rest)?;
        match is_empty {
            false => self.totals.pages += 1,
            true => self.totals.empty_pages += 1,
        }
        self.step(key, Event::Page { batch, to, then });
        self.end_if_limited();
        Ok(())
    }

    /// Notes what a page shows of its shard: its lag, its pace, and how near its tip is.
    fn observe(
        &mut self,
        key: ShardKey,
        page: &Page,
        skip: usize,
        limit: u32,
        sent: Instant,
        present: Timestamp,
    ) -> Observed {
        let shard = &mut self.shards[key];
        let is_news = is_news(page, skip, &shard.position);
        // A page that was requested earlier may show the shard before its last records arrived.
        let closed = shard.closed.is_some_and(|since| since <= sent);
        let summary = PageSummary {
            behind: page.behind().unwrap_or(0),
            empty: !is_news,
            // A page that only repeats records says nothing about what follows.
            full: page.len() >= limit as usize || page.data_size() >= FULL_BYTES || (!is_news && !page.is_empty()),
            newest: page.arrivals().max().map(Timestamp),
            closed,
            asked: sent,
            present,
        };
        shard.idle = if is_news { 0 } else { shard.idle.saturating_add(1) };
        shard.paced = shard.paced.max(pace::after_idle(sent, shard.idle));
        if summary.is_tip() && page.next_iterator().is_some() {
            shard.paced = shard.paced.max(self.plan.pace.after_tip(sent));
        }
        shard.behind = Some(Duration::from_millis(summary.behind));
        let silent = summary.empty && page.next_iterator().is_none() && page.children().is_empty();
        if is_news {
            shard.doubts = 0;
        } else if closed && silent && summary.behind > 0 {
            shard.doubts += 1;
        }
        let progress = shard.tip.observe(self.plan.until, self.clock.opened().latest, summary);
        let is_end_certain = shard.doubts >= DOUBTS_MAX;
        Observed { is_news, behind: summary.behind, closed, progress, is_end_certain }
    }

    /// Selects the messages of a page that are wanted: those after its first `skip` records, before the time to read
    /// until, and no more than may be delivered.
    fn select(&self, key: ShardKey, mut page: Page, skip: usize) -> Selected {
        let cut = match self.plan.until {
            Until::Time(end) => page.arrivals().position(|arrived| arrived >= end.0),
            Until::CaughtUp(_) | Until::Stopped => None,
        };
        if let Some(cut) = cut {
            page.truncate(cut.max(skip));
        }
        let shard = &self.shards[key];
        let mut messages = if self.plan.deaggregate {
            let first = page.record(skip).map(|record| record.sequence);
            let delivered = match &shard.position {
                Position::After(MessagePosition { sequence, subsequence }) if first == Some(sequence.as_str()) => {
                    *subsequence
                }
                Position::After(_) | Position::TrimHorizon | Position::At(_) | Position::End => None,
            };
            Messages::deaggregated(page, skip, shard.hash_range, delivered)
        } else {
            Messages::of_records(page, skip)
        };
        let is_cut_short = messages.split_off(self.batches.allowed()).is_some();
        Selected { messages, is_cut_short, is_past_until: cut.is_some() }
    }

    /// Returns the number of records at the start of a page that were delivered already. They are skipped, because they
    /// must not be delivered twice.
    ///
    /// Some emulators send the last record again when asked for what follows it, so the first page after a seek may
    /// begin with it. Kinesis never sends a later page that goes back, nor records out of order. Such a page is
    /// refused: a record that would be skipped there may never have been delivered.
    fn delivered_before(&self, key: ShardKey, page: &Page) -> Result<usize, Wrong> {
        let shard = &self.shards[key];
        let State::Reading { iterator, .. } = &shard.state else { return Ok(0) };
        let skip = page.records().take_while(|record| is_before(record.sequence, &shard.position)).count();
        if skip > 0 && !iterator.is_first {
            let why = "the next iterator leads back to records that were delivered before".to_owned();
            return Err(Wrong { verdict: Verdict::Astray, why });
        }
        Ok(skip)
    }

    /// Learns of the shards that a page names as the children of its own.
    fn adopt_children(&mut self, page: &Page) -> Result<(), Wrong> {
        let children = page.children();
        let wrong = |why| Wrong::contradiction(format!("ChildShards: {why}"));
        self.lineage
            .check(children.iter().map(|child| (child.id.as_str(), child.parents.as_slice())))
            .map_err(wrong)?;
        if self.lineage.len() + children.len() > SHARDS_MAX {
            return Err(wrong(format!("the stream has more than {SHARDS_MAX} shards")));
        }
        let heard = self.discovery.begun;
        for child in page.children() {
            let key = match self.lineage.key(&child.id) {
                Some(key) => key,
                None => self.insert_new(&child.id, heard),
            };
            self.lineage.adopt(key, &child.parents);
            let shard = &mut self.shards[key];
            shard.hash_range = shard.hash_range.or(child.hash_range);
        }
        Ok(())
    }
}

/// Whether a page, of which the first `skip` records were delivered already, leads beyond a position.
fn is_news(page: &Page, skip: usize, position: &Position) -> bool {
    match page.record(page.len().wrapping_sub(1)) {
        // The record at the position may be an aggregate that was delivered in part. The position moves even if no
        // message is left in it.
        Some(last) => page.len() > skip && !is_before(last.sequence, position),
        None => false,
    }
}

/// Whether the whole record with this sequence number was delivered.
fn is_before(sequence: &str, position: &Position) -> bool {
    match (position, sequence.parse::<Sequence>()) {
        (Position::After(MessagePosition { sequence: last, subsequence: None }), Ok(sequence)) => sequence <= *last,
        (Position::After(MessagePosition { sequence: last, subsequence: Some(_) }), Ok(sequence)) => sequence < *last,
        (Position::End, Ok(_)) => true,
        (Position::TrimHorizon | Position::At(_), _) | (_, Err(_)) => false,
    }
}

//! `ListShards`: pages in any order, tokens that expire, and a view that may be of a moment ago.

use super::body::Writer;
use super::habits::Order;
use super::rejection::{Refusal, Rejection};
use super::request::{self, Forbidden};
use super::{Facts, Kinesis, Listed, Operation, Served};
use serde_json::Value;

/// The rest of a listing.
pub(super) struct Token {
    incarnation: u32,
    born: u64,
    /// The shards that are still to be told.
    rest: Vec<usize>,
    /// How many shards the listing knows of: what is born later comes at its end.
    known: usize,
    /// The moment that the listing shows.
    shown: u64,
}

impl Kinesis {
    pub(super) fn list(&mut self, asked: Value, now: u64, writer: &mut Writer) -> Result<Served, Forbidden> {
        let asked: request::ListShards = request::parse(asked)?;
        request::within("MaxResults", asked.max_results, 1, 10_000)?;
        if asked.exclusive_start_shard_id.is_some() {
            return Err("ExclusiveStartShardId is of no use to a reader of all shards".to_owned());
        }
        let first = asked.next_token.is_none();
        let (name, arn) = (asked.stream_name.as_deref(), asked.stream_arn.as_deref());
        let token = match &asked.next_token {
            None => {
                self.names(name, arn)?;
                None
            }
            // "You cannot specify this parameter if you specify NextToken" stands by each of the others.
            Some(_) if name.is_some() || arn.is_some() || asked.stream_creation_timestamp.is_some() => {
                return Err("another parameter beside NextToken".to_owned());
            }
            Some(token) => Some(self.token(token)?),
        };
        if let Some(rejection) = self.groundless(Operation::ListShards) {
            return Ok(Err(rejection));
        }
        let loops = !first && self.chance.percent(self.habits.token_loops);
        let (rest, known, shown) = match token {
            None => {
                let shown = now.saturating_sub(self.chance.within(0, self.habits.stale_ms));
                (Vec::new(), 0, shown.max(self.stream.created).max(self.settled))
            }
            Some(index) => {
                let token = &self.tokens[index];
                let expired = token.incarnation != self.stream.incarnation
                    || now - token.born > self.habits.token_life_ms
                    || self.chance.percent(self.habits.errors.token_expired);
                if expired {
                    let message = "The specified next token is no longer valid";
                    return Ok(Err(Rejection::new(Refusal::Expired, "ExpiredNextTokenException", message)));
                }
                // Each page is of its own moment, and no earlier than the page before.
                (token.rest.clone(), token.known, token.shown + self.chance.within(0, now - token.shown))
            }
        };
        let max = asked.max_results.map_or(usize::MAX, |max| max as usize);
        let again = known > 0 && self.chance.percent(self.habits.repeats);
        let (listed, later, visible) = self.listing(rest, known, shown, max.min(self.habits.listing_page), again);
        let last = later.is_empty();
        let next = match (last, asked.next_token) {
            (true, _) => None,
            (false, Some(token)) if loops => Some(token),
            (false, _) => {
                let incarnation = self.stream.incarnation;
                self.tokens.push(Token { incarnation, born: now, rest: later, known: visible, shown });
                Some(format!("AAAAAAAAAAG\"{}==", self.tokens.len() - 1))
            }
        };
        writer.object(|answer| {
            answer.array("Shards", &listed, |writer, listed| self.shard(*listed, writer));
            answer.maybe("NextToken", next.as_deref());
        });
        Ok(Ok(Facts::Listed { shards: listed, first, last, again }))
    }

    /// A page of a listing, what follows it, and how many shards the listing knows of.
    fn listing(
        &mut self,
        mut rest: Vec<usize>,
        known: usize,
        shown: u64,
        page: usize,
        again: bool,
    ) -> (Vec<Listed>, Vec<usize>, usize) {
        let shards = &self.stream.shards;
        let visible = shards.iter().take_while(|shard| shard.born <= shown).count().max(known);
        let mut fresh: Vec<usize> = (known..visible).collect();
        match self.habits.order {
            Order::Sorted => {}
            Order::Reversed => fresh.reverse(),
            Order::Shuffled => self.chance.shuffle(&mut fresh),
        }
        rest.extend(fresh);
        rest.retain(|&i| shards[i].expired.is_none());

        let later = rest.split_off(rest.len().min(page));
        if again {
            // A shard that an earlier page told of, as it is by this page's moment.
            let again = self.chance.within(0, known as u64 - 1) as usize;
            rest.insert(0, again);
            rest.retain(|&i| shards[i].expired.is_none());
        }
        let open = |shard: usize| shards[shard].closed.is_none_or(|closed| closed > shown);
        let listed = rest.iter().map(|&shard| Listed { shard, open: open(shard) }).collect();
        (listed, later, visible)
    }

    fn shard(&self, listed: Listed, writer: &mut Writer) {
        let shard = &self.stream.shards[listed.shard];
        let parent = |i: usize| shard.parents.get(i).map(|&parent| self.stream.shards[parent].id.as_str());
        let last = if listed.open { None } else { shard.last_sequence.as_deref() };
        writer.object(|writer| {
            writer.text("ShardId", &shard.id);
            writer.maybe("ParentShardId", parent(0));
            writer.maybe("AdjacentParentShardId", parent(1));
            super::read::hash_range(shard, writer);
            writer.member("SequenceNumberRange", |range| {
                range.text("StartingSequenceNumber", &shard.first_sequence);
                range.maybe("EndingSequenceNumber", last);
            });
        });
    }

    fn token(&self, token: &str) -> Result<usize, Forbidden> {
        let number = token.strip_prefix("AAAAAAAAAAG\"").and_then(|rest| rest.strip_suffix("=="));
        number
            .and_then(|number| number.parse().ok())
            .filter(|&number: &usize| number < self.tokens.len())
            .ok_or_else(|| format!("a NextToken that was not given out: {token}"))
    }
}

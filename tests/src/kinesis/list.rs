//! `ListShards`: pages in any order, tokens that expire, and a view that may be of a moment ago.

use super::body::Writer;
use super::quirks::Order;
use super::rejection::{Refusal, Rejection};
use super::request::{self, Forbidden};
use super::stream::Shard;
use super::wrong::Wrong;
use super::{Facts, Kinesis, Listed, Operation, Served};
use serde_json::Value;

/// An identifier that the service's model forbids. Printed, it would clear the terminal.
const FORBIDDEN: &str = "shardId-0\u{1b}[2J";

/// A shard that is younger than all others and in no listing.
const NEVER: &str = "shardId-999999999999";

/// What a listing says of a shard.
struct Told<'a> {
    shard: &'a Shard,
    id: &'a str,
    parents: Vec<&'a str>,
    open: bool,
    /// By these parents and what else is listed.
    is_own_ancestor: bool,
}

impl Told<'_> {
    fn write(&self, writer: &mut Writer) {
        let last = if self.open { None } else { self.shard.last_sequence.as_deref() };
        writer.object(|writer| {
            writer.text("ShardId", self.id);
            writer.maybe("ParentShardId", self.parents.first().copied());
            writer.maybe("AdjacentParentShardId", self.parents.get(1).copied());
            super::read::hash_range(self.shard, writer);
            writer.member("SequenceNumberRange", |range| {
                range.text("StartingSequenceNumber", &self.shard.first_sequence);
                range.maybe("EndingSequenceNumber", last);
            });
        });
    }
}

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
    /// The token that the page with this token was requested with.
    before: Option<usize>,
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
        let asked_with = token;
        let (rest, known, shown) = match token {
            None => {
                let shown = now.saturating_sub(self.chance.within(0, self.quirks.stale_ms));
                (Vec::new(), 0, shown.max(self.stream.created).max(self.settled))
            }
            Some(index) => {
                let token = &self.tokens[index];
                let expired = token.incarnation != self.stream.incarnation
                    || now - token.born > self.quirks.token_life_ms
                    || self.chance.percent(self.quirks.errors.token_expired);
                if expired {
                    let message = "The specified next token is no longer valid";
                    return Ok(Err(Rejection::new(Refusal::ExpiredToken, "ExpiredNextTokenException", message)));
                }
                // Each page is of its own moment, and no earlier than the page before.
                (token.rest.clone(), token.known, token.shown + self.chance.within(0, now - token.shown))
            }
        };
        let max = asked.max_results.map_or(usize::MAX, |max| max as usize);
        let again = known > 0 && self.chance.percent(self.quirks.repeats);
        let most = if self.errs(Wrong::TokenToNothing) { 0 } else { max.min(self.quirks.listing_page) };
        let (listed, later, visible) = self.listing(rest, known, shown, most, again && most > 0);
        let (to_itself, to_earlier) = (self.errs(Wrong::TokenToItself), self.errs(Wrong::TokenToEarlier));
        let last = later.is_empty() && !to_itself && !to_earlier && most > 0;
        let next = match asked_with {
            _ if last => None,
            Some(token) if to_itself => Some(token),
            Some(token) if to_earlier && self.tokens[token].before.is_some() => self.tokens[token].before,
            Some(_) | None => {
                let (incarnation, before) = (self.stream.incarnation, asked_with);
                self.tokens.push(Token { incarnation, born: now, rest: later, known: visible, shown, before });
                Some(self.tokens.len() - 1)
            }
        };
        let leads_to_itself = next.is_some() && next == asked_with;
        let next = next.map(|token| format!("AAAAAAAAAAG\"{token}=="));
        let ways = [Wrong::OwnParent, Wrong::Cycle, Wrong::ParentToCome, Wrong::ForbiddenId];
        let wrong = ways.into_iter().find(|&way| self.errs(way)).filter(|_| !listed.is_empty());
        let wrong = wrong.map(|way| (self.chance.within(0, listed.len() as u64 - 1) as usize, way));
        let told = self.told(&listed, wrong);
        writer.object(|answer| {
            answer.array("Shards", &told, |writer, told| told.write(writer));
            answer.maybe("NextToken", next.as_deref());
        });
        if told.iter().any(|told| told.id == FORBIDDEN) {
            return Ok(Ok(Facts::Garbled));
        }
        let contradicts = told.iter().any(|told| told.is_own_ancestor);
        let lacks = told.iter().any(|told| told.parents == [NEVER]);
        Ok(Ok(Facts::Listed { shards: listed, first, last, again, wrong: leads_to_itself || contradicts, lacks }))
    }

    /// What the response says about shards, one of which may be wrong.
    fn told(&self, listed: &[Listed], wrong: Option<(usize, Wrong)>) -> Vec<Told<'_>> {
        let shards = &self.stream.shards;
        let names = |indices: &[usize]| indices.iter().map(|&i| shards[i].id.as_str()).collect::<Vec<&str>>();
        let is_listed = |child: &&usize| listed.iter().any(|listed| listed.shard == **child);
        let tell = |(at, &Listed { shard, open }): (usize, &Listed)| {
            let shard = &shards[shard];
            let mut told = Told { shard, id: &shard.id, parents: names(&shard.parents), open, is_own_ancestor: false };
            match wrong.filter(|(other, _)| *other == at) {
                Some((_, Wrong::OwnParent | Wrong::Cycle)) => {
                    let child = wrong
                        .and_then(|(_, wrong)| shard.children.iter().find(is_listed).filter(|_| wrong == Wrong::Cycle));
                    told.parents = vec![child.map_or(&shard.id, |&child| &shards[child].id)];
                    told.is_own_ancestor = true;
                }
                // A third parent would be a contradiction as well.
                Some((_, Wrong::ParentToCome)) if shard.parents.len() < 2 => told.parents = vec![NEVER],
                Some((_, Wrong::ForbiddenId)) => told.id = FORBIDDEN,
                Some(_) | None => {}
            }
            told
        };
        listed.iter().enumerate().map(tell).collect()
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
        match self.quirks.order {
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

    fn token(&self, token: &str) -> Result<usize, Forbidden> {
        let number = token.strip_prefix("AAAAAAAAAAG\"").and_then(|rest| rest.strip_suffix("=="));
        number
            .and_then(|number| number.parse().ok())
            .filter(|&number: &usize| number < self.tokens.len())
            .ok_or_else(|| format!("a NextToken that was not given out: {token}"))
    }
}

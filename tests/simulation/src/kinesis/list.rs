//! `ListShards`: pages in any order, tokens that expire, and listings that may be stale.

use super::body::Writer;
use super::misbehavior::Misbehavior;
use super::quirks::Order;
use super::rejection::{Refusal, Rejection};
use super::request::{self, Forbidden};
use super::stream::Shard;
use super::{Facts, Handled, Kinesis, Listed, Operation};
use serde_json::Value;

/// An identifier that the service's model forbids. Printing it would clear the terminal.
const FORBIDDEN_ID: &str = "shardId-0\u{1b}[2J";

/// The identifier of a shard that is newer than all others and in no listing.
const UNLISTED_ID: &str = "shardId-999999999999";

/// A shard as a page of a listing shows it.
struct Entry<'a> {
    shard: &'a Shard,
    id: &'a str,
    parents: Vec<&'a str>,
    open: bool,
    /// Whether the shard is its own ancestor, given these parents and the rest of the listing.
    is_own_ancestor: bool,
}

impl Entry<'_> {
    fn write(&self, writer: &mut Writer) {
        let last = if self.open { None } else { self.shard.last_sequence.as_deref() };
        writer.object(|writer| {
            writer.text("ShardId", self.id);
            writer.optional_text("ParentShardId", self.parents.first().copied());
            writer.optional_text("AdjacentParentShardId", self.parents.get(1).copied());
            super::read::hash_range(self.shard, writer);
            writer.member("SequenceNumberRange", |range| {
                range.text("StartingSequenceNumber", &self.shard.first_sequence);
                range.optional_text("EndingSequenceNumber", last);
            });
        });
    }
}

/// The rest of a listing.
pub(super) struct Token {
    incarnation: u32,
    created: u64,
    /// The shards that remain to be listed.
    rest: Vec<usize>,
    /// The number of shards that were listed or are in `rest`. Shards created since are added at the end.
    known: usize,
    /// The listing shows the stream as it was at this time.
    as_of: u64,
    /// The token with which the page that ends in this token was requested.
    before: Option<usize>,
}

impl Kinesis {
    #[expect(clippy::too_many_lines, reason = "follows the operation's documentation from top to bottom")]
    pub(super) fn list(&mut self, request: Value, now: u64, writer: &mut Writer) -> Result<Handled, Forbidden> {
        let request: request::ListShards = request::parse(request)?;
        request::check_range("MaxResults", request.max_results, 1, 10_000)?;
        if request.exclusive_start_shard_id.is_some() {
            return Err("a reader of all shards has no use for ExclusiveStartShardId".to_owned());
        }
        let first = request.next_token.is_none();
        let (name, arn) = (request.stream_name.as_deref(), request.stream_arn.as_deref());
        let token = match &request.next_token {
            None => {
                self.check_stream(name, arn)?;
                None
            }
            // "You cannot specify this parameter if you specify the NextToken parameter", for each of the others.
            Some(_) if name.is_some() || arn.is_some() || request.stream_creation_timestamp.is_some() => {
                return Err("another parameter together with NextToken".to_owned());
            }
            Some(token) => Some(self.token(token)?),
        };
        if let Some(rejection) = self.spurious_error(Operation::ListShards) {
            return Ok(Err(rejection));
        }
        let requested_with = token;
        let (rest, known, as_of) = match token {
            None => {
                let as_of = now.saturating_sub(self.chance.within(0, self.quirks.stale_ms));
                (Vec::new(), 0, as_of.max(self.stream.created).max(self.no_staler_than))
            }
            Some(index) => {
                let token = &self.tokens[index];
                let expired = token.incarnation != self.stream.incarnation
                    || now - token.created > self.quirks.token_life_ms
                    || self.chance.percent(self.quirks.errors.token_expired);
                if expired {
                    let message = "The specified next token is no longer valid";
                    return Ok(Err(Rejection::new(Refusal::ExpiredToken, "ExpiredNextTokenException", message)));
                }
                // Each page may be newer than the page before, but not older.
                (token.rest.clone(), token.known, token.as_of + self.chance.within(0, now - token.as_of))
            }
        };
        let max = request.max_results.map_or(usize::MAX, |max| max as usize);
        let repeats = known > 0 && self.chance.percent(self.quirks.repeated_shards);
        // However small its pages are, a service that behaves lists its shards in far fewer than 1,000 of them.
        let page = self.quirks.listing_page.max(self.stream.shards.len() / 500);
        let most = if self.misbehaves(Misbehavior::TokenToNothing) { 0 } else { max.min(page) };
        let (listed, later, visible) = self.listing(rest, known, as_of, most, repeats && most > 0);
        let to_itself = self.misbehaves(Misbehavior::TokenToItself);
        let to_earlier = self.misbehaves(Misbehavior::TokenToEarlier);
        let last = later.is_empty() && !to_itself && !to_earlier && most > 0;
        let next = match requested_with {
            _ if last => None,
            Some(token) if to_itself => Some(token),
            Some(token) if to_earlier && self.tokens[token].before.is_some() => self.tokens[token].before,
            Some(_) | None => {
                let (incarnation, before) = (self.stream.incarnation, requested_with);
                self.tokens.push(Token { incarnation, created: now, rest: later, known: visible, as_of, before });
                Some(self.tokens.len() - 1)
            }
        };
        let leads_to_itself = next.is_some() && next == requested_with;
        let next = next.map(|token| format!("AAAAAAAAAAG\"{token}=="));
        let ways = [Misbehavior::OwnParent, Misbehavior::Cycle, Misbehavior::UnlistedParent, Misbehavior::ForbiddenId];
        let wrong = ways.into_iter().find(|&way| self.misbehaves(way)).filter(|_| !listed.is_empty());
        let wrong = wrong.map(|way| (self.chance.within(0, listed.len() as u64 - 1) as usize, way));
        let entries = self.entries(&listed, wrong);
        writer.object(|answer| {
            answer.array("Shards", &entries, |writer, entry| entry.write(writer));
            answer.optional_text("NextToken", next.as_deref());
        });
        if entries.iter().any(|entry| entry.id == FORBIDDEN_ID) {
            return Ok(Ok(Facts::Invalid));
        }
        let unusable = leads_to_itself || entries.iter().any(|entry| entry.is_own_ancestor);
        let lacks_parent = entries.iter().any(|entry| entry.parents == [UNLISTED_ID]);
        Ok(Ok(Facts::Listed { shards: listed, first, last, repeats, unusable, lacks_parent }))
    }

    /// Returns the entries of a page, one of which may be wrong.
    fn entries(&self, listed: &[Listed], wrong: Option<(usize, Misbehavior)>) -> Vec<Entry<'_>> {
        let shards = &self.stream.shards;
        let names = |indices: &[usize]| indices.iter().map(|&i| shards[i].id.as_str()).collect::<Vec<&str>>();
        let is_listed = |child: &&usize| listed.iter().any(|listed| listed.shard == **child);
        let entry = |(at, &Listed { shard, open }): (usize, &Listed)| {
            let shard = &shards[shard];
            let parents = names(&shard.parents);
            let mut entry = Entry { shard, id: &shard.id, parents, open, is_own_ancestor: false };
            match wrong.filter(|(other, _)| *other == at) {
                Some((_, Misbehavior::OwnParent | Misbehavior::Cycle)) => {
                    let child = wrong.and_then(|(_, how)| {
                        shard.children.iter().find(is_listed).filter(|_| how == Misbehavior::Cycle)
                    });
                    entry.parents = vec![child.map_or(&shard.id, |&child| &shards[child].id)];
                    entry.is_own_ancestor = true;
                }
                // With a third parent, the listing would be invalid for another reason.
                Some((_, Misbehavior::UnlistedParent)) if shard.parents.len() < 2 => entry.parents = vec![UNLISTED_ID],
                Some((_, Misbehavior::ForbiddenId)) => entry.id = FORBIDDEN_ID,
                Some(_) | None => {}
            }
            entry
        };
        listed.iter().enumerate().map(entry).collect()
    }

    /// Returns a page of a listing, the shards after it, and the number of shards that the listing knows.
    fn listing(
        &mut self,
        mut rest: Vec<usize>,
        known: usize,
        as_of: u64,
        page: usize,
        repeat: bool,
    ) -> (Vec<Listed>, Vec<usize>, usize) {
        let shards = &self.stream.shards;
        let visible = shards.iter().take_while(|shard| shard.created <= as_of).count().max(known);
        let mut added: Vec<usize> = (known..visible).collect();
        match self.quirks.order {
            Order::Sorted => {}
            Order::Reversed => added.reverse(),
            Order::Shuffled => self.chance.shuffle(&mut added),
        }
        rest.extend(added);
        rest.retain(|&i| shards[i].expired.is_none());

        let later = rest.split_off(rest.len().min(page));
        if repeat {
            let repeated = self.chance.within(0, known as u64 - 1) as usize;
            rest.insert(0, repeated);
            rest.retain(|&i| shards[i].expired.is_none());
        }
        let open = |shard: usize| shards[shard].closed.is_none_or(|closed| closed > as_of);
        let listed = rest.iter().map(|&shard| Listed { shard, open: open(shard) }).collect();
        (listed, later, visible)
    }

    fn token(&self, token: &str) -> Result<usize, Forbidden> {
        let number = token.strip_prefix("AAAAAAAAAAG\"").and_then(|rest| rest.strip_suffix("=="));
        number
            .and_then(|number| number.parse().ok())
            .filter(|&number: &usize| number < self.tokens.len())
            .ok_or_else(|| format!("unknown NextToken: {token}"))
    }
}

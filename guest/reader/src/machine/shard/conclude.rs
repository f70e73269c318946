//! How a shard goes on after a page.

use alloc::string::String;

use super::{Seek, ShardIterator, Then, Trouble, Why};
use crate::machine::tip::Progress;
use crate::time::Instant;

/// What a page says about how its shard goes on.
#[derive(Clone, Debug)]
pub(crate) struct PageEnd<'a> {
    /// The next shard iterator.
    pub(crate) next: Option<&'a str>,
    /// Messages of the page were left for another time, because no more are wanted for now.
    pub(crate) is_cut_short: bool,
    /// The page reaches the time to read until.
    pub(crate) is_past_until: bool,
    pub(crate) progress: Progress,
    /// It holds a record that was not delivered before.
    pub(crate) is_news: bool,
    /// It holds records, of those that are wanted.
    pub(crate) has_records: bool,
    /// It holds a wanted record that was not delivered before, so the position moves with it.
    pub(crate) moves: bool,
    pub(crate) has_children: bool,
    pub(crate) has_lag: bool,
    /// The shard was listed as closed before the page was requested.
    pub(crate) closed: bool,
    /// So many ends with a lag came one after another that this one is believed.
    pub(crate) is_end_certain: bool,
    /// When the page was requested.
    pub(crate) sent: Instant,
}

/// Decides how a shard goes on after a page that was requested with `iterator` after `trouble`.
pub(crate) fn conclude(page: &PageEnd<'_>, iterator: &ShardIterator, trouble: Trouble) -> Then {
    let seek = if page.moves { Seek::Position } else { iterator.seek };
    if page.is_cut_short {
        return Then::Seek;
    }
    if page.is_past_until {
        return Then::CaughtUp;
    }
    if let Some(next) = page.next {
        return match page.progress {
            Progress::Reached => Then::CaughtUp,
            Progress::Ended => Then::Drained,
            Progress::More => {
                let is_first = iterator.is_first && !page.has_records;
                let iterator = ShardIterator { text: String::from(next), born: page.sent, seek, is_first };
                Then::Read { iterator, trouble: trouble_after(page, trouble) }
            }
        };
    }
    if page.has_children || (page.closed && (!page.has_lag || page.is_end_certain)) {
        return Then::Drained;
    }
    let why = if page.has_lag { Why::Doubtful } else { Why::Ended };
    let trouble = if page.is_news { Trouble::default() } else { trouble };
    Then::Ending { why, seek, trouble: trouble.failed() }
}

/// What remains of earlier trouble after a page.
fn trouble_after(page: &PageEnd<'_>, trouble: Trouble) -> Trouble {
    match (page.is_news, page.has_records) {
        (true, _) => Trouble::default(),
        // An empty page does not show that a later one will not lead back again.
        (false, false) => Trouble { wrongs: trouble.wrongs, ..Trouble::default() },
        // A page of records that were delivered already is no success.
        (false, true) => trouble,
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;

    use super::*;

    /// Every combination of what a page says, as a table that is kept beside this file. `*`: either.
    #[test]
    fn each_page_concludes_as_the_table_says() {
        let mut table = String::from("page -> how the shard goes on\n");
        for page in pages() {
            let iterator = ShardIterator { text: "old".into(), born: Instant(1), seek: Seek::Oldest, is_first: true };
            let trouble = Trouble { failures: 1, delays: 2, wrongs: 3 };
            table += &format!("{} -> {}\n", words(&page), then_words(conclude(&page, &iterator, trouble)));
        }
        assert_eq!(table, include_str!("conclusions.txt"), "\n{table}");
    }

    #[test]
    fn what_ends_a_page_early_decides_alone() {
        let iterator = ShardIterator { text: "old".into(), born: Instant(1), seek: Seek::Oldest, is_first: true };
        for page in pages() {
            let cut = PageEnd { is_cut_short: true, is_past_until: true, ..page.clone() };
            assert_eq!(conclude(&cut, &iterator, Trouble::default()), Then::Seek, "{cut:?}");
            let past = PageEnd { is_past_until: true, ..page };
            assert_eq!(conclude(&past, &iterator, Trouble::default()), Then::CaughtUp, "{past:?}");
        }
    }

    fn pages() -> impl Iterator<Item = PageEnd<'static>> {
        let either = [false, true];
        // What the records of a page can be: none, none that is new, some that are new and not wanted, and new ones.
        let records = [(false, false, false), (false, true, false), (true, false, false), (true, true, true)];
        let page = PageEnd {
            next: None,
            is_cut_short: false,
            is_past_until: false,
            progress: Progress::More,
            is_news: false,
            has_records: false,
            moves: false,
            has_children: false,
            has_lag: false,
            closed: false,
            is_end_certain: false,
            sent: Instant(9),
        };
        let (goes_on, ends) = (page.clone(), page);
        let going_on = records.into_iter().flat_map(move |(is_news, has_records, moves)| {
            let page = PageEnd { next: Some("next"), is_news, has_records, moves, ..goes_on.clone() };
            [Progress::More, Progress::Reached, Progress::Ended].map(|progress| PageEnd { progress, ..page.clone() })
        });
        let ending = records.into_iter().flat_map(move |(is_news, has_records, moves)| {
            let page = PageEnd { is_news, has_records, moves, ..ends.clone() };
            (0..16_usize).map(move |bits| PageEnd {
                has_children: either[bits >> 3 & 1],
                has_lag: either[bits >> 2 & 1],
                closed: either[bits >> 1 & 1],
                is_end_certain: either[bits & 1],
                ..page.clone()
            })
        });
        going_on.chain(ending)
    }

    fn words(page: &PageEnd<'_>) -> String {
        let records = match (page.is_news, page.has_records) {
            (false, false) => "no records",
            (false, true) => "repeated records",
            (true, false) => "new records, none wanted",
            (true, true) => "new records",
        };
        let mut words = String::from(records);
        if page.next.is_some() {
            return words + &format!(", next iterator, {:?}", page.progress);
        }
        for (is_so, word) in [
            (page.has_children, "children"),
            (page.has_lag, "lag"),
            (page.closed, "closed"),
            (page.is_end_certain, "one end of many"),
        ] {
            if is_so {
                words += ", ";
                words += word;
            }
        }
        words
    }

    fn then_words(then: Then) -> String {
        let tried = |trouble: Trouble| format!("{}+{}+{}", trouble.failures, trouble.delays, trouble.wrongs);
        match then {
            Then::Read { iterator, trouble } => {
                let first = if iterator.is_first { ", still first" } else { "" };
                format!("Read {}, seek {:?}{first}, {}", iterator.text, iterator.seek, tried(trouble))
            }
            Then::Ending { why, seek, trouble } => format!("Ending {why:?}, seek {seek:?}, {}", tried(trouble)),
            Then::Seek | Then::CaughtUp | Then::Drained => format!("{then:?}"),
        }
    }
}

//! Output for people: every line on stderr, and the text that `shards`, `show` and `replay` print.
//!
//! Identifiers, messages from services and proxies, file names and payloads come from outside. Printed raw, they could
//! move the cursor, forge a line of the log, or look like something they are not, so all of them pass [`printable`]
//! here. Nothing else in this crate writes to stderr, so no caller has to remember this: lines go through [`say`],
//! events through [`Log`], and the `Display` of errors through [`Clean`].
//!
//! Passwords in URLs are hidden. Failures to write to stderr, such as a closed pipe or a full disk, are ignored, as
//! they are no reason to stop reading.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use kinesis_reader_machine::printable;

/// The longest line on stderr, in bytes. Values are cut after 1,000 characters, so only a line of many values reaches
/// it.
const LINE_MAX: usize = 32 << 10;

/// Writes one line to stderr.
pub fn say(line: impl fmt::Display) {
    write_line(clean(line));
}

/// Formats `text` with each value in it made printable and cut after 1,000 characters.
pub fn clean(text: impl fmt::Display) -> String {
    let mut cleaned = String::new();
    // Writing to a string cannot fail. If `text` itself fails, what it has written so far is better than nothing.
    let _ = write!(Clean(&mut cleaned), "{text}");
    cleaned
}

/// Cleans each piece of text that is written to it: with `write!`, each value by itself. Clean text passes unchanged.
#[derive(Debug)]
pub struct Clean<W>(pub W);

impl<W: fmt::Write> fmt::Write for Clean<W> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let piece = without_passwords(piece);
        self.0.write_str(&if was_cut(&piece) { escape(&piece) } else { printable(&piece) })
    }
}

/// Displays a value from the command line or the environment. It may be a URL with any password, even one with spaces.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a>(pub &'a str);

impl fmt::Display for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&without_password(self.0)))
    }
}

/// Prints lines of text. Values should have been cleaned before they were aligned; this escapes any that were not.
pub fn print(text: &str, out: &mut dyn io::Write) -> io::Result<()> {
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => writeln!(out, "{}", escape(line))?,
            None => out.write_all(escape(line).as_bytes())?,
        }
    }
    out.flush()
}

/// Writes the events of `tracing` to stderr, one line each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        write_line(escape(&without_passwords(line)).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reports panics through [`say`], where Rust would print them raw.
pub fn say_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let what = panic.payload_as_str().unwrap_or("unknown");
        match panic.location() {
            Some(location) => say(format_args!("error: this program failed: {what} (at {location})")),
            None => say(format_args!("error: this program failed: {what}")),
        }
    }));
}

fn write_line(mut line: String) {
    if line.len() > LINE_MAX {
        line.truncate(line.floor_char_boundary(LINE_MAX));
        line.push('…');
    }
    line.push('\n');
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Whether a value in the text was cut before. Errors are formatted within errors, and cutting twice would show a wrong
/// number.
fn was_cut(text: &str) -> bool {
    /// Room for 1,000 escapes and a few words.
    const CUT_MAX: usize = 12 << 10;
    text.len() <= CUT_MAX && text.contains("… (") && text.contains(" characters more)")
}

/// Escapes like [`printable`], but cuts nothing.
fn escape(text: &str) -> Cow<'_, str> {
    /// The longest text that [`printable`] leaves whole, in characters.
    const PIECE: usize = 1000;
    if text.is_ascii() && !text.contains(|c: char| c.is_ascii_control()) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.char_indices().nth(PIECE).map_or(rest.len(), |(end, _)| end);
        let (piece, left) = rest.split_at(end);
        escaped.push_str(&printable(piece));
        rest = left;
    }
    Cow::Owned(escaped)
}

/// Hides the passwords in all URLs of a text.
fn without_passwords(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    text.split_inclusive(char::is_whitespace).map(without_password).collect::<Vec<_>>().concat().into()
}

/// Hides user name and password in a URL, with or without a scheme: `http://user:secret@host` becomes
/// `http://***@host`.
///
/// ARNs stay: users and sessions in them are often named by mail addresses. So do the versions of WIT interfaces.
fn without_password(url: &str) -> Cow<'_, str> {
    let Some((user, host)) = url.rsplit_once('@') else { return Cow::Borrowed(url) };
    let scheme = user.find("://").map(|end| end + "://".len());
    let is_name = url.contains("arn:aws") || user.contains("kinesis:reader/");
    if !user.contains(':') || (scheme.is_none() && is_name) {
        return Cow::Borrowed(url);
    }
    // A quote or a bracket may precede the URL.
    let start = scheme.or_else(|| user.find(char::is_alphanumeric)).unwrap_or(0);
    let before = user.get(..start).unwrap_or_default();
    Cow::Owned(format!("{before}***@{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_cleaned_and_cut_by_itself() {
        let long = "x".repeat(1001);
        assert_eq!(
            clean(format_args!("a {} of {long}: {}", "\u{1b}[2J\n", "\u{202e}end")),
            format!("a \\u{{1b}}[2J\\n of {}… (1 characters more): \\u{{202e}}end", "x".repeat(1000))
        );
    }

    #[test]
    fn nested_messages_are_cleaned_once() {
        let hostile = "\u{1b}".repeat(1500);
        let once = clean(&hostile);
        assert!(once.ends_with("… (500 characters more)"));
        assert_eq!(clean(&once), once);
        assert_eq!(clean(format!("refused: {once} (request 1)")), format!("refused: {once} (request 1)"));
    }

    #[test]
    fn passwords_in_urls_are_hidden() {
        for (text, shown) in [
            ("http://user:SECRET@host:80/", "http://***@host:80/"),
            ("user:SECRET@host", "***@host"),
            ("http:/user:SECRET@host", "***@host"),
            ("(http://user:SE@CRET@host)", "(http://***@host)"),
            ("'user:SECRET@host'", "'***@host'"),
            ("no `kinesis:reader/reading@0.2.0`", "no `kinesis:reader/reading@0.2.0`"),
            ("a proxy: http://user:SECRET@host is down", "a proxy: http://***@host is down"),
            ("https://u:SECRET@a,https://u:SECRET@b", "https://***@b"),
            ("http://***@host", "http://***@host"),
            ("someone@example.com", "someone@example.com"),
            (
                "User: arn:aws:sts::123456789012:assumed-role/r/a@example.com",
                "User: arn:aws:sts::123456789012:assumed-role/r/a@example.com",
            ),
            ("http://user:SECRET@host/arn:aws:x", "http://***@host/arn:aws:x"),
        ] {
            assert_eq!(clean(text), shown);
        }
        assert_eq!(Given("http://user:SE CRET@host").to_string(), "http://***@host");
    }

    #[test]
    fn printed_text_keeps_its_lines_and_its_length() {
        let long = "é".repeat(2500);
        let mut out = Vec::new();
        print(&format!("a\tb\n{long}\r\nend"), &mut out).expect("a vector takes everything");
        assert_eq!(String::from_utf8(out).expect("UTF-8"), format!("a\\tb\n{long}\\r\nend"));
    }
}

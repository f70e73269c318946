//! Makes the name and message of a rejection fit to print.
//!
//! They end up on a terminal and in logs, and may not come from the service: anything between it and the host may
//! answer in its place, with an HTML page or with nothing.

use alloc::format;
use alloc::string::String;

use super::answer::Rejection;
use super::decode::Details;
use crate::body::Body;
use crate::printable::printable;

/// Creates a rejection from the details in its body, as far as there are any.
pub(super) fn of(status: u16, details: Details, body: &Body) -> Rejection {
    let Details { code, message } = details;
    let code =
        code.map(|code| bare_name(&code)).filter(|code| !code.is_empty()).unwrap_or_else(|| format!("Http{status}"));
    let message = match (message, body) {
        (Some(message), _) => one_line(&message),
        // Not JSON, but probably an HTML page from something between the service and the host.
        (None, Body::Json(text)) if !text.trim_start().starts_with('{') => one_line(&without_markup(text)),
        (None, _) => String::new(),
    };
    Rejection { status, code, message: printable(&message).into_owned() }
}

/// Returns only the name from a code such as
/// `com.amazon.coral.service#SerializationException:http://internal.amazon.com/…`.
fn bare_name(code: &str) -> String {
    let code = code.split(':').next().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    code.chars().filter(allowed).take(CODE_MAX).collect()
}

/// Puts a message on one line and truncates it.
///
/// Only the first paragraph is kept. If the signature is wrong, the rest quotes the headers of the request, including
/// the session token.
fn one_line(message: &str) -> String {
    let message = message.replace("\r\n", "\n");
    let first = message.trim().split("\n\n").next().unwrap_or_default();
    let first = first.split("The Canonical String").next().unwrap_or_default();
    let mut line = String::new();
    let mut kept = 0;
    for character in first.chars() {
        let character = match character {
            c if c.is_whitespace() => ' ',
            c => c,
        };
        if character == ' ' && (line.is_empty() || line.ends_with(' ')) {
            continue;
        }
        if kept == MESSAGE_MAX {
            line.truncate(line.trim_end().len());
            line.push('…');
            return line;
        }
        line.push(character);
        kept += 1;
    }
    line.truncate(line.trim_end().len());
    line
}

/// Returns the text of an HTML page. A rough approximation is enough, as it is only shown to the operator.
fn without_markup(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        rest = after.split_once('>').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    // Join the lines: otherwise an empty line between tags would end the first paragraph.
    let mut line = String::new();
    for word in text.split_whitespace() {
        line.push_str(if line.is_empty() { "" } else { " " });
        line.push_str(word);
    }
    line
}

/// The maximum length of a name. The service's names have up to 40 characters.
const CODE_MAX: usize = 100;
/// The maximum length of a message. The service's messages are shorter, but HTML pages are not.
const MESSAGE_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::wire::decode_rejection;

    fn rejection(status: u16, body: &str) -> Rejection {
        decode_rejection(status, &Body::Json(body.to_string()))
    }

    #[test]
    fn the_name_is_found_in_every_format() {
        for body in [
            r#"{"__type":"SerializationException","Message":"no"}"#,
            r#"{"__type":"com.amazon.coral.service#SerializationException","message":"no"}"#,
            r#"{"__type":"a.b#SerializationException:http://internal.amazon.com/x#y/","message":"no"}"#,
            r#"{"code":"SerializationException","message":"no","__type":null}"#,
        ] {
            let rejection = rejection(400, body);
            assert_eq!(
                (rejection.code.as_str(), rejection.message.as_str()),
                ("SerializationException", "no"),
                "{body}"
            );
        }
    }

    #[test]
    fn a_body_that_is_not_json_is_a_rejection_too() {
        let html = "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n\r\n<body>try\n\nlater</body>";
        let from_proxy = rejection(503, html);
        assert_eq!(from_proxy.code, "Http503");
        assert_eq!(from_proxy.message, "503 Service Temporarily Unavailable try later");
        for body in ["", "{", "null", "[]", "{\"message\":3}", "{\"__type\":\"\"}", "{\"__type\":\"#:\"}"] {
            assert_eq!(rejection(500, body).code, "Http500", "{body}");
        }
        assert_eq!(decode_rejection(500, &Body::Cbor(alloc::vec![0xff])).code, "Http500");
    }

    #[test]
    fn a_message_is_one_bounded_line_without_secrets() {
        let rejected = rejection(
            403,
            r#"{"__type":"InvalidSignatureException","message":"It does not match.\n\nThe Canonical String for this request should have been\n'POST\nx-amz-security-token:SECRET'"}"#,
        );
        assert_eq!(rejected.message, "It does not match.");
        let rejected = rejection(400, r#"{"message":"a\u001b[31m\tred\u202e\n The Canonical String SECRET"}"#);
        assert_eq!(rejected.message, r"a\u{1b}[31m red\u{202e}");
        let rejected = rejection(400, &alloc::format!(r#"{{"__type":"{0}","message":"{0}"}}"#, "a".repeat(10_000)));
        assert_eq!((rejected.code.len(), rejected.message.chars().count()), (CODE_MAX, MESSAGE_MAX + 1));
    }
}

//! Writes JSON objects member by member, so that a number stands in just the form that a service gave it.

/// An object being written.
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Object {
        Object(String::from("{"))
    }

    /// Adds a member whose value is JSON already.
    pub(crate) fn raw(mut self, name: &str, json: &str) -> Object {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
        self.0.push_str(json);
        self
    }

    /// Adds a member that is text.
    pub(crate) fn text(self, name: &str, text: &str) -> Object {
        let json = quoted(text);
        self.raw(name, &json)
    }

    /// Adds a member that is text, or is left out, or stands as null.
    pub(crate) fn maybe(self, name: &str, text: Option<&str>, explicit_nulls: bool) -> Object {
        match text {
            Some(text) => self.text(name, text),
            None if explicit_nulls => self.raw(name, "null"),
            None => self,
        }
    }

    pub(crate) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An array of what is JSON already.
pub(crate) fn array(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

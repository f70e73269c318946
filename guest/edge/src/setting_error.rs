//! Errors in settings.

/// A setting that is missing or invalid.
pub(crate) struct SettingError {
    pub(crate) error: String,
    pub(crate) hint: &'static str,
}

/// Returns an error that names the setting and its value.
pub(crate) fn invalid(name: &str, value: &str, hint: &'static str) -> SettingError {
    SettingError { error: format!("invalid {name}: {value}"), hint }
}

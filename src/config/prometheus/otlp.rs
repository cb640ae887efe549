//! `otlp`: how OpenTelemetry's metrics become series.

use super::scrape::{NameScheme, NameValidation};
use crate::config::yaml::{Fault, Keys};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Otlp {
    pub(crate) promote_all_resource_attributes: bool,
    pub(crate) promote_resource_attributes: Vec<String>,
    pub(crate) ignore_resource_attributes: Vec<String>,
    pub(crate) translation_strategy: Translation,
    pub(crate) keep_identifying_resource_attributes: bool,
    pub(crate) convert_histograms_to_nhcb: bool,
    pub(crate) promote_scope_metadata: bool,
    pub(crate) label_name_underscore_sanitization: bool,
    pub(crate) label_name_preserve_multiple_underscores: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Translation {
    UnderscoresWithSuffixes,
    UnderscoresWithoutSuffixes,
    Utf8WithSuffixes,
    None,
}

const TRANSLATIONS: [(&str, Translation); 4] = [
    ("UnderscoreEscapingWithSuffixes", Translation::UnderscoresWithSuffixes),
    ("UnderscoreEscapingWithoutSuffixes", Translation::UnderscoresWithoutSuffixes),
    ("NoUTF8EscapingWithSuffixes", Translation::Utf8WithSuffixes),
    ("NoTranslation", Translation::None),
];

impl Otlp {
    pub(super) fn take(keys: &mut Keys<'_>, names: NameScheme) -> Result<Self, Fault> {
        let text: String = keys.or("translation_strategy", TRANSLATIONS[0].0)?;
        let known = TRANSLATIONS.iter().find(|(name, _)| *name == text || text.is_empty());
        let Some((_, translation)) = known else {
            let text = format!("{text:?} is none of {}", TRANSLATIONS.map(|(name, _)| name).join(", "));
            return Err(keys.fault("translation_strategy", text));
        };
        if names.validation == NameValidation::Legacy
            && matches!(translation, Translation::Utf8WithSuffixes | Translation::None)
        {
            let text = format!("{text} makes names that metric_name_validation_scheme: legacy does not let pass");
            return Err(keys.fault("translation_strategy", text));
        }
        let otlp = Self {
            promote_all_resource_attributes: keys.or("promote_all_resource_attributes", "false")?,
            promote_resource_attributes: attributes(keys, "promote_resource_attributes")?,
            ignore_resource_attributes: attributes(keys, "ignore_resource_attributes")?,
            translation_strategy: *translation,
            keep_identifying_resource_attributes: keys.or("keep_identifying_resource_attributes", "false")?,
            convert_histograms_to_nhcb: keys.or("convert_histograms_to_nhcb", "false")?,
            promote_scope_metadata: keys.or("promote_scope_metadata", "false")?,
            label_name_underscore_sanitization: keys.or("label_name_underscore_sanitization", "true")?,
            label_name_preserve_multiple_underscores: keys.or("label_name_preserve_multiple_underscores", "true")?,
        };
        match &otlp {
            Self { promote_all_resource_attributes: true, promote_resource_attributes: some, .. }
                if !some.is_empty() =>
            {
                Err(keys.fault(
                    "promote_resource_attributes",
                    "is there beside promote_all_resource_attributes: one of them",
                ))
            }
            Self { promote_all_resource_attributes: false, ignore_resource_attributes: some, .. }
                if !some.is_empty() =>
            {
                Err(keys.fault(
                    "ignore_resource_attributes",
                    "says what promote_all_resource_attributes leaves out, which is not there",
                ))
            }
            _ => Ok(otlp),
        }
    }
}

/// Names without spaces around them.
fn attributes(keys: &mut Keys<'_>, name: &'static str) -> Result<Vec<String>, Fault> {
    let texts: Vec<String> = keys.or_default(name)?;
    let mut all = Vec::<String>::new();
    for text in &texts {
        let text = text.trim();
        if text.is_empty() {
            return Err(keys.fault(name, "one of the attributes is empty"));
        }
        if all.iter().any(|known| known == text) {
            return Err(keys.fault(name, format!("{text} is there twice")));
        }
        all.push(text.to_owned());
    }
    Ok(all)
}

//! The name that somebody probably meant.

/// The known name nearest to a given one, if any is near enough to be worth naming.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|name| (strsim::jaro_winkler(given, name), name));
    scored.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// `, did you mean X?`, or nothing.
pub(crate) fn hint<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, known).map_or_else(String::new, |name| format!(", did you mean {name}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_nonsense_finds_none() {
        let known = ["--storage.tsdb.path", "--web.listen-address", "--query.timeout"];
        assert_eq!(nearest("--web.listen-adress", known), Some("--web.listen-address"));
        assert_eq!(nearest("--storage.path", known), Some("--storage.tsdb.path"));
        assert_eq!(nearest("zzz", known), None);
    }
}

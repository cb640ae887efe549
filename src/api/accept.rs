//! What an `Accept` header asks for, of the formats of pages.

/// Metric families behind their lengths.
pub(super) const PROTOBUF: &str = "application/vnd.google.protobuf";
pub(super) const DELIMITED: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Whether nothing is accepted more gladly than protobuf.
pub(super) fn prefers_protobuf(accept: &str) -> bool {
    let weighed = accept.split(',').map(|part| {
        let weight = part.split(';').find_map(|parameter| parameter.trim().strip_prefix("q=")?.parse::<f64>().ok());
        (part.trim().starts_with(PROTOBUF), weight.unwrap_or(1.0))
    });
    let best = |of_protobuf: bool| {
        let weights = weighed.clone().filter(|(is_protobuf, _)| *is_protobuf == of_protobuf);
        weights.map(|(_, weight)| weight).fold(0.0, f64::max)
    };
    best(true) > 0.0 && best(true) >= best(false)
}

/// Whoever knows names of all letters says so in some format that it accepts.
pub(super) fn knows_utf8(accept: &str) -> bool {
    accept.split([',', ';']).any(|part| part.trim() == "escaping=allow-utf-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protobuf_goes_to_who_prefers_it() {
        let of_prometheus = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                             text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert!(prefers_protobuf(of_prometheus));
        assert!(!prefers_protobuf(&of_prometheus.replace("q=0.6", "q=0.1")));
        assert!(!prefers_protobuf("*/*"));
        assert!(!prefers_protobuf(""));
    }
}

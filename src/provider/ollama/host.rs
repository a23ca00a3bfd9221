//! `OLLAMA_HOST`: read as in Ollama's own client (`envconfig.Host` in its source, and the FAQ in its documentation).

/// The default port is 11434, 80 with `http://` and 443 with `https://`. `0.0.0.0` and `::` mean this machine.
pub(super) fn address(value: &str) -> String {
    let value = value.trim().trim_matches(['"', '\'']).trim();
    let (scheme, rest, port) = match value.split_once("://") {
        Some(("http", rest)) => ("http", rest, "80"),
        Some((scheme, rest)) => (scheme, rest, if scheme == "https" { "443" } else { "11434" }),
        None => ("http", value, "11434"),
    };
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    // The user name is kept, so that `Address` refuses it.
    let (user, place) = place.rsplit_once('@').map_or(("", place), |(user, place)| (user, place));
    let at = if user.is_empty() { "" } else { "@" };
    let (host, port) = match split_port(place) {
        (host, Some(own)) if own.parse::<u16>().is_ok() => (host, own),
        (host, _) => (host, port),
    };
    let host = match host.trim_matches(['[', ']']) {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        v6 if v6.contains(':') => format!("[{v6}]"),
        name => name.to_owned(),
    };
    format!("{scheme}://{user}{at}{host}:{port}/{path}")
}

/// Splits at the last colon, unless it belongs to a bare IPv6 address.
fn split_port(place: &str) -> (&str, Option<&str>) {
    match place.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (place, None),
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn ollama_host_is_read_as_ollama_reads_it() {
        for (value, want) in [
            ("", "http://127.0.0.1:11434/"),
            (" \"gpu\" ", "http://gpu:11434/"),
            ("1.2.3.4", "http://1.2.3.4:11434/"),
            ("1.2.3.4:1234", "http://1.2.3.4:1234/"),
            (":1234", "http://127.0.0.1:1234/"),
            ("0.0.0.0", "http://127.0.0.1:11434/"),
            ("[::]:1234", "http://[::1]:1234/"),
            ("::1", "http://[::1]:11434/"),
            ("[2001:db8::1]:99", "http://[2001:db8::1]:99/"),
            ("http://gpu", "http://gpu:80/"),
            ("https://gpu.example.org", "https://gpu.example.org:443/"),
            ("https://gpu.example.org/ollama", "https://gpu.example.org:443/ollama"),
            ("gpu:99999", "http://gpu:11434/"),
        ] {
            assert_eq!(address(value), want, "{value}");
        }
    }
}

//! The allowed origins of pages and of the addresses that they name. Must never compare by prefix or suffix:
//! `https://shop.example.evil.test` begins like `https://shop.example`.

use crate::settings::SettingsReader;

const FORMAT_HINT: &str = "origins separated by commas, such as https://shop.example.com,https://www.example.com, without a path";

/// The allowed origins, exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Reads `ALLOWED_ORIGINS`; `http` only if `plain_http` allows it.
    pub fn read(reader: &mut SettingsReader<'_>, plain_http: bool) -> Option<Self> {
        let text = reader.required("ALLOWED_ORIGINS", &format!("set it to {FORMAT_HINT}"))?;
        let origins = Self::parse(&text, plain_http);
        if origins.is_none() {
            reader.problem("ALLOWED_ORIGINS", "is not understood", format!("set it to {FORMAT_HINT}"));
        }
        origins
    }

    /// Reads a list of origins.
    #[must_use]
    pub fn parse(text: &str, plain_http: bool) -> Option<Self> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let origins: Option<Vec<String>> = entries.map(|entry| parse_origin(entry, plain_http).filter(|origin| origin == entry)).collect();
        origins.filter(|origins| !origins.is_empty()).map(Self)
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| allowed == origin)
    }

    /// Whether this address lies in one of them.
    #[must_use]
    pub fn contains_url(&self, url: &str) -> bool {
        parse_origin(url, true).is_some_and(|origin| self.allows(&origin))
    }
}

/// Whether this is the beginning of addresses of one server: `https`, a host as browsers write it, and maybe a path.
#[must_use]
pub fn is_base_url(url: &str) -> bool {
    parse_origin(url, false).is_some() && !url.contains(['?', '#'])
}

/// Scheme, host and port of a URL as a browser writes an origin. `None` for anything out of the ordinary: user names, backslashes, other
/// characters than those of host names, an upper-case host.
fn parse_origin(url: &str, plain_http: bool) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    if !(scheme == "https" || (plain_http && scheme == "http")) || !url.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest.get(..end)?;
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let plain_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    let plain_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port));
    (plain_name && plain_port).then(|| format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shop() -> Origins {
        Origins::parse("https://shop.example.com, https://localhost:3000", false).unwrap()
    }

    #[test]
    fn only_the_listed_origins_and_addresses_within_them_are_allowed() {
        assert!(shop().allows("https://shop.example.com"));
        for url in ["https://shop.example.com", "https://shop.example.com/back?orderId=1", "https://localhost:3000/x#y"] {
            assert!(shop().contains_url(url), "{url}");
        }
        for url in [
            "https://shop.example.com.evil.test/",
            "https://shop.example.com@evil.test/",
            "https://evil.test/https://shop.example.com",
            "https://shop.example.com:444/",
            "http://shop.example.com/",
            "https://SHOP.example.com/",
            "https://evil.test\\@shop.example.com/",
            "//shop.example.com",
            "javascript:alert(1)//https://shop.example.com",
            "https://shop.example.com\n",
            "null",
            "",
        ] {
            assert!(!shop().contains_url(url) && !shop().allows(url), "{url}");
        }
    }

    #[test]
    fn a_port_is_written_as_browsers_write_it() {
        for (port, good) in [("1", true), ("65535", true), ("0", false), ("0443", false), ("+443", false), ("65536", false), ("", false)] {
            assert_eq!(is_base_url(&format!("https://shop.example.com:{port}/back")), good, "{port}");
        }
    }

    #[test]
    fn a_list_that_is_not_exact_is_refused() {
        for text in ["", " , ", "*", "https://*.example.com", "https://shop.example.com/", "shop.example.com", "http://shop.example.com"] {
            assert_eq!(Origins::parse(text, false), None, "{text}");
        }
        assert!(Origins::parse("http://localhost:3000", true).is_some());
    }

    proptest! {
        #[test]
        fn no_other_host_is_allowed(host in "[a-z.@:-]{1,30}", path in ".*") {
            prop_assume!(host != "shop.example.com" && host != "localhost:3000");
            let url = format!("https://{host}/{path}");
            prop_assert!(!shop().contains_url(&url));
        }
    }
}

//! What the targets share.

pub(crate) mod functions;
pub(crate) mod mutate;
pub(crate) mod paypal;

use connector::http::{HeaderMap, HeaderName, HeaderValue};

/// Runs something that waits for nobody.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(work)
}

/// A number that the bytes alone decide (FNV-1a), so that a find is found again.
pub(crate) fn hash(bytes: &[u8]) -> usize {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    usize::try_from(hash >> 33).expect("31 bits")
}

/// The bytes with one bit changed, somewhere; nothing for no bytes.
pub(crate) fn with_flipped_bit(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = hash(bytes);
    let mut other = bytes.to_vec();
    let byte = other.get_mut(at.checked_rem(bytes.len())?)?;
    *byte ^= 1 << (at % 8);
    Some(other)
}

/// The same of a text, which stays one: a bit that no UTF-8 minds, of an ASCII character.
pub(crate) fn text_with_flipped_bit(text: &str) -> Option<String> {
    let places: Vec<usize> = text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii()).map(|(place, _)| place).collect();
    let at = hash(text.as_bytes());
    let mut bytes = text.as_bytes().to_vec();
    let byte = bytes.get_mut(*places.get(at.checked_rem(places.len())?)?)?;
    *byte ^= 1 << (at % 7);
    String::from_utf8(bytes).ok()
}

/// A message as it is written in a corpus: a first line, headers, an empty line, a body.
pub(crate) struct LocalMessage<'a> {
    /// The first line.
    pub(crate) first_line: &'a str,
    /// The lines that are headers.
    pub(crate) headers: HeaderMap,
    /// The rest.
    pub(crate) body: &'a [u8],
}

/// Splits a message into its parts. A missing part is empty.
pub(crate) fn parse_message(input: &[u8]) -> LocalMessage<'_> {
    let (head, body) = match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let mut lines = std::str::from_utf8(head).unwrap_or_default().lines();
    let first = lines.next().unwrap_or_default();
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    LocalMessage { first_line: first, headers, body }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Nothing that must not be seen is in what was said.
pub(crate) fn assert_no_secret(said: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!said.contains(secret), "a secret is told: {said}");
    }
}

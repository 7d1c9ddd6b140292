//! Mutations that usually keep the shape of their input: a value in JSON, a line, a word; otherwise bytes.

use serde_json::{Map, Value};

/// A pseudo-random generator that a seed decides (SplitMix64).
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    /// The generator of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Below `end`; zero where that is impossible.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).expect("31 bits").checked_rem(end).unwrap_or(0)
    }

    fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Numbers as JSON writes them: at the ends of what fits, with digits that must not get lost.
const NUMBERS: [&str; 18] = [
    "0",
    "-0",
    "1",
    "-1",
    "17",
    "999",
    "1e2",
    "9.99",
    "9.990",
    "0.1",
    "1e400",
    "-1e-400",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551616",
    "1790000000",
    "253402300800",
];
/// Texts of every awkward kind.
const TEXTS: [&str; 26] = [
    "",
    " ",
    "0",
    "null",
    "true",
    "9.99",
    "JPY",
    "KWD",
    "USD",
    "EUR",
    "refund",
    "#",
    "a:b",
    "../..",
    "ä\u{301}\u{1F980}",
    "\u{0}",
    "\n",
    "%",
    "%00",
    "https://shop.example.com@evil.test/",
    "2026-02-30T00:00:00Z",
    "2026-03-01T12:00:00+01:00",
    "9999-12-31T23:59:59Z",
    "x@example.com",
    "4111111111111111",
    "clg-00112233-4455-8677-8899-aabbccddeeff",
];

/// The bytes changed in one to three places.
pub(crate) fn mutate(seed: u64, input: &[u8]) -> Vec<u8> {
    let mut rng = SplitMix64::new(seed);
    let mut changed = input.to_vec();
    for _ in 0..=rng.below(3) {
        changed = mutate_once(&mut rng, &changed);
    }
    changed
}

fn mutate_once(rng: &mut SplitMix64, input: &[u8]) -> Vec<u8> {
    // A head of lines may stand before the JSON.
    let split = input.windows(2).position(|pair| pair == b"\n\n").map_or(0, |end| end + 2);
    let (head, rest) = input.split_at(split);
    let read = serde_json::from_slice::<Value>(rest).ok().filter(|value| value.is_object() || value.is_array());
    match read {
        Some(mut value) if rng.below(4) > 0 => {
            let mut places = count_values(&value);
            let place = rng.below(places);
            change_value(&mut value, &mut places, place, rng);
            [head, value.to_string().as_bytes()].concat()
        }
        _ if split > 0 && rng.below(2) == 0 => [&mutate_bytes(rng, head)[..], b"\n\n", rest].concat(),
        _ if rng.below(2) == 0 => mutate_words(rng, input),
        _ => mutate_bytes(rng, input),
    }
}

/// How many values a document has, itself not counted.
fn count_values(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.values().map(|inner| 1 + count_values(inner)).sum(),
        Value::Array(items) => items.iter().map(|inner| 1 + count_values(inner)).sum(),
        _ => 0,
    }
}

/// Changes the value at this place, counted downwards from `left`.
fn change_value(value: &mut Value, left: &mut usize, place: usize, rng: &mut SplitMix64) {
    let hit = |left: &mut usize| {
        *left = left.saturating_sub(1);
        *left == place
    };
    match value {
        Value::Object(members) => {
            let names: Vec<String> = members.keys().cloned().collect();
            for name in names {
                if hit(left) {
                    return change_member(members, &name, rng);
                }
                if let Some(inner) = members.get_mut(&name) {
                    change_value(inner, left, place, rng);
                }
            }
        }
        Value::Array(items) => {
            for index in 0..items.len() {
                if hit(left) {
                    return match rng.below(3) {
                        0 => drop(items.remove(index)),
                        1 => items.push(items[index].clone()),
                        _ => items[index] = replacement(rng, &items[index]),
                    };
                }
                change_value(&mut items[index], left, place, rng);
            }
        }
        _ => {}
    }
}

fn change_member(members: &mut Map<String, Value>, name: &str, rng: &mut SplitMix64) {
    let Some(old) = members.get(name).cloned() else { return };
    match rng.below(6) {
        0 => drop(members.remove(name)),
        1 => {
            // Another member's value, or its name.
            let names: Vec<String> = members.keys().cloned().collect();
            let neighbour = names[rng.below(names.len())].clone();
            let taken = members.get(&neighbour).cloned().unwrap_or(Value::Null);
            members.insert(if rng.below(2) == 0 { name.to_owned() } else { format!("{name}{neighbour}") }, taken);
        }
        _ => drop(members.insert(name.to_owned(), replacement(rng, &old))),
    }
}

fn replacement(rng: &mut SplitMix64, old: &Value) -> Value {
    let text = Value::from(rng.choose(&TEXTS));
    let number = serde_json::from_str(rng.choose(&NUMBERS)).unwrap_or(Value::Null);
    match (rng.below(6), old) {
        (0, _) => rng.choose(&[Value::Null, Value::Bool(true), Value::Bool(false)].each_ref()).clone(),
        (1, _) => Value::Array(vec![old.clone()]),
        (2, Value::Number(number)) => Value::from(number.to_string()),
        (2, Value::String(text)) => serde_json::from_str(text).unwrap_or(Value::Null),
        (3, Value::String(text)) => Value::from(String::from_utf8_lossy(&mutate_bytes(rng, text.as_bytes())).into_owned()),
        (3, Value::Number(number)) => number.as_i64().map_or(Value::Null, |number| Value::from(number.wrapping_add(1))),
        (4, _) => number,
        _ => text,
    }
}

/// A word between two marks is left out, doubled, or set to another.
fn mutate_words(rng: &mut SplitMix64, input: &[u8]) -> Vec<u8> {
    const MARKERS: &[u8] = b" \n,:;&=?/|.\"'+-";
    let ends: Vec<usize> = input.iter().enumerate().filter(|(_, byte)| MARKERS.contains(byte)).map(|(place, _)| place).collect();
    let from = ends.get(rng.below(ends.len() + 1)).map_or(0, |place| place + 1);
    let to = ends.iter().copied().find(|place| *place >= from).unwrap_or(input.len());
    let (before, word, after) = (&input[..from], &input[from..to], &input[to..]);
    match rng.below(4) {
        0 => [before, after].concat(),
        1 => [before, word, word, after].concat(),
        2 => [before, rng.choose(&NUMBERS).as_bytes(), after].concat(),
        _ => [before, rng.choose(&TEXTS).as_bytes(), after].concat(),
    }
}

/// A bit, a byte, a stretch.
fn mutate_bytes(rng: &mut SplitMix64, input: &[u8]) -> Vec<u8> {
    let mut changed = input.to_vec();
    let at = rng.below(input.len().max(1));
    let to = (at + rng.below(9)).min(input.len());
    let at = at.min(to);
    match rng.below(5) {
        0 => drop(changed.drain(at..to)),
        1 => changed.insert(at, rng.choose(&[0_u8, b'"', b'\\', b'{', b'}', b'0', b'9', b'-', b'%', b'.', 0xff, 0xc3])),
        2 => {
            let stretch = changed[at..to].to_vec();
            changed.splice(at..at, stretch);
        }
        3 => changed.truncate(to),
        _ => {
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
    }
    changed
}

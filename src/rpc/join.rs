//! One result of several.

use serde_json::Value;

use super::{Codec, Error, Payload};

/// The first one, for all say the same.
pub fn agreed(results: Vec<Payload>) -> Result<Payload, Error> {
    results.into_iter().next().ok_or(Error::UnknownMethod)
}

/// Lists one after the other, wherever in the results they are.
pub fn lists(results: Vec<Payload>) -> Result<Payload, Error> {
    let first = results.first().cloned().ok_or(Error::UnknownMethod)?;
    if first.codec == Codec::Proto {
        // A message after a message is one with the lists of both.
        let body: Vec<u8> = results.iter().flat_map(|result| result.body.iter().copied()).collect();
        return Ok(Payload { body: body.into(), ..first });
    }
    let mut all = Value::Null;
    for result in &results {
        all = joined(all, result.read()?);
    }
    first.reply(&all)
}

fn joined(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Null, second) => second,
        (Value::Array(mut list), Value::Array(more)) => {
            list.extend(more);
            Value::Array(list)
        }
        (Value::Object(mut map), Value::Object(more)) => {
            for (name, value) in more {
                let own = map.remove(&name).unwrap_or_default();
                map.insert(name, joined(own, value));
            }
            Value::Object(map)
        }
        (first, _) => first,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_joined_in_every_codec() {
        let empty = Payload { codec: Codec::Json, body: "".into() };
        let of = |codec, value: &Value| Payload { codec, ..empty.clone() }.reply(value).unwrap();
        for (all, expected) in [
            (vec![json!([1]), json!([]), json!([2, 3])], json!([1, 2, 3])),
            (vec![json!({"workers": null}), json!({"workers": [{"pid": 7}]})], json!({"workers": [{"pid": 7}]})),
            (vec![json!({"workers": [1]}), json!({"workers": [2]})], json!({"workers": [1, 2]})),
            (vec![json!(true), json!(true)], json!(true)),
        ] {
            for codec in [Codec::Json, Codec::Msgpack] {
                let results = all.iter().map(|value| of(codec, value)).collect();
                assert_eq!(lists(results).unwrap().read::<Value>(), Ok(expected.clone()), "{codec:?}");
            }
        }
        let message = |body: &'static [u8]| Payload { codec: Codec::Proto, body: body.into() };
        assert_eq!(lists(vec![message(b"\x0a\x01a"), message(b"\x0a\x01b")]), Ok(message(b"\x0a\x01a\x0a\x01b")));
    }
}

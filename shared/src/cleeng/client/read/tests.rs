use proptest::prelude::*;
use serde_json::json;

use super::*;

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::new("USD").unwrap())
}

#[test]
fn an_order_is_found_in_every_wrapper() {
    let bare = json!({ "id": "1", "totalPrice": 9.99, "currency": "USD" });
    let wrapped = [
        json!({ "success": true, "order": bare }),
        json!({ "data": bare }),
        json!({ "responseData": { "message": "", "success": true, "order": bare } }),
        json!({ "responseData": bare, "errors": [] }),
        bare,
    ];
    for body in wrapped {
        let order = order(&body).unwrap();
        assert_eq!((order.id.as_str(), order.total), ("1", usd(999)), "{body}");
    }
}

#[test]
fn an_amount_is_read_by_its_digits_or_not_at_all() {
    let read = |total: &str| {
        let body: Value = serde_json::from_str(&format!(r#"{{"id":1,"currency":"USD","totalPrice":{total}}}"#)).unwrap();
        order(&body).map(|order| order.total)
    };
    for (text, minor) in [("10", 1000), ("10.10", 1010), ("\"8.1300\"", 813), ("0", 0), ("90071992547409.93", 9_007_199_254_740_993)] {
        assert_eq!(read(text), Ok(usd(minor)), "{text}");
    }
    for text in ["9.999", "9.990000000000000213", "1e1", "-1", "\"\"", "\"9,99\"", "99999999999999999999"] {
        assert_eq!(read(text), Err(CleengError::AmountUnreadable), "{text}");
    }
    for text in ["null", "true", "{}", "[9.99]"] {
        assert_eq!(read(text), Err(unreadable("order.totalPrice")), "{text}");
    }
}

#[test]
fn authorised_payments_are_found_in_every_wrapper() {
    let item = json!({ "id": 7, "status": "authorised" });
    let bodies = [
        json!([item]),
        json!({ "data": [item] }),
        json!({ "payments": [item] }),
        json!({ "payment": [item] }),
        json!({ "payment": item }),
        json!({ "data": item }),
        json!({ "responseData": { "payments": [item] } }),
        item,
    ];
    for body in bodies {
        let payments = payments(&body).unwrap();
        assert_eq!(payments.len(), 1, "{body}");
        assert!(payments.iter().all(|payment| payment.status == PaymentStatus::Authorised && payment.id.as_str() == "7"), "{body}");
    }
    for body in [json!([]), json!({ "success": true, "data": [], "message": "" })] {
        assert_eq!(payments(&body), Ok(Vec::new()), "{body}");
    }
}

#[test]
fn what_is_no_list_is_not_an_empty_list() {
    for body in [json!({}), json!(null), json!("[]"), json!({ "data": null }), json!({ "data": {} }), json!({ "message": "ok" })] {
        assert_eq!(payments(&body), Err(unreadable("payments")), "{body}");
    }
    assert_eq!(payments(&json!([{ "id": 1 }])), Err(unreadable("payment.status")));
    assert_eq!(payments(&json!([{ "status": "authorized" }])), Err(unreadable("payment.id")));
    assert_eq!(payments(&json!([null])), Err(unreadable("payment.id")));
}

#[test]
fn an_unknown_word_is_kept_as_it_came() {
    assert_eq!(payment_status("receivable"), PaymentStatus::Other("receivable".to_owned()));
    assert_eq!(subscription_status("ACTIVE"), SubscriptionStatus::Other("ACTIVE".to_owned()));
}

#[test]
fn the_latest_payment_is_told_not_told_or_none() {
    let read = |extra: Value| {
        let mut body = json!({ "subscriptionId": 1, "status": "active", "dateTo": 1_677_752_084 });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        subscription(&body).unwrap().latest_payment
    };
    assert_eq!(read(json!({})), LatestPayment::NotReported);
    assert_eq!(read(json!({ "latestPaymentExternalId": null })), LatestPayment::None);
    assert_eq!(read(json!({ "latestPaymentExternalId": 5 })), LatestPayment::Known(ExternalPaymentId::new("5").unwrap()));
    assert_eq!(read(json!({ "latestPaymentExternalId": {} })), LatestPayment::NotReported);
}

#[test]
fn the_end_of_what_is_paid_is_the_same_in_every_form() {
    let read = |date: Value| subscription(&json!({ "subscriptionId": 1, "status": "active", "dateTo": date })).map(|s| s.paid_until);
    let expected = Ok(Timestamp::from_secs(1_551_861_800));
    for date in [json!(1_551_861_800), json!("1551861800"), json!("2019-03-06T08:43:20Z"), json!("2019-03-06T09:43:20+01:00")] {
        assert_eq!(read(date.clone()), expected, "{date}");
    }
    for date in [json!(null), json!(0), json!(-1), json!(1_551_861_800_000_i64), json!("soon"), json!(true), json!({}), json!(1.5)] {
        assert_eq!(read(date.clone()), Err(unreadable("subscription.dateTo")), "{date}");
    }
}

#[test]
fn a_cycle_is_read_by_its_shortest_meaning_or_not_at_all() {
    let days = |days: u64| Some(RenewalCycle(Duration::from_secs(days * SECONDS_PER_DAY)));
    let known = [
        (json!({ "unit": "day", "amount": 1, "completed": 4 }), 1),
        (json!({ "unit": "week", "amount": 2 }), 14),
        (json!({ "unit": "month", "amount": 1 }), 28),
        (json!({ "unit": "months", "amount": "3" }), 84),
        (json!({ "unit": "year", "amount": 1 }), 365),
        (json!({ "unit": "3-months", "amount": 1 }), 84),
        (json!("6-months"), 168),
        (json!("weekly"), 7),
        (json!("annual"), 365),
        (json!({ "unit": "season", "amount": 1 }), 84),
        (json!("seasonal"), 84),
    ];
    for (value, expected) in known {
        assert_eq!(cycle(&value), days(expected), "{value}");
    }
    let unknown =
        [json!("fortnight"), json!({ "unit": "month" }), json!({ "unit": "month", "amount": 0 }), json!({ "unit": "month", "amount": -1 })];
    for value in unknown.into_iter().chain([json!(null), json!(30), json!({ "unit": "year", "amount": u64::MAX })]) {
        assert_eq!(cycle(&value), None, "{value}");
    }
}

#[test]
fn details_for_the_front_end_hold_no_token() {
    let token = SecretString::new("tok_secret_1");
    let body = json!({ "data": { "id": 5, "Token": "tok_secret_1", "active": true, "nested": { "token": "x", "copy": "a tok_secret_1" },
        "list": ["tok_secret_1", { "token": 1 }], "paymentMethodSpecificParams": { "variant": "visa" } } });
    let details = payment_details(&body, &token).unwrap();
    assert_eq!(
        details.public_json,
        json!({ "id": 5, "active": true, "nested": {}, "list": [{}], "paymentMethodSpecificParams": { "variant": "visa" } })
    );
}

proptest! {
    #[test]
    fn no_answer_makes_a_reader_panic(text in r#"[\[\]{}":,0-9a-z.\-]{0,60}"#) {
        if let Ok(body) = serde_json::from_str::<Value>(&text) {
            let _ = (order(&body), payment(&body), payments(&body), subscription(&body));
        }
    }

    #[test]
    fn a_total_survives_as_number_and_as_text(minor in 0_i64..1_000_000_000_000) {
        let text = usd(minor).to_decimal();
        let number: Value = serde_json::from_str(&text).unwrap();
        for total in [number, Value::String(text)] {
            prop_assert_eq!(order(&json!({ "id": 1, "currency": "usd", "totalPrice": total })).map(|order| order.total), Ok(usd(minor)));
        }
    }
}

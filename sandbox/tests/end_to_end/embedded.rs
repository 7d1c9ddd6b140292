//! Binaries without AWS.

use connector::http::Method;

use crate::billing::effects;
use crate::deployment::{binary, embedded, event, nowhere};
use crate::support::peers::Peers;
use crate::support::runtime::Runtime;
use crate::{BILLING, enabled};

#[tokio::test]
async fn an_embedded_binary_answers_its_sample_events_without_aws() {
    if !enabled("an_embedded_binary_answers_its_sample_events_without_aws") {
        return;
    }
    let peers = Peers::start(0).await;
    let mut runtime = Runtime::start().await;
    for function in [BILLING[0], BILLING[2]] {
        runtime.attach(function, &binary(function), &embedded(&peers.cleeng_url, &peers.adyen_url));
        let answer = runtime.invoke(function, &event(function, "http.json")).await;
        assert_eq!(answer["statusCode"], 200, "{function}: {answer}\n{}", runtime.output());
    }
    assert_eq!(effects(&peers), [1, 1, 1]);
    assert_eq!(peers.road.reached("cleeng", &Method::POST, "/terminate"), 1);
}

#[tokio::test]
async fn an_embedded_binary_whose_upstreams_are_gone_says_so() {
    if !enabled("an_embedded_binary_whose_upstreams_are_gone_says_so") {
        return;
    }
    let mut runtime = Runtime::start().await;
    for function in BILLING {
        runtime.attach(function, &binary(function), &embedded(&nowhere(), &nowhere()));
        let answer = runtime.invoke(function, &event(function, "http.json")).await;
        assert_eq!(answer["statusCode"], 503, "{function}: {answer}\n{}", runtime.output());
        let body = answer["body"].as_str().unwrap_or_default().to_ascii_lowercase();
        assert!(body.contains("cleeng"), "{function}: the answer does not name the upstream: {body}");
    }
}

use super::*;

struct TestFlow;

#[async_trait]
impl FrontendFlow for TestFlow {
    fn route(&self) -> &'static str {
        "initial-payment"
    }

    fn redirect_path(&self) -> &'static str {
        "v1/tokens"
    }

    async fn handle(&self, _desk: &FrontendContext, request: &FrontendRequest, _delivery: &Delivery) -> Reply {
        reply::BAD_PATH.reply(Some(request.gateway))
    }
}

#[test]
fn our_own_address_is_what_the_api_says_and_nothing_odd() {
    let of = request_base_url;
    assert_eq!(of(Some("Pay.example.com"), "").as_deref(), Some("https://pay.example.com"));
    assert_eq!(
        of(Some("a1.execute-api.eu-west-1.amazonaws.com"), "/prod").as_deref(),
        Some("https://a1.execute-api.eu-west-1.amazonaws.com/prod")
    );
    for (domain, before) in [
        (None, ""),
        (Some(""), ""),
        (Some("evil@example.com"), ""),
        (Some("a b"), ""),
        (Some("example.com"), "/a b"),
        (Some("example.com"), "?x"),
    ] {
        assert_eq!(of(domain, before), None, "{domain:?} {before}");
    }
}

#[test]
fn only_the_functions_own_path_leads_to_it() {
    let found = |path: &str| route(&TestFlow, path).map(|route| (route.base_path, route.gateway, route.kind));
    let is = |before: &str, stage| Some((before.to_owned(), GatewayName::Adyen, stage));
    let reference = "clg-00112233-4455-8677-8899-aabbccddeeff";
    let named = || Reference::parse(reference).unwrap();
    assert_eq!(found("/connectors/adyen/initial-payment"), is("", CallKind::Start));
    assert_eq!(found("/stage/connectors/adyen/initial-payment/finalize"), is("/stage", CallKind::Finalize));
    assert_eq!(found("/stage/connectors/adyen/v1/tokens"), is("/stage", CallKind::RedirectStart));
    assert_eq!(found("/connectors/connectors/adyen/v1/tokens"), is("/connectors", CallKind::RedirectStart));
    assert_eq!(found(&format!("/connectors/adyen/v1/tokens/return/{reference}")), is("", CallKind::BrowserReturn(named())));
    assert_eq!(found(&format!("/connectors/adyen/v1/tokens/cancel/{reference}")), is("", CallKind::BrowserCancel(named())));
    for path in [
        "/connectors/unknown/initial-payment",
        "/connectors/adyen/payment-details",
        "/adyen/initial-payment",
        "/connectors/adyen/initial-payment/",
        "/connectors/adyen/initial-payment/finalize/finalize",
        "/webhooks/adyen/initial-payment",
        "/finalize",
        "/connectors/adyen/initial-paymentfinalize",
        "/connectors/adyen/v1/tokens/",
        "/connectors/adyen/v1/tokens/return/",
        "/connectors/adyen/v1/tokens/return/order-17",
        "/connectors/adyen/v1/tokens/refund/clg-00112233-4455-8677-8899-aabbccddeeff",
        "/connectors/adyen/v1/tokens/return/clg-00112233-4455-8677-8899-aabbccddeeff/",
        "/connectors/adyen/v1/payment_details/tokens",
        "",
    ] {
        assert_eq!(found(path), None, "{path}");
    }
}

#[test]
fn our_own_address_may_be_set_and_is_https_in_production() {
    let read = |environment: &str, address: &str| {
        let get = |name: &str| match name {
            "CLEENG_ENVIRONMENT" => Some(environment.to_owned()),
            "ALLOWED_ORIGINS" => Some("https://shop.example.com".to_owned()),
            "CONNECTOR_PUBLIC_URL" => Some(address.to_owned()),
            _ => None,
        };
        let mut reader = SettingsReader::new(&get);
        let settings = FrontendSettings::read(&mut reader);
        reader.finish(settings).ok().map(|settings| settings.public_url)
    };
    assert_eq!(read("production", ""), Some(None));
    assert_eq!(read("production", "https://pay.example.com/a/"), Some(Some("https://pay.example.com/a".to_owned())));
    assert_eq!(read("sandbox", "http://127.0.0.1:8080"), Some(Some("http://127.0.0.1:8080".to_owned())));
    for wrong in ["http://pay.example.com", "pay.example.com", "https://pay.example.com?a=1", "https://me@pay.example.com", "https://"] {
        assert_eq!(read("production", wrong), None, "{wrong}");
    }
}

#[test]
fn pages_of_production_are_reached_by_https_only() {
    let read = |environment: &str, origins: &str| {
        let get = |name: &str| match name {
            "CLEENG_ENVIRONMENT" => Some(environment.to_owned()),
            "ALLOWED_ORIGINS" => Some(origins.to_owned()),
            _ => None,
        };
        let mut reader = SettingsReader::new(&get);
        let settings = FrontendSettings::read(&mut reader);
        reader.finish(settings)
    };
    assert!(read("sandbox", "http://localhost:3000").is_ok());
    assert_eq!(read("sandbox", "http://localhost:3000").map(|s| s.mediastore.url), Ok("https://mediastore-sandbox.cleeng.com".to_owned()));
    assert!(read("production", "http://shop.example.com").is_err());
    assert!(read("production", "").is_err());
    assert_eq!(read("production", "https://shop.example.com").map(|s| s.mediastore.url), Ok("https://mediastore.cleeng.com".to_owned()));
}

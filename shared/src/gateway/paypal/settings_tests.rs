use super::*;

fn read(values: &[(&str, &str)]) -> Result<PayPalSettings, Problems> {
    let get = |name: &str| values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let mut reader = SettingsReader::new(&get);
    let settings = PayPalSettings::read(&mut reader);
    reader.finish(settings)
}

fn wrong(result: Result<PayPalSettings, Problems>) -> Vec<String> {
    result.unwrap_err().0.into_iter().map(|problem| problem.setting).collect()
}

const SANDBOX: (&str, &str) = ("PAYPAL_ENVIRONMENT", "sandbox");
const LIVE: (&str, &str) = ("PAYPAL_ENVIRONMENT", "live");
const CLIENT: (&str, &str) = ("PAYPAL_CLIENT_ID", "AZDxjDScFpQtjWTOUtWKbyN_bDt4OgqaF4eYXlewfBP4");
const WEBHOOK: (&str, &str) = ("PAYPAL_WEBHOOK_ID", "8PT597110X687430LKGECATA");

#[test]
fn sandbox_and_live_have_their_own_hosts() {
    let sandbox = read(&[SANDBOX, CLIENT, WEBHOOK]).unwrap();
    assert_eq!((sandbox.base_url.as_str(), sandbox.is_live()), ("https://api-m.sandbox.paypal.com", false));
    let live = read(&[LIVE, CLIENT, WEBHOOK]).unwrap();
    assert_eq!((live.base_url.as_str(), live.is_live()), ("https://api-m.paypal.com", true));
}

#[test]
fn another_base_url_and_another_trust_root_are_for_the_sandbox_only() {
    let elsewhere = ("PAYPAL_BASE_URL", "http://127.0.0.1:4000/");
    assert_eq!(read(&[SANDBOX, CLIENT, WEBHOOK, elsewhere]).unwrap().base_url, "http://127.0.0.1:4000");
    assert_eq!(wrong(read(&[LIVE, CLIENT, WEBHOOK, elsewhere])), ["PAYPAL_BASE_URL"]);
    let root = ("PAYPAL_TRUST_ROOT", "AAAA");
    assert_eq!(wrong(read(&[LIVE, CLIENT, WEBHOOK, root])), ["PAYPAL_TRUST_ROOT"]);
    assert_eq!(wrong(read(&[SANDBOX, CLIENT, WEBHOOK, root])), ["PAYPAL_TRUST_ROOT"]);
}

#[test]
fn every_mistake_is_named_at_once_and_nothing_is_guessed() {
    assert_eq!(wrong(read(&[])), ["PAYPAL_ENVIRONMENT", "PAYPAL_CLIENT_ID", "PAYPAL_WEBHOOK_ID"]);
    assert_eq!(wrong(read(&[("PAYPAL_ENVIRONMENT", "test"), CLIENT, WEBHOOK])), ["PAYPAL_ENVIRONMENT"]);
    assert_eq!(wrong(read(&[SANDBOX, ("PAYPAL_CLIENT_ID", "a:b-cdefghijkl"), WEBHOOK])), ["PAYPAL_CLIENT_ID"]);
    for ids in ["WEBHOOK_ID", "1,,2", "a b", "1,2,3,4,5"] {
        assert_eq!(wrong(read(&[SANDBOX, CLIENT, ("PAYPAL_WEBHOOK_ID", ids)])), ["PAYPAL_WEBHOOK_ID"], "{ids}");
    }
    let (pattern, credential) = (("PAYPAL_USAGE_PATTERN", "MONTHLY"), ("PAYPAL_STORED_CREDENTIAL", "yes"));
    assert_eq!(wrong(read(&[SANDBOX, CLIENT, WEBHOOK, pattern, credential])), ["PAYPAL_USAGE_PATTERN", "PAYPAL_STORED_CREDENTIAL"]);
}

#[test]
fn what_some_accounts_do_not_allow_can_be_left_out() {
    let usual = read(&[SANDBOX, CLIENT, WEBHOOK]).unwrap();
    assert_eq!((usual.usage_pattern.as_deref(), usual.stored_credential), (Some("SUBSCRIPTION_PREPAID"), true));
    let (pattern, credential) = (("PAYPAL_USAGE_PATTERN", "none"), ("PAYPAL_STORED_CREDENTIAL", "omit"));
    let bare = read(&[SANDBOX, CLIENT, WEBHOOK, pattern, credential]).unwrap();
    assert_eq!((bare.usage_pattern, bare.stored_credential), (None, false));
    let (pattern, credential) = (("PAYPAL_USAGE_PATTERN", "UNSCHEDULED_POSTPAID"), ("PAYPAL_STORED_CREDENTIAL", "send"));
    let said = read(&[SANDBOX, CLIENT, WEBHOOK, pattern, credential]).unwrap();
    assert_eq!((said.usage_pattern.as_deref(), said.stored_credential), (Some("UNSCHEDULED_POSTPAID"), true));
}

#[test]
fn two_webhooks_can_tell_while_one_replaces_the_other() {
    let both = read(&[SANDBOX, CLIENT, ("PAYPAL_WEBHOOK_ID", "8PT597110X687430LKGECATA, 0EH40505U7160970P")]).unwrap();
    assert_eq!(both.webhook_ids, ["8PT597110X687430LKGECATA", "0EH40505U7160970P"]);
    assert_eq!(read(&[SANDBOX, CLIENT, ("PAYPAL_WEBHOOK_ID", "1,2,3,4")]).unwrap().webhook_ids.len(), 4);
}

fn wrong_secrets(secrets: &[&str]) -> Vec<String> {
    let list = secrets.iter().map(|secret| SecretString::new(*secret)).collect();
    let problems = PayPalSecrets::read(&NamedSecrets([("client_secret".to_owned(), list)].into())).validate().err();
    problems.map(|problems| problems.0.into_iter().map(|problem| problem.setting).collect()).unwrap_or_default()
}

#[test]
fn good_secrets_start_and_placeholders_do_not() {
    const SECRET: &str = "EGnHDxD_qRPdaLdZz8iCr8N7_MzF-YHPTkjs6NKYQvQSBngp4PTTVWkPZRbL";
    assert_eq!(wrong_secrets(&[SECRET]), Vec::<String>::new());
    assert_eq!(wrong_secrets(&[SECRET, SECRET]), Vec::<String>::new());
    assert_eq!(wrong_secrets(&[]), ["paypal.client_secret"]);
    assert_eq!(wrong_secrets(&["changeme", ""]), ["paypal.client_secret", "paypal.client_secret[1]"]);
    let problems = PayPalSecrets::read(&NamedSecrets([("client_secret".to_owned(), vec![SecretString::new("very-secret")])].into()));
    assert!(!format!("{:?}", problems.validate().unwrap_err()).contains("very-secret"));
}

//! The settings of the Core API: where it is, and which of Cleeng's contradicting descriptions is believed first. Must never fall back to
//! an environment that was not named.

use crate::settings::SettingsReader;

/// Which of Cleeng's two worlds; they share neither tokens nor ids (Cleeng, "Cleeng sandbox").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleengEnvironment {
    /// Play money.
    Sandbox,
    /// Real money.
    Production,
}

impl CleengEnvironment {
    const fn default_url(self) -> &'static str {
        match self {
            Self::Sandbox => "https://api.sandbox.cleeng.com/3.1",
            Self::Production => "https://api.cleeng.com/3.1",
        }
    }

    /// Reads `CLEENG_ENVIRONMENT`. It has no default: its absence is a problem, and so is any other value.
    pub fn read(reader: &mut SettingsReader<'_>) -> Option<Self> {
        const NAME: &str = "CLEENG_ENVIRONMENT";
        let text = reader.required(NAME, "set it to sandbox or production")?;
        match text.as_str() {
            "sandbox" => Some(Self::Sandbox),
            "production" => Some(Self::Production),
            _ => {
                reader.problem(NAME, "is not understood", "set it to sandbox or production");
                None
            }
        }
    }
}

/// How authorised payments are listed first; the other way follows where this one is not there. The "Connector checklist" and "Update
/// payment details" say POST, the reference ("List a customer's authorised payments") says GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorisedList {
    /// `POST` without a body, the default.
    Post,
    /// `GET`.
    Get,
}

/// How a subscription is terminated first; the other way follows where this one is not there or refuses the field. The "Connector
/// checklist" and the tutorial "Termination" patch the status, the reference ("Terminate subscription") has a verb of its own and calls the
/// status deprecated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// `PATCH` of the status, which cannot carry a reason, the default.
    Patch,
    /// `POST .../terminate` with the reason.
    Terminate,
}

/// How the status of a held payment is spelt first; the other word follows where this one is refused. The reference ("Create a payment") says `authorized`, the tutorials say `authorised`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorisedSpelling {
    /// `authorized`, the default.
    Authorized,
    /// `authorised`.
    Authorised,
}

impl AuthorisedSpelling {
    /// The word itself.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorized => "authorized",
            Self::Authorised => "authorised",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Authorized => Self::Authorised,
            Self::Authorised => Self::Authorized,
        }
    }
}

/// What goes with a first purchase that was refused, in place of payment details. The reference ("Create a payment") requires either
/// `paymentDetails` or `paymentDetailsId`, and a refused purchase has neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectedDetails {
    /// Nothing, the default.
    None,
    /// An empty `paymentDetails`.
    EmptyObject,
}

/// How a first purchase of which nothing is charged is reported. The reference ("Update a payment") explains `initial-free-transaction` for
/// it, but "Create a payment" does not list that value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeStartOperation {
    /// `initial-payment`, the default.
    InitialPayment,
    /// `initial-free-transaction`.
    InitialFreeTransaction,
}

impl FreeStartOperation {
    /// The word itself.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InitialPayment => "initial-payment",
            Self::InitialFreeTransaction => "initial-free-transaction",
        }
    }
}

/// The names of fields that Cleeng describes without naming them where that could be read ("Update a payment": reason, amount and kind of
/// a refund). This is the one place that maps them; verify them against a sandbox account before partial refunds are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundFields {
    /// Why. Default `refundedReason`, the name that the payment resource uses.
    pub reason: String,
    /// How much, in major units, for a partial refund. Default `refundedAmount`, a guess.
    pub amount: String,
    /// `refund` or `chargeback`. Default `refundType`, a guess.
    pub kind: String,
}

impl Default for RefundFields {
    fn default() -> Self {
        Self { reason: "refundedReason".to_owned(), amount: "refundedAmount".to_owned(), kind: "refundType".to_owned() }
    }
}

impl RefundFields {
    const RESERVED: [&'static str; 6] = ["orderId", "status", "paymentOperation", "externalPaymentId", "paymentDetails", "rejectedReason"];

    fn read(reader: &mut SettingsReader<'_>) -> Self {
        let defaults = Self::default();
        let mut name = |setting: &str, default: String| {
            reader.parsed(setting, default, "the name of a JSON field that has no other meaning in the request", |text| {
                let plain = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                (plain && !Self::RESERVED.contains(&text)).then(|| text.to_owned())
            })
        };
        let fields = Self {
            reason: name("CLEENG_REFUND_REASON_FIELD", defaults.reason),
            amount: name("CLEENG_REFUND_AMOUNT_FIELD", defaults.amount),
            kind: name("CLEENG_REFUND_KIND_FIELD", defaults.kind),
        };
        if fields.reason == fields.amount || fields.reason == fields.kind || fields.amount == fields.kind {
            reader.problem("CLEENG_REFUND_*_FIELD", "two of the three have the same name", "give each field a name of its own");
        }
        fields
    }
}

/// The settings of the Core API client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleengSettings {
    /// Which world.
    pub environment: CleengEnvironment,
    /// The API's URL up to and with `/3.1`, without a slash at its end.
    pub api_url: String,
    /// How authorised payments are listed first.
    pub authorised_list: AuthorisedList,
    /// How a subscription is terminated first.
    pub termination: Termination,
    /// How the status of a held payment is spelt.
    pub spelling: AuthorisedSpelling,
    /// How a free start is reported.
    pub free_start: FreeStartOperation,
    /// What goes with a refused first purchase in place of details.
    pub rejected_details: RejectedDetails,
    /// The unverified field names of a refund.
    pub refund_fields: RefundFields,
}

impl CleengSettings {
    /// The settings with every default, for this world.
    #[must_use]
    pub fn defaults(environment: CleengEnvironment) -> Self {
        Self {
            environment,
            api_url: environment.default_url().to_owned(),
            authorised_list: AuthorisedList::Post,
            termination: Termination::Patch,
            spelling: AuthorisedSpelling::Authorized,
            free_start: FreeStartOperation::InitialPayment,
            rejected_details: RejectedDetails::None,
            refund_fields: RefundFields::default(),
        }
    }

    /// Reads `CLEENG_ENVIRONMENT` (required), `CLEENG_API_URL`, `CLEENG_AUTHORISED_LIST`, `CLEENG_TERMINATION`,
    /// `CLEENG_AUTHORISED_SPELLING`, `CLEENG_FREE_START_OPERATION`, `CLEENG_REJECTED_DETAILS`, `CLEENG_REFUND_REASON_FIELD`,
    /// `CLEENG_REFUND_AMOUNT_FIELD` and `CLEENG_REFUND_KIND_FIELD`. Mistakes are noted in the reader; `None` if the environment is missing.
    pub fn read(reader: &mut SettingsReader<'_>) -> Option<Self> {
        let environment = CleengEnvironment::read(reader);
        // The rest is read even without an environment, so that one start shows every mistake.
        let assumed_environment = environment.unwrap_or(CleengEnvironment::Sandbox);
        let api_url = match assumed_environment {
            CleengEnvironment::Sandbox => reader.base_url("CLEENG_API_URL", assumed_environment.default_url(), true),
            CleengEnvironment::Production => reader.vendor_url("CLEENG_API_URL", assumed_environment.default_url(), &["cleeng.com"]),
        };
        let other_environment =
            if assumed_environment == CleengEnvironment::Production { CleengEnvironment::Sandbox } else { CleengEnvironment::Production };
        if environment.is_some() && api_url == other_environment.default_url() {
            reader.problem("CLEENG_API_URL", "is the address of the other environment", "remove it, or correct CLEENG_ENVIRONMENT");
        }
        let authorised_list = reader.parsed("CLEENG_AUTHORISED_LIST", AuthorisedList::Post, "post or get", |text| match text {
            "post" => Some(AuthorisedList::Post),
            "get" => Some(AuthorisedList::Get),
            _ => None,
        });
        let termination = reader.parsed("CLEENG_TERMINATION", Termination::Patch, "patch or terminate", |text| match text {
            "patch" => Some(Termination::Patch),
            "terminate" => Some(Termination::Terminate),
            _ => None,
        });
        let spelling =
            reader.parsed("CLEENG_AUTHORISED_SPELLING", AuthorisedSpelling::Authorized, "authorized or authorised", |text| match text {
                "authorized" => Some(AuthorisedSpelling::Authorized),
                "authorised" => Some(AuthorisedSpelling::Authorised),
                _ => None,
            });
        let words = "initial-payment or initial-free-transaction";
        let free_start = reader.parsed("CLEENG_FREE_START_OPERATION", FreeStartOperation::InitialPayment, words, |text| match text {
            "initial-payment" => Some(FreeStartOperation::InitialPayment),
            "initial-free-transaction" => Some(FreeStartOperation::InitialFreeTransaction),
            _ => None,
        });
        let rejected_details = reader.parsed("CLEENG_REJECTED_DETAILS", RejectedDetails::None, "none or empty_object", |text| match text {
            "none" => Some(RejectedDetails::None),
            "empty_object" => Some(RejectedDetails::EmptyObject),
            _ => None,
        });
        let refund_fields = RefundFields::read(reader);
        environment.map(|environment| Self {
            environment,
            api_url,
            authorised_list,
            termination,
            spelling,
            free_start,
            rejected_details,
            refund_fields,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Problems;

    fn read(pairs: &[(&str, &str)]) -> Result<CleengSettings, Problems> {
        let get = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let mut reader = SettingsReader::new(&get);
        let settings = CleengSettings::read(&mut reader);
        reader.finish(settings)
    }

    fn wrong(pairs: &[(&str, &str)]) -> Vec<String> {
        read(pairs).unwrap_err().0.into_iter().map(|problem| problem.setting).collect()
    }

    #[test]
    fn the_environment_has_no_default_and_decides_the_address() {
        assert_eq!(wrong(&[]), ["CLEENG_ENVIRONMENT"]);
        assert_eq!(wrong(&[("CLEENG_ENVIRONMENT", "prod")]), ["CLEENG_ENVIRONMENT"]);
        assert_eq!(read(&[("CLEENG_ENVIRONMENT", "sandbox")]), Ok(CleengSettings::defaults(CleengEnvironment::Sandbox)));
        let production = read(&[("CLEENG_ENVIRONMENT", "production")]).unwrap();
        assert_eq!(production.api_url, "https://api.cleeng.com/3.1");
    }

    #[test]
    fn plain_http_and_the_other_world_are_refused_in_production() {
        let local = "http://127.0.0.1:9999/3.1/";
        assert_eq!(wrong(&[("CLEENG_ENVIRONMENT", "production"), ("CLEENG_API_URL", local)]), ["CLEENG_API_URL"]);
        assert_eq!(read(&[("CLEENG_ENVIRONMENT", "sandbox"), ("CLEENG_API_URL", local)]).unwrap().api_url, "http://127.0.0.1:9999/3.1");
        let other = "https://api.sandbox.cleeng.com/3.1";
        assert_eq!(wrong(&[("CLEENG_ENVIRONMENT", "production"), ("CLEENG_API_URL", other)]), ["CLEENG_API_URL"]);
    }

    #[test]
    fn every_preference_is_read_and_every_mistake_is_told_at_once() {
        let settings = read(&[
            ("CLEENG_ENVIRONMENT", "sandbox"),
            ("CLEENG_AUTHORISED_LIST", "get"),
            ("CLEENG_TERMINATION", "terminate"),
            ("CLEENG_AUTHORISED_SPELLING", "authorised"),
            ("CLEENG_REJECTED_DETAILS", "empty_object"),
            ("CLEENG_REFUND_AMOUNT_FIELD", "amount"),
        ])
        .unwrap();
        assert_eq!(settings.authorised_list, AuthorisedList::Get);
        assert_eq!(settings.termination, Termination::Terminate);
        assert_eq!(settings.rejected_details, RejectedDetails::EmptyObject);
        assert_eq!(settings.spelling, AuthorisedSpelling::Authorised);
        assert_eq!(settings.refund_fields.amount, "amount");
        let preferences = |pairs: &[(&str, &str)]| {
            let settings = read(&[&[("CLEENG_ENVIRONMENT", "sandbox")], pairs].concat()).unwrap();
            (settings.authorised_list, settings.termination, settings.spelling.as_str(), settings.free_start.as_str())
        };
        let usual = (AuthorisedList::Post, Termination::Patch, "authorized", "initial-payment");
        assert_eq!(preferences(&[]), usual);
        let said = [
            ("CLEENG_AUTHORISED_LIST", "post"),
            ("CLEENG_TERMINATION", "patch"),
            ("CLEENG_AUTHORISED_SPELLING", "authorized"),
            ("CLEENG_REJECTED_DETAILS", "none"),
            ("CLEENG_FREE_START_OPERATION", "initial-payment"),
        ];
        assert_eq!(preferences(&said), usual);
        assert_eq!(preferences(&[("CLEENG_FREE_START_OPERATION", "initial-free-transaction")]).3, "initial-free-transaction");
        let mistakes = ["CLEENG_AUTHORISED_LIST", "CLEENG_TERMINATION", "CLEENG_AUTHORISED_SPELLING", "CLEENG_REJECTED_DETAILS"];
        let told = wrong(&mistakes.map(|name| (name, "put")));
        assert_eq!(told, [&["CLEENG_ENVIRONMENT"], &mistakes[..]].concat());
    }

    #[test]
    fn a_refund_field_cannot_take_the_name_of_another_field() {
        for name in ["status", "a b", "refundType"] {
            let settings = [("CLEENG_ENVIRONMENT", "sandbox"), ("CLEENG_REFUND_REASON_FIELD", name)];
            assert_eq!(wrong(&settings).len(), 1, "{name}");
        }
    }
}

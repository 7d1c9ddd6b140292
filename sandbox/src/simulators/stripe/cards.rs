//! Stripe's test payment methods (docs.stripe.com/testing), and what comes of paying with them.

use connector::clock::Timestamp;

/// Why a bank, or Stripe for it, declines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decline {
    /// The error's `code`.
    pub(super) code: String,
    pub(super) decline_code: Option<String>,
    pub(super) advice_code: Option<String>,
    pub(super) network_advice_code: Option<String>,
}

impl Decline {
    /// A decline by its decline code. Some have a code of their own beside it (docs.stripe.com/declines/codes, docs.stripe.com/error-codes).
    pub(super) fn from_decline_code(decline_code: &str) -> Self {
        let (code, decline_code) = match decline_code {
            "expired_card" | "incorrect_cvc" | "processing_error" | "incorrect_number" | "invalid_cvc" => {
                (decline_code, Some(decline_code))
            }
            "authentication_required" => (decline_code, Some(decline_code)),
            "payment_intent_authentication_failure" | "setup_intent_authentication_failure" => (decline_code, None),
            other => ("card_declined", Some(other)),
        };
        Self { code: code.to_owned(), decline_code: decline_code.map(str::to_owned), advice_code: None, network_advice_code: None }
    }

    /// Whether Stripe blocked it before any bank was asked.
    pub(super) fn is_blocked_by_stripe(&self) -> bool {
        self.decline_code.as_deref() == Some("fraudulent")
    }
}

/// How the customer authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthenticationFlow {
    /// The customer is redirected to a page and returns.
    Redirect,
    /// Stripe.js authenticates the customer in the page.
    InPage,
}

/// The scripted outcome of a payment.
#[derive(Clone, Debug)]
pub(super) enum ScriptedOutcome {
    Decline(Decline),
    /// The payment is `processing` until it is processed, and then fails with this if there is something.
    Process(Timestamp, Option<Decline>),
    /// The customer has to authenticate, in this way.
    RequireAuthentication(AuthenticationFlow),
}

/// How a card behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Card {
    Succeeds,
    /// Declines every request.
    Declines(&'static str),
    /// Can be stored, and declines every payment.
    DeclinesPayments,
    /// Requires authentication unless it was set up for off-session payments.
    AuthenticatesUntilSetUp,
    /// Requires authentication every time.
    AlwaysAuthenticates,
    /// Requires authentication, and declines after it succeeded.
    AuthenticatesThenDeclines,
    /// Its refunds look good at first and fail later.
    FailsRefunds,
}

impl Card {
    /// The card of a test payment method: its name, with or without the scheme (`pm_card_visa_chargeDeclined`).
    pub(super) fn from_test_payment_method(name: &str) -> Option<(Self, Scheme)> {
        let rest = name.strip_prefix("pm_card_")?;
        let scheme = if rest.starts_with("mastercard") { Scheme::Mastercard } else { Scheme::Visa };
        let card = match rest.strip_prefix("visa_").unwrap_or(rest) {
            "visa" | "visa_debit" | "mastercard" | "mastercard_debit" | "mastercard_prepaid" | "debit" => Self::Succeeds,
            "chargeDeclined" => Self::Declines("generic_decline"),
            "chargeDeclinedInsufficientFunds" => Self::Declines("insufficient_funds"),
            "chargeDeclinedLostCard" => Self::Declines("lost_card"),
            "chargeDeclinedStolenCard" => Self::Declines("stolen_card"),
            "chargeDeclinedExpiredCard" => Self::Declines("expired_card"),
            "chargeDeclinedIncorrectCvc" => Self::Declines("incorrect_cvc"),
            "chargeDeclinedProcessingError" => Self::Declines("processing_error"),
            "chargeDeclinedFraudulent" | "radarBlock" => Self::Declines("fraudulent"),
            "chargeCustomerFail" => Self::DeclinesPayments,
            "authenticationRequiredOnSetup" => Self::AuthenticatesUntilSetUp,
            "authenticationRequired" | "threeDSecure2Required" | "threeDSecureRequired" => Self::AlwaysAuthenticates,
            "authenticationRequiredChargeDeclinedInsufficientFunds" => Self::AuthenticatesThenDeclines,
            "refundFail" => Self::FailsRefunds,
            _ => return None,
        };
        Some((card, scheme))
    }
}

/// The card's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Visa,
    Mastercard,
}

impl Scheme {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Visa => "visa",
            Self::Mastercard => "mastercard",
        }
    }

    pub(super) const fn last_four(self) -> &'static str {
        match self {
            Self::Visa => "4242",
            Self::Mastercard => "4444",
        }
    }
}

/// The first decision of the bank.
#[derive(Clone, Debug)]
pub(super) enum IssuerDecision {
    Approve,
    Decline(Decline),
    Process(Timestamp, Option<Decline>),
    RequireAuthentication(Option<AuthenticationFlow>),
}

/// How a payment, or the storing of details, is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct CardRequest {
    /// The customer is not there.
    pub(super) off_session: bool,
    /// It has an amount.
    pub(super) has_amount: bool,
    /// The details were set up for payments without the customer.
    pub(super) set_up_off_session: bool,
    /// The customer has authenticated for this one.
    pub(super) authenticated: bool,
}

/// The decision of the bank.
pub(super) fn issuer_decision(card: Card, outcome: Option<ScriptedOutcome>, card_request: CardRequest) -> IssuerDecision {
    if let Some(outcome) = outcome.filter(|_| !card_request.authenticated) {
        return match outcome {
            ScriptedOutcome::Decline(decline) => IssuerDecision::Decline(decline),
            ScriptedOutcome::Process(until, then) => IssuerDecision::Process(until, then),
            ScriptedOutcome::RequireAuthentication(_) if card_request.off_session => {
                IssuerDecision::Decline(Decline::from_decline_code("authentication_required"))
            }
            ScriptedOutcome::RequireAuthentication(flow) => IssuerDecision::RequireAuthentication(Some(flow)),
        };
    }
    let once_authenticated = |then: IssuerDecision| match card_request {
        CardRequest { authenticated: true, .. } => then,
        CardRequest { off_session: true, .. } => IssuerDecision::Decline(Decline::from_decline_code("authentication_required")),
        _ => IssuerDecision::RequireAuthentication(None),
    };
    match card {
        Card::Declines(code) => IssuerDecision::Decline(Decline::from_decline_code(code)),
        Card::DeclinesPayments if card_request.has_amount => IssuerDecision::Decline(Decline::from_decline_code("generic_decline")),
        Card::AuthenticatesUntilSetUp if !card_request.set_up_off_session => once_authenticated(IssuerDecision::Approve),
        Card::AlwaysAuthenticates => once_authenticated(IssuerDecision::Approve),
        Card::AuthenticatesThenDeclines => once_authenticated(IssuerDecision::Decline(Decline::from_decline_code("insufficient_funds"))),
        // Details that were not set up for off-session payments are declined (docs.stripe.com/payments/save-and-reuse).
        _ if card_request.off_session && !card_request.set_up_off_session => {
            IssuerDecision::Decline(Decline::from_decline_code("authentication_required"))
        }
        _ => IssuerDecision::Approve,
    }
}

//! Stripe's test payment methods (docs.stripe.com/testing), and what comes of paying with them.

use super::state::Asking;

/// Why a bank, or Stripe for it, says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The error's `code`.
    pub(super) code: String,
    pub(super) decline_code: Option<String>,
    pub(super) advice_code: Option<String>,
}

impl Refusal {
    /// A decline by its decline code. Some have a code of their own beside it (docs.stripe.com/declines/codes, docs.stripe.com/error-codes).
    pub(super) fn of(decline_code: &str) -> Self {
        let (code, decline_code) = match decline_code {
            "expired_card" | "incorrect_cvc" | "processing_error" | "incorrect_number" | "invalid_cvc" => {
                (decline_code, Some(decline_code))
            }
            "authentication_required" => (decline_code, Some(decline_code)),
            "payment_intent_authentication_failure" | "setup_intent_authentication_failure" => (decline_code, None),
            other => ("card_declined", Some(other)),
        };
        Self { code: code.to_owned(), decline_code: decline_code.map(str::to_owned), advice_code: None }
    }

    /// Whether Stripe itself refused before any bank was asked.
    pub(super) fn is_block(&self) -> bool {
        self.decline_code.as_deref() == Some("fraudulent")
    }
}

/// What a payment is made to come to.
#[derive(Clone, Debug)]
pub(super) enum Script {
    Refuse(Refusal),
    /// The payment is `processing` until it is processed, and then fails with this if there is something.
    Process(Option<Refusal>),
    /// The customer has to authenticate himself, in this way.
    Ask(Asking),
}

/// How a card behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Card {
    Good,
    /// Declines whatever is asked of it.
    Declines(&'static str),
    /// Can be stored, and declines every payment.
    DeclinesPayments,
    /// Wants the customer unless it was set up for later.
    AsksUntilSetUp,
    /// Wants the customer every time.
    AlwaysAsks,
    /// Wants the customer, and declines after he agreed.
    AsksThenDeclines,
    /// Its refunds look good at first and fail later.
    FailsRefunds,
}

impl Card {
    /// The card of a test payment method: its name, with or without the scheme (`pm_card_visa_chargeDeclined`).
    pub(super) fn named(name: &str) -> Option<(Self, Scheme)> {
        let rest = name.strip_prefix("pm_card_")?;
        let scheme = if rest.starts_with("mastercard") { Scheme::Mastercard } else { Scheme::Visa };
        let card = match rest.strip_prefix("visa_").unwrap_or(rest) {
            "visa" | "visa_debit" | "mastercard" | "mastercard_debit" | "mastercard_prepaid" | "debit" => Self::Good,
            "chargeDeclined" => Self::Declines("generic_decline"),
            "chargeDeclinedInsufficientFunds" => Self::Declines("insufficient_funds"),
            "chargeDeclinedLostCard" => Self::Declines("lost_card"),
            "chargeDeclinedStolenCard" => Self::Declines("stolen_card"),
            "chargeDeclinedExpiredCard" => Self::Declines("expired_card"),
            "chargeDeclinedIncorrectCvc" => Self::Declines("incorrect_cvc"),
            "chargeDeclinedProcessingError" => Self::Declines("processing_error"),
            "chargeDeclinedFraudulent" | "radarBlock" => Self::Declines("fraudulent"),
            "chargeCustomerFail" => Self::DeclinesPayments,
            "authenticationRequiredOnSetup" => Self::AsksUntilSetUp,
            "authenticationRequired" | "threeDSecure2Required" | "threeDSecureRequired" => Self::AlwaysAsks,
            "authenticationRequiredChargeDeclinedInsufficientFunds" => Self::AsksThenDeclines,
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

/// What the bank says at first.
#[derive(Clone, Debug)]
pub(super) enum Word {
    Yes,
    No(Refusal),
    Later(Option<Refusal>),
    Ask(Option<Asking>),
}

/// How a payment, or the storing of details, is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occasion {
    /// The customer is not there.
    pub(super) off_session: bool,
    /// There is money in it.
    pub(super) charges: bool,
    /// The details were set up for payments without the customer.
    pub(super) set_up: bool,
    /// The customer has authenticated himself for this one.
    pub(super) authenticated: bool,
}

/// What becomes of it.
pub(super) fn word(card: Card, script: Option<Script>, occasion: Occasion) -> Word {
    if let Some(script) = script.filter(|_| !occasion.authenticated) {
        return match script {
            Script::Refuse(refusal) => Word::No(refusal),
            Script::Process(then) => Word::Later(then),
            Script::Ask(_) if occasion.off_session => Word::No(Refusal::of("authentication_required")),
            Script::Ask(asking) => Word::Ask(Some(asking)),
        };
    }
    let asked = |then: Word| match occasion {
        Occasion { authenticated: true, .. } => then,
        Occasion { off_session: true, .. } => Word::No(Refusal::of("authentication_required")),
        _ => Word::Ask(None),
    };
    match card {
        Card::Declines(code) => Word::No(Refusal::of(code)),
        Card::DeclinesPayments if occasion.charges => Word::No(Refusal::of("generic_decline")),
        Card::AsksUntilSetUp if !occasion.set_up => asked(Word::Yes),
        Card::AlwaysAsks => asked(Word::Yes),
        Card::AsksThenDeclines => asked(Word::No(Refusal::of("insufficient_funds"))),
        // What nobody set up for it is no agreement that the bank honours (docs.stripe.com/payments/save-and-reuse).
        _ if occasion.off_session && !occasion.set_up => Word::No(Refusal::of("authentication_required")),
        _ => Word::Yes,
    }
}

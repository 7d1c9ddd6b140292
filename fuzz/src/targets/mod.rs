//! The fuzz targets: one function per kind of external bytes. It accepts any bytes, and panics if a rule is violated.
//!
//! | module | input |
//! |---|---|
//! | [`webhook`], [`signature_header`] | Cleeng's webhooks, and the header that signs them |
//! | [`adyen_notification`], [`paypal_notification`], [`stripe_notification`] | signed notifications of a gateway, and the same with one bit changed |
//! | [`foreign_notification`] | unsigned notifications, at the endpoints of all gateways |
//! | [`paypal_certificate`] | the content at the certificate's URL of a notification |
//! | [`gateway_answer`], [`cleeng_answer`] | responses of the upstreams, call by call |
//! | [`answers`] | the same in the middle of a renewal |
//! | [`front_call`], [`return_address`], [`customer_token`] | what a browser sends |
//! | [`lambda_event`], [`quarantine`] | input from AWS: requests, messages, schedules |
//! | [`envelope`], [`record`] | content of our own queues and of the journal |
//! | [`settings`], [`secrets`], [`log_line`] | an operator's input, and the secrets in it that must not appear |
//! | [`money`], [`small_types`] | amounts, ids, times, keys |

mod adyen_notification;
mod answers;
mod cleeng_answer;
mod customer_token;
mod envelope;
mod foreign_notification;
mod front_call;
mod gateway_answer;
mod lambda_event;
mod log_line;
mod money;
mod paypal_certificate;
mod paypal_notification;
mod quarantine;
mod record;
mod return_address;
mod secrets;
mod settings;
mod signature_header;
mod small_types;
mod stripe_notification;
mod webhook;

/// Takes any bytes.
pub(crate) type Body = fn(&[u8]);

/// Every target: its name, which is also the folder of its corpus, and its body.
pub(crate) const ALL: [(&str, Body); 22] = [
    ("adyen_notification", adyen_notification::body),
    ("answers", answers::body),
    ("cleeng_answer", cleeng_answer::body),
    ("customer_token", customer_token::body),
    ("envelope", envelope::body),
    ("foreign_notification", foreign_notification::body),
    ("front_call", front_call::body),
    ("gateway_answer", gateway_answer::body),
    ("lambda_event", lambda_event::body),
    ("log_line", log_line::body),
    ("money", money::body),
    ("paypal_certificate", paypal_certificate::body),
    ("paypal_notification", paypal_notification::body),
    ("quarantine", quarantine::body),
    ("record", record::body),
    ("return_address", return_address::body),
    ("secrets", secrets::body),
    ("settings", settings::body),
    ("signature_header", signature_header::body),
    ("small_types", small_types::body),
    ("stripe_notification", stripe_notification::body),
    ("webhook", webhook::body),
];

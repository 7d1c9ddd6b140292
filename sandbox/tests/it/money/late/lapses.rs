//! Rule 1: a hold that lapses while its event waits takes nothing, and rings.

use connector::cleeng::PaymentStatus;
use connector::clock::Clock as _;
use connector::gateway::GatewayName;
use connector::metrics::Metric;
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::testkit::queue_worker::time_to_come_back;

use super::{HOUR, Renewal};

#[tokio::test]
async fn rule_1_a_hold_that_lapses_while_cleeng_cannot_be_asked_rings_and_takes_nothing() {
    for gateway in GatewayName::ALL {
        let renewal = Renewal::authorised_and_due(*gateway).await;
        let (capture, until) = (renewal.env.capture_event(&renewal.subscriber), renewal.env.clock.now().after(4 * HOUR));
        for _ in 0..400 {
            let clock = renewal.env.clock.clone();
            renewal.env.network.inject(Fault::NotSent, move |peer: &str, request: &ServerRequest| {
                peer == "cleeng" && request.path.contains("/subscriptions/") && clock.now() < until
            });
        }
        while renewal.env.clock.now() < until {
            if renewal.env.clock.now() >= until.before(2 * HOUR) {
                renewal.env.gateway(*gateway).simulator.expire(&renewal.id_of_first());
            }
            renewal.env.process_gateways();
            renewal.env.deliver_notifications().await;
            let waits = time_to_come_back(&renewal.env.deliver(&capture).await);
            renewal.env.clock.advance(waits.unwrap_or_else(|| panic!("{gateway}: Cleeng cannot be asked")));
        }
        assert_eq!(renewal.env.metrics.count(Metric::Alarm, "authorisation_lapsed_while_waiting"), 1, "{gateway}");
        assert_eq!(renewal.env.metrics.count(Metric::Parked, ""), 0, "{gateway}: while nobody can be asked");
        renewal.env.run_event(&capture).await;
        renewal.settle().await;
        assert_eq!(renewal.env.metrics.count(Metric::Parked, "capture_of_an_expired_authorisation"), 1, "{gateway}");
        assert_eq!(renewal.env.metrics.count(Metric::Parked, ""), 1, "{gateway}");
        assert_eq!((renewal.kept(), renewal.statuses()), (0, vec![PaymentStatus::Cancelled]), "{gateway}");
        renewal.assert_balanced();
    }
}

//! Events of modules under test: those that they published, and those that a test hands to them.

use drystone_call::{Event, TenantId};
use drystone_events::{Consumer, Data, Envelope};

use super::TestApp;

/// Who publishes what a test delivers.
const SOURCE: &str = "test";

impl TestApp {
    /// The events of type `E` that the application has published for tenant `demo`, in order.
    ///
    /// They are read from the outbox: they are there as soon as the call that published them has answered, whether anybody wants them or not.
    ///
    /// # Panics
    /// If an outbox cannot be read, or holds something else than the type says.
    pub async fn published<E: Event>(&self) -> Vec<E> {
        let mut found = Vec::new();
        for (process, relay) in self.processes.iter().flat_map(|p| p.relays().iter().map(move |r| (p, r))) {
            let mut cx = process.context("demo", "user:test").expect("both names are well-formed");
            let mut read = relay.store().read(&mut cx).await.expect("the store opens a snapshot");
            let rows: Vec<(Vec<u8>,)> = read
                .query("select data from drystone_outbox where type = $1 order by seq")
                .bind((E::TYPE,))
                .all()
                .await
                .expect("the outbox can be read");
            found.extend(rows.into_iter().map(|(data,)| {
                E::from_binary(data.into(), E::TYPE).expect("the outbox holds what its type says")
            }));
        }
        found
    }

    /// Hands an event of tenant `demo` to every consumer that handles it, through the inbox, as the relay of the publishing module would. When it
    /// returns, the event is applied or held back.
    ///
    /// Gives the message, so that a test can deliver it again.
    ///
    /// # Panics
    /// If no module handles such events, or the store of one does not work.
    pub async fn deliver<E: Event>(&self, event: E) -> Envelope {
        let cx = self.context();
        let message = Envelope {
            id: cx.new_id(),
            source: SOURCE.to_owned(),
            event_type: E::TYPE.to_owned(),
            tenant: cx.tenant().clone(),
            key: event.key(),
            seq: 0,
            time: 0,
            trace: None,
            data: Data::Protobuf(event.encode_to_vec().into()),
        };
        self.deliver_again(&message).await;
        message
    }

    /// Hands a message over once more, as a relay does that does not know whether it had arrived.
    ///
    /// # Panics
    /// As [`TestApp::deliver`].
    pub async fn deliver_again(&self, message: &Envelope) {
        let mut handled = false;
        for consumer in self.consumers().filter(|consumer| consumer.types().contains(&message.event_type)) {
            let accepted = consumer.accept(&message.tenant, std::slice::from_ref(message)).await;
            accepted
                .unwrap_or_else(|error| panic!("{} does not take the message: {error:?}", consumer.name()));
            handled = true;
        }
        assert!(handled, "no module handles {}", message.event_type);
    }

    /// Every consumer of the application.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.processes.iter().flat_map(|process| process.consumers())
    }

    /// Says that held messages are to be looked at now, as after [`TestApp::turn_clock`]; they are within a second in any case.
    ///
    /// # Panics
    /// Never: the name is well-formed.
    pub fn look_at_held(&self) {
        let demo = TenantId::new("demo").expect("a well-formed name");
        self.consumers().for_each(|consumer| consumer.look_again(&demo));
    }
}

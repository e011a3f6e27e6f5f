//! The embedded broker between processes: messages are pushed by gRPC, over the same connections and identities as calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use drystone_call::{Context, ContractClient, Error, Home, Principal, Result, ServiceDef as _, TenantId};
use futures_util::future::BoxFuture;
use prost::Message as _;

use crate::cloudevents::{CloudEvent, Codec};
use crate::failpoint::failpoint;
use crate::link::Deliver;
use crate::{Consumer, Envelope};

/// The contract between processes.
pub mod v1 {
    drystone_call::include_contract!("drystone.events.v1");
}

use v1::{DeliverRequest, DeliverResponse, Delivery, DeliveryClient};

/// The largest part of a delivery, in bytes: a message between processes has 4 MiB at most.
const PART: usize = 2 << 20;

/// The name of the contract, as topologies and readiness checks know it.
#[must_use]
pub fn contract() -> &'static str {
    <DeliveryClient as ContractClient>::Service::contract().name
}

/// The way to a consumer in another process.
#[derive(Clone)]
pub struct RemoteConsumer {
    consumer: String,
    client: DeliveryClient,
    codec: Codec,
    /// The publishing module.
    home: Arc<Home>,
}

impl RemoteConsumer {
    /// The way to `consumer` by a client that is bound to its process, for messages of the module at `home`.
    #[must_use]
    pub fn new(application: &str, consumer: &str, client: DeliveryClient, home: Arc<Home>) -> Self {
        Self { consumer: consumer.to_owned(), client, codec: Codec::new(application), home }
    }

    async fn push(&self, tenant: &TenantId, messages: Vec<Vec<u8>>) -> Result<()> {
        let source = self.home.module().to_owned();
        let principal = Principal::new(&format!("module:{source}"))?;
        let cx = Context::mint(Arc::clone(&self.home), tenant.clone(), principal)
            .with_timeout(std::time::Duration::from_secs(10));
        let request = DeliverRequest { consumer: self.consumer.clone(), source, messages };
        self.client.deliver(&cx, request).await.map(|DeliverResponse {}| ())
    }
}

impl Deliver for RemoteConsumer {
    fn deliver<'a>(&'a self, tenant: &'a TenantId, messages: &'a [Envelope]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (mut part, mut size) = (Vec::new(), 0);
            for message in messages {
                let event = self.codec.to_proto(message).map_err(|cause| {
                    Error::internal(format!("message {} cannot be sent: {cause}", message.id))
                        .caused_by(cause)
                })?;
                let encoded = event.encode_to_vec();
                if size + encoded.len() > PART && !part.is_empty() {
                    self.push(tenant, std::mem::take(&mut part)).await?;
                    size = 0;
                }
                size += encoded.len();
                part.push(encoded);
            }
            self.push(tenant, part).await
        })
    }
}

/// The consumers of a process, for other processes.
pub struct Deliveries {
    consumers: BTreeMap<String, Consumer>,
    codec: Codec,
}

impl Deliveries {
    /// Serves these consumers.
    #[must_use]
    pub fn new(application: &str, consumers: impl IntoIterator<Item = Consumer>) -> Self {
        let consumers =
            consumers.into_iter().map(|consumer| (consumer.name().to_owned(), consumer)).collect();
        Self { consumers, codec: Codec::new(application) }
    }
}

impl Delivery for Deliveries {
    async fn deliver(&self, cx: &mut Context, request: DeliverRequest) -> Result<DeliverResponse> {
        let DeliverRequest { consumer, source, messages } = request;
        // The certificate says who calls; nobody publishes in another's name.
        if cx.calling_module() != Some(&*source) {
            let caller = cx.calling_module().unwrap_or("nobody");
            return Err(Error::new(
                drystone_call::Code::PermissionDenied,
                format!("{caller} delivers messages in the name of {source}"),
            ));
        }
        let consumer = self
            .consumers
            .get(&consumer)
            .ok_or_else(|| Error::not_found(format!("this process has no consumer {consumer}")))?;
        let decode = |bytes: Vec<u8>| {
            let event = CloudEvent::decode(Bytes::from(bytes)).map_err(Error::from)?;
            self.codec.from_proto(event).map_err(Error::from)
        };
        let messages = messages.into_iter().map(decode).collect::<Result<Vec<Envelope>>>()?;
        if let Some(other) = messages.iter().find(|m| m.source != source || m.tenant != *cx.tenant()) {
            return Err(Error::invalid_argument(format!(
                "message {} is of another source or tenant",
                other.id
            )));
        }
        consumer.accept(cx.tenant(), &messages).await?;
        failpoint("delivery.answered");
        Ok(DeliverResponse {})
    }
}

impl std::fmt::Debug for RemoteConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteConsumer").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.consumers.keys()).finish()
    }
}

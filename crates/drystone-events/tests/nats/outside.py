"""A producer and a consumer outside the application.

    outside.py publish URL                 publishes one event in each form, then one without a time and one under a module's source
    outside.py read URL SUBJECT COUNT      prints events as JSON, one a line
"""

import asyncio
import json
import sys
from datetime import datetime, timezone

import nats
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

INVOICED = {
    "id": "invoice-7",
    "source": "https://erp.example.com/billing",
    "type": "erp.billing.v1.Invoiced",
    "specversion": "1.0",
    "datacontenttype": "application/json",
    "time": datetime(2026, 11, 22, 11, 20, 0, 123456, timezone.utc),
    "tenantid": "acme",
    "partitionkey": "Straße 7",
}


def event(**changes):
    return CloudEvent(attributes={**INVOICED, **changes}, data={"amount": "12.50"})


async def publish(stream):
    subject = "shop.outside.billing"
    structured = http.to_structured(event(), JSONFormat())
    binary = http.to_binary(event(), JSONFormat())
    forged = http.to_structured(event(source="/shop/orders"), JSONFormat())
    untimed = json.loads(structured.body)
    del untimed["time"]
    await stream.publish(subject, structured.body, headers=structured.headers)
    await stream.publish(subject, binary.body, headers=binary.headers)
    await stream.publish(subject, structured.body)
    await stream.publish(subject, json.dumps(untimed).encode())
    await stream.publish(subject, forged.body, headers=forged.headers)


async def read(stream, subject, count):
    subscription = await stream.subscribe(subject, ordered_consumer=True)
    for _ in range(count):
        message = await subscription.next_msg(timeout=30)
        parsed = http.from_http(http.HTTPMessage(headers=message.headers, body=message.data), JSONFormat())
        shown = {"subject": message.subject, "data": parsed.get_data(), **parsed.get_attributes()}
        print(json.dumps(shown, default=lambda value: value.isoformat()))


async def main():
    what, url, *rest = sys.argv[1:]
    client = await nats.connect(url)
    stream = client.jetstream()
    if what == "publish":
        await publish(stream)
    else:
        await read(stream, rest[0], int(rest[1]))
    await client.close()


asyncio.run(main())

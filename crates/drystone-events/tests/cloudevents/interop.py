"""Reads the three forms of one event as others read them, and writes an event in the three forms.

The binary and the structured form are CloudEvents' own Python SDK's; it has no protobuf form, so that is protobuf's own library with the
messages of the specification declared here. Input and output are one JSON document each; bytes are in base64.
"""

import base64
import json
import sys
from datetime import datetime, timezone

from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

FIELD = descriptor_pb2.FieldDescriptorProto


def add(message, number, name, kind, type_name=None, oneof=None):
    field = message.field.add(name=name, number=number, type=kind, label=FIELD.LABEL_OPTIONAL)
    if type_name:
        field.type_name = type_name
    if oneof is not None:
        field.oneof_index = oneof
    return field


def proto_event():
    file = descriptor_pb2.FileDescriptorProto(name="ce.proto", package="io.cloudevents.v1", syntax="proto3")
    file.dependency.extend([any_pb2.DESCRIPTOR.name, timestamp_pb2.DESCRIPTOR.name])
    event = file.message_type.add(name="CloudEvent")
    value = event.nested_type.add(name="CloudEventAttributeValue")
    value.oneof_decl.add(name="attr")
    kinds = [FIELD.TYPE_BOOL, FIELD.TYPE_INT32, FIELD.TYPE_STRING, FIELD.TYPE_BYTES, FIELD.TYPE_STRING, FIELD.TYPE_STRING]
    names = ["ce_boolean", "ce_integer", "ce_string", "ce_bytes", "ce_uri", "ce_uri_ref"]
    for number, (name, kind) in enumerate(zip(names, kinds), 1):
        add(value, number, name, kind, oneof=0)
    add(value, 7, "ce_timestamp", FIELD.TYPE_MESSAGE, ".google.protobuf.Timestamp", 0)
    entry = event.nested_type.add(name="AttributesEntry")
    entry.options.map_entry = True
    add(entry, 1, "key", FIELD.TYPE_STRING)
    add(entry, 2, "value", FIELD.TYPE_MESSAGE, ".io.cloudevents.v1.CloudEvent.CloudEventAttributeValue")
    event.oneof_decl.add(name="data")
    for number, name in enumerate(["id", "source", "spec_version", "type"], 1):
        add(event, number, name, FIELD.TYPE_STRING)
    attributes = add(event, 5, "attributes", FIELD.TYPE_MESSAGE, ".io.cloudevents.v1.CloudEvent.AttributesEntry")
    attributes.label = FIELD.LABEL_REPEATED
    add(event, 6, "binary_data", FIELD.TYPE_BYTES, oneof=0)
    add(event, 7, "text_data", FIELD.TYPE_STRING, oneof=0)
    add(event, 8, "proto_data", FIELD.TYPE_MESSAGE, ".google.protobuf.Any", 0)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("io.cloudevents.v1.CloudEvent"))


ProtoEvent = proto_event()


def b64(data):
    return base64.b64encode(data).decode()


def shown(event):
    attributes = {}
    for name, value in event.get_attributes().items():
        attributes[name] = value.isoformat() if isinstance(value, datetime) else value
    data = event.get_data()
    return {"attributes": attributes, "data": b64(data) if isinstance(data, bytes) else data}


def shown_proto(data):
    event = ProtoEvent.FromString(data)
    attributes = {"id": event.id, "source": event.source, "specversion": event.spec_version, "type": event.type}
    for name, value in event.attributes.items():
        kind = value.WhichOneof("attr")
        attributes[name] = value.ce_timestamp.ToJsonString() if kind == "ce_timestamp" else getattr(value, kind)
    return {"attributes": attributes, "type_url": event.proto_data.type_url, "data": b64(event.proto_data.value)}


def written(given):
    event = CloudEvent(attributes={**given["attributes"], "time": datetime.now(timezone.utc)}, data=given["data"])
    binary = http.to_binary(event, JSONFormat())
    structured = http.to_structured(event, JSONFormat())
    proto = ProtoEvent(text_data=json.dumps(given["data"]), spec_version="1.0")
    for name, value in given["attributes"].items():
        if name in ("id", "source", "type"):
            setattr(proto, name, value)
        elif name != "specversion":
            proto.attributes[name].ce_string = value
    proto.attributes["time"].ce_timestamp.FromDatetime(event.get_time())
    return {
        "time": int(event.get_time().timestamp() * 1_000_000 + 0.5),
        "binary": {"headers": binary.headers, "body": b64(binary.body)},
        "structured": structured.body.decode(),
        "content_type": structured.headers["content-type"],
        "proto": b64(proto.SerializeToString()),
    }


def main():
    given = json.load(sys.stdin)
    ours = given["ours"]
    binary = http.HTTPMessage(headers=ours["binary"]["headers"], body=base64.b64decode(ours["binary"]["body"]))
    structured = http.HTTPMessage(headers={"content-type": ours["content_type"]}, body=ours["structured"].encode())
    read = {
        "binary": shown(http.from_http(binary, JSONFormat())),
        "structured": shown(http.from_http(structured, JSONFormat())),
        "proto": shown_proto(base64.b64decode(ours["proto"])),
    }
    json.dump({"read": read, "written": written(given["write"])}, sys.stdout)


main()

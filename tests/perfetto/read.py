"""Reads a trace by Perfetto's own schema, and says what is in it: one JSON object."""

import json
import sys

from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema

KINDS = schema.TrackEvent.Type


def unknown(message):
    """Fields that the schema does not have, or has otherwise."""
    count = len(UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for one in value if isinstance(value, list) or hasattr(value, "add") else [value]:
            count += unknown(one)
    return count


trace = schema.Trace()
with open(sys.argv[1], "rb") as file:
    trace.ParseFromString(file.read())

processes, names, parents, units = {}, {}, {}, {}
counters, instants = {}, []
last, unordered, unknown_fields, clocks = 0, 0, 0, {}
for packet in trace.packet:
    unknown_fields += unknown(packet)
    assert packet.trusted_packet_sequence_id == 1
    unordered += packet.timestamp < last
    last = packet.timestamp
    if packet.HasField("clock_snapshot"):
        clocks = {clock.clock_id: clock.timestamp for clock in packet.clock_snapshot.clocks}
    if packet.HasField("track_descriptor"):
        track = packet.track_descriptor
        assert track.uuid not in names, "described twice"
        names[track.uuid] = track.name
        parents[track.uuid] = track.parent_uuid
        if track.HasField("process"):
            processes[track.uuid] = track.process.pid
        if track.HasField("counter"):
            units[track.uuid] = schema.CounterDescriptor.Unit.Name(track.counter.unit)
    if packet.HasField("track_event"):
        event = packet.track_event
        assert event.track_uuid in names, "a track that is not described"
        process = processes.get(parents[event.track_uuid]) or processes.get(event.track_uuid)
        if event.type == KINDS.TYPE_COUNTER:
            key = f"{process} {names[event.track_uuid]}"
            assert units[event.track_uuid] == "UNIT_SIZE_BYTES"
            counters.setdefault(key, []).append([packet.timestamp, event.counter_value])
        else:
            assert event.type == KINDS.TYPE_INSTANT
            about = {a.name: a.uint_value or a.string_value for a in event.debug_annotations}
            instants.append([process, event.name, about])

json.dump(
    {
        "counters": counters,
        "instants": instants,
        "unordered": unordered,
        "unknown_fields": unknown_fields,
        "clocks": clocks,
        "packets": len(trace.packet),
    },
    sys.stdout,
)

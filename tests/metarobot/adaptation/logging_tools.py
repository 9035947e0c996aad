"""Episodes as files of other tools, written by their own libraries."""

import json

import numpy as np
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import Writer as Writer2
from rosbags.rosbag2.enums import StoragePlugin
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

STATE = "float64 phase\nfloat32[] rest\nstring note\n"
TOPICS = {"/state": "demo/msg/State", "/command": "std_msgs/msg/Float32MultiArray"}
TOPICS |= {"/reward": "std_msgs/msg/Float64", "/trial": "std_msgs/msg/Int32"}


def mapping_of(elements):
    """The mapping of these files to the elements of a policy."""
    first, *others = elements.observation
    return {
        "observation": {
            first: "/state.phase",
            **{name: f"/state.rest[{k}]" for k, name in enumerate(others)},
        },
        "action": {name: f"/command.data[{k}]" for k, name in enumerate(elements.action)},
        "reward": "/reward.data",
        "episode": "/trial.data",
    }


def messages_of(log, elements):
    """Messages (topic, time in ns, content), in the order in which a control loop sends them."""
    step_ns, now_ns = round(elements.control_step_s * 1e9), 10**18
    for number in range(len(log["actions"])):
        seen, done, earned = (log[name][number] for name in ("observations", "actions", "rewards"))
        yield "/trial", now_ns, number
        for step, shown in enumerate(seen):
            moment = now_ns + step * step_ns
            yield "/state", moment, shown
            if step:
                yield "/reward", moment, earned[step - 1]
            if step < len(done):
                yield "/command", moment + 2_000_000, done[step]
        now_ns += (len(seen) + 3) * step_ns


def write_mcap(path, log, elements):
    """JSON messages, as Foxglove's tools write them."""
    with path.open("wb") as file:
        writer = McapWriter(file)
        writer.start()
        schema = writer.register_schema("any", "jsonschema", b'{"type": "object"}')
        channels = {topic: writer.register_channel(topic, "json", schema) for topic in TOPICS}
        for topic, time_ns, content in messages_of(log, elements):
            numbers = np.asarray(content).tolist()
            values = {"data": numbers}
            if topic == "/state":
                values = {"phase": numbers[0], "rest": numbers[1:]}
            data = json.dumps(values).encode()
            writer.add_message(channels[topic], time_ns, data, time_ns)
        writer.finish()


def write_bag(path, log, elements, version):
    """A bag of ROS: version 1, a file; version 2, a folder with SQLite; version 3, with MCAP."""
    store = get_typestore(Stores.ROS1_NOETIC if version == 1 else Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg(STATE, "demo/msg/State"))
    types = store.types
    layout = types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    make = {
        "/state": lambda x: types["demo/msg/State"](float(x[0]), x[1:], "note"),
        "/command": lambda x: types["std_msgs/msg/Float32MultiArray"](layout, x),
        "/reward": lambda x: types["std_msgs/msg/Float64"](float(x)),
        "/trial": types["std_msgs/msg/Int32"],
    }
    plugin = StoragePlugin.MCAP if version == 3 else StoragePlugin.SQLITE3
    writer = Writer1(path) if version == 1 else Writer2(path, version=9, storage_plugin=plugin)
    serialize = store.serialize_ros1 if version == 1 else store.serialize_cdr
    with writer:
        ends = {
            topic: writer.add_connection(topic, name, typestore=store)
            for topic, name in TOPICS.items()
        }
        for topic, time_ns, content in messages_of(log, elements):
            data = serialize(make[topic](content), TOPICS[topic])
            writer.write(ends[topic], time_ns, data)

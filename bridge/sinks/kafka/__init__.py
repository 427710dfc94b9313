"""The Kafka sink: the only room that knows aiokafka.

`sink` delivers; `session` keeps a producer, `topics` asks and makes, `batches` and `naming` are pure,
`errors` is the door. A sink that also keeps its places in Kafka stands beside `sink` on the same rooms.
"""

from bridge.sinks.kafka.options import KafkaOptions
from bridge.sinks.kafka.sink import KafkaSink, open_kafka

__all__ = ["KafkaOptions", "KafkaSink", "open_kafka"]

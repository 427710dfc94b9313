"""The Kafka sink: the only room that knows aiokafka.

`sink` delivers at least once, `transactions` exactly once, with the sink's places beside its events:
`places` says what stands there, `keeping` reads it, `unseen` is for commits whose answer was lost. Both
stand on `layout` and `rounds`; `session` keeps a producer, `topics` asks and makes, `batches` and `naming`
are pure, `errors` is the door.
"""

from bridge.sinks.kafka.opening import open_kafka
from bridge.sinks.kafka.options import KafkaOptions
from bridge.sinks.kafka.sink import KafkaSink
from bridge.sinks.kafka.transactions import TransactionalKafkaSink

__all__ = ["KafkaOptions", "KafkaSink", "TransactionalKafkaSink", "open_kafka"]

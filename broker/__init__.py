"""The Kafka shell: embedded Kafka, topics, the one producer, the consumer, the supervisor."""

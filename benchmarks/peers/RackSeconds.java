// The peer: windows of 1 s per rack by Kafka Streams, one reading a record, final results only.
// RackSeconds BOOTSTRAP IN OUT memory|rocksdb. A record: key = rack (int), value = time in ms (long), power (float).
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

public class RackSeconds {
    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "peer-" + arguments[3]);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, System.getProperty("java.io.tmpdir") + "/peer-state");
        settings.put("auto.offset.reset", "earliest");

        var window = TimeWindows.ofSizeAndGrace(Duration.ofSeconds(1), Duration.ofMillis(250));
        Materialized<Integer, byte[], WindowStore<Bytes, byte[]>> kept = arguments[3].equals("memory")
            ? Materialized.as(Stores.inMemoryWindowStore("sums", Duration.ofSeconds(30), Duration.ofSeconds(1), false))
            : Materialized.as("sums");
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(arguments[1], Consumed.with(Serdes.Integer(), Serdes.ByteArray())
                .withTimestampExtractor((record, partition) -> ByteBuffer.wrap((byte[]) record.value()).getLong(0)))
            .groupByKey(Grouped.with(Serdes.Integer(), Serdes.ByteArray()))
            .windowedBy(window)
            .aggregate(() -> new byte[12], (rack, reading, sum) -> added(reading, sum),
                kept.withKeySerde(Serdes.Integer()).withValueSerde(Serdes.ByteArray()))
            .suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()))
            .toStream((rack, sum) -> rack.key())
            .to(arguments[2], Produced.with(Serdes.Integer(), Serdes.ByteArray()));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(5))));
        streams.start();
    }

    static byte[] added(byte[] reading, byte[] sum) {
        ByteBuffer before = ByteBuffer.wrap(sum);
        double watts = before.getDouble(0) + ByteBuffer.wrap(reading).getFloat(8);
        return ByteBuffer.allocate(12).putDouble(watts).putInt(before.getInt(8) + 1).array();
    }
}

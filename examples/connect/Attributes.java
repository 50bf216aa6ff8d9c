package example;

import java.util.LinkedHashMap;
import java.util.Map;

import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.ConnectRecord;
import org.apache.kafka.connect.transforms.Transformation;

/** Puts the attributes of a CloudEvent, which are headers, into its value, for sinks that write only values. */
public class Attributes<R extends ConnectRecord<R>> implements Transformation<R> {
    @Override
    public R apply(R record) {
        if (!(record.value() instanceof Map<?, ?> data)) return record;
        Map<String, Object> value = new LinkedHashMap<>();
        record.headers().forEach(header -> {
            if (header.key().startsWith("ce_")) value.put(header.key(), header.value());
        });
        data.forEach((name, content) -> value.put(String.valueOf(name), content));
        return record.newRecord(record.topic(), record.kafkaPartition(), record.keySchema(), record.key(), null, value,
                record.timestamp());
    }

    @Override
    public ConfigDef config() {
        return new ConfigDef();
    }

    @Override
    public void configure(Map<String, ?> settings) {
    }

    @Override
    public void close() {
    }
}

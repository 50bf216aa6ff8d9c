import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.spec.PKCS8EncodedKeySpec;
import java.time.Duration;
import java.time.Instant;
import java.util.*;

import com.github.f4b6a3.uuid.UuidCreator;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;
import org.jose4j.json.JsonUtil;
import org.jose4j.jws.JsonWebSignature;
import software.amazon.awssdk.auth.credentials.*;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3Client;

/** Asks easel for a picture over Kafka, follows the request to its end, and fetches the picture. */
public class Example {
    static final String REQUESTED = "easel.generation.requested.v1", SUCCEEDED = "easel.generation.succeeded.v1";
    static final Set<String> ENDS = Set.of(SUCCEEDED, "easel.generation.failed.v1", "easel.generation.canceled.v1",
            "easel.generation.rejected.v1");
    static final String TENANT = env("EASEL_TENANT", null), PREFIX = env("EASEL_KAFKA_PREFIX", "easel");

    public static void main(String[] args) throws Exception {
        String id = UuidCreator.getTimeOrderedEpoch().toString();
        String prompt = args.length > 0 ? args[0] : "a large red circle on a white background";
        byte[] body = JsonUtil.toJson(Map.of("prompt", prompt, "model", "easel-tiny")).getBytes(StandardCharsets.UTF_8);
        var request = new ProducerRecord<>(PREFIX + ".requests", TENANT, body);
        Map.of("content-type", "application/json", "ce_specversion", "1.0", "ce_id", id, "ce_type", REQUESTED,
                "ce_source", "example-java", "ce_signature", signed(id, body))
                .forEach((name, value) -> request.headers().add(name, value.getBytes(StandardCharsets.UTF_8)));
        String servers = env("EASEL_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092");
        Map<String, Object> reads = Map.of("bootstrap.servers", servers, "isolation.level", "read_committed");
        Map<String, Object> writes = Map.of("bootstrap.servers", servers, "enable.idempotence", true);
        try (var results = new KafkaConsumer<>(reads, new StringDeserializer(), new ByteArrayDeserializer());
                var producer = new KafkaProducer<>(writes, new StringSerializer(), new ByteArraySerializer())) {
            var partitions = results.partitionsFor(PREFIX + ".results").stream()
                    .map(one -> new TopicPartition(one.topic(), one.partition())).toList();
            results.assign(partitions);
            results.seekToEnd(partitions);
            partitions.forEach(results::position); // where the topic ends now, before there can be an answer
            producer.send(request).get();
            finish(id, ended(results, id));
        }
    }

    /** The token for the header ce_signature. */
    static String signed(String id, byte[] body) throws Exception {
        long now = Instant.now().getEpochSecond();
        var token = new JsonWebSignature();
        token.setAlgorithmHeaderValue("EdDSA");
        token.setHeader("typ", "easel-request+jwt");
        token.setKeyIdHeaderValue(env("EASEL_KID", null));
        token.setPayload(JsonUtil.toJson(Map.of("iss", TENANT, "sub", TENANT, "aud", env("EASEL_INSTALLATION", "easel"),
                "type", REQUESTED, "jti", id, "iat", now, "exp", now + 3600, "body_sha256", sha256(body))));
        String pem = secret("EASEL_KEY_FILE").replaceAll("-----[A-Z ]+-----|\\s", "");
        var encoded = new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem));
        token.setKey(KeyFactory.getInstance("Ed25519").generatePrivate(encoded));
        return token.getCompactSerialization();
    }

    /** The event that ends the request. */
    static ConsumerRecord<String, byte[]> ended(KafkaConsumer<String, byte[]> results, String id) {
        Instant limit = Instant.now().plusSeconds(120);
        while (Instant.now().isBefore(limit)) {
            for (var record : results.poll(Duration.ofSeconds(1))) {
                if (id.equals(header(record, "ce_subject"))) {
                    System.out.println(id + " " + header(record, "ce_type"));
                    if (ENDS.contains(header(record, "ce_type"))) return record;
                }
            }
        }
        throw new IllegalStateException("no end within two minutes");
    }

    static void finish(String id, ConsumerRecord<String, byte[]> end) throws Exception {
        Map<String, Object> data = JsonUtil.parseJson(new String(end.value(), StandardCharsets.UTF_8));
        if (!header(end, "ce_type").equals(SUCCEEDED)) throw new IllegalStateException(String.valueOf(data.get("error")));
        var credentials = AwsBasicCredentials.create(secret("EASEL_STORE_ACCESS_KEY_FILE"), secret("EASEL_STORE_SECRET_KEY_FILE"));
        String scheme = env("EASEL_STORE_SECURE", "false").equals("true") ? "https://" : "http://";
        try (var store = S3Client.builder().region(Region.of(env("EASEL_STORE_REGION", "us-east-1"))).forcePathStyle(true)
                .endpointOverride(java.net.URI.create(scheme + env("EASEL_STORE_ENDPOINT", "127.0.0.1:9000")))
                .credentialsProvider(StaticCredentialsProvider.create(credentials)).build()) {
            for (Object each : (List<?>) data.get("outputs")) {
                var output = (Map<?, ?>) each;
                String key = (String) output.get("key");
                byte[] picture = store.getObjectAsBytes(get -> get.bucket(env("EASEL_STORE_BUCKET", "easel")).key(key)).asByteArray();
                if (!sha256(picture).equals(output.get("sha256"))) throw new IllegalStateException(key + " is another picture");
                Path file = Files.write(Path.of(id + "-" + output.get("index") + key.substring(key.lastIndexOf('.'))), picture);
                System.out.println(file + " " + picture.length + " bytes");
            }
        }
    }

    static String header(ConsumerRecord<?, ?> record, String name) {
        var header = record.headers().lastHeader(name);
        return header == null ? null : new String(header.value(), StandardCharsets.UTF_8);
    }

    static String sha256(byte[] content) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(content));
    }

    static String secret(String variable) throws Exception {
        return Files.readString(Path.of(env(variable, null))).strip();
    }

    static String env(String variable, String otherwise) {
        String value = System.getenv().getOrDefault(variable, otherwise);
        return Objects.requireNonNull(value, variable + " is not set");
    }
}

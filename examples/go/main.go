// Asks easel for a picture over Kafka, follows the request to its end, and fetches the picture.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/twmb/franz-go/pkg/kgo"
)

const requested, succeeded = "easel.generation.requested.v1", "easel.generation.succeeded.v1"

var prefix = env("EASEL_KAFKA_PREFIX", "easel")
var ends = []string{succeeded, "easel.generation.failed.v1", "easel.generation.canceled.v1", "easel.generation.rejected.v1"}

type result struct {
	Outputs []struct{ Key, Sha256 string }
	Error   struct{ Message string }
}

func main() {
	prompt := cmp.Or(strings.Join(os.Args[1:], " "), "a large red circle on a white background")
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	id := must(uuid.NewV7()).String()
	body := must(json.Marshal(map[string]any{"prompt": prompt, "model": "easel-tiny"}))
	client := must(kgo.NewClient(
		kgo.SeedBrokers(strings.Split(env("EASEL_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"), ",")...),
		kgo.ConsumeTopics(prefix+".results"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// From a minute ago, by the broker's clock, so that no answer is missed.
		kgo.ConsumeResetOffset(kgo.NewOffset().AfterMilli(time.Now().Add(-time.Minute).UnixMilli())),
	))
	defer client.Close()
	record := &kgo.Record{Topic: prefix + ".requests", Key: []byte(os.Getenv("EASEL_TENANT")), Value: body}
	record.Headers = []kgo.RecordHeader{
		header("content-type", "application/json"), header("ce_specversion", "1.0"), header("ce_id", id),
		header("ce_type", requested), header("ce_source", "example-go"), header("ce_signature", signed(id, body)),
	}
	check(client.ProduceSync(ctx, record).FirstErr())
	kind, data := ended(ctx, client, id)
	if kind != succeeded {
		log.Fatal(data.Error.Message)
	}
	store := must(minio.New(env("EASEL_STORE_ENDPOINT", "127.0.0.1:9000"), &minio.Options{
		Creds:  credentials.NewStaticV4(secret("EASEL_STORE_ACCESS_KEY_FILE"), secret("EASEL_STORE_SECRET_KEY_FILE"), ""),
		Secure: os.Getenv("EASEL_STORE_SECURE") == "true", Region: env("EASEL_STORE_REGION", "us-east-1"),
	}))
	for index, output := range data.Outputs {
		file := fmt.Sprintf("%s-%d%s", id, index, path.Ext(output.Key))
		check(store.FGetObject(ctx, env("EASEL_STORE_BUCKET", "easel"), output.Key, file, minio.GetObjectOptions{}))
		picture := must(os.ReadFile(file))
		if hash(picture) != output.Sha256 {
			log.Fatal(file, " is not the picture that the event names")
		}
		fmt.Println(file, len(picture), "bytes")
	}
}

// signed returns the token for the header ce_signature.
func signed(id string, body []byte) string {
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": os.Getenv("EASEL_TENANT"), "sub": os.Getenv("EASEL_TENANT"), "aud": env("EASEL_INSTALLATION", "easel"),
		"type": requested, "jti": id, "iat": time.Now().Unix(), "exp": time.Now().Unix() + 3600, "body_sha256": hash(body),
	})
	token.Header["typ"], token.Header["kid"] = "easel-request+jwt", os.Getenv("EASEL_KID")
	return must(token.SignedString(must(jwt.ParseEdPrivateKeyFromPEM([]byte(secret("EASEL_KEY_FILE"))))))
}

// ended returns the type and the data of the event that ends the request.
func ended(ctx context.Context, client *kgo.Client, id string) (kind string, data result) {
	for {
		fetches := client.PollFetches(ctx)
		check(fetches.Err())
		for _, record := range fetches.Records() {
			headers := map[string]string{}
			for _, header := range record.Headers {
				headers[header.Key] = string(header.Value)
			}
			if kind = headers["ce_type"]; headers["ce_subject"] != id {
				continue
			}
			fmt.Println(id, kind)
			if slices.Contains(ends, kind) {
				check(json.Unmarshal(record.Value, &data))
				return kind, data
			}
		}
	}
}

func header(name, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: name, Value: []byte(value)}
}
func hash(content []byte) string { return fmt.Sprintf("%x", sha256.Sum256(content)) }
func secret(variable string) string {
	return strings.TrimSpace(string(must(os.ReadFile(os.Getenv(variable)))))
}
func env(variable, otherwise string) string { return cmp.Or(os.Getenv(variable), otherwise) }
func check(err error)                       { must(0, err) }

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

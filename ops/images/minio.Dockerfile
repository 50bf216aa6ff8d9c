# MinIO from source: upstream's images and binaries are gone. The revision is the one that `make setup` builds.
FROM golang:1.26-alpine AS build
ENV CGO_ENABLED=0 GOBIN=/out
RUN go install -trimpath -ldflags="-s -w" github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c

FROM alpine:3.23
RUN adduser -D -H -u 1000 minio && install -d -o minio -g minio /data
COPY --from=build /out/minio /usr/local/bin/minio
USER minio
VOLUME /data
EXPOSE 9000
CMD ["minio", "server", "/data", "--address", ":9000"]

#!/usr/bin/env bash
# Asks easel for a picture over Kafka, follows the request to its end, and fetches the picture.
# Needs kcat, openssl 3, curl and jq.
set -euo pipefail

prompt=${1:-a large red circle on a white background}
servers=${EASEL_KAFKA_BOOTSTRAP_SERVERS:-127.0.0.1:9092}
prefix=${EASEL_KAFKA_PREFIX:-easel}
type=easel.generation.requested.v1
now=$(date +%s)
work=$(mktemp -d)
trap 'rm -rf "$work"; kill ${follower:-} 2> /dev/null || true' EXIT

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

# A UUIDv7: 48 bits of milliseconds, then the version, the variant and random bits.
random=$(openssl rand -hex 10)
hex=$(printf '%012x' "$(date +%s%3N)")7${random:0:3}8${random:4:15}
id=${hex:0:8}-${hex:8:4}-${hex:12:4}-${hex:16:4}-${hex:20:12}

# The event's data: what is signed and what is sent are the same bytes.
jq -cnj --arg prompt "$prompt" '{prompt: $prompt, model: "easel-tiny"}' > "$work/body"

# The token for the header ce_signature.
header=$(jq -cnj --arg kid "$EASEL_KID" '{alg: "EdDSA", typ: "easel-request+jwt", kid: $kid}' | base64url)
claims=$(jq -cnj --arg tenant "$EASEL_TENANT" --arg installation "${EASEL_INSTALLATION:-easel}" --arg type "$type" \
  --arg id "$id" --argjson now "$now" --arg sha256 "$(openssl dgst -sha256 -r < "$work/body" | cut -d' ' -f1)" \
  '{iss: $tenant, sub: $tenant, aud: $installation, type: $type, jti: $id, iat: $now, exp: ($now + 3600),
    body_sha256: $sha256}' | base64url)
printf '%s' "$header.$claims" > "$work/signed"
signature=$(openssl pkeyutl -sign -rawin -inkey "$EASEL_KEY_FILE" -in "$work/signed" | base64url)

kcat -P -b "$servers" -t "$prefix.requests" -k "$EASEL_TENANT" -X acks=all -X enable.idempotence=true \
  -H content-type=application/json -H ce_specversion=1.0 -H "ce_id=$id" -H "ce_type=$type" \
  -H ce_source=example-shell -H "ce_signature=$header.$claims.$signature" "$work/body"

# From a minute ago, by the broker's clock, so that no answer is missed; until the request's end.
exec 3< <(exec timeout 120 kcat -C -q -u -b "$servers" -t "$prefix.results" -o "s@$(((now - 60) * 1000))" \
  -X isolation.level=read_committed -f '%h\t%s\n')
follower=$!
while IFS=$'\t' read -r headers data <&3; do
  [[ ,$headers, == *,ce_subject=$id,* ]] || continue
  [[ ,$headers, =~ ,ce_type=([^,]+), ]] && end=${BASH_REMATCH[1]}
  echo "$id $end"
  case $end in *.succeeded.v1 | *.failed.v1 | *.canceled.v1 | *.rejected.v1) break ;; esac
done

if [[ ${end:-nothing} != *.succeeded.v1 ]]; then
  jq -r '.error.message? // "no end within two minutes"' <<< "${data:-{\}}" >&2
  exit 1
fi

[[ ${EASEL_STORE_SECURE:-false} == true ]] && scheme=https || scheme=http
store=$scheme://${EASEL_STORE_ENDPOINT:-127.0.0.1:9000}/${EASEL_STORE_BUCKET:-easel}
while IFS=$'\t' read -r index key sha256 bytes; do
  file=$id-$index.${key##*.}
  # The credentials go in by a file: an argument would be seen by every user of this machine.
  curl -fsS --aws-sigv4 "aws:amz:${EASEL_STORE_REGION:-us-east-1}:s3" -o "$file" "$store/$key" \
    -K <(printf 'user = "%s:%s"\n' "$(< "$EASEL_STORE_ACCESS_KEY_FILE")" "$(< "$EASEL_STORE_SECRET_KEY_FILE")")
  openssl dgst -sha256 -r < "$file" | grep -q "^$sha256" || { echo "$file is not what the event names" >&2; exit 1; }
  echo "$file $bytes bytes"
done < <(jq -r '.outputs[] | [.index, .key, .sha256, .bytes] | @tsv' <<< "$data")

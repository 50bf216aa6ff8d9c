// Asks easel for a picture over Kafka, follows the request to its end, and fetches the picture.
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { extname } from 'node:path'
import { Consumer, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'
import { AwsClient } from 'aws4fetch'
import { importPKCS8, SignJWT } from 'jose'
import { v7 as uuidv7 } from 'uuid'

const REQUESTED = 'easel.generation.requested.v1'
const SUCCEEDED = 'easel.generation.succeeded.v1'
const ENDS = [SUCCEEDED, ...['failed', 'canceled', 'rejected'].map(end => `easel.generation.${end}.v1`)]
const READ_COMMITTED = 1

const { env } = process
const tenant = env.EASEL_TENANT
const prefix = env.EASEL_KAFKA_PREFIX ?? 'easel'
const cluster = {
  clientId: 'example-node',
  bootstrapBrokers: (env.EASEL_KAFKA_BOOTSTRAP_SERVERS ?? '127.0.0.1:9092').split(',')
}
const secret = variable => readFileSync(env[variable], 'utf8').trim()
const sha256 = content => createHash('sha256').update(content).digest('hex')

/** The token for the header ce_signature. */
async function signed (id, body) {
  const key = await importPKCS8(secret('EASEL_KEY_FILE'), 'EdDSA')
  return new SignJWT({ type: REQUESTED, body_sha256: sha256(body) })
    .setProtectedHeader({ alg: 'EdDSA', typ: 'easel-request+jwt', kid: env.EASEL_KID })
    .setIssuer(tenant)
    .setSubject(tenant)
    .setAudience(env.EASEL_INSTALLATION ?? 'easel')
    .setJti(id)
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(key)
}

async function publish (id, body) {
  const headers = {
    'content-type': 'application/json',
    ce_specversion: '1.0',
    ce_id: id,
    ce_type: REQUESTED,
    ce_source: 'example-node',
    ce_signature: await signed(id, body)
  }
  const producer = new Producer({ ...cluster, serializers: stringSerializers, idempotent: true })
  try {
    await producer.send({ messages: [{ topic: `${prefix}.requests`, key: tenant, value: body, headers }] })
  } finally {
    await producer.close()
  }
}

/** The event that ends the request. */
async function ended (results, id) {
  for await (const record of results) {
    const { ce_subject: subject, ce_type: type } = Object.fromEntries(record.headers)
    if (subject === id) {
      console.log(id, type)
      if (ENDS.includes(type)) return { type, data: JSON.parse(record.value) }
    }
  }
  throw new Error('the stream of results was closed')
}

async function fetchPicture (id, output) {
  const store = new AwsClient({
    accessKeyId: secret('EASEL_STORE_ACCESS_KEY_FILE'),
    secretAccessKey: secret('EASEL_STORE_SECRET_KEY_FILE'),
    region: env.EASEL_STORE_REGION ?? 'us-east-1',
    service: 's3'
  })
  const scheme = env.EASEL_STORE_SECURE === 'true' ? 'https' : 'http'
  const bucket = `${scheme}://${env.EASEL_STORE_ENDPOINT ?? '127.0.0.1:9000'}/${env.EASEL_STORE_BUCKET ?? 'easel'}`
  const answer = await store.fetch(`${bucket}/${output.key}`)
  if (!answer.ok) throw new Error(`the store answers ${answer.status} for ${output.key}`)
  const picture = Buffer.from(await answer.arrayBuffer())
  if (sha256(picture) !== output.sha256) throw new Error(`${output.key} is not the picture that the event names`)
  const file = `${id}-${output.index}${extname(output.key)}`
  writeFileSync(file, picture)
  console.log(file, picture.length, 'bytes')
}

const id = uuidv7()
const body = JSON.stringify({ prompt: process.argv[2] ?? 'a large red circle on a white background', model: 'easel-tiny' })
const limit = setTimeout(() => { throw new Error('no end within two minutes') }, 120_000)
// A group of its own, as this program wants its own answer alone.
const consumer = new Consumer({
  ...cluster, groupId: `example-${id}`, deserializers: stringDeserializers, isolationLevel: READ_COMMITTED
})
try {
  // From where the topic ends now, before there can be an answer.
  const results = await consumer.consume({ topics: [`${prefix}.results`], mode: 'latest', autocommit: false })
  await publish(id, body)
  const { type, data } = await ended(results, id)
  if (type !== SUCCEEDED) throw new Error(data.error?.message ?? type)
  for (const output of data.outputs) await fetchPicture(id, output)
} finally {
  clearTimeout(limit)
  await consumer.close(true)
}

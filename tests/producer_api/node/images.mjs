// What OpenAI's own client for Node.js makes of easel, as one line of JSON.
import OpenAI, { toFile } from "openai";
import { readFile } from "node:fs/promises";

const [baseURL, image, mask] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "acme", maxRetries: 0 });
const asked = { model: "gpt-image-2", prompt: "a red circle" };
const found = {};

async function refused(call) {
  try {
    await call;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, code: error.code, param: error.param };
  }
  return null;
}

found.models = (await client.models.list()).data.map((model) => model.id);

const two = await client.images.generate({ ...asked, n: 2 });
found.base64 = two.data.map((one) => Buffer.from(one.b64_json, "base64").subarray(1, 4).toString());

const linked = await client.images.generate({ ...asked, response_format: "url" });
found.url = Buffer.from(await (await fetch(linked.data[0].url)).arrayBuffer()).subarray(1, 4).toString();

found.events = [];
for await (const event of await client.images.generate({ ...asked, stream: true, partial_images: 2, steps: 48 })) {
  found.events.push([event.type, event.partial_image_index ?? null, event.b64_json.length > 0]);
}

const edited = await client.images.edit({
  ...asked,
  image: await toFile(await readFile(image), "image.png", { type: "image/png" }),
  mask: await toFile(await readFile(mask), "mask.png", { type: "image/png" }),
});
found.edited = edited.data[0].b64_json;

found.wrong = await refused(client.images.generate({ ...asked, background: "transparent" }));
found.nobody = await refused(client.withOptions({ apiKey: "wrong" }).images.generate(asked));
const slow = client.withOptions({ apiKey: "slow-node" });
await slow.images.generate(asked);
found.limited = await refused(slow.images.generate(asked));

// As it does by itself: what is late is sent again, because it has a key.
const late = { ...asked, steps: 100, metadata: { who: "node" } };
const headers = { "Idempotency-Key": "order-node" };
found.late = await refused(client.images.generate(late, { headers }));
found.again = (await client.images.generate(late, { headers, maxRetries: 3 })).data.length;

console.log(JSON.stringify(found));

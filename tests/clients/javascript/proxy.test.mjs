import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { createFalClient } from "@fal-ai/client";
import { createRouteHandler } from "@fal-ai/server-proxy/hono";
import { BASE, blob, client, ENDPOINT, KEY, PICTURE, SLOW } from "./system.mjs";

const input = { image_url: PICTURE, scale: 3 };

test("the API is the client's proxy itself", async () => {
  const fal = createFalClient({ credentials: KEY, proxyUrl: { url: `${BASE}/api/fal/proxy`, when: "always" } });
  const told = [];
  const result = await fal.subscribe(ENDPOINT, {
    input: { image_url: await blob(), scale: SLOW }, mode: "streaming", logs: true,
    onQueueUpdate: (status) => told.push(Date.now()),
  });
  const ran = await fal.run(ENDPOINT, { input });

  assert.equal(result.data.image.width, 24);
  assert.equal(ran.data.image.width, 48);
  assert.ok(told.at(-1) - told[0] > 500, "the stream was held back");
  await assert.rejects(fal.run("enlarger/none", { input }), (error) => error.status === 404);
});

test("server-proxy stands between a page without a key and the API", async () => {
  const host = new URL(BASE).host;
  const handler = createRouteHandler({
    allowedUrlPatterns: [`${host}/**`],
    allowedEndpoints: ["queue/enlarger/**", "run/enlarger/**", "rest/storage/**"],
    allowUnauthorizedRequests: true,
  });
  const site = await serve(handler);
  const fal = client({ credentials: undefined, proxyUrl: { url: `${site.url}/api/fal/proxy`, when: "always" } });
  try {
    const result = await fal.subscribe(ENDPOINT, { input, pollInterval: 50 });
    assert.equal(result.data.image.width, 48);
    await assert.rejects(fal.subscribe(ENDPOINT, { input: {}, pollInterval: 50 }), (error) => error.status === 422);
  } finally {
    site.close();
  }
});

/** Serve a Hono route handler without Hono. */
async function serve(handler) {
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const context = {
      req: {
        method: request.method,
        header: (name) => (name ? request.headers[name.toLowerCase()] : request.headers),
        json: async () => JSON.parse(Buffer.concat(chunks).toString()),
      },
      json: (data, status, headers) => new Response(JSON.stringify(data), { status, headers }),
    };
    const answer = await handler(context);
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, ValidationError } from "@fal-ai/client";
import { blob, client, ENDPOINT, PICTURE, SLOW } from "./system.mjs";

const input = { image_url: PICTURE, scale: 2 };
const slow = { image_url: PICTURE, scale: SLOW };

for (const mode of ["polling", "streaming"]) {
  test(`subscribe by ${mode} tells the states in order and each line of the log once`, async () => {
    const told = [];
    const result = await client().subscribe(ENDPOINT, {
      input: slow, mode, logs: true, pollInterval: 100,
      onQueueUpdate: (status) => told.push(status),
    });

    assert.match(result.data.image.url, /\/cdn\/results\//);
    assert.equal(result.data.image.width, 24);
    assert.match(result.requestId, /^[0-9a-f-]{36}$/);
    const states = told.map((status) => status.status);
    assert.equal(states.at(-1), "COMPLETED");
    assert.ok(states.includes("IN_PROGRESS"));
    const messages = told.at(-1).logs.map((line) => line.message);
    assert.equal(new Set(messages).size, messages.length);
    assert.ok(messages.includes("denoising: 50 %"), messages.join());
  });
}

test("the queue's calls, one by one", async () => {
  const fal = client();
  const made = await fal.queue.submit(ENDPOINT, { input, priority: "low", hint: "a" });
  let status;
  do {
    status = await fal.queue.status(ENDPOINT, { requestId: made.request_id, logs: false });
  } while (status.status !== "COMPLETED");
  const result = await fal.queue.result(ENDPOINT, { requestId: made.request_id });

  assert.equal(made.status, "IN_QUEUE");
  assert.ok(status.metrics.inference_time >= 0);
  assert.equal(result.requestId, made.request_id);
  assert.equal((await fetch(result.data.image.url)).headers.get("content-type"), "image/png");
});

test("a cancelled request completes, and its result is an error", async () => {
  const fal = client();
  const { request_id: requestId } = await fal.queue.submit(ENDPOINT, { input: slow });
  await fal.queue.cancel(ENDPOINT, { requestId });
  const status = await fal.queue.subscribeToStatus(ENDPOINT, { requestId, pollInterval: 50 });

  assert.equal(status.error_type, "client_cancelled");
  await assert.rejects(fal.queue.result(ENDPOINT, { requestId }), (error) => error.status === 499);
});

test("run answers with the result", async () => {
  const result = await client().run(ENDPOINT, { input });

  assert.equal(result.data.image.width, 32);
  assert.notEqual(result.requestId, "");
});

test("errors are the client's own", async () => {
  const fal = client();

  await assert.rejects(fal.subscribe(ENDPOINT, { input: { scale: 99 } }), (error) => {
    assert.ok(error instanceof ValidationError);
    assert.equal(error.status, 422);
    assert.equal(error.getFieldErrors("image_url")[0].type, "missing");
    assert.equal(error.getFieldErrors("scale")[0].type, "less_than_equal");
    return true;
  });
  await assert.rejects(fal.run("enlarger/none", { input }), (error) => {
    assert.ok(error instanceof ApiError);
    assert.equal(error.status, 404);
    return typeof error.body.detail === "string";
  });
  const strange = client({ credentials: "not:good" });
  await assert.rejects(strange.run(ENDPOINT, { input }), (error) => error.status === 401);
});

test("a start timeout is told as the user's own", async () => {
  const fal = client();
  const busy = [];
  for (let each = 0; each < 8; each++) busy.push(await fal.queue.submit(ENDPOINT, { input: slow }));
  await assert.rejects(fal.run(ENDPOINT, { input: slow, startTimeout: 1.1 }), (error) => {
    assert.equal(error.status, 504);
    assert.equal(error.timeoutType, "user");
    return true;
  });
  for (const each of busy) await fal.queue.cancel(ENDPOINT, { requestId: each.request_id }).catch(() => {});
});

test("files of any size are uploaded, also from within an input", async () => {
  const fal = client();
  const result = await fal.run(ENDPOINT, { input: { ...input, image_url: await blob() } });
  assert.equal(result.data.image.width, 32);

  const large = new Blob([new Uint8Array(91 * 2 ** 20).fill(7)], { type: "image/png" });
  const url = await fal.storage.upload(large);
  assert.equal(Number((await fetch(url, { method: "HEAD" })).headers.get("content-length")), large.size);
});
